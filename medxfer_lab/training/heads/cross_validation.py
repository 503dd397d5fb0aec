"""The strength of a head's penalty by cross-validation: every fold is one more training set."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from medxfer_lab.training.heads import checks
from medxfer_lab.training.heads.logistic import Heads, probe
from medxfer_lab.training.heads.multinomial import MultinomialHeads, multinomial_probe


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
    labels: Tensor | Sequence[Tensor],
    strengths: float | Sequence[float],
    *,
    index: checks.Index | None = None,
    folds: int = 5,
    seed: int = 0,
) -> CrossValidated:
    """The strength with the least validation log loss, for each training set of its own.

    features: (m, n, d) or (n, d). labels: (m, n) or (n,), 0 or 1, or 0..K-1 for softmax heads. Or a
    pool (N, d) with ``index``, as in `probe`. Every fold of every set is one more set of one fit.
    Stratified folds by seed, the same for every strength; set k is dealt by seed + k. A patient's
    loss is that of the head fitted without his fold; the mean over a set's patients decides, and a
    tie goes to the stronger penalty. Strengths are per patient (mean loss), so the one that wins
    on (folds - 1)/folds of the patients is taken for all of them as it is.

    For ridge heads, `ridge_path` has exact leave-one-out errors and needs no folds.
    """
    path = checks.strength_path(strengths)
    if folds < 2:
        raise ValueError(f"folds is {folds}; cross-validation takes at least 2")
    pools, rows = checks.pools(features, index)
    y = checks.classes(checks.values_of_sets("labels", labels, features, rows))
    count = int(max(int(v.max()) for v in y)) + 1
    pool = pools.flatten(0, 1)
    if rows is None:  # each set is a block of one long pool
        rows = list(torch.arange(len(pool), device=pool.device).view(len(pools), -1))
    dealt = [stratified_folds(v, folds, seed + k).to(pool.device) for k, v in enumerate(y)]
    parts = [(k, dealt[k] == f) for k in range(len(y)) for f in range(folds)]
    fit = probe if count == 2 else partial(multinomial_probe, classes=count)
    heads = fit(pool, [y[k][~out] for k, out in parts], path, index=[rows[k][~o] for k, o in parts])
    losses = heads.weights.new_zeros(len(path), len(y))
    for position, (k, out) in enumerate(parts):
        held = pool[rows[k][out]].double()
        losses[:, k] += _summed_loss(heads, position, held, y[k][out]) / len(y[k])
    # from the strongest down, so that the first of equals is the stronger
    order = sorted(range(len(path)), key=lambda i: -path[i])
    best = losses[order].argmin(0)
    return CrossValidated(losses.new_tensor(path)[order][best], losses, path)


def _summed_loss(heads: Heads | MultinomialHeads, which: int, x: Tensor, y: Tensor) -> Tensor:
    """(k,) summed log loss of the patients x (n, d), y (n,) by one of the heads."""
    weights, intercepts = heads.weights[:, which], heads.intercepts[:, which]
    if weights.ndim == 2:
        scores = weights @ x.T + intercepts[:, None]  # (k, n)
        target = y.double().expand_as(scores)
        return F.binary_cross_entropy_with_logits(scores, target, reduction="none").sum(1)
    scores = weights @ x.T + intercepts[..., None]  # (k, K, n)
    return F.cross_entropy(scores, y.expand(len(scores), -1), reduction="none").sum(1)
