"""What may enter a head: checks with errors that name the training set and the way out."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

#: rows of a pool for each set: (m, n), or one tensor a set where sizes differ
Index = Tensor | Sequence[Tensor]


def strength_path(strengths: float | Sequence[float]) -> tuple[float, ...]:
    """Strengths as a tuple of positive, finite floats."""
    one = isinstance(strengths, int | float)
    path = (float(strengths),) if one else tuple(float(s) for s in strengths)
    if not path or not all(0 < s < float("inf") for s in path):
        raise ValueError(
            f"strengths are {path}; each must be positive: an unpenalised head has no finite "
            "solution on separable data"
        )
    return path


def all_finite(values: Tensor) -> bool:
    """Whether no value is NaN or infinite: a finite sum says so in one pass over the memory."""
    return bool(torch.isfinite(values.sum())) or bool(torch.isfinite(values).all())


def pools(features: Tensor, index: Index | None) -> tuple[Tensor, list[Tensor] | None]:
    """Features as (B, N, d) pools, and the rows of each set; B = m where no index is given."""
    if not features.is_floating_point():
        raise ValueError(f"features are {features.dtype}; expected floating point: call .float()")
    if not all_finite(features):
        raise ValueError("features hold NaN or infinity; look at the network or its normalisation")
    features = features.detach()
    if index is None:
        return (features if features.ndim == 3 else features[None]), None
    if features.ndim != 2:
        raise ValueError(
            f"features have shape {tuple(features.shape)}; with index they are one shared pool "
            "(N, d)"
        )
    return features[None], index_rows(index, len(features), features.device)


def index_rows(index: Index, size: int, device: torch.device) -> list[Tensor]:
    """Each set's rows, long, on the features' device."""
    rows = [torch.as_tensor(i, device=device) for i in index]
    if not rows:
        raise ValueError("index holds no training set")
    for k, i in enumerate(rows):
        if i.ndim != 1 or not len(i) or i.dtype not in (torch.int64, torch.int32):
            raise ValueError(
                f"index of training set {k} has shape {tuple(i.shape)} and type {i.dtype}; "
                "expected (n,) row numbers, long"
            )
        low, high = int(i.min()), int(i.max())
        if low < 0 or high >= size:
            raise ValueError(
                f"index of training set {k} reaches from {low} to {high}; the pool has rows 0 to "
                f"{size - 1}"
            )
    return [i.long() for i in rows]


def values_of_sets(
    name: str, values: Tensor | Sequence[Tensor], features: Tensor, rows: list[Tensor] | None
) -> list[Tensor]:
    """Labels or targets of each set, (n,) or (n, t): cut from the pool's, or as they are given."""
    if rows is None:
        given = torch.as_tensor(values, device=features.device)
        given = given[None] if features.ndim == 2 else given
        x = features[None] if features.ndim == 2 else features
        if x.ndim != 3 or given.ndim not in (2, 3) or x.shape[:2] != given.shape[:2]:
            raise ValueError(
                f"features have shape {tuple(features.shape)} and {name} "
                f"{tuple(torch.as_tensor(values).shape)}; "
                "expected (m, n, d) and (m, n), or (n, d) and (n,)"
            )
        return list(given)
    whole = isinstance(values, Tensor) and (
        len(values) == len(features) and not _matches(values, rows)
    )
    found = [values[i] for i in rows] if whole else list(values)
    found = [torch.as_tensor(v, device=features.device) for v in found]
    if [v.shape[:1] for v in found] != [i.shape for i in rows]:
        shape = tuple(values.shape) if isinstance(values, Tensor) else f"of {len(values)} tensors"
        raise ValueError(
            f"{name} {shape} fit neither the pool of {len(features)} rows nor the {len(rows)} "
            "training sets: expected (N,), or one value for each entry of index"
        )
    return found


def _matches(values: Tensor, rows: list[Tensor]) -> bool:
    """Are these the values of the sets' own entries, not of the pool's rows?"""
    if values.ndim < 2 or len(values) != len(rows):
        return False
    return all(values.shape[1] == len(i) for i in rows)


def real(targets: list[Tensor]) -> list[Tensor]:
    """Targets (n, t) float64, finite."""
    found = [(y if y.ndim == 2 else y[:, None]).double() for y in targets]
    for k, y in enumerate(found):
        if not torch.isfinite(y).all():
            raise ValueError(f"targets of training set {k} hold NaN or infinity; leave those out")
    return found


def classes(labels: list[Tensor], count: int | None = None) -> list[Tensor]:
    """Labels (n,) long in 0 .. count - 1, every class present in every set.

    count None: as many classes as the largest label says.
    """
    found = [y.detach() for y in labels]
    if any(y.ndim != 1 for y in found):
        raise ValueError(
            f"labels of a training set have shape {tuple(found[0].shape)}; expected (n,)"
        )
    if any(not bool(y.isfinite().all()) for y in found):
        raise ValueError("labels hold NaN or infinity; leave those patients out")
    together = torch.cat([y.flatten() for y in found]).double()
    top = int(together.max()) if count is None else count - 1
    low, high = float(together.min()), float(together.max())
    if count is not None and count < 2:
        raise ValueError(f"classes is {count}; a head tells at least 2 apart")
    top = max(top, 1)  # a set of class 0 alone is told so below
    if low < 0 or high > top or bool((together != together.round()).any()):
        hint = "; for labels of -1 and 1 pass (labels + 1) / 2" if low == -1 and top == 1 else ""
        wanted = "0 or 1" if top == 1 else f"whole numbers 0 to {top}"
        raise ValueError(f"labels reach from {low:g} to {high:g}; expected {wanted}{hint}")
    for k, y in enumerate(found):
        present = torch.bincount(y.long(), minlength=top + 1) > 0
        if not bool(present.all()):
            one = int(present.sum()) == 1
            what = (
                "one class only" if one else f"no patient of class {int((~present).nonzero()[0])}"
            )
            raise ValueError(
                f"training set {k} holds {what}: no head can be fitted; "
                "draw more patients or another seed"
            )
    return [y.long() for y in found]
