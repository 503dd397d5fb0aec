"""Heads on cached features, against the scikit-learn loops a user would write.

    python benchmarks/heads.py [--threads 2] [--repeats 3] [--parts logistic path ridge growth]

Features: EfficientNet-Lite0's (d = 1280) of a pool of simulated patients, standardised, and
small_cnn's (d = 64); training sets are random rows of the pool. Both sides use float64 and the same
number of threads (torch's own unless --threads says otherwise), scikit-learn through its BLAS.

logistic: `probe` on 200 training sets against a loop of `LogisticRegression` as it comes (its
default tolerance leaves coefficients off by about 1e-3: the column "difference" says by how much),
and against the same at a tolerance at which both agree to 1e-6, which is asserted. Where the loop
would last minutes it runs over the first sets (as many as the note says) and its time is
multiplied: a loop's sets cost the same one by one. Two BLAS threads can be far slower than one on
small matrix-vector products, so scikit-learn also runs in two processes of one thread each: its
best on two cores.
path: six strengths, from strong to weak; ours starts each from those before it.
ridge: `ridge_path` with 40 strengths on 10 sets against a loop of `Ridge` and against `RidgeCV`,
whose leave-one-out choice must be the same.
growth: the first kind for 1, 2, 4, ... training sets.
floor: operations counted while ours runs (matrix products, and n^3/3 for each Cholesky factor) over
the rate of a large float64 matrix product in the same run.
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Callable, Iterator, Sequence
from unittest.mock import patch

import numpy as np
import torch
from joblib import Parallel, delayed
from sklearn.linear_model import LogisticRegression, Ridge, RidgeCV
from table import agree, interleaved, row, show, versions
from threadpoolctl import threadpool_limits
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from medxfer_lab import nets
from medxfer_lab.imaging import FLAIR, Burden, Hospital, normalize
from medxfer_lab.training import probe, ridge_path

POOL, SETS, STRENGTH = 2000, 200, 0.1
PATH = (10.0, 3.0, 1.0, 0.3, 0.1, 0.03)
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


def clock() -> str:
    """One thread is timed by the processor's clock, which other users of a machine blur less."""
    return "cpu" if torch.get_num_threads() == 1 else "wall"


def operations(work: Callable[[], object]) -> float:
    """Floating-point operations of one call: matrix products and Cholesky factors."""
    factors = []

    def counting(original: Callable) -> Callable:
        def factor(matrix: Tensor, **options: object) -> object:
            factors.append(matrix.numel() * matrix.shape[-1] / 3)
            return original(matrix, **options)

        return factor

    linalg = torch.linalg
    with (
        patch.object(linalg, "cholesky", counting(linalg.cholesky)),
        patch.object(linalg, "cholesky_ex", counting(linalg.cholesky_ex)),
        FlopCounterMode(display=False) as counter,
    ):
        work()
    return counter.get_total_flops() + sum(factors)


def fitted(x: np.ndarray, y: np.ndarray, strengths: Sequence[float], settings: dict) -> np.ndarray:
    """(k, d) coefficients of scikit-learn's heads on one training set."""
    heads = (LogisticRegression(C=1 / (len(y) * s), **settings).fit(x, y) for s in strengths)
    return np.stack([head.coef_[0] for head in heads])


def logistic(
    x: Tensor,
    y: Tensor,
    n: int,
    sets: int,
    repeats: int,
    strengths: Sequence[float] = (STRENGTH,),
) -> Iterator[dict]:
    """Rows: scikit-learn as it comes and where answers agree; the same two in processes."""
    index = draw(n, sets)
    features, labels = x.numpy(), y.numpy()
    timed = sets if n <= 100 else min(sets, 10_000 // n)
    workers = Parallel(n_jobs=torch.get_num_threads())

    def jobs(settings: dict) -> Iterator[tuple]:
        return ((features[r], labels[r], strengths, settings) for r in index[:timed].numpy())

    def loop(**settings: object) -> np.ndarray:
        return np.stack([fitted(*job) for job in jobs(settings)])

    def processes(**settings: object) -> np.ndarray:
        return np.stack(workers(delayed(fitted)(*job) for job in jobs(settings)))

    def ours() -> Tensor:
        return probe(x, y, strengths, index=index).weights

    tight = {"tol": 1e-9, "max_iter": 10_000}
    mine, exact, usual = ours().numpy().swapaxes(0, 1)[:timed], processes(**tight), processes()
    apart = agree(f"logistic, n = {n}", float(np.abs(mine - exact).max()), 1e-6)
    rough = float(np.abs(usual - exact).max())
    opponents = [
        ("LogisticRegression", rough, loop),
        ("LogisticRegression, tol 1e-9", apart, lambda: loop(**tight)),
    ]
    if workers.n_jobs > 1:
        name = f"{workers.n_jobs} processes"
        opponents += [
            (f"LogisticRegression, {name}", rough, processes),
            (f"LogisticRegression, tol 1e-9, {name}", apart, lambda: processes(**tight)),
        ]
    times = interleaved([ours, *(work for _, _, work in opponents)], repeats, clock())
    times = [times[0], *(t * sets / timed for t in times[1:])]
    floor = operations(ours) / matrix_rate()
    path = "" if len(strengths) == 1 else f"path of {len(strengths)}, "
    for (opponent, gap, _), theirs in zip(opponents, times[1:], strict=True):
        yield row(
            f"logistic heads, {path}d = {x.shape[1]}",
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
    times = interleaved([ours, loop, chosen], repeats, clock())
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
    if "path" in parts:
        yield from logistic(x, y, 100, SETS // 4, repeats, PATH)
    if "ridge" in parts:
        for n in (100, 200, 500):
            yield from ridge(x, y, n, repeats)
    if "growth" in parts:
        for power in range(9):
            yield next(logistic(x, y, 100, 2**power, repeats)) | {"note": "growth"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=3)
    parts = ("logistic", "path", "ridge", "growth")
    parser.add_argument("--parts", nargs="+", choices=parts, default=parts)
    parser.add_argument("--json", default="", help="a file for the rows")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    a = parser.parse_args()
    torch.set_num_threads(a.threads)
    print(f"CPU, {versions('scikit-learn')}, {torch.get_num_threads()} threads")
    print(f"median of {a.repeats} interleaved runs\n")
    with threadpool_limits(a.threads, "blas"):
        show(rows(a.parts, a.repeats), *MORE, path=a.json)


if __name__ == "__main__":
    main()
