"""Oracle: the dense Hessian and Jacobian of torch.func, float64."""

import copy

import pytest
import torch

from medxfer_lab.methods.curvature import (
    block,
    gauss_newton_operator,
    gauss_newton_vector_product,
    hessian_operator,
    hessian_vector_product,
)
from medxfer_lab.nets import load
from tests.methods.curvature.cases import (
    NAMES,
    Logits,
    case,
    dense_gauss_newton,
    dense_hessian,
)

torch.set_num_threads(1)


def assert_close(found, expected):
    """Relative to the largest entry, far below the 1e-6 that is asked for."""
    assert float((found - expected).abs().max()) <= 1e-10 * float(expected.abs().max())


def matrix_of(operator):
    return torch.stack([operator(e) for e in torch.eye(operator.dimension, dtype=torch.float64)])


@pytest.mark.parametrize("chunk_size", [None, 5])
@pytest.mark.parametrize("name", NAMES)
def test_hessian_equals_the_dense_one(name, chunk_size):
    c = case(name)
    found = matrix_of(hessian_operator(c.network, c.inputs, c.labels, chunk_size=chunk_size))
    assert_close(found, dense_hessian(c))


@pytest.mark.parametrize("chunk_size", [None, 5])
@pytest.mark.parametrize("name", NAMES)
def test_gauss_newton_equals_the_dense_one(name, chunk_size):
    c = case(name)
    found = matrix_of(gauss_newton_operator(c.network, c.inputs, chunk_size=chunk_size))
    assert_close(found, dense_gauss_newton(c))


@pytest.mark.parametrize("name", NAMES)
def test_a_block_is_the_dense_matrix_of_that_block(name):
    c = case(name)
    part = block(c.network, "layers.0")
    values = {n: p.detach() for n, p in part.items()}
    whole = dense_hessian(c)
    found = matrix_of(hessian_operator(c.network, c.inputs, c.labels, part))
    assert found.shape == (sum(p.numel() for p in part.values()),) * 2
    assert_close(found, whole[: len(found), : len(found)])
    assert_close(
        matrix_of(gauss_newton_operator(c.network, c.inputs, part)), dense_gauss_newton(c, values)
    )


def test_other_values_are_another_place():
    c = case("mlp_binary")
    moved = {n: p + 0.5 for n, p in c.parameters.items()}
    before = copy.deepcopy(c.network.state_dict())
    found = matrix_of(hessian_operator(c.network, c.inputs, c.labels, moved))
    assert_close(found, dense_hessian(c, moved))
    assert not torch.allclose(found, dense_hessian(c), rtol=1e-2)
    assert all(torch.equal(v, before[n]) for n, v in c.network.state_dict().items())


def test_many_vectors_at_once_are_each_of_them():
    c = case("mlp_3")
    generator = torch.Generator().manual_seed(0)
    many = {
        n: torch.randn(3, *p.shape, dtype=p.dtype, generator=generator)
        for n, p in c.parameters.items()
    }
    hessians = hessian_vector_product(c.network, c.inputs, c.labels, many, chunk_size=7)
    newtons = gauss_newton_vector_product(c.network, c.inputs, many)
    for k in range(3):
        one = {n: v[k] for n, v in many.items()}
        flat = torch.cat([v.reshape(-1) for v in one.values()])
        for found, dense in ((hessians, dense_hessian(c)), (newtons, dense_gauss_newton(c))):
            assert_close(torch.cat([v[k].reshape(-1) for v in found.values()]), dense @ flat)
        alone = hessian_vector_product(c.network, c.inputs, c.labels, one)
        assert {n: v.shape for n, v in alone.items()} == {n: v.shape for n, v in one.items()}


def test_a_model_that_is_linear_in_its_parameters_has_no_second_term():
    """H = G for logistic regression, and a parameter without influence gets zeros."""
    c = case("mlp_binary")
    network = Logits(torch.nn.Linear(4, 1)).double().eval()
    network.unused = torch.nn.Parameter(torch.ones(2, dtype=torch.float64))
    hessian = matrix_of(hessian_operator(network, c.inputs, c.labels))
    assert_close(matrix_of(gauss_newton_operator(network, c.inputs)), hessian)
    assert not hessian[:2].any() and not hessian[:, :2].any()


