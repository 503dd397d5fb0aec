"""One ward of patients for all tests, a runner without processes or files, an exact world."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import pytest
import torch

from medxfer_lab.course.jobs import Job
from medxfer_lab.domain_shift.experiment import conditions as c
from medxfer_lab.domain_shift.experiment import material as m
from medxfer_lab.domain_shift.experiment.assess import Scores


@pytest.fixture(scope="session", autouse=True)
def drawn_once():
    """The same draw is rendered once a session: nobody writes into a cohort."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(m, "draw", lru_cache(maxsize=16)(m.draw))
        yield


@pytest.fixture(scope="session")
def ward():
    """700 patients of the chapter's hospital, met by nobody else."""
    return m.draw(700, 11)


@pytest.fixture(scope="session")
def pool(ward) -> c.Pool:
    return c.Pool(ward)


@pytest.fixture
def drawn_from_the_ward(ward, monkeypatch):
    """Draws are taken from the ward, in an order that depends on the seed: nothing is rendered.

    Scales, which stay cached, keep their own cohort.
    """
    render = m.draw

    def draw(n, seed, hospital=m.HOSPITAL):
        if seed == m.SCALE_SEED:
            return render(n, seed)
        order = np.random.default_rng((seed, 99)).permutation(len(ward))
        return ward.take(torch.from_numpy(order[:n]))

    monkeypatch.setattr(m, "draw", draw)
    for cached in (m.fixed_cohort, m.fixed_pictures, m.fixed_features, m.fixed_statistics):
        cached.cache_clear()
    yield draw
    for cached in (m.fixed_cohort, m.fixed_pictures, m.fixed_features, m.fixed_statistics):
        cached.cache_clear()


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
            chapter="domain_shift",
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


#: distance of the classes in the Gaussian world, AUC .89
DISTANCE = 1.75


@pytest.fixture(scope="session")
def gaussian():
    """Patients whose log odds are exact: x | y ~ N(DISTANCE y, 1), z = log P(1|x)/P(0|x).

    Returns draw(n, prevalence, rng, source=prevalence) -> Scores with the log odds of a hospital of
    prevalence ``source``.
    """

    def draw(n: int, prevalence: float, rng, source: float | None = None) -> Scores:
        y = (rng.random(n) < prevalence).astype(float)
        x = rng.standard_normal(n) + DISTANCE * y
        pi = prevalence if source is None else source
        return Scores(DISTANCE * x - DISTANCE**2 / 2 + np.log(pi / (1 - pi)), y)

    draw.distance = DISTANCE
    return draw
