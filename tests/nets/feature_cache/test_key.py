"""The key changes with the least change of anything that counts, and with nothing else."""

from __future__ import annotations

import copy
import os
import time

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import nn

from medxfer_lab.nets import Network, load
from medxfer_lab.nets.feature_cache import NotCacheable, feature_key
from medxfer_lab.nets.feature_cache import key as room
from medxfer_lab.nets.network import state_digest

IMAGES = torch.rand(6, 1, 32, 32, generator=torch.Generator().manual_seed(0))
SMALL, LITE = load("small_cnn"), load("efficientnet_lite0")


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def flipped(tensor: torch.Tensor, element: int, bit: int) -> torch.Tensor:
    """A copy in which one bit of one element is another."""
    data = bytearray(tensor.numpy().tobytes())
    data[element * tensor.element_size() + bit // 8] ^= 1 << bit % 8
    return torch.frombuffer(data, dtype=tensor.dtype).reshape(tensor.shape)


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_any_bit_of_the_state_counts(data):
    """Weights, biases, batch-norm statistics and counts, of both networks."""
    network = copy.deepcopy(data.draw(st.sampled_from([SMALL, LITE])))
    state = network.body.state_dict()
    tensor = state[data.draw(st.sampled_from(sorted(state)))]
    element = data.draw(st.integers(0, tensor.numel() - 1))
    bit = data.draw(st.integers(0, 8 * tensor.element_size() - 1))
    before = feature_key(network, IMAGES[:1])
    tensor.copy_(flipped(tensor, element, bit))
    assert feature_key(network, IMAGES[:1]) != before
    tensor.copy_(flipped(tensor, element, bit))
    assert feature_key(network, IMAGES[:1]) == before


@settings(max_examples=40, deadline=None)
@given(st.integers(0, IMAGES.numel() - 1), st.integers(0, 22))
def test_any_bit_of_the_pictures_counts(element, bit):
    """Where the network is fed with them as they are: (x - 1/2) / (1/4) is exact from 1/4 up."""
    pictures = 0.5 + IMAGES / 2
    other = flipped(pictures, element, bit)
    assert feature_key(SMALL, other) != feature_key(SMALL, pictures)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.integers(0, 3), st.integers(0, 3), st.permutations(range(3)))
def test_same_key_for_the_same_pictures_only(n, m, order):
    same = n == m and torch.equal(IMAGES[:n], IMAGES[list(order)][:m])
    keys = feature_key(SMALL, IMAGES[:n]), feature_key(SMALL, IMAGES[list(order)][:m])
    assert (keys[0] == keys[1]) is same


def with_normalise(normalise):
    return Network("small_cnn", SMALL.body, SMALL.head, normalise, 32)


def test_everything_else_that_counts():
    """Each differs from the first, and from each other, in one ingredient."""
    inputs = {
        "base": (SMALL, IMAGES),
        "double": (SMALL, IMAGES.double()),
        "size": (SMALL, IMAGES, 64, 24),
        "other size": (SMALL, IMAGES, 64, 23),
        "split": (SMALL, IMAGES, 4),
        "other split": (SMALL, IMAGES, 5),
        "conv2": (SMALL, IMAGES, 64, None, "body.conv2"),
        "conv3": (SMALL, IMAGES, 64, None, "body.conv3"),
        "pool": (SMALL, IMAGES, 64, None, "body.pool"),
        "normalise": (with_normalise(lambda x: (x - 0.5) / 0.2500001), IMAGES),
        "untrained": (load("small_cnn", "untrained"), IMAGES),
        "lite0": (LITE, IMAGES),
    }
    keys = {name: feature_key(*arguments) for name, arguments in inputs.items()}
    assert len(set(keys.values())) == len(inputs), keys


def test_names_types_shapes_and_hidden_buffers_are_state():
    """Also where the bytes are the same."""
    states = [
        ("zero", torch.zeros(4)),
        ("null", torch.zeros(4)),
        ("zero", torch.zeros(2, 2)),
        ("zero", torch.zeros(4, dtype=torch.int32)),
        ("zero", torch.tensor([0.0, 0.0, 0.0, -0.0])),
    ]
    digests = set()
    for name, tensor in states:
        for _ in range(2):
            module = nn.Linear(1, 1, bias=False).requires_grad_(False)
            module.weight.fill_(0.5)
            module.register_buffer(name, tensor, persistent=False)
            digests.add(state_digest(module))
    assert len(digests) == len(states)


def changed_setting(network):
    network.body.conv1[1].eps = 1.0000001e-5


def changed_layer(network):
    network.body.conv2[2] = nn.ReLU6()


def changed_order(network):
    network.body.conv2 = nn.Sequential(*[network.body.conv2[i] for i in (0, 2, 1)])


def changed_layout(network):
    network.to(memory_format=torch.channels_last)


def changed_name(network):
    network.name = "small_cnn_2"


def changed_skip(network):
    network.body.block03.id_skip = False


@pytest.mark.parametrize(
    ("network", "change"),
    [
        (SMALL, changed_setting),
        (SMALL, changed_layer),
        (SMALL, changed_order),
        (SMALL, changed_layout),
        (SMALL, changed_name),
        (LITE, changed_skip),
    ],
)
def test_the_architecture_counts(network, change):
    other = copy.deepcopy(network)
    assert feature_key(other, IMAGES) == feature_key(network, IMAGES)
    change(other)
    assert feature_key(other, IMAGES) != feature_key(network, IMAGES)


