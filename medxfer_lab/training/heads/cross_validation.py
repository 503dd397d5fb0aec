"""The strength of a head's penalty by cross-validation: every fold is one more training set."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from medxfer_lab.training.heads.checks import classes as checked_classes
from medxfer_lab.training.heads.checks import strength_path
from medxfer_lab.training.heads.logistic import probe
from medxfer_lab.training.heads.multinomial import multinomial_probe


@dataclass(frozen=True)
class CrossValidated:
    """strengths: (m,) chosen for each set. losses: (k, m) mean validation log loss, nats, by
    ``path``, the strengths tried."""

    strengths: Tensor
    losses: Tensor
    path: tuple[float, ...]


def stratified_folds(labels: Tensor, folds: int, seed: int) -> Tensor:
    """(n,) fold of every patient: each class is dealt out in a random order, one after another.

    The classes go on dealing where the last one stopped, so folds differ by at most one patient.
    """
    generator = torch.Generator().manual_seed(seed)
    fold = torch.empty(len(labels), dtype=torch.long)
    dealt = 0
    for value in labels.unique().tolist():
        members = (labels == value).nonzero()[:, 0].cpu()
        if len(members) < folds:
            raise ValueError(
                f"class {value:g} has {len(members)} patients for {folds} folds; every training "
                "part and every validation part needs one: take fewer folds"
            )
        order = members[torch.randperm(len(members), generator=generator)]
        fold[order] = (torch.arange(len(members)) + dealt) % folds
        dealt += len(members)
    return fold


def cross_validated_strength(
    features: Tensor,
    labels: Tensor,
    strengths: float | tuple[float, ...],
    *,
    folds: int = 5,
    seed: int = 0,
) -> CrossValidated:
    """The strength with the least validation log loss, for each training set of its own.

    features: (m, n, d) or (n, d). labels: (m, n) or (n,), 0 or 1, or 0..K-1 for softmax heads.
    Stratified folds by seed, the same for every strength; set k is dealt by seed + k. A patient's
    loss is that of the head fitted without his fold; the mean over a set's patients decides, and a
    tie goes to the stronger penalty. Strengths are per patient (mean loss), so the one that wins
    on (folds - 1)/folds of the patients is taken for all of them as it is.
    """
    path = strength_path(strengths)
    x = features if features.ndim == 3 else features[None]
    y = labels if labels.ndim == 2 else labels[None]
    if x.shape[:2] != y.shape:
        raise ValueError(
            f"features have shape {tuple(features.shape)} and labels {tuple(labels.shape)}; "
            "expected (m, n, d) and (m, n), or (n, d) and (n,)"
        )
    if folds < 2:
        raise ValueError(f"folds is {folds}; cross-validation takes at least 2")
    whole = checked_classes(list(y))
    count = int(max(int(v.max()) for v in whole)) + 1
    losses = torch.zeros(len(path), len(x), dtype=torch.float64)
    for k, (own, target) in enumerate(zip(x, whole, strict=True)):
        fold = stratified_folds(target, folds, seed + k)
        losses[:, k] = _validation_loss(own, target, fold, folds, path, count)
    # from the strongest down, so that the first of equals is the stronger
    order = sorted(range(len(path)), key=lambda i: -path[i])
    best = losses[order].argmin(0)
    chosen = torch.tensor([path[order[i]] for i in best.tolist()], dtype=torch.float64)
    return CrossValidated(chosen, losses, path)


def _validation_loss(
    x: Tensor, y: Tensor, fold: Tensor, folds: int, path: tuple[float, ...], count: int
) -> Tensor:
    """(k,) mean log loss of one set's patients, each by the head of the other folds."""
    index = [(fold != f).nonzero()[:, 0].to(x.device) for f in range(folds)]
    fit = probe if count == 2 else multinomial_probe
    logits = fit(x, y, path, index=index).logits(x)  # (k, folds, n) or (k, folds, n, K)
    where = fold.to(x.device)
    total = torch.zeros(len(path), dtype=torch.float64)
    for f in range(folds):
        held = where == f
        shown, target = logits[:, f, held], y[held]
        for i, scores in enumerate(shown):
            if count == 2:
                loss = F.binary_cross_entropy_with_logits(scores, target.double(), reduction="sum")
            else:
                loss = F.cross_entropy(scores, target, reduction="sum")
            total[i] += float(loss)
    return total / len(y)
