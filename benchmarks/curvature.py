"""Curvature of a pretrained network, against PyHessian, curvlinops and BackPACK.

    python benchmarks/curvature.py [--device cpu] [--batch 256] [--repeats 5] [--threads 1 2]
        [--parts products top traces fishers] [--clock wall]

small_cnn, pretrained and fitted for 60 steps (46,865 parameters), textures of 32 x 32 pixels, mean
log loss, float32. Times are medians of interleaved repeats and go from
network and images to the answer, graphs included: that is what a user waits for. Agreement is
asserted before anything is timed. The peers are no part of the course: see `peers.txt`.

- *products*: 20 random vectors with the Hessian, and with the Gauss-Newton matrix (GN). curvlinops
  takes them one after another, or as one matrix (vmap).
- *top eigenvalue*: Lanczos against PyHessian's power iteration (its own stop, 1e-3 between two
  iterates) and SciPy's eigsh over curvlinops (tol 1e-3); the note has each one's error.
- *trace*: 30 products each, in general with other signs: the difference is in standard errors.
  PyHessian's own stop compares with a signed quotient, so it ends at the first negative mean,
  after two products: here it is switched off.
- *Fisher diagonal*: over the model's labels in closed form, which is the Gauss-Newton diagonal.

curvlinops' Hessian needs forward derivatives of torch's group normalisation, which torch does not
have; BackPACK has no rule for it. Their rows use the same network without it ("no norm").
"""

from __future__ import annotations

import argparse
import copy
import warnings
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import torch
from table import CLOCKS, agree, interleaved, missing, row, show, versions
from torch import Tensor, nn

from medxfer_lab.methods.curvature import (
    Operator,
    Trace,
    fisher_diagonal,
    gauss_newton_operator,
    hessian_operator,
    hutch_plus_plus_trace,
    hutchinson_trace,
    top_eigenvalues,
)
from medxfer_lab.nets import Network, load
from medxfer_lab.nets.initial import texture

PRODUCTS, PROBES = 20, 30


@dataclass(frozen=True)
class Task:
    """One network, one batch, and how the rows about it are timed."""

    network: nn.Module
    inputs: Tensor
    labels: Tensor
    repeats: int
    threads: int
    clock: str = "wall"
    label: str = "small_cnn"

    @property
    def dimension(self) -> int:
        return sum(p.numel() for p in self.network.parameters())

    @property
    def sizes(self) -> str:
        return f"{self.label}, {self.dimension:,} parameters, {len(self.inputs)} images"

    @property
    def device(self) -> torch.device:
        return self.inputs.device

    @property
    def criterion(self) -> nn.Module:
        return nn.BCEWithLogitsLoss()

    def line(self, name: str, opponent: str, ours: Callable, theirs: Callable, **more) -> dict:
        mine, other = interleaved((ours, theirs), self.repeats, self.clock)
        times = {"ours_s": mine, "theirs_s": other, "ratio": other / mine}
        return row(name, self.sizes, opponent, threads=self.threads, **times, **more)

    def absent(self, name: str, opponent: str, reason: str) -> dict:
        return row(name, self.sizes, opponent, threads=self.threads, note=reason)


class Plain(nn.Module):
    """small_cnn's layers in a row, without group normalisation; logits (n,) or (n, K)."""

    def __init__(self, network: Network) -> None:
        super().__init__()
        leaves = [m for m in network.modules() if not list(m.children())]
        kept = [copy.deepcopy(m) for m in leaves if not isinstance(m, nn.GroupNorm)]
        self.layers = nn.Sequential(*kept)

    def forward(self, x: Tensor) -> Tensor:
        logits = self.layers(x)
        return logits[:, 0] if logits.shape[1] == 1 else logits


def without_norm(t: Task) -> Task:
    """The same task for the network that every peer can serve."""
    return replace(t, network=Plain(t.network), label="no norm")


