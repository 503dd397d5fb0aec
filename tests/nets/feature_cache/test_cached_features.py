"""The bits of `features`, from disk or not; many processes at once; disks that fail."""

from __future__ import annotations

import hashlib
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from medxfer_lab import cli, nets
from medxfer_lab.nets import FeatureCache, cached_features, features, load
from medxfer_lab.nets.feature_cache import default_cache, store
from medxfer_lab.nets.feature_cache import key as key_room

sys.path.insert(0, str(Path(__file__).parent))
import cache_worker as worker  # noqa: E402

IMAGES = torch.rand(11, 1, 40, 40, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def cache(tmp_path):
    return FeatureCache(tmp_path / "features")


def start(mode, folder, *rest, **named):
    command = [sys.executable, worker.__file__, mode, str(folder), *map(str, rest)]
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **named
    )


def finish(process, text=None):
    out, err = process.communicate(text, timeout=120)
    assert process.returncode == 0, err
    return out


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("small_cnn", {}),
        ("small_cnn", {"batch_size": 1}),
        ("small_cnn", {"size": 20, "block": "body.conv3"}),
        ("efficientnet_lite0", {"batch_size": 5}),
        ("efficientnet_lite0", {"batch_size": 4, "block": "body.block05"}),
    ],
)
def test_the_same_bits_computed_or_read(cache, name, options):
    network = load(name)
    plain = features(network, IMAGES, **options)
    for _ in range(2):
        found = cached_features(network, IMAGES, **options, cache=cache)
        assert found.dtype == np.float32 and found.strides == plain.strides
        assert np.array_equal(found, plain)
        found += 1  # belongs to the caller: what is kept does not change
    assert (cache.hits, cache.misses) == (1, 1)


def test_no_pictures(cache):
    for _ in range(2):
        assert cached_features(load("small_cnn"), IMAGES[:0], cache=cache).shape == (0, 64)
    assert cache.hits == 1


def test_mode_and_errors_are_those_of_features(cache):
    network = load("small_cnn").train()
    network.body.conv1.eval()
    cached_features(network, IMAGES, cache=cache)
    cached_features(network, IMAGES, cache=cache)
    assert network.training and network.body.conv2.training and not network.body.conv1.training
    with pytest.raises(ValueError, match="reach 255"):
        cached_features(network, IMAGES / IMAGES.max() * 255, cache=cache)
    with pytest.raises(TypeError, match="list"):
        cached_features(network, [[0.0]], cache=cache)
    assert len(cache.entries()) == 1


def test_a_trained_network_gets_its_own_features(cache):
    network = load("small_cnn")
    before = cached_features(network, IMAGES, cache=cache)
    with torch.no_grad():
        network.body.conv1[0].weight += 1e-3
    after = cached_features(network, IMAGES, cache=cache)
    assert np.array_equal(after, features(network, IMAGES)) and not np.array_equal(after, before)


def test_new_code_computes_anew(cache, monkeypatch):
    network = load("small_cnn")
    cached_features(network, IMAGES, cache=cache)
    monkeypatch.setattr(key_room, "code_version", lambda: "another")
    cached_features(network, IMAGES, cache=cache)
    assert (cache.hits, cache.misses, len(cache.entries())) == (0, 2, 2)


@pytest.mark.parametrize("place", [0, 30, 100, 170, 300, -1])
@pytest.mark.parametrize("damage", ["flip", "cut"])
def test_a_damaged_file_is_computed_again(cache, place, damage):
    network = load("small_cnn")
    plain = cached_features(network, IMAGES, cache=cache)
    (path,) = cache.folder.glob("*.features")
    data = bytearray(path.read_bytes())
    if damage == "flip":
        data[place] ^= 16
    else:
        del data[place:]
    path.write_bytes(data)
    assert np.array_equal(cached_features(network, IMAGES, cache=cache), plain)
    assert np.array_equal(cached_features(network, IMAGES, cache=cache), plain)
    assert (cache.hits, cache.misses) == (1, 2)


def test_what_no_key_can_tell_is_computed_and_said_once(cache, monkeypatch, capsys):
    monkeypatch.delenv("MEDXFER_QUIET", raising=False)
    monkeypatch.setattr(store, "_said", set())
    network = load("small_cnn")
    plain, factor = features(network, IMAGES), [1.0]
    network.body.pool.register_forward_hook(lambda _, __, out: out * factor[0])
    assert np.array_equal(cached_features(network, IMAGES, cache=cache), plain)
    factor[0] = 2.0
    assert np.array_equal(cached_features(network, IMAGES, cache=cache), 2 * plain)
    out = capsys.readouterr().out
    assert out == "features of small_cnn are not cached: 'pool' has a forward hook\n"
    assert not cache.entries()


