"""Files: whole or absent, verified, bounded; the least recently used go first."""

from __future__ import annotations

import os

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from medxfer_lab.nets import FeatureCache
from medxfer_lab.nets.feature_cache.store import as_text, decode, encode

KEY, OTHER = "a" * 64, "b" * 64
ARRAY = np.arange(12, dtype=np.float32).reshape(3, 4)


@pytest.fixture
def cache(tmp_path):
    return FeatureCache(tmp_path / "features")


@pytest.fixture
def loud(monkeypatch):
    monkeypatch.delenv("MEDXFER_QUIET", raising=False)


def path_of(cache, key):
    return cache.folder / f"{key}.features"


def age(cache, **seconds):
    """Set when entries were last used: seconds after 1970 by key's letter."""
    for letter, second in seconds.items():
        os.utime(path_of(cache, letter * 64), (second, second))


@settings(max_examples=60, deadline=None)
@given(
    arrays.arrays(np.float32, arrays.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=4)),
    st.randoms(use_true_random=False),
)
def test_what_was_kept_comes_back(array, random):
    """Bits (NaNs and signed zeros too), shape and the order of the axes in memory."""
    axes = list(range(array.ndim))
    random.shuffle(axes)
    array = array.transpose(axes)
    found = decode(KEY, encode(KEY, array))
    assert found.shape == array.shape and found.dtype == array.dtype and found.flags.writeable
    assert found.tobytes() == array.tobytes()
    if array.size > 1 and 1 not in array.shape:
        assert found.strides == array.strides


def test_every_flipped_byte_is_noticed():
    data = bytearray(encode(KEY, ARRAY))
    for i in range(len(data)):
        for bit in (1, 128):
            data[i] ^= bit
            with pytest.raises(ValueError, match="file of features|another key|checksum"):
                decode(KEY, bytes(data))
            data[i] ^= bit
    assert np.array_equal(decode(KEY, bytes(data)), ARRAY)


def test_every_cut_and_every_addition_is_noticed():
    data = encode(KEY, ARRAY)
    for damaged in (*(data[:length] for length in range(len(data))), data + b"\0"):
        with pytest.raises(ValueError, match="file of features|another key|checksum"):
            decode(KEY, damaged)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "not a file of features"),
        (b"a learner's notes", "not a file of features"),
        (encode(KEY, ARRAY)[:-1], "its checksum does not match"),
        (encode(OTHER, ARRAY), "it belongs to another key"),
    ],
)
def test_a_bad_file_is_removed_with_one_line(cache, content, reason, loud, capsys):
    cache.put(KEY, ARRAY)
    path_of(cache, KEY).write_bytes(content)
    assert cache.get(KEY) is None
    assert not path_of(cache, KEY).exists()
    assert capsys.readouterr().out.count("\n") == 1
    path_of(cache, KEY).write_bytes(content)
    cache.get(KEY)
    assert f"{reason}" in capsys.readouterr().out
    assert cache.put(KEY, ARRAY) and np.array_equal(cache.get(KEY), ARRAY)
    assert (cache.hits, cache.misses) == (1, 2)


def test_no_pickle_is_opened():
    with pytest.raises(ValueError, match="allow_pickle"):
        encode(KEY, np.array([object()]))


def test_least_recently_used_go_first(cache):
    one = len(encode(KEY, ARRAY))
    cache.max_bytes = 3 * one
    for letter in "abc":
        cache.put(letter * 64, ARRAY)
    age(cache, a=100, b=200, c=300)
    assert cache.get("a" * 64) is not None  # now the most recent
    cache.put("d" * 64, ARRAY)
    assert [entry.key[0] for entry in cache.entries()] == ["c", "a", "d"]
    assert cache.size() == 3 * one


def test_being_read_counts_as_use_and_being_listed_does_not(cache):
    for letter in "abc":
        cache.put(letter * 64, ARRAY)
    age(cache, a=100, b=200, c=300)
    cache.entries(), cache.size(), cache.report(), cache.get("d" * 64)
    assert [entry.key[0] for entry in cache.entries()] == ["a", "b", "c"]
    cache.get("a" * 64)
    assert [entry.key[0] for entry in cache.entries()] == ["b", "c", "a"]


