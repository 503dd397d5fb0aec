"""Heads on cached features, against the scikit-learn loops a user would write.

    python benchmarks/heads.py [--repeats 3] [--parts logistic ridge growth]

Features: EfficientNet-Lite0's (d = 1280) of a pool of simulated patients, standardised, and
small_cnn's (d = 64); training sets are random rows of the pool. Both sides use float64 and torch's
own number of threads ("all"), scikit-learn through its BLAS.

logistic: `probe` on 200 training sets against a loop of `LogisticRegression` as it comes (its
default tolerance leaves coefficients off by about 1e-3: the column "difference" says by how much),
and against the same at a tolerance at which both agree to 1e-6, which is asserted. Where the loop
would last minutes it runs over the first 50 sets and its time is multiplied: a loop's sets cost the
same one by one.
ridge: `ridge_path` with 40 strengths on 10 sets against a loop of `Ridge` and against `RidgeCV`,
whose leave-one-out choice must be the same.
growth: the first kind for 1, 2, 4, ... training sets.
floor: counted operations (Gram matrix, one Cholesky factor of n^3/3 each Newton step) over the rate
of a large float64 matrix product in the same run.
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Iterator, Sequence

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression, Ridge, RidgeCV
from table import agree, interleaved, row, show, versions
from torch import Tensor

from medxfer_lab import nets
from medxfer_lab.imaging import FLAIR, Burden, Hospital, normalize
from medxfer_lab.training import probe, ridge_path

POOL, SETS, STRENGTH = 2000, 200, 0.1
GRID = tuple(np.logspace(-4, 3, 40))
CLINIC = Hospital(
    name="Clinic (simulated)",
    scanners=((FLAIR, 1.0),),
    burden=Burden(infiltration=(0.25, 0.45), volume_ml=(10.0, 60.0), lookalikes=2.0),
)
MORE = (("networks", "sets"), ("floor_s", "floor, s"), ("share", "share of the floor"))


def pool(backbone: str) -> tuple[Tensor, Tensor]:
    """Standardised features (POOL, d) of simulated patients, float64, and labels."""
    drawn = CLINIC.draw(POOL, 77, size=64)
    network = nets.load(backbone)
    raw = nets.features(network, normalize.foreground_median(drawn.images)).astype(np.float64)
    spread = raw.std(0)
    alive = spread > 1e-3 * np.median(spread)
    scaled = np.where(alive, (raw - raw.mean(0)) / np.where(alive, spread, 1), 0)
    return torch.from_numpy(scaled), drawn.labels.double()


def draw(n: int, sets: int) -> Tensor:
    """(sets, n) random rows of the pool."""
    generator = torch.Generator().manual_seed(n)
    return torch.stack([torch.randperm(POOL, generator=generator)[:n] for _ in range(sets)])


def matrix_rate() -> float:
    """Operations a second of a float64 product of two 1024 x 1024 matrices, best of five."""
    a = torch.randn(1024, 1024, dtype=torch.float64)
    best = math.inf
    for _ in range(5):
        start = time.perf_counter()
        a @ a
        best = min(best, time.perf_counter() - start)
    return 2 * 1024**3 / best


def logistic(x: Tensor, y: Tensor, n: int, sets: int, repeats: int) -> Iterator[dict]:
    """Two rows: scikit-learn as it comes, and at a tolerance at which the answers agree."""
    index = draw(n, sets)
    features, labels = x.numpy(), y.numpy()
    timed = sets if n <= 100 else min(sets, 50)

    def loop(**settings: object) -> np.ndarray:
        found = []
        for rows in index[:timed].numpy():
            head = LogisticRegression(C=1 / (n * STRENGTH), **settings)
            head.fit(features[rows], labels[rows])
            found.append(head.coef_[0])
        return np.stack(found)

    def ours() -> Tensor:
        return probe(x, y, STRENGTH, index=index).weights[0]

    tight = {"tol": 1e-9, "max_iter": 10_000}
    mine, exact, usual = ours()[:timed].numpy(), loop(**tight), loop()
    apart = agree(f"logistic, n = {n}", float(np.abs(mine - exact).max()), 1e-6)
    times = interleaved([ours, loop, lambda: loop(**tight)], repeats)
    times = [times[0], *(t * sets / timed for t in times[1:])]
    steps = probe(x, y, STRENGTH, index=index).iterations
    floor = sets * (2 * n**2 * x.shape[1] + steps * n**3 / 3) / matrix_rate()
    if x.shape[1] < n:
        floor = sets * steps * (2 * n * x.shape[1] ** 2) / matrix_rate()
    words = ("LogisticRegression", "LogisticRegression, tol 1e-9")
    gaps = (float(np.abs(usual - exact).max()), apart)
    for opponent, theirs, gap in zip(words, times[1:], gaps, strict=True):
        yield row(
            f"logistic heads, d = {x.shape[1]}",
            f"n = {n}",
            opponent,
            threads=torch.get_num_threads(),
            networks=sets,
            ours_s=times[0],
            theirs_s=theirs,
            ratio=theirs / times[0],
            largest_difference=gap,
            floor_s=floor,
            share=floor / times[0],
            note="" if timed == sets else f"loop: {timed} sets, times {sets // timed}",
        )


def ridge(x: Tensor, y: Tensor, n: int, repeats: int, sets: int = 10) -> Iterator[dict]:
    """Two rows: a loop of Ridge over the grid, and RidgeCV, which shares one decomposition."""
    index = draw(n, sets)
    features, targets = x.numpy(), 2 * y.numpy() - 1

    def loop() -> np.ndarray:
        return np.stack(
            [
                [Ridge(alpha=n * s).fit(features[rows], targets[rows]).coef_ for s in GRID]
                for rows in index.numpy()
            ]
        )

    def chosen() -> list[float]:
        alphas = [n * s for s in GRID]
        fits = (RidgeCV(alphas=alphas).fit(features[r], targets[r]) for r in index.numpy())
        return [fit.alpha_ / n for fit in fits]

    def ours():
        return ridge_path(x, 2 * y - 1, GRID, index=index)

    mine = ours()
    expected = loop()  # (sets, k, d)
    gap = np.abs(mine.weights[..., 0].numpy().transpose(1, 0, 2) - expected).max()
    apart = agree(f"ridge, n = {n}", float(gap), 1e-6)
    best = [GRID[int(i)] for i in mine.best()[:, 0]]
    agree(
        f"RidgeCV's choice, n = {n}", float(np.abs(np.log(np.divide(best, chosen()))).max()), 1e-9
    )
    times = interleaved([ours, loop, chosen], repeats)
    for opponent, theirs, note in zip(
        ("Ridge, strength after strength", "RidgeCV"),
        times[1:],
        ("", "the same choices by leave-one-out"),
        strict=True,
    ):
        yield row(
            f"ridge, {len(GRID)} strengths, d = {x.shape[1]}",
            f"n = {n}",
            opponent,
            threads=torch.get_num_threads(),
            networks=sets,
            ours_s=times[0],
            theirs_s=theirs,
            ratio=theirs / times[0],
            largest_difference=apart,
            floor_s=None,
            share=None,
            note=note,
        )


def rows(parts: Sequence[str], repeats: int) -> Iterator[dict]:
    """All rows of the parts asked for."""
    x, y = pool("efficientnet_lite0")
    if "logistic" in parts:
        for n in (100, 200, 500):
            yield from logistic(x, y, n, SETS, repeats)
        yield from logistic(*pool("small_cnn"), 500, SETS, repeats)
    if "ridge" in parts:
        for n in (100, 200, 500):
            yield from ridge(x, y, n, repeats)
    if "growth" in parts:
        for power in range(8):
            yield next(logistic(x, y, 100, 2**power, repeats)) | {"note": "growth"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=3)
    parts = ("logistic", "ridge", "growth")
    parser.add_argument("--parts", nargs="+", choices=parts, default=parts)
    parser.add_argument("--json", default="", help="a file for the rows")
    a = parser.parse_args()
    print(f"CPU, {versions('scikit-learn')}, {torch.get_num_threads()} threads")
    print(f"median of {a.repeats} interleaved runs\n")
    show(rows(a.parts, a.repeats), *MORE, path=a.json)


if __name__ == "__main__":
    main()
