"""Curvature by block, against the matrix written out in float64."""

from __future__ import annotations

import numpy as np
import pytest

from medxfer_lab.loss_landscape.experiment import spectra


def top(matrix) -> float:
    return float(np.linalg.eigvalsh(np.asarray(matrix))[-1])


@pytest.fixture
def to_the_end(monkeypatch):
    """Lanczos until nothing is left to gain: what is compared is then exact."""
    monkeypatch.setattr(spectra, "TOLERANCE", 1e-12)


@pytest.mark.parametrize("classes", [1, 3])
def test_every_measure_of_every_block(tiny, dense, classes, to_the_end):
    network, data = tiny(classes, seed=classes)
    matrices, found = dense(network, data), spectra.by_block(network, data)
    assert network.blocks == ("body.conv1", "body.conv4", "head")
    assert found.shape == (3, len(spectra.MEASURES))
    for row, block in zip(found, network.blocks, strict=True):
        at = matrices.block(block)
        g = matrices.gauss_newton[np.ix_(at, at)].numpy()
        theta = matrices.flat[at].numpy()
        relative = abs(theta)[:, None] * g * abs(theta)
        expected = (top(g), g.trace(), g.trace() / len(at), top(relative), relative.trace())
        np.testing.assert_allclose(row, expected, rtol=1e-9, err_msg=block)


@pytest.mark.parametrize("classes", [1, 3])
def test_tops_of_a_block_of_two_and_of_all(tiny, dense, classes, to_the_end):
    network, data = tiny(classes)
    matrices = dense(network, data)
    for blocks in (("head",), ("body.conv1", "head"), ()):
        at = np.sort(np.concatenate([matrices.block(b) for b in blocks or network.blocks]))
        for measure, matrix in (
            (spectra.top_gauss_newton, matrices.gauss_newton),
            (spectra.top_hessian, matrices.hessian),
        ):
            expected = top(matrix[np.ix_(at, at)])
            assert measure(network, data, *blocks) == pytest.approx(expected, rel=1e-9)


def test_the_usual_tolerance_is_kept_and_errs_downwards(tiny, dense):
    """A Ritz value is at most the top eigenvalue, and nearer to one than its residual."""
    network, data = tiny(3)
    expected = top(dense(network, data).gauss_newton)
    found = spectra.top_gauss_newton(network, data)
    assert expected * (1 - spectra.TOLERANCE) <= found <= expected * (1 + 1e-9)


def test_gauss_newton_leaves_something_of_the_hessian_out(tiny, dense):
    """Or the two measures could not be told apart above; for the head, linear, nothing is."""
    network, data = tiny()
    matrices = dense(network, data)
    rest = matrices.hessian - matrices.gauss_newton
    at = matrices.block("head")
    assert float(rest.abs().max()) > 0.01
    assert float(rest[np.ix_(at, at)].abs().max()) < 1e-12
