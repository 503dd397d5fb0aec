"""The opening parable, built: a network that learns the artefacts of its few examples.

In the *confounded* arm every diseased patient of the training set was scanned on a day with a radio
leak (a zipper artefact), and nobody else was. In the *fair* arm the zipper falls on half of either
class. Tests: the zipper falls independently of disease ("fair"), or on the healthy only ("turned").
"""

from __future__ import annotations

import numpy as np
import torch

from medxfer_lab import metrics
from medxfer_lab.bias_variance.experiment import material as m
from medxfer_lab.bias_variance.experiment import networks
from medxfer_lab.course.jobs import Job
from medxfer_lab.imaging import normalize
from medxfer_lab.imaging.artefacts import zipper
from medxfer_lab.training import predict, probe

NAME, DATA, VERSION = "parable", "simulated", 1
PRESETS = {
    "smoke": {"sets": 3, "sizes": [16], "n_test": 80, "n_pool": 80},
    "quick": {"sets": 3, "sizes": [16, 64], "n_test": 300, "n_pool": 300},
    "full": {"sets": 20, "sizes": [16, 64, 250], "n_test": 600, "n_pool": 500},
}
ARMS = ("fair", "confounded")
TESTS = ("fair", "turned")
STRATEGIES = ("scratch", "full_fine_tuning", "linear_probe")
SETTINGS = {"learning_rate": 3e-3}
PROBE_STRENGTH = 0.3


def coin(n: int, seed: int) -> torch.Tensor:
    """(n,) fair coin flips."""
    return torch.from_numpy(np.random.default_rng((seed, 9)).random(n) < 0.5)


def pictures(cohort, arm: str, seed: int) -> torch.Tensor:
    """The cohort's pictures with the zipper where the arm puts it."""
    where = {
        "fair": coin(len(cohort), seed),
        "confounded": cohort.labels > 0,
        "turned": cohort.labels == 0,
    }[arm]
    return normalize.foreground_median(zipper(cohort.images, where))


def training_job(k: int, sizes: list[int], n_test: int, n_pool: int) -> dict:
    """Test AUC (tests, sizes) for every arm and strategy; pixels under two normalisations."""
    drawn = m.cohort(max(sizes), m.TRAINING_SEED + k)
    test = m.fixed_cohort("test", n_test)
    labels = test.labels.numpy()
    base = m.reference("imagenet", 0, n_test, n_pool)
    tests = [_test_pictures(name, n_test) for name in TESTS]
    test_features = [_test_features(name, n_test, n_pool) for name in TESTS]
    out = {}
    for arm in ARMS:
        train = pictures(drawn, arm, m.TRAINING_SEED + k)
        features = base.standardise(m.raw_features(train, "imagenet", 0))
        for name in STRATEGIES:
            grid = np.zeros((len(TESTS), len(sizes)))
            for j, n in enumerate(sizes):
                if name == "linear_probe":
                    heads = probe(features[:n], drawn.labels[:n], PROBE_STRENGTH)
                    scores = [heads.logits(f)[0, 0].numpy() for f in test_features]
                else:
                    done = networks.train(
                        train[:n], drawn.labels[:n], name, SETTINGS, "lesion", k
                    ).network
                    scores = [predict(done, done.prepare(p)).numpy() for p in tests]
                grid[:, j] = [metrics.auc(s, labels) for s in scores]
            out[f"{arm}.{name}"] = grid
    return out | _normalisations(drawn, n_test)


_tests: dict = {}


def _test_pictures(name: str, n_test: int) -> torch.Tensor:
    if (name, n_test) not in _tests:
        _tests[name, n_test] = pictures(m.fixed_cohort("test", n_test), name, m.TEST_SEED)
    return _tests[name, n_test]


def _test_features(name: str, n_test: int, n_pool: int) -> torch.Tensor:
    key = (name, n_test, n_pool)
    if key not in _tests:
        base = m.reference("imagenet", 0, n_test, n_pool)
        raw = m.raw_features(_test_pictures(name, n_test), "imagenet", 0)
        _tests[key] = base.standardise(raw)
    return _tests[key]


def _normalisations(drawn, n_test: int) -> dict:
    """Test AUC of plain pixels, all training patients, under both normalisations."""
    test = m.fixed_cohort("test", n_test)
    out = {}
    for name in ("percentile", "foreground_median"):
        scale = getattr(normalize, name)
        train, held_out = (m.raw_features(scale(c.images), "pixels", 0) for c in (drawn, test))
        mean, deviation = train.mean(0), m.usable_deviation(train)
        features = [torch.from_numpy((f - mean) / deviation) for f in (train, held_out)]
        logits = probe(features[0], drawn.labels, 0.3).logits(features[1])[0, 0]
        out[f"pixels_{name}"] = float(metrics.auc(logits.numpy(), test.labels.numpy()))
    return out


def run(parameters: dict, runner) -> dict:
    """Mean AUC with t intervals over training sets, every arm, strategy, size, test."""
    shared = {key: parameters[key] for key in ("sizes", "n_test", "n_pool")}
    jobs = [Job(f"set-{k:03d}", {"k": k, **shared}) for k in range(parameters["sets"])]
    done = list(runner(jobs, training_job).values())
    out: dict = {}
    for arm in ARMS:
        for name in STRATEGIES:
            grid = np.stack([job[f"{arm}.{name}"] for job in done])  # (sets, tests, sizes)
            for t, test in enumerate(TESTS):
                for j, n in enumerate(parameters["sizes"]):
                    cell = {"auc": metrics.mean_interval(grid[:, t, j]).record()}
                    cell["auc_sets"] = np.round(grid[:, t, j], 5).tolist()
                    out.setdefault(arm, {}).setdefault(name, {}).setdefault(test, {})[str(n)] = cell
    for name in ("pixels_percentile", "pixels_foreground_median"):
        values = np.array([job[name] for job in done])
        out[name] = {"auc": metrics.mean_interval(values).record()}
    return out