def test_the_default_lies_in_the_learners_folder(learner_home):
    network = load("small_cnn")
    first = cached_features(network, IMAGES)
    assert np.array_equal(cached_features(network, IMAGES), first)
    cache = default_cache()
    assert cache.folder == learner_home / "cache" / "features"
    assert (cache.hits, cache.misses) == (1, 1)
    assert cache.max_bytes == store.MAX_BYTES


def test_a_silent_process_leaves_nothing_in_anybodys_home(tmp_path, monkeypatch):
    monkeypatch.delenv("MEDXFER_HOME", raising=False)
    monkeypatch.setattr(Path, "home", lambda: tmp_path)
    assert default_cache() is None
    network = load("small_cnn")
    assert np.array_equal(cached_features(network, IMAGES), features(network, IMAGES))
    assert not list(tmp_path.iterdir())
    monkeypatch.delenv("MEDXFER_QUIET", raising=False)
    assert default_cache().folder == tmp_path / ".medxfer" / "cache" / "features"


def test_the_command_reports_and_empties(learner_home):
    run = CliRunner().invoke
    assert "0 entries, 0 B of at most 1.0 GB" in run(cli.app, ["cache"]).output
    cached_features(load("small_cnn"), IMAGES)
    assert "1 entries, 3.1 kB" in run(cli.app, ["cache"]).output
    out = run(cli.app, ["cache", "--clear"]).output
    assert "1 entries removed" in out and "0 entries, 0 B" in out
    assert not FeatureCache().entries()


def test_many_processes_on_one_folder(tmp_path):
    """Twelve arrays, room for four, three processes that read, write, evict and clear."""
    running = [start("hammer", tmp_path, seed) for seed in range(3)]
    counts = [tuple(map(int, finish(process).split())) for process in running]
    assert all(hits + misses == worker.TURNS for hits, misses in counts)
    assert all(hits for hits, _ in counts)  # what is there was read, not only written
    cache = FeatureCache(tmp_path, worker.BOUND)
    assert 0 < cache.size() <= worker.BOUND
    for entry in cache.entries():
        assert np.array_equal(cache.get(entry.key), worker.array_of(entry.key))
    assert {path.suffix for path in tmp_path.iterdir()} == {".features"}


def test_a_killed_writer_leaves_nothing_that_counts(tmp_path):
    process = start("write", tmp_path)
    for _ in range(20):
        assert process.stdout.readline() == "written\n"
    process.kill()
    process.communicate()
    (tmp_path / f".{worker.KEYS[0]}.features.{process.pid}.tmp").write_bytes(b"half a fi")
    cache = FeatureCache(tmp_path, worker.BOUND)
    for key in worker.KEYS:
        found = cache.get(key)
        assert found is None or np.array_equal(found, worker.array_of(key))
    cache.put(worker.KEYS[0], worker.array_of(worker.KEYS[0]))
    assert cache.size() <= worker.BOUND
    assert {path.suffix for path in tmp_path.iterdir()} == {".features"}


def test_the_same_key_at_the_same_time(tmp_path):
    running = [start("same", tmp_path, stdin=subprocess.PIPE) for _ in range(3)]
    for process in running:
        assert process.stdout.readline() == "ready\n"
    for process in running:
        process.stdin.write("\n")
        process.stdin.flush()
    found = {line for process in running for line in finish(process).split()}
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    images = torch.rand(20, 1, 40, 40, generator=torch.Generator().manual_seed(0))
    plain = nets.features(load("small_cnn"), images)
    torch.set_num_threads(before)
    assert found == {hashlib.sha256(plain.tobytes()).hexdigest()}
    assert len(FeatureCache(tmp_path).entries()) == 1


@pytest.mark.skipif(sys.platform == "win32", reason="limits and permissions of POSIX")
@pytest.mark.parametrize(
    ("trouble", "reason"), [("read-only", "Permission denied"), ("full", "File too large")]
)
def test_a_disk_that_fails_costs_one_line(monkeypatch, trouble, reason):
    monkeypatch.delenv("MEDXFER_QUIET", raising=False)
    with tempfile.TemporaryDirectory() as name:  # not tmp_path, which other users may not enter
        folder = Path(name)
        folder.chmod(0o555 if trouble == "read-only" else 0o755)
        lines = finish(start(trouble, folder)).splitlines()
        left = list(folder.iterdir())
        folder.chmod(0o755)
    assert len(lines) == 2 and lines[1] == "0 hits, 3 misses"
    assert "cannot be written" in lines[0] and reason in lines[0] and not left
