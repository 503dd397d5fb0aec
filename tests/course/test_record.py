"""Records: round trips, fingerprints, and clear errors for files that are no records."""

from __future__ import annotations

import json

import numpy as np
import pytest

from medxfer_lab.course.record import (
    Record,
    RecordError,
    canonical_json,
    differences,
    every_record,
    fingerprint,
    records,
    records_folder,
)


def make(**changes) -> Record:
    content = {
        "chapter": "bias_variance",
        "experiment": "heads",
        "data": "simulated",
        "device": "cpu",
        "preset": "quick",
        "version": 1,
        "fingerprint": fingerprint({"n": [16, 32]}),
        "parameters": {"n": (16, 32)},
        "results": {
            "auc": {16: {"mean": np.float32(0.5), "n": np.int64(50)}, 32: {"mean": 0.75}},
            "curve": np.arange(3.0),
            "nothing": None,
        },
        "wall_s": 1.5,
    }
    return Record(**{**content, **changes})


def test_a_record_equals_itself_after_a_trip_to_disk(tmp_path):
    record = make()
    path = record.save(tmp_path / "heads.simulated.cpu.json")
    assert Record.load(path) == record
    assert Record.load(path).save(tmp_path / "again.json").read_bytes() == path.read_bytes()
    assert list(json.loads(path.read_text())) == sorted(json.loads(path.read_text()))
    assert record.versions["python"] and record.date and record.device_name


def test_value_goes_down_dotted_paths():
    record = make()
    assert record.value("auc.16.mean") == 0.5
    assert record.value("curve.2") == 2.0
    with pytest.raises(KeyError, match=r"no '64' in auc; there is \['16', '32'\]"):
        record.value("auc.64.mean")
    with pytest.raises(KeyError, match="type float"):
        record.value("auc.16.mean.low")


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"results": {"a": float("nan")}}, "results.a=nan"),
        ({"results": {"a": [1.0, np.inf]}}, r"results.a\[1\]=inf"),
        ({"results": {"a.b": 1}}, "without dots"),
        ({"results": {}}, "at least one entry"),
        ({"results": {"a": object()}}, "results.a is a object"),
        ({"device": "tpu"}, "device='tpu'"),
        ({"preset": "huge"}, "preset='huge'"),
        ({"version": "1"}, "version='1'"),
        ({"fingerprint": "abc"}, "64 hexadecimal digits"),
        ({"experiment": "../heads"}, "experiment='../heads'"),
        ({"wall_s": -1}, "wall_s=-1"),
    ],
)
def test_what_a_record_cannot_hold_is_refused_by_name(changes, message):
    with pytest.raises(RecordError, match=message):
        make(**changes)


def test_damaged_and_foreign_files_give_clear_errors_and_leave_nothing(tmp_path):
    text = make().save(tmp_path / "good.json").read_text()
    content = json.loads(text)
    cases = {
        "truncated": (text[: len(text) // 2], "truncated or not JSON"),
        "empty": ("", "truncated or not JSON"),
        "binary": ("\udcff\udcfe", "cannot be read"),
        "list": ("[1, 2]", "not a record of schema 1"),
        "foreign": ('{"name": "package.json"}', "not a record of schema 1"),
        "newer": (json.dumps({**content, "schema": 99}), "found 99"),
        "lacking": (json.dumps({k: v for k, v in content.items() if k != "seeds"}), "lacks seeds"),
        "unknown": (json.dumps({**content, "extra": 1}), "unknown entries extra"),
        "nan": (text.replace("0.75", "NaN"), "NaN is not a finite number"),
        "device": (text.replace('"cpu"', '"abacus"'), "abacus"),
    }
    for name, (broken, message) in cases.items():
        path = tmp_path / f"{name}.json"
        path.write_bytes(broken.encode(errors="surrogateescape"))
        with pytest.raises(RecordError, match=message) as caught:
            Record.load(path)
        assert f"{name}.json" in str(caught.value)
    with pytest.raises(RecordError, match="no record 'absent.json'"):
        Record.load(tmp_path / "absent.json")
    assert {p.stem for p in tmp_path.iterdir()} == {"good", *cases}


def test_a_save_that_fails_keeps_the_old_record(tmp_path, monkeypatch):
    path = make().save(tmp_path / "heads.simulated.cpu.json")
    before = path.read_bytes()

    def full_disk(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.replace", full_disk)
    with pytest.raises(OSError, match="No space"):
        make(version=2).save(path)
    assert path.read_bytes() == before and list(tmp_path.iterdir()) == [path]


def test_leftovers_of_a_killed_save_go(tmp_path):
    (tmp_path / f".heads.simulated.cpu.json.{2**22 + 12345}.tmp").write_text('{"half')
    path = make().save(tmp_path / "heads.simulated.cpu.json")
    assert list(tmp_path.iterdir()) == [path]


def test_fingerprint_depends_on_content_only():
    a = fingerprint({"b": 1, "a": (1, 2)}, weights={"lite0": "aa"}, data="dd", version=1)
    assert a == fingerprint(
        {"a": np.array([1, 2]), "b": np.int32(1)}, weights={"lite0": "aa"}, data="dd"
    )
    others = [
        fingerprint({"b": 1, "a": (1, 3)}, weights={"lite0": "aa"}, data="dd"),
        fingerprint({"b": 1, "a": (1, 2)}, weights={"lite0": "ab"}, data="dd"),
        fingerprint({"b": 1, "a": (1, 2)}, weights={"lite0": "aa"}, data="de"),
        fingerprint({"b": 1, "a": (1, 2)}, weights={"lite0": "aa"}, data="dd", version=2),
        fingerprint({"b": True, "a": (1, 2)}, weights={"lite0": "aa"}, data="dd"),
    ]
    assert len({a, *others}) == 6
    assert canonical_json({"b": 1, "a": 2.5}) == '{"a":2.5,"b":1}'


def test_the_larger_preset_wins_then_the_gpu(tmp_path):
    for device, preset, version in [("cpu", "full", 1), ("cuda", "quick", 2)]:
        make(device=device, preset=preset, version=version).save(
            tmp_path / f"heads.simulated.{device}.json"
        )
    assert records("bias_variance", folder=tmp_path)["heads.simulated"].device == "cpu"
    assert records("bias_variance", "cuda", tmp_path)["heads.simulated"].version == 2
    make(device="cuda", preset="full").save(tmp_path / "heads.simulated.cuda.json")
    assert records("bias_variance", folder=tmp_path)["heads.simulated"].device == "cuda"
    assert len(every_record("bias_variance", tmp_path)) == 2
    make().save(tmp_path / "tails.simulated.cpu.json")
    with pytest.raises(RecordError, match="rename or remove"):
        records("bias_variance", folder=tmp_path)


def test_differences_name_the_place():
    a = make()
    assert differences(a, make(wall_s=99.0, date="1999-01-01", device_name="abacus")) == []
    b = make(results={**a.results, "curve": [0.0, 1.0, 2.001], "nothing": 1})
    assert differences(a, b) == [
        "results.curve.2: 2.0 against 2.001",
        "results.nothing: None against 1",
    ]
    assert differences(a, b, rtol=1e-3) == ["results.nothing: None against 1"]
    c = make(results={"auc": a.results["auc"]})
    assert differences(a, c) == [
        "results.curve: only in the first",
        "results.nothing: only in the first",
    ]


def test_every_committed_record_loads():
    for folder in records_folder("bias_variance").parents[1].glob("*/records"):
        for record in every_record(folder.parent.name):
            assert record.results