def task(batch: int, repeats: int, threads: int, device: str = "cpu", clock: str = "wall") -> Task:
    """The pretrained small_cnn, fitted for 60 steps to "the left half is the brighter one"."""
    torch.set_num_threads(threads)
    network = load("small_cnn", device=device)
    images = texture(batch, 32, seed=0)
    left, right = (half.mean((1, 2, 3)) for half in images.chunk(2, dim=3))
    labels = (left > right).float().to(device)
    t = Task(network, network.prepare(images), labels, repeats, threads, clock)
    optimizer = torch.optim.Adam(network.parameters(), 1e-3)
    for step in range(60):
        part = slice(32 * step % batch, 32 * step % batch + 32)
        optimizer.zero_grad()
        t.criterion(network(t.inputs[part]), t.labels[part]).backward()
        optimizer.step()
    return t


def double(t: Task) -> Task:
    """The same in float64, as a yardstick."""
    network = copy.deepcopy(t.network).double()
    return replace(t, network=network, inputs=t.inputs.double(), labels=t.labels.double())


def relative(a: Tensor, b: Tensor) -> float:
    return float((a - b).abs().max() / b.abs().max())


def errors(pair: Iterable[float]) -> str:
    return "error to float64: ours {:.0e}, theirs {:.0e}".format(*pair)


def flat(tensors: Iterable[Tensor]) -> Tensor:
    return torch.cat([tensor.reshape(-1) for tensor in tensors])


# ours and the peers: 20 products -----------------------------------------------------------------


def our_operator(t: Task, kind: str) -> Operator:
    if kind == "Hessian":
        return hessian_operator(t.network, t.inputs, t.labels)
    return gauss_newton_operator(t.network, t.inputs)


def our_products(t: Task, kind: str, vectors: Tensor) -> Tensor:
    operator = our_operator(t, kind)
    return torch.stack([operator(v) for v in vectors])


def pyhessian_of(t: Task):
    """PyHessian's object; it adds to the gradients that it finds, and it prints nothing."""
    from pyhessian import hessian

    t.network.zero_grad()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch warns of backward(create_graph=True)
        cuda = t.device.type == "cuda"
        return hessian(t.network, t.criterion, data=(t.inputs, t.labels), cuda=cuda)


def pyhessian_products(t: Task, vectors: Tensor) -> Tensor:
    from pyhessian.utils import hessian_vector_product

    found = pyhessian_of(t)
    split = [p.numel() for p in found.params]
    parts = ([v.view(p.shape) for v, p in zip(row.split(split), found.params)] for row in vectors)
    return torch.stack([flat(hessian_vector_product(found.gradsH, found.params, v)) for v in parts])


def curvlinops_of(t: Task, kind: str):
    from curvlinops import GGNLinearOperator, HessianLinearOperator

    build = HessianLinearOperator if kind == "Hessian" else GGNLinearOperator
    data, parameters = [(t.inputs, t.labels)], list(t.network.parameters())
    return build(t.network, t.criterion, parameters, data, check_deterministic=False)


def curvlinops_products(t: Task, kind: str, vectors: Tensor) -> Tensor:
    """One vector after another."""
    operator = curvlinops_of(t, kind)
    return torch.stack([operator @ v for v in vectors])


def curvlinops_matrix(t: Task, kind: str, vectors: Tensor) -> Tensor:
    """All at once, by its vmap."""
    return (curvlinops_of(t, kind) @ vectors.T).T


