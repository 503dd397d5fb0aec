"""Two tasks and the networks that know the first: who is who, and what stays untouched."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import stats
from torch.nn import functional as F  # noqa: N812 (torch's own idiom)

from medxfer_lab.loss_landscape.experiment import material as m
from medxfer_lab.loss_landscape.experiment.clusters import over_pretrainings, pretraining_means
from medxfer_lab.nets.photographs import PhotographsError


def test_held_out_and_training_photographs_by_number(pictures):
    for task, images, labels in (
        (m.source, pictures.test_images, pictures.test_labels),
        (m.source_training, pictures.images, pictures.labels),
    ):
        x, y = task(5, 90)
        assert x.shape == (5, 1, 32, 32) and y.tolist() == labels[90:95].tolist()
        expected = (images[90:95].astype(float) / 255 - 0.5) / 0.25
        np.testing.assert_allclose(x[:, 0].numpy(), expected, atol=1e-6)
        with pytest.raises(ValueError, match="photographs 90 to 97 asked for, there are 96"):
            task(7, 90)


def test_photographs_are_fetched_only_where_they_are_missing(monkeypatch, tmp_path):
    monkeypatch.setattr(m, "photographs_folder", lambda: tmp_path)
    there, fetched = [], []

    def read(folder):
        if not there:
            raise PhotographsError("no photographs")
        return there[0]

    monkeypatch.setattr(m, "read_photographs", read)
    monkeypatch.setattr(m, "fetch", lambda *how: fetched.append(how) or there.append("found"))
    m.photographs.cache_clear()
    try:
        assert m.photographs() == "found" and m.photographs() == "found"
        m.photographs.cache_clear()
        assert m.photographs() == "found"
    finally:
        m.photographs.cache_clear()
    assert fetched == [("npm", tmp_path)]


def test_the_target_is_drawn_from_its_seed():
    x, y = m.target(40, 3)
    assert x.shape == (40, 1, 32, 32) and set(y.tolist()) == {0, 1}
    m.draw.cache_clear()  # of these tests' own cache
    again, other = m.target(40, 3), m.target(40, 4)
    assert torch.equal(x, again[0]) and not torch.equal(x, other[0])
    # the brain's median, one half, is the network's zero: the middle of a slice is brain
    assert abs(float(x[:, :, 12:20, 12:20].median())) < 0.5
    assert m.fixed_target(40, 3)[0] is m.fixed_target(40, 3)[0]


def test_old_and_start_share_a_body_and_nothing_else():
    digests = m.digests()
    assert len(set(digests.values())) == m.PRETRAININGS
    for k in (0, 5, 5 + m.PRETRAININGS):
        old, start = m.old(k), m.start(k)
        assert (old.n_classes, start.n_classes) == (10, 1)
        assert old.digest == start.digest == digests[f"small_cnn.{k % 8}"]
        assert all(torch.equal(v, m.body(start)[name]) for name, v in m.body(old).items())
    # the head is drawn from the set's number, or from the seed that is asked for
    assert torch.equal(m.start(5, head_seed=2).head.weight, m.start(2).head.weight)
    assert not torch.equal(m.start(5).head.weight, m.start(13).head.weight)
    assert m.start(5, "untrained").digest != m.start(5).digest


def test_the_old_head_is_put_back_and_kept():
    old, tuned = m.old(1), m.start(1)
    with torch.no_grad():
        tuned.body[0][0].weight.mul_(1.1)
    both = m.with_head(tuned, old.head)
    x = m.target(6, 1)[0]
    with torch.no_grad():
        torch.testing.assert_close(both(x), old.head(tuned.body(x)))
    kept, fresh = old.head.weight.clone(), tuned.head.weight.clone()
    with torch.no_grad():
        both.head.weight.zero_()
        both.body[0][0].weight.zero_()
    assert torch.equal(old.head.weight, kept) and torch.equal(tuned.head.weight, fresh)
    assert float(tuned.body[0][0].weight.detach().abs().sum()) > 0 and tuned.n_classes == 1


def test_loss_is_the_mean_over_examples(pictures):
    (x, y), network = m.target(20, 2), m.start(0)
    with torch.no_grad():
        expected = F.binary_cross_entropy_with_logits(network(x), y.float())
    assert m.loss(network, (x, y)) == pytest.approx(float(expected), rel=1e-5)
    (x, y), network = m.source(20), m.old(0)
    with torch.no_grad():
        log_p = torch.log_softmax(network(x).double(), 1)
    expected = -float(log_p[torch.arange(20), y].mean())
    assert m.loss(network, (x, y)) == pytest.approx(expected, rel=1e-5)


def test_the_body_is_all_but_the_head_and_a_copy():
    network = m.start(0)
    body = m.body(network)
    left = {n for n, _ in network.named_parameters()} - set(body)
    assert left == {"head.weight", "head.bias"}
    for value in body.values():
        value.zero_()
    assert float(network.body[0][0].weight.detach().abs().sum()) > 0


@pytest.mark.parametrize("sets", [4, 8, 11, 16])
def test_an_average_counts_pretrainings(sets):
    """Ten sets of eight pretrainings are eight numbers, of which two are means of two."""
    values = np.random.default_rng(sets).normal(size=(sets, 3))
    grouped = [values[k :: m.PRETRAININGS].mean(0) for k in range(min(sets, m.PRETRAININGS))]
    np.testing.assert_allclose(pretraining_means(values), grouped)
    found, column = over_pretrainings(values[:, 0]), np.array(grouped)[:, 0]
    n = len(column)
    low, high = stats.t.interval(0.95, n - 1, column.mean(), stats.sem(column))
    assert found["n"] == n and found["mean"] == pytest.approx(column.mean())
    assert (found["low"], found["high"]) == pytest.approx((low, high))
