"""Mini-batches: every patient once an epoch, coins that are fair, seeds that decide."""

from __future__ import annotations

import math

import torch
from hypothesis import given
from hypothesis import strategies as st

from medxfer_lab.training.batches import draw_batches


@given(n=st.integers(2, 60), size=st.integers(1, 70), steps=st.integers(1, 30), seed=st.integers(0))
def test_no_patient_twice_in_an_epoch(n, size, steps, seed):
    seed %= 2**63
    drawn = draw_batches(n, size, steps, seed)
    b = min(size, n)
    assert drawn.index.shape == (steps, b) and drawn.mirrored is None
    per_epoch = n // b
    for at in range(0, steps, per_epoch):
        epoch = drawn.index[at : at + per_epoch].flatten().tolist()
        assert len(set(epoch)) == len(epoch) and set(epoch) <= set(range(n))


def test_seeds_decide_and_coins_do_not_shift_with_the_number_of_steps():
    one, two = draw_batches(20, 6, 9, 5, flip=True), draw_batches(20, 6, 30, 5, flip=True)
    assert torch.equal(one.index, two.index[:9]) and torch.equal(one.mirrored, two.mirrored[:9])
    assert not torch.equal(one.index, draw_batches(20, 6, 9, 6, flip=True).index)


def test_coins_are_fair():
    coins = draw_batches(50, 50, 200, 1, flip=True).mirrored
    n = coins.numel()
    assert abs(int(coins.sum()) - n / 2) < 4.5 * math.sqrt(n / 4)
