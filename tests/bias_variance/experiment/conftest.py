"""Every experiment in small: a runner without processes or files, and a world shared by all."""

from __future__ import annotations

import pytest

from medxfer_lab.course.jobs import Job

#: one size of test cohort and pool for all tests, so that cached features are shared
SMALL = {"n_test": 40, "n_pool": 40}


@pytest.fixture(scope="session")
def small() -> dict[str, int]:
    return dict(SMALL)


@pytest.fixture(scope="session")
def runner():
    def run(jobs: list[Job], function) -> dict[str, dict]:
        keys = [job.key for job in jobs]
        assert len(set(keys)) == len(keys)
        return {job.key: dict(function(**job.parameters)) for job in jobs}

    return run


@pytest.fixture(scope="session")
def as_record():
    """Results as they would come back from disk; raises for what a record cannot hold."""
    from medxfer_lab.course.record import Record, fingerprint

    def make(module, parameters: dict, results: dict) -> Record:
        return Record(
            chapter="bias_variance",
            experiment=module.NAME,
            data=getattr(module, "DATA", parameters.get("data")),
            device="cpu",
            preset="smoke",
            version=module.VERSION,
            fingerprint=fingerprint(parameters),
            results=results,
            parameters=parameters,
        )

    return make