def products(t: Task) -> Iterator[dict]:
    """20 products with the Hessian and with the Gauss-Newton matrix."""
    plain = without_norm(t)
    rows = (
        (t, "Hessian", "pyhessian", "", lambda _, v: pyhessian_products(t, v)),
        (plain, "Hessian", "pyhessian", "", lambda _, v: pyhessian_products(plain, v)),
        (plain, "Hessian", "curvlinops", "", partial(curvlinops_products, plain)),
        (plain, "Hessian", "curvlinops", ", vmap", partial(curvlinops_matrix, plain)),
        (t, "GN", "curvlinops", "", partial(curvlinops_products, t)),
        (t, "GN", "curvlinops", ", vmap", partial(curvlinops_matrix, t)),
    )
    for case, kind, package, how, theirs in rows:
        name = f"{PRODUCTS} {kind} products"
        if reason := missing(package):
            yield case.absent(name, package, reason)
            continue
        vectors = torch.randn(PRODUCTS, case.dimension, generator=torch.Generator().manual_seed(1))
        vectors = vectors.to(case.inputs)
        ours, other = partial(our_products, case, kind, vectors), partial(theirs, kind, vectors)
        exact = our_products(double(case), kind, vectors[:2].double())
        a, b = ours(), other()
        note = errors(relative(v[:2].double(), exact) for v in (a, b))
        apart = agree(name, relative(b, a), 1e-3)
        yield case.line(name, package + how, ours, other, largest_difference=apart, note=note)
    if not missing("curvlinops"):
        yield t.absent(f"{PRODUCTS} Hessian products", "curvlinops", curvlinops_refuses(t))


def curvlinops_refuses(t: Task) -> str:
    """What it says to group normalisation."""
    try:
        curvlinops_products(t, "Hessian", torch.zeros(1, t.dimension).to(t.inputs))
    except NotImplementedError as error:
        return f"NotImplementedError: {error}"
    return "works by now: give it a row"


# top eigenvalue ----------------------------------------------------------------------------------


def our_top(t: Task, tolerance: float = 3e-2) -> float:
    operator = our_operator(t, "Hessian")
    found = top_eigenvalues(
        operator, operator.dimension, seed=0, tolerance=tolerance, device=t.device
    )
    return float(found.values[0])


def pyhessian_top(t: Task) -> float:
    torch.manual_seed(0)
    return pyhessian_of(t).eigenvalues(maxIter=200, tol=1e-3)[0][0]


def curvlinops_top(t: Task) -> float:
    from scipy.sparse.linalg import eigsh

    operator = curvlinops_of(t, "Hessian").to_scipy()
    start = np.random.default_rng(0).normal(size=operator.shape[0])
    return float(eigsh(operator, k=1, which="LA", tol=1e-3, v0=start)[0][0])


def top(t: Task) -> Iterator[dict]:
    """The largest eigenvalue of the Hessian."""
    plain = without_norm(t)
    rows = (
        (t, "pyhessian", pyhessian_top),
        (plain, "pyhessian", pyhessian_top),
        (plain, "curvlinops", curvlinops_top),
    )
    for case, package, theirs in rows:
        if reason := missing(package):
            yield case.absent("top eigenvalue", package, reason)
            continue
        exact = our_top(double(case), 1e-8)
        ours, other = partial(our_top, case), partial(theirs, case)
        off = [abs(value / exact - 1) for value in (ours(), other())]
        apart = agree("top eigenvalue", max(off), 1e-2)
        yield case.line(
            "top eigenvalue", package, ours, other, largest_difference=apart, note=errors(off)
        )


# trace -------------------------------------------------------------------------------------------


def our_trace(t: Task, estimator: Callable[..., Trace], seed: int = 0) -> Trace:
    operator = our_operator(t, "Hessian")
    return estimator(operator, operator.dimension, PROBES, seed, device=t.device)


def pyhessian_trace(t: Task) -> float:
    torch.manual_seed(0)
    found = pyhessian_of(t).trace(maxIter=PROBES, tol=-np.inf)
    assert len(found) == PROBES
    return float(np.mean(found))


def curvlinops_trace(t: Task, name: str) -> float:
    import curvlinops

    torch.manual_seed(0)
    return float(getattr(curvlinops, name)(curvlinops_of(t, "Hessian"), PROBES))


