"""Every experiment in small: a runner without processes or files."""

from __future__ import annotations

import pytest


@pytest.fixture(scope="session")
def runner():
    def run(jobs, function) -> dict[str, dict]:
        keys = [job.key for job in jobs]
        assert len(set(keys)) == len(keys)
        return {job.key: dict(function(**job.parameters)) for job in jobs}

    return run
