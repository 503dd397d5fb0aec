"""Formula against measurement: L2-SP regression on real ImageNet features, nothing fitted.

The population *is* a pool of N simulated patients: its second moments and the risk of any head are
known exactly, and a training set is n of the N, drawn without replacement. The finite pool enters
the formula (``pool=N``), so it is no source of error; the formula for an infinite pool is reported
beside it and shows what ignoring that would cost. What can still differ: the features are not
Gaussian, the formula is a limit (stated relative error 1/(n - df2)), and Monte Carlo error, which
has an interval.

Two populations. *standardised*: every feature divided by its standard deviation, as the heads of
this chapter do; some features are nearly dead, so dividing makes a few patients extreme. *natural*:
centred only. The first run knew only the first; the second was added after it, with the same
margin and training sets of its own.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from medxfer_lab import metrics
from medxfer_lab.bias_variance.experiment import material as m
from medxfer_lab.course.jobs import Job
from medxfer_lab.methods import linear_gaussian as lg

NAME, DATA, VERSION = "ridge", "simulated", 3
PRESETS = {
    "smoke": {"sets": 6, "sizes": [16, 64], "pool": 160, "dimension": 48},
    "quick": {"sets": 20, "sizes": [16, 64, 250], "pool": 600, "dimension": 200},
    "full": {
        "sets": 100,
        "sizes": [16, 32, 64, 100, 250, 500, 1000],
        "pool": 3000,
        "dimension": 400,
    },
}
POPULATION_SEED = 903
#: share of the teacher's signal that the prior's centre gets wrong; 1 is a centre at zero
CENTRES = {"zero": 1.0, "good": 0.25}
NOISE_SHARE = 0.5  # noise variance over signal variance
STRENGTH = 0.1  # relative to the mean eigenvalue; one value for all n: nothing is tuned


#: population -> stream of its training sets
SCALINGS = {"standardised": 8, "natural": 18}


def population(pool: int, dimension: int, scaling: str) -> dict[str, np.ndarray]:
    """Features in their principal axes, centred and scaled to mean eigenvalue 1; labels +-1; axes.

    axes: (dimension, d), the principal axes as directions of features. Axes beyond ``dimension``
    are dropped: the population is what is left, by definition.
    """
    drawn = m.cohort(pool, POPULATION_SEED)
    raw = m.raw_features(m.images(drawn), "imagenet", 0).astype(np.float64)
    centred = raw - raw.mean(0)
    if scaling == "standardised":
        centred /= raw.std(0) + 1e-6
    left, sizes, right = np.linalg.svd(centred, full_matrices=False)
    features = left[:, :dimension] * sizes[:dimension]
    features /= np.sqrt(np.mean(features**2))
    lesion = 2.0 * drawn.labels.numpy() - 1
    return {"features": features, "lesion": lesion, "axes": right[:dimension]}


def problem(features: np.ndarray, target: np.ndarray, axes: np.ndarray, seed: int) -> dict:
    """The best linear head for the lesion labels plays the truth; centres at a given wrongness.

    The wrong direction is drawn among the network's features and then turned into the principal
    axes: drawn in the axes themselves, it would be another one on another processor, whose
    rounding turns axes of nearly equal eigenvalues into each other.
    """
    eigenvalues = np.mean(features**2, axis=0)
    theta = features.T @ target / len(features) / eigenvalues
    theta /= np.sqrt(np.sum(eigenvalues * theta**2))  # signal variance 1
    miss = axes @ np.random.default_rng((seed, 7)).standard_normal(axes.shape[1])
    miss *= np.linalg.norm(theta) / np.linalg.norm(miss)
    scale = np.sqrt(np.sum(eigenvalues * miss**2))
    centres = {
        "zero": np.zeros_like(theta),
        "good": theta + np.sqrt(CENTRES["good"]) * miss / scale,
    }
    return {"eigenvalues": eigenvalues, "theta": theta, "centres": centres}


def sampling_job(k: int, sizes: list[int], pool: int, dimension: int, scaling: str) -> dict:
    """Estimates of set k: heads (sizes, d) per centre, Gaussian labels; and for real labels."""
    world = _world(pool, dimension, scaling)
    features, theta = world["features"], world["theta"]
    rng = np.random.default_rng((k, SCALINGS[scaling]))
    rows = rng.permutation(len(features))[: max(sizes)]
    noise = np.sqrt(NOISE_SHARE) * rng.standard_normal(max(sizes))
    out = {}
    for name, centre in world["centres"].items():
        heads = [
            lg.l2sp(features[rows[:n]], features[rows[:n]] @ theta + noise[:n], STRENGTH, centre)
            for n in sizes
        ]
        out[name] = np.stack(heads)
    target = world["lesion"]
    real = [lg.l2sp(features[rows[:n]], target[rows[:n]], STRENGTH) for n in sizes]
    out["real"] = np.stack(real)
    return out


@lru_cache(maxsize=4)
def _world(pool: int, dimension: int, scaling: str) -> dict:
    """Population and problem, once a process."""
    found = population(pool, dimension, scaling)
    target = found["lesion"] - found["lesion"].mean()
    return found | {"lesion": target} | problem(found["features"], target, found["axes"], 0)


def run(parameters: dict, runner) -> dict:
    """Measured and predicted excess risk, squared bias and variance, by population and n."""
    shared = {key: parameters[key] for key in ("sizes", "pool", "dimension")}
    out: dict = {"noise": NOISE_SHARE, "strength": STRENGTH}
    for scaling in SCALINGS:
        jobs = [
            Job(f"{scaling}-{k:03d}", {"k": k, **shared, "scaling": scaling})
            for k in range(parameters["sets"])
        ]
        done = list(runner(jobs, sampling_job).values())
        world = _world(parameters["pool"], parameters["dimension"], scaling)
        out[scaling] = _compare(done, world, parameters["sizes"], parameters["pool"])
    return out


def _compare(done: list[dict], world: dict, sizes: list[int], pool: int) -> dict:
    """One population: every centre with Gaussian labels, and the real labels."""
    eigenvalues, theta = world["eigenvalues"], world["theta"]
    features, target = world["features"], world["lesion"]
    # a patient's leverage says how far it sticks out; its spread would be small for Gaussian rows
    leverage = np.mean(features**2 / eigenvalues, axis=1)
    out: dict = {"leverage_largest": float(leverage.max()), "leverage_sd": float(leverage.std())}
    # for real labels the best linear head and what it leaves over stand in for truth and noise
    best = features.T @ target / len(features) / eigenvalues
    left_over = float(np.mean((target - features @ best) ** 2))
    cases = {name: (theta, centre, NOISE_SHARE) for name, centre in world["centres"].items()}
    cases["real"] = (best, np.zeros_like(best), left_over)
    for name, (truth, centre, sigma2) in cases.items():
        heads = np.stack([job[name] for job in done])
        out[name] = {
            str(n): _row(heads[:, i], truth, centre, eigenvalues, sigma2, n, pool)
            for i, n in enumerate(sizes)
        }
    return out


def _row(
    heads: np.ndarray,
    theta: np.ndarray,
    centre: np.ndarray,
    eigenvalues: np.ndarray,
    sigma2: float,
    n: int,
    pool: int,
) -> dict:
    """One n: measured (m heads) against predicted. Risks are exact sums over the population."""
    m_sets = len(heads)
    excess = np.sum(eigenvalues * (heads - theta) ** 2, axis=1)
    scaled = heads * np.sqrt(eigenvalues)
    variance = float(scaled.var(0, ddof=1).sum())
    gap = np.sum(eigenvalues * (heads.mean(0) - theta) ** 2)
    predicted = lg.random_design(eigenvalues, theta - centre, sigma2, n, STRENGTH, pool=pool)
    endless = lg.random_design(eigenvalues, theta - centre, sigma2, n, STRENGTH)
    measured = metrics.mean_interval(excess).record()
    naive = lg.plug_in(eigenvalues, theta - centre, sigma2, n, STRENGTH)
    ratio = metrics.mean_interval(excess / predicted.excess).record()
    return {
        "measured": measured,
        "measured_bias2": float(gap - variance / m_sets),
        "measured_variance": variance,
        "predicted": predicted.excess,
        "predicted_bias2": predicted.bias2,
        "predicted_variance_design": predicted.variance_design,
        "predicted_variance_noise": predicted.variance_noise,
        "predicted_infinite_pool": endless.excess,
        "plug_in": naive.excess,
        "ratio": ratio,
        "excess_sets": np.round(excess, 6).tolist(),
    }


def recheck(record, k: int) -> dict[str, tuple[float, float]]:
    """Repeat set k: excess risk in the record against now."""
    p = record.parameters
    pairs = {}
    for scaling in SCALINGS:
        world = _world(p["pool"], p["dimension"], scaling)
        heads = sampling_job(k, p["sizes"], p["pool"], p["dimension"], scaling)
        for name in CENTRES:
            for i, n in enumerate(p["sizes"]):
                risk = np.sum(world["eigenvalues"] * (heads[name][i] - world["theta"]) ** 2)
                then = record.results[scaling][name][str(n)]["excess_sets"][k]
                pairs[f"{scaling}.{name}.{n}"] = (then, float(risk))
    return pairs