def traces(t: Task) -> Iterator[dict]:
    """The trace of the Hessian from 30 products."""
    hutch = partial(curvlinops_trace, name="hutchinson_trace")
    sketch = partial(curvlinops_trace, name="hutchpp_trace")
    plain = without_norm(t)
    rows = (
        (t, "trace, Hutchinson", "pyhessian", hutchinson_trace, pyhessian_trace),
        (plain, "trace, Hutchinson", "curvlinops", hutchinson_trace, hutch),
        (plain, "trace, Hutch++", "curvlinops", hutch_plus_plus_trace, sketch),
    )
    for case, name, package, estimator, theirs in rows:
        if reason := missing(package):
            yield case.absent(name, package, reason)
            continue
        a, b = our_trace(case, estimator), theirs(case)
        # two independent draws of the same law: their difference has sqrt(2) times the error
        apart = agree(name, abs(a.estimate - b) / a.standard_error / 2**0.5, 4.0)
        note = f"ours {a.estimate:.3f} +- {a.standard_error:.3f}, theirs {b:.3f}; in errors"
        ours, other = partial(our_trace, case, estimator), partial(theirs, case)
        yield case.line(name, package, ours, other, largest_difference=apart, note=note)


# Fisher diagonal ---------------------------------------------------------------------------------


def our_fisher(t: Task) -> Tensor:
    return flat(fisher_diagonal(t.network, t.inputs, labels="exact").values())


def loop_fisher(t: Task) -> Tensor:
    """What a user writes: one backward pass an example (binary: the variance p(1 - p) outside)."""
    parameters = list(t.network.parameters())
    total = [torch.zeros_like(p) for p in parameters]
    for x in t.inputs.split(1):
        logit = t.network(x)[0]
        p = torch.sigmoid(logit.detach())
        for sum_, g in zip(total, torch.autograd.grad(logit, parameters)):
            sum_ += p * (1 - p) * g.square()
    return flat(total) / len(t.inputs)


def backpack_fisher(t: Task) -> Tensor:
    from backpack import backpack, extend
    from backpack.extensions import DiagGGNExact

    layers = extend(copy.deepcopy(t.network.layers))
    binary = layers[-1].out_features == 1
    criterion = extend(nn.BCEWithLogitsLoss() if binary else nn.CrossEntropyLoss())
    labels = t.labels[:, None] if binary else t.labels.long()
    loss = criterion(layers(t.inputs), labels)
    with backpack(DiagGGNExact()), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # its hooks: no input requires a gradient
        loss.backward()
    return flat(p.diag_ggn_exact for p in layers.parameters())


def fishers(t: Task) -> Iterator[dict]:
    """The exact diagonal: binary against a loop, and without normalisation against BackPACK."""
    plain = without_norm(t)
    ten = without_norm(replace(t, network=load("small_cnn", device=t.device, n_classes=None)))
    rows = (
        ("Fisher diagonal", "loop over examples", None, t, loop_fisher),
        ("Fisher diagonal", "backpack", "backpack", plain, backpack_fisher),
        ("Fisher diagonal, 10 classes", "backpack", "backpack", ten, backpack_fisher),
    )
    for name, opponent, package, case, theirs in rows:
        if package and (reason := missing(package)):
            yield case.absent(name, opponent, reason)
            continue
        ours, other = partial(our_fisher, case), partial(theirs, case)
        apart = agree(name, relative(other(), ours()), 1e-4)
        yield case.line(name, opponent, ours, other, largest_difference=apart)
    nothing = "no rule for GroupNorm (raises NotImplementedError)"
    yield t.absent("Fisher diagonal", "backpack", missing("backpack") or nothing)
    yield t.absent("Fisher diagonal", "pyhessian, curvlinops", "neither has an exact diagonal")


PARTS = {"products": products, "top": top, "traces": traces, "fishers": fishers}


def rows(t: Task, parts: Iterable[str] = tuple(PARTS)) -> Iterator[dict]:
    """All rows for one thread count."""
    for part in parts:
        yield from PARTS[part](t)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--clock", choices=CLOCKS, default="wall")
    parser.add_argument("--json", default="", help="a file for the rows")
    a = parser.parse_args()
    print(f"{a.device}, {versions('pyhessian', 'curvlinops', 'backpack')}")
    print(f"median of {a.repeats} interleaved runs, {a.clock} time\n")
    show(
        (
            line
            for threads in a.threads
            for line in rows(task(a.batch, a.repeats, threads, a.device, a.clock), a.parts)
        ),
        path=a.json,
    )


if __name__ == "__main__":
    main()
