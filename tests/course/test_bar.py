"""The bar's rate and time left are those of this run, whatever was found on disk."""

from __future__ import annotations

import pytest

from medxfer_lab.course.bar import bar
from medxfer_lab.course.jobfile import Failure


@pytest.fixture
def clock(monkeypatch):
    """The bar's clock, which moves only by hand; the bar may speak."""
    now = [1000.0]
    monkeypatch.delenv("MEDXFER_QUIET", raising=False)
    monkeypatch.setattr("tqdm.std.time", lambda: now[0])
    return now


def lines(capsys) -> list[str]:
    out, err = capsys.readouterr()
    assert err == ""
    return [line for line in out.replace("\r", "\n").splitlines() if line.strip()]


def test_jobs_found_on_disk_are_done_but_not_fast(clock, capsys):
    with bar(100, 90, label="sweep") as tick:
        first = lines(capsys)[-1]
        assert "90/100" in first and "?job/s" in first
        for _ in range(2):
            clock[0] += 20.0
            tick(None)
        last = lines(capsys)[-1]
    # two jobs in 40 s: 20 s a job, eight are left: 160 s
    assert "sweep" in last and "92/100" in last and "90 found on disk" in last
    assert "20.00s/job" in last and "[00:40<02:40" in last


def test_rate_is_the_mean_of_the_run_not_of_its_last_moments(clock, capsys):
    with bar(12, 0) as tick:
        for seconds in (10.0, 10.0, 1.0, 1.0):
            clock[0] += seconds
            tick(None)
        last = lines(capsys)[-1]
    assert "4/12" in last and "5.50s/job" in last and "[00:22<00:44" in last
    assert "found" not in last


@pytest.mark.parametrize("progress", [True, False])
def test_failures_are_said_as_they_come(clock, capsys, progress):
    with bar(3, 0, progress) as tick:
        clock[0] += 1.0
        tick(Failure("a", {"seed": 4}, "ValueError: no"))
        now = lines(capsys)
        assert "failed: job 'a', seed 4, parameters {'seed': 4}: ValueError: no" in now
        assert any("1/3" in line for line in now) == progress


def test_nothing_to_do_draws_nothing(clock, capsys):
    with bar(3, 3):
        pass
    assert lines(capsys) == []


def test_quiet(clock, capsys, monkeypatch):
    monkeypatch.setenv("MEDXFER_QUIET", "1")
    with bar(3, 0) as tick:
        tick(Failure("a", {}, "no"))
    assert lines(capsys) == []