def test_being_written_counts_as_use_by_the_same_clock(cache, monkeypatch):
    """Not the file system's, which may be coarser or, on a server, another one."""
    clock = iter([4 * 10**18, 4 * 10**18 + 1000])
    monkeypatch.setattr("time.time_ns", lambda: next(clock))
    for letter in "ba":
        cache.put(letter * 64, ARRAY)
    assert [entry.key[0] for entry in cache.entries()] == ["b", "a"]
    assert [entry.last_used // 10**18 for entry in cache.entries()] == [4, 4]


def test_what_was_just_written_stays_even_if_its_clock_is_behind(cache, monkeypatch):
    one = len(encode(KEY, ARRAY))
    cache.put("a" * 64, ARRAY)
    monkeypatch.setattr("time.time_ns", lambda: 1)
    cache.max_bytes = one
    cache.put("b" * 64, ARRAY)
    assert [entry.key[0] for entry in cache.entries()] == ["b"]


@settings(max_examples=25, deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from("abcdef"), st.integers(0, 40)), max_size=15),
    st.integers(0, 1500),
)
def test_the_bound_holds_after_every_write(tmp_path_factory, writes, bound):
    cache = FeatureCache(tmp_path_factory.mktemp("bound"), bound)
    for letter, n in writes:
        array = np.full(n, 7, dtype=np.float32)
        fits = len(encode(letter * 64, array)) <= bound
        assert cache.put(letter * 64, array) is fits
        assert cache.size() <= bound
        if fits:
            assert np.array_equal(cache.get(letter * 64), array)


def test_an_entry_larger_than_the_bound_is_not_kept_and_removes_nothing(tmp_path, loud, capsys):
    cache = FeatureCache(tmp_path, 2000)
    cache.put(KEY, ARRAY)
    assert not cache.put(OTHER, np.zeros(1000, np.float32))
    assert capsys.readouterr().out == (
        "feature cache: an entry of 4.3 kB is larger than the bound of 2.0 kB: not kept\n"
    )
    assert [entry.key for entry in cache.entries()] == [KEY]


def test_clearing_leaves_other_peoples_files(cache):
    assert cache.clear() == 0  # no folder yet
    for key in (KEY, OTHER):
        cache.put(key, ARRAY)
    (cache.folder / "notes.txt").write_text("mine")
    (cache.folder / ".half.99999999.tmp").write_text("left by a process that was killed")
    assert cache.clear() == 2
    assert [path.name for path in cache.folder.iterdir()] == ["notes.txt"]


def test_the_report_counts(cache):
    assert cache.report() == (f"feature cache: 0 entries, 0 B of at most 1.0 GB in {cache.folder}")
    cache.put(KEY, ARRAY)
    cache.get(KEY), cache.get(KEY), cache.get(OTHER)
    size = path_of(cache, KEY).stat().st_size
    assert cache.size() == size
    assert cache.report() == (
        f"feature cache: 1 entries, {size} B of at most 1.0 GB in {cache.folder}; 2 hits, 1 misses"
    )


def test_sizes_in_words():
    texts = [as_text(n) for n in (0, 999, 1000, 1_536_000, 2_000_000_000, 5 * 10**15)]
    assert texts == ["0 B", "999 B", "1.0 kB", "1.5 MB", "2.0 GB", "5000.0 TB"]


def test_a_negative_bound_is_refused(tmp_path):
    with pytest.raises(ValueError, match="max_bytes is -1"):
        FeatureCache(tmp_path, -1)


def test_a_folder_that_cannot_be_made_is_reported_once(tmp_path, loud, capsys):
    (tmp_path / "file").write_text("in the way")
    cache = FeatureCache(tmp_path / "file" / "features")
    assert not cache.put(KEY, ARRAY) and not cache.put(OTHER, ARRAY)
    assert cache.get(KEY) is None and cache.size() == 0
    out = capsys.readouterr().out
    assert out.count("\n") == 1 and "cannot be written" in out and "going on without it" in out