def test_frozen_parameters_count_too_and_stay_frozen():
    c = case("mlp_binary")
    dense = dense_hessian(c)
    c.network.requires_grad_(False)
    assert_close(matrix_of(hessian_operator(c.network, c.inputs, c.labels)), dense)
    assert not any(p.requires_grad for p in c.network.parameters())


def test_the_course_network_against_finite_differences_of_its_gradient():
    network = load("small_cnn").double()
    generator = torch.Generator().manual_seed(0)
    x = torch.rand(8, 1, 32, 32, dtype=torch.float64, generator=generator)
    y = (torch.arange(8) % 2).double()
    operator = hessian_operator(network, x, y)
    v = torch.randn(operator.dimension, dtype=torch.float64, generator=generator)
    v /= v.norm()

    def gradient(step):
        moved = copy.deepcopy(network)
        for n, p in moved.named_parameters():
            p.data += step * operator.unflatten(v)[n]
        loss = torch.nn.functional.binary_cross_entropy_with_logits(moved(x), y)
        return torch.cat([g.reshape(-1) for g in torch.autograd.grad(loss, moved.parameters())])

    h = 1e-5  # error h^2 from the third derivative, 1e-16/h from rounding
    expected = (gradient(h) - gradient(-h)) / (2 * h)
    assert float((operator(v) - expected).norm() / expected.norm()) < 1e-6


def test_bad_input_is_named():
    c = case("mlp_binary")
    with pytest.raises(ValueError, match=r"labels have shape \(11,\).*one label an example"):
        hessian_operator(c.network, c.inputs, c.labels[1:])(torch.zeros(37))
    with pytest.raises(ValueError, match="labels run from 0 to 3"):
        hessian_operator(c.network, c.inputs, 3 * c.labels)(torch.zeros(37))
    with pytest.raises(ValueError, match=r"logits have shape \(12, 1\).*squeeze"):
        gauss_newton_operator(c.network.layers, c.inputs)(torch.zeros(37))
    with pytest.raises(ValueError, match=r"vector has shape \(3,\); expected \(37,\)"):
        hessian_operator(c.network, c.inputs, c.labels)(torch.zeros(3))
    with pytest.raises(ValueError, match="no parameter is called 'head'"):
        block(c.network, "head")
    with pytest.raises(ValueError, match="no parameter 'w'"):
        hessian_operator(c.network, c.inputs, c.labels, {"w": torch.zeros(1)})
    with pytest.raises(ValueError, match="inputs are empty"):
        hessian_operator(c.network, c.inputs[:0], c.labels[:0])
    vectors = c.parameters
    with pytest.raises(ValueError, match="vectors and parameters differ in layers.0.bias"):
        hessian_vector_product(
            c.network,
            c.inputs,
            c.labels,
            {k: v for k, v in vectors.items() if k != "layers.0.bias"},
        )
    vectors["layers.0.bias"] = torch.zeros(7)
    with pytest.raises(ValueError, match=r"vector of layers.0.bias has shape \(7,\)"):
        hessian_vector_product(c.network, c.inputs, c.labels, vectors)


@pytest.mark.parametrize(
    "layer", [torch.nn.BatchNorm1d(6, dtype=torch.float64), torch.nn.Dropout(0.5)]
)
def test_a_loss_that_is_no_mean_over_examples_is_refused(layer):
    c = case("mlp_binary")
    network = Logits(torch.nn.Linear(4, 6), layer, torch.nn.Linear(6, 1)).double()
    with pytest.raises(ValueError, match=r"layers.1 .* in training mode.*network.eval\(\)"):
        hessian_operator(network.train(), c.inputs, c.labels)
    hessian_operator(network.eval(), c.inputs, c.labels)


def test_batch_statistics_in_evaluation_mode_are_refused():
    layer = torch.nn.BatchNorm1d(4, track_running_stats=False)
    with pytest.raises(ValueError, match="keeps no running statistics"):
        gauss_newton_operator(torch.nn.Sequential(layer).eval(), torch.zeros(2, 4))
