"""Weights on disk: what was written comes back, anything else is refused, nothing half-written."""

import hashlib
import json

import pytest
import safetensors.torch
import torch

from medxfer_lab.course import atomic
from medxfer_lab.nets.files import (
    WeightsError,
    card_path,
    fill,
    read_card,
    read_weights,
    sha256,
    write_weights,
)
from medxfer_lab.nets.small_cnn import small_cnn

TENSORS = {"a": torch.arange(6.0).reshape(2, 3), "b": torch.tensor([1, 2])}


@pytest.fixture
def path(tmp_path):
    return write_weights(tmp_path / "w.safetensors", TENSORS, {"seed": 3})


def test_round_trip(path):
    tensors, card = read_weights(path)
    assert tensors.keys() == TENSORS.keys()
    assert all(torch.equal(tensors[name], TENSORS[name]) for name in TENSORS)
    assert card["seed"] == 3 and card["parameters"] == 8 and card["file"] == path.name
    assert card["sha256"] == hashlib.sha256(path.read_bytes()).hexdigest() == sha256(path)


def test_others_can_open_the_file(path):
    assert safetensors.torch.load_file(path).keys() == TENSORS.keys()


def test_same_tensors_same_bytes_in_any_order(path, tmp_path):
    backwards = dict(reversed(TENSORS.items()))
    other = write_weights(tmp_path / "x.safetensors", backwards, {})
    assert other.read_bytes() == path.read_bytes()


@pytest.mark.parametrize("keep", [0, 1, 7, 50, -1])
def test_a_truncated_file_is_refused(path, keep):
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(WeightsError, match=r"w.safetensors do not match their card.*pretrain"):
        read_weights(path)


def test_one_flipped_bit_is_refused(path):
    data = bytearray(path.read_bytes())
    data[-3] ^= 1
    path.write_bytes(data)
    with pytest.raises(WeightsError, match="do not match"):
        read_weights(path)


@pytest.mark.parametrize("foreign", [b"", b"\x89PNG\r\n\x1a\n" + bytes(64), b"PK\x03\x04pickle"])
def test_a_foreign_file_with_a_matching_card_is_refused(path, foreign):
    path.write_bytes(foreign)
    card = {"sha256": hashlib.sha256(foreign).hexdigest()}
    card_path(path).write_text(json.dumps(card))
    with pytest.raises(WeightsError, match="not a safetensors file"):
        read_weights(path)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "not readable"),
        ("{", "not readable"),
        ("[]", "no 'sha256'"),
        ('{"sha256": 5}', "no 'sha256'"),
        ("{}", "no 'sha256'"),
    ],
)
def test_a_damaged_card_is_refused(path, text, words):
    card_path(path).write_text(text)
    with pytest.raises(WeightsError, match=words):
        read_card(path)


def test_a_card_of_bytes_that_are_no_text_is_refused(path):
    card_path(path).write_bytes(b"\xff\xfe\x00{")
    with pytest.raises(WeightsError, match="not readable"):
        read_weights(path)


def test_missing_files_are_named(path, tmp_path):
    path.unlink()
    with pytest.raises(WeightsError, match="the weights w.safetensors are missing"):
        read_weights(path)
    with pytest.raises(WeightsError, match="the card v.json is missing"):
        read_weights(tmp_path / "v.safetensors")


def test_a_failing_write_leaves_nothing_behind(tmp_path, monkeypatch):
    def full(*_):
        raise OSError("No space left on device")

    monkeypatch.setattr(atomic.os, "replace", full)
    with pytest.raises(OSError, match="No space"):
        write_weights(tmp_path / "w.safetensors", TENSORS, {})
    assert list(tmp_path.iterdir()) == []


def test_a_failing_rewrite_keeps_the_old(path, monkeypatch):
    def full(*_):
        raise OSError("No space left on device")

    monkeypatch.setattr(atomic.os, "replace", full)
    with pytest.raises(OSError, match="No space"):
        write_weights(path, {"a": torch.zeros(1)}, {})
    monkeypatch.undo()
    tensors, _ = read_weights(path)
    assert tensors.keys() == TENSORS.keys()
    assert len(list(path.parent.iterdir())) == 2


def test_a_card_with_what_json_has_no_word_for_is_refused_before_writing(tmp_path):
    with pytest.raises(ValueError, match="JSON compliant"):
        write_weights(tmp_path / "w.safetensors", TENSORS, {"score": float("nan")})
    assert list(tmp_path.iterdir()) == []


def test_weights_of_another_network_fill_nothing():
    network = small_cnn()
    before = network.digest
    with pytest.raises(WeightsError, match="for another network"):
        fill(network, TENSORS, "w")
    wrong = dict(network.state_dict())
    wrong["body.conv2.0.weight"] = torch.zeros(1, 2, 3, 4)
    wrong["body.conv1.0.weight"] = torch.zeros_like(wrong["body.conv1.0.weight"])
    with pytest.raises(WeightsError, match=r"'body.conv2.0.weight' has shape \(1, 2, 3, 4\)"):
        fill(network, wrong, "w")
    assert network.digest == before
