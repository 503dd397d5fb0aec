"""Training sets as rows of a pool: the same heads as from each set's own features."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from medxfer_lab.training.heads import sets as sets_module
from medxfer_lab.training.heads.gram import Gram, gram, submatrices
from medxfer_lab.training.heads.logistic import Heads, probe
from medxfer_lab.training.heads.multinomial import multinomial_probe
from medxfer_lab.training.heads.sets import Sets
from tests.training.heads.sets_for_tests import problem

PATH = (1.0, 0.1, 0.01)


def draws(m: int, n: int, pool: int, seed: int = 0, replace: bool = False) -> Tensor:
    """(m, n) rows; each set holds patients 0 and 1, who are of different classes."""
    generator = torch.Generator().manual_seed(seed)
    rest = [
        torch.randint(2, pool, (n - 2,), generator=generator)
        if replace
        else 2 + torch.randperm(pool - 2, generator=generator)[: n - 2]
        for _ in range(m)
    ]
    both = torch.arange(2).expand(m, 2)
    # not in the pool's order
    return torch.cat([torch.stack(rest), both], 1)


def assert_same(one: Heads, other: Heads, atol: float) -> None:
    torch.testing.assert_close(one.weights, other.weights, rtol=0, atol=atol)
    torch.testing.assert_close(one.intercepts, other.intercepts, rtol=0, atol=atol)


# a pool's Gram matrix shared whole, cut up, or not taken at all; few features
@pytest.mark.parametrize(
    ("m", "n", "pool", "d"), [(8, 30, 60, 50), (60, 12, 60, 50), (2, 10, 80, 50), (8, 30, 60, 5)]
)
@pytest.mark.parametrize("space", ["kernel", "primal", None])
@pytest.mark.parametrize("replace", [False, True])
def test_rows_of_a_pool_are_explicit_features(m, n, pool, d, space, replace):
    x, y = (t[0] for t in problem(pool, d, seed=m))
    index = draws(m, n, pool, replace=replace)
    found = probe(x, y, PATH, index=index, space=space, tolerance=1e-12)
    expected = probe(x[index], y[index], PATH, space=space, tolerance=1e-12)
    assert_same(found, expected, 1e-8)


def test_labels_may_belong_to_the_sets():
    """The same patient may be labelled otherwise in another set: label noise, drawn anew."""
    x, y = (t[0] for t in problem(40, 30, seed=1))
    index = draws(5, 20, 40)
    assert torch.equal(
        probe(x, y[index], 0.1, index=index).weights, probe(x, y, 0.1, index=index).weights
    )
    own = y[index]
    own[3, 4] = 1 - own[3, 4]
    found = probe(x, own, PATH, index=index, tolerance=1e-12)
    assert_same(found, probe(x[index], own, PATH, tolerance=1e-12), 1e-8)


def test_labels_of_the_sets_where_there_are_as_many_sets_as_patients():
    x, y = (t[0] for t in problem(20, 30, seed=1))
    index = draws(20, 12, 20)
    own = y[index]
    own[0, 0] = 1 - own[0, 0]
    found = probe(x, own, 0.1, index=index, tolerance=1e-12)
    assert_same(found, probe(x[index], own, 0.1, tolerance=1e-12), 1e-8)


def test_sets_of_unequal_size():
    x, y = (t[0] for t in problem(60, 40, seed=2))
    index = [draws(1, n, 60, seed=k)[0] for k, n in enumerate((10, 45, 10, 20, 45))]
    found = probe(x, y, PATH, index=index, tolerance=1e-12)
    own = probe(x, [y[i] for i in index], PATH, index=index, tolerance=1e-12)
    assert_same(own, found, 0)
    for m, rows in enumerate(index):
        alone = probe(x[rows], y[rows], PATH, tolerance=1e-12)
        torch.testing.assert_close(found.weights[:, m], alone.weights[:, 0], rtol=0, atol=1e-8)
        torch.testing.assert_close(
            found.intercepts[:, m], alone.intercepts[:, 0], rtol=0, atol=1e-8
        )


@pytest.mark.parametrize("space", ["kernel", "primal"])
@pytest.mark.parametrize("pooled", [True, False])
@pytest.mark.parametrize("fit", [probe, multinomial_probe])
def test_chunks_change_nothing(monkeypatch, space, pooled, fit):
    x, y = (t[0] for t in problem(40, 25, seed=3))
    index = draws(11, 20, 40)
    data = (x, y) if pooled else (x[index], y[index])
    index = index if pooled else None
    # as far as a head is determined: the factors a set shares its batch with may differ
    options = {"index": index, "space": space, "tolerance": 1e-13}
    whole = fit(*data, PATH, **options)
    chunks = []
    original = Sets.chunks

    def counted(self, size):
        parts = list(original(self, size))
        chunks.append(len(parts))
        return iter(parts)

    monkeypatch.setattr(Sets, "chunks", counted)
    for memory, comfort, fewest, parts in ((1, 1, 1, 11), (2**40, 1, 4, 3), (2**40, 2**40, 1, 1)):
        monkeypatch.setattr(sets_module, "MEMORY", memory)
        monkeypatch.setattr(sets_module, "COMFORT", comfort)
        monkeypatch.setattr(sets_module, "FEWEST", fewest)
        assert_same(fit(*data, PATH, **options), whole, 1e-10)
        assert chunks[-1] == parts


def test_a_chunk_keeps_to_the_memory_limit(monkeypatch):
    monkeypatch.setattr(sets_module, "MEMORY", 1000)
    sets = Sets(torch.zeros(10, 3, 2), torch.arange(10), None)
    parts = list(sets.chunks(300))
    assert [i for p in parts for i in range(10)[p]] == list(range(10))
    assert all(300 * (p.stop - p.start) <= 1000 for p in parts)


def test_gram_matrices_and_their_products():
    x = torch.randn(70, 9, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    pool = gram(x[None])[0]  # two block rows
    torch.testing.assert_close(pool, x @ x.T, rtol=0, atol=1e-12)
    index = draws(4, 30, 70, replace=True)
    exact = torch.stack([x[i] @ x[i].T for i in index])
    torch.testing.assert_close(submatrices(pool, index), exact, rtol=0, atol=1e-12)
    v = 1e-60 * torch.randn(4, 30, 2, dtype=torch.float64)  # float32 alone would lose it
    matrices, expected, few = Gram(exact), exact @ v, torch.tensor([2, 0])
    torch.testing.assert_close(matrices.product(v), expected, rtol=1e-11, atol=1e-73)
    single = matrices.product(v, torch.float32)
    assert (single - expected).abs().max() < 1e-5 * expected.abs().max()
    torch.testing.assert_close(matrices.select(few).product(v[few]), expected[few])


def test_index_is_checked():
    x, y = (t[0] for t in problem(20, 5))
    index = draws(3, 10, 20)
    for bad, message in (
        (20, "index of training set 1 reaches from 0 to 20; the pool has rows 0 to 19"),
        (-1, "index of training set 1 reaches from -1 to"),
    ):
        broken = index.clone()
        broken[1, 0] = bad
        with pytest.raises(ValueError, match=message):
            probe(x, y, 1.0, index=broken)
    with pytest.raises(ValueError, match="index of training set 0 has shape .* row numbers, long"):
        probe(x, y, 1.0, index=index.double())
    with pytest.raises(ValueError, match=r"index of training set 0 has shape \(\)"):
        probe(x, y, 1.0, index=index[0])
    with pytest.raises(ValueError, match="index holds no training set"):
        probe(x, y, 1.0, index=[])
    with pytest.raises(ValueError, match=r"they are one shared pool \(N, d\)"):
        probe(x[None], y, 1.0, index=index)
    for labels in (y[:-1], y[index][:, :-1], y[index][:2], y[:3], [y[:10], y[:10]]):
        with pytest.raises(ValueError, match="fit neither the pool of 20 rows nor the 3 training"):
            probe(x, labels, 1.0, index=index)
    with pytest.raises(ValueError, match="training set 2 holds one class only"):
        one = index.clone()
        one[2] = int((y == 1).nonzero()[0])
        probe(x, y, 1.0, index=one)
