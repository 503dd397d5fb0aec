"""The parable: where the zipper falls in each arm, and what is reported of it."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from medxfer_lab.bias_variance.experiment import material as m
from medxfer_lab.bias_variance.experiment import networks, parable
from medxfer_lab.imaging import normalize
from medxfer_lab.imaging.artefacts import zipper


@pytest.fixture(scope="module")
def done(small, runner):
    kept: dict[str, dict] = {}

    def watching(jobs, function):
        kept.update(runner(jobs, function))
        return kept

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(networks, "steps_for", lambda n: 3)
        return parable.run({"sets": 3, "sizes": [16], **small}, watching), kept


def marked(pictures: torch.Tensor, cohort) -> torch.Tensor:
    """Which pictures differ from the cohort's own: those with the zipper."""
    clean = normalize.foreground_median(cohort.images)
    return (pictures - clean).abs().flatten(1).amax(1) > 0.05


def test_arms(small):
    cohort = m.fixed_cohort("test", small["n_test"])
    ill = cohort.labels > 0
    assert torch.equal(marked(parable.pictures(cohort, "confounded", 0), cohort), ill)
    assert torch.equal(marked(parable.pictures(cohort, "turned", 0), cohort), ~ill)
    fair = marked(parable.pictures(cohort, "fair", 3), cohort)
    assert torch.equal(fair, parable.coin(len(cohort), 3))
    everyone = normalize.foreground_median(zipper(cohort.images, torch.ones(len(cohort)) > 0))
    assert torch.equal(parable.pictures(cohort, "confounded", 0)[ill], everyone[ill])


def test_coin_is_fair_and_its_seeds_independent():
    n = 4000
    one, two = (parable.coin(n, s).double() for s in (1, 2))
    for flips in (one, two, (one - two).abs()):
        assert abs(float(flips.mean()) - 0.5) < 4 * 0.5 / np.sqrt(n)
    assert torch.equal(parable.coin(10, 1), parable.coin(n, 1)[:10])  # nested, as the sets are


def test_record_of_the_results(done, as_record, small, tmp_path):
    results, jobs = done
    for arm in parable.ARMS:
        for name in parable.STRATEGIES:
            for t, test in enumerate(parable.TESTS):
                cell = results[arm][name][test]["16"]
                scores = [jobs[f"set-00{k}"][f"{arm}.{name}"][t, 0] for k in range(3)]
                np.testing.assert_allclose(cell["auc_sets"], scores, atol=5.1e-6)
                assert cell["auc"]["mean"] == pytest.approx(np.mean(scores))
                assert all(0 <= s <= 1 for s in scores)
    record = as_record(parable, {"sets": 3, "sizes": [16], **small}, results)
    assert type(record).load(record.save(tmp_path / "parable.simulated.cpu.json")) == record


def test_a_linear_probe_falls_for_the_zipper(done):
    """Sixteen patients suffice: with the cue turned round the confounded head errs far more."""
    results, _ = done
    fair, turned = (
        results["confounded"]["linear_probe"][t]["16"]["auc"]["mean"] for t in parable.TESTS
    )
    honest = results["fair"]["linear_probe"]["turned"]["16"]["auc"]["mean"]
    assert turned < fair - 0.1 and turned < honest - 0.1