@pytest.mark.filterwarnings("ignore:TF32 acceleration")
def test_the_arithmetic_counts(monkeypatch):
    keys = [feature_key(SMALL, IMAGES)]
    torch.set_num_threads(2)
    keys.append(feature_key(SMALL, IMAGES))
    torch.set_num_threads(1)
    with torch.autocast("cpu", torch.bfloat16):
        keys.append(feature_key(SMALL, IMAGES))
    with torch.backends.mkldnn.flags(enabled=False):
        keys.append(feature_key(SMALL, IMAGES))
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", "SSE41")
    keys.append(feature_key(SMALL, IMAGES))
    monkeypatch.undo()
    assert len(set(keys)) == 5 and feature_key(SMALL, IMAGES) == keys[0]


def test_nothing_else_counts():
    base = feature_key(SMALL, IMAGES)
    network = load("small_cnn", n_classes=7).train()
    network.reset_head(5)
    network.requires_grad_(False)
    for parameter in network.body.conv1.parameters():
        parameter.grad = torch.ones_like(parameter)
    assert feature_key(network, IMAGES) == base and network.training
    assert feature_key(network, IMAGES.numpy()) == base
    assert feature_key(network, IMAGES, 6) == feature_key(network, IMAGES, 1000) == base
    assert feature_key(network, IMAGES, size=32) != base  # asked for by name: its own entry
    assert feature_key(with_normalise(lambda x: (x - 0.5) / 0.25), IMAGES) == base
    padded = torch.rand(6, 1, 32, 40)
    padded[..., :32] = IMAGES
    assert feature_key(network, padded[..., :32]) == base


def test_behind_the_block_anything_may_change():
    network = copy.deepcopy(SMALL)
    before = {b: feature_key(network, IMAGES, block=f"body.{b}") for b in ("conv1", "conv2")}
    network.body.conv2[0].weight.data[0, 0, 0, 0] += 1e-6
    network.body.conv3 = nn.Identity()
    assert feature_key(network, IMAGES, block="body.conv1") == before["conv1"]
    assert feature_key(network, IMAGES, block="body.conv2") != before["conv2"]


def test_bad_arguments_are_refused_as_by_features():
    with pytest.raises(ValueError, match="reach 255"):
        feature_key(SMALL, IMAGES / IMAGES.max() * 255)
    with pytest.raises(ValueError, match="batch_size is 0"):
        feature_key(SMALL, IMAGES, 0)
    with pytest.raises(ValueError, match="no block 'head'"):
        feature_key(SMALL, IMAGES, block="head")


class Doubled(nn.Module):
    """Its code is in no package that the key knows."""

    def forward(self, x):
        return 2 * x


def hooked(network):
    network.body.conv1.register_forward_hook(lambda *_: None)


def patched(network):
    network.body.conv1[2].forward = torch.sigmoid


def overridden(network):
    network.features = lambda x: x


def foreign(network):
    network.body.conv1[2] = Doubled()


def subclassed(network):
    network.__class__ = type("Other", (Network,), {"__module__": "elsewhere"})


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (hooked, "'conv1' has a forward hook"),
        (patched, "'conv1.2.forward' is a builtin_function_or_method"),
        (overridden, "'small_cnn.features' is a function"),
        (foreign, "the code of .*Doubled is not part of the key"),
        (subclassed, "the code of elsewhere.Other is not"),
    ],
)
def test_code_that_no_key_sees_is_refused(change, words):
    network = copy.deepcopy(SMALL)
    change(network)
    with pytest.raises(NotCacheable, match=words):
        feature_key(network, IMAGES)


def test_the_sources_that_count_are_found():
    names = {f"{path.parent.name}/{path.name}" for path in room._sources()}
    assert names >= {
        "nets/network.py",
        "nets/extract.py",
        "nets/small_cnn.py",
        "feature_cache/key.py",
        "efficientnet_lite_pytorch/model.py",
        "efficientnet_lite_pytorch/utils.py",
    }


def test_an_edited_source_is_another_version(tmp_path, monkeypatch):
    files = [tmp_path / "a.py", tmp_path / "b.py"]
    for file in files:
        file.write_text("x = 1\n")
    monkeypatch.setattr(room, "_sources", lambda: files)
    monkeypatch.setattr(room, "_LOADED", time.time() + 3600)
    base, key = room.code_version(), feature_key(SMALL, IMAGES)
    assert room.code_version() == base
    files[0].write_text("x = 2\n")
    assert room.code_version() != base and feature_key(SMALL, IMAGES) != key
    files[0].write_text("x = 1\nx")
    files[1].write_text(" = 1\n")  # the same text, cut elsewhere
    assert room.code_version() != base


def test_a_source_changed_since_it_was_loaded_stops_the_cache(tmp_path, monkeypatch):
    """Even one that was given an old date: its text may not be what computes."""
    file = tmp_path / "a.py"
    file.write_text("x = 1\n")
    monkeypatch.setattr(room, "_sources", lambda: [file])
    monkeypatch.setattr(room, "_LOADED", time.time() - 60)
    with pytest.raises(NotCacheable, match="a.py was changed after this process began"):
        feature_key(SMALL, IMAGES)
    if os.name != "nt":
        os.utime(file, (1, 1))
        with pytest.raises(NotCacheable, match="a.py was changed"):
            feature_key(SMALL, IMAGES)


def test_without_sources_nothing_is_cached(monkeypatch):
    monkeypatch.setattr(room, "_BY_SOURCE", ("no_such_package",))
    with pytest.raises(NotCacheable, match="not on disk"):
        room.code_version()


def test_torch_is_part_of_the_code(monkeypatch):
    base = room.code_version()
    monkeypatch.setattr(torch, "__version__", "0.0")
    assert room.code_version() != base


def test_a_key_is_a_file_name():
    key = feature_key(SMALL, np.zeros((1, 1, 8, 8), np.float32))
    assert len(key) == 64 and set(key) <= set("0123456789abcdef")
