"""Cross-validated strength: against the plain loop over folds with scikit-learn."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss

from medxfer_lab.training import cross_validated_strength
from medxfer_lab.training.heads.cross_validation import stratified_folds
from tests.training.nets_for_tests import vectors

PATH = (10.0, 1.0, 0.1, 0.01)


@pytest.mark.parametrize("classes, d", [(2, 60), (2, 5), (3, 12)])
def test_losses_are_those_of_the_plain_loop(classes, d):
    x, y = vectors(40, d, seed=classes, classes=classes)
    found = cross_validated_strength(x, y, PATH, folds=4, seed=7)
    fold = stratified_folds(y, 4, 7).numpy()
    for i, strength in enumerate(PATH):
        total = 0.0
        for f in range(4):
            train, held = fold != f, fold == f
            fit = LogisticRegression(C=1 / (train.sum() * strength), tol=1e-10, max_iter=10_000)
            fit.fit(x.numpy()[train].astype(float), y.numpy()[train])
            p = fit.predict_proba(x.numpy()[held].astype(float))
            total += log_loss(y.numpy()[held], p, labels=range(classes), normalize=False)
        assert float(found.losses[i, 0]) == pytest.approx(total / 40, abs=1e-6)
    assert float(found.strengths[0]) == PATH[int(found.losses[:, 0].argmin())]


def test_sets_are_chosen_for_one_by_one():
    """Set k is dealt by seed + k, so alone with that seed it gets the same."""
    sets = [vectors(30, 20, seed=s) for s in range(3)]
    x, y = torch.stack([s[0] for s in sets]), torch.stack([s[1] for s in sets])
    found = cross_validated_strength(x, y, PATH, seed=5)
    for k in range(3):
        alone = cross_validated_strength(x[k], y[k], PATH, seed=5 + k)
        torch.testing.assert_close(found.losses[:, k], alone.losses[:, 0], rtol=1e-9, atol=1e-12)
        assert found.strengths[k] == alone.strengths[0]


@pytest.mark.parametrize("classes", [2, 3])
def test_rows_of_a_pool_of_unequal_size(classes):
    x, y = vectors(60, 20, seed=1, classes=classes)
    index = [torch.arange(0, 33), torch.arange(20, 60), torch.arange(10, 43)]
    found = cross_validated_strength(x, y, PATH, index=index, folds=3, seed=2)
    for k, rows in enumerate(index):
        alone = cross_validated_strength(x[rows], y[rows], PATH, folds=3, seed=2 + k)
        torch.testing.assert_close(found.losses[:, k], alone.losses[:, 0], rtol=0, atol=1e-8)
        assert found.strengths[k] == alone.strengths[0]


def test_a_tie_goes_to_the_stronger_penalty_whatever_the_order():
    x, y = torch.zeros(20, 3, dtype=torch.float64), (torch.arange(20) % 2).float()
    for path in ((0.1, 1.0, 10.0), (10.0, 1.0, 0.1)):
        assert float(cross_validated_strength(x, y, path).strengths) == 10.0


@given(
    labels=st.lists(st.integers(0, 2), min_size=12, max_size=60),
    folds=st.integers(2, 4),
    seed=st.integers(0, 2**31),
)
def test_folds_are_even_and_stratified(labels, folds, seed):
    labels = torch.tensor(labels + [0, 1, 2] * 4)
    fold = stratified_folds(labels, folds, seed)
    sizes = torch.bincount(fold, minlength=folds)
    assert int(sizes.max() - sizes.min()) <= 1
    for value in (0, 1, 2):
        own = torch.bincount(fold[labels == value], minlength=folds)
        assert int(own.max() - own.min()) <= 1
    assert torch.equal(fold, stratified_folds(labels, folds, seed))


def test_errors():
    x, y = vectors(20, 4, seed=0)
    with pytest.raises(ValueError, match="folds is 1; cross-validation takes at least 2"):
        cross_validated_strength(x, y, PATH, folds=1)
    few = torch.zeros(20)
    few[:3] = 1
    with pytest.raises(ValueError, match="class 1 has 3 patients for 5 folds"):
        cross_validated_strength(x, few, PATH)
    with pytest.raises(ValueError, match=r"features have shape \(20, 4\) and labels \(19,\)"):
        cross_validated_strength(x, y[1:], PATH)
    assert np.isfinite(cross_validated_strength(x, y, PATH).losses.numpy()).all()
