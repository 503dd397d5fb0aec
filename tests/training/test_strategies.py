"""Strategies as data: what each is, and what cannot be one."""

from __future__ import annotations

import math

import pytest
import torch

from medxfer_lab.course.style import COLOURS, LABELS, MARKERS
from medxfer_lab.training import (
    EWC,
    L2SP,
    LPFT,
    BiasOnly,
    Discriminative,
    FullFineTuning,
    GradualUnfreezing,
    LinearProbe,
    LowRank,
    NormalisationOnly,
    PartialFineTuning,
    Phase,
    Scratch,
    Strategy,
)

EVERY = (
    Scratch(),
    LinearProbe(),
    PartialFineTuning(2),
    FullFineTuning(),
    Discriminative(),
    GradualUnfreezing(),
    LPFT(),
    L2SP(0.02),
    EWC(0.02),
    NormalisationOnly(),
    BiasOnly(),
    LowRank(2),
)


def test_every_strategy_has_a_name_a_colour_and_a_marker():
    names = [s.name for s in EVERY]
    assert len(set(names)) == len(EVERY)
    assert set(names) <= set(COLOURS) & set(LABELS) & set(MARKERS)
    assert len({COLOURS[n] for n in names}) == len({LABELS[n] for n in names}) == len(EVERY)
    assert [s.start for s in EVERY] == ["untrained"] + ["pretrained"] * (len(EVERY) - 1)


def test_what_ties_and_what_weighs():
    assert {s.name: s.tie for s in EVERY if s.tie} == {"l2sp": 0.02, "ewc": 0.02}
    assert [s.name for s in EVERY if s.weighting == "fisher"] == ["ewc"]


def test_strategies_are_values():
    assert L2SP(0.1) == L2SP(0.1) != L2SP(0.2) and hash(LPFT()) == hash(LPFT())
    assert not torch.is_tensor(L2SP(0.1).tie)
    with pytest.raises(AttributeError):
        Scratch().tie = 1.0


@pytest.mark.parametrize(
    "opened, of, count",
    [(None, 7, 7), (0, 7, 0), (3, 7, 3), (0.0, 7, 0), (1.0, 7, 7), (0.5, 4, 2), (0.25, 16, 4)],
)
def test_a_phase_counts_its_open_blocks(opened, of, count):
    assert Phase(opened=opened).count(of) == count


def test_gradual_unfreezing_opens_from_none_to_all():
    phases = GradualUnfreezing(5).phases
    assert [p.count(4) for p in phases] == [0, 1, 2, 3, 4]
    opened = [p.count(18) for p in phases]
    assert opened == sorted(opened) and opened[0] == 0 and opened[-1] == 18


def test_impossible_strategies():
    with pytest.raises(ValueError, match="start is 'warm'; it is 'pretrained' or 'untrained'"):
        Strategy("x", start="warm")
    with pytest.raises(ValueError, match="body_rate is -1 and tie is 0.0; neither can be"):
        Strategy("x", body_rate=-1)
    for strength in (0.0, -0.5, float("nan")):
        with pytest.raises(ValueError, match=r"without a tie is FullFineTuning\(\)"):
            L2SP(strength)
        with pytest.raises(ValueError, match=r"EWC without a tie is FullFineTuning\(\)"):
            EWC(strength)
    for decay in (0.0, -1.0, math.inf, math.nan):
        with pytest.raises(ValueError, match="decay is .*factor from block to block is > 0"):
            Discriminative(decay)
    with pytest.raises(ValueError, match="stages is 1; unfreezing gradually takes at least 2"):
        GradualUnfreezing(1)
    with pytest.raises(ValueError, match="share is 1.0; both parts need steps"):
        LPFT(1.0)
    with pytest.raises(ValueError, match="rank is 0; it is at least 1"):
        LowRank(0)
    with pytest.raises(ValueError, match="moves is 'all' and rank is 3; low-rank adapters have"):
        Strategy("x", rank=3)
    with pytest.raises(ValueError, match="moves is 'some' and weighting 'equal'; known: all, nor"):
        Strategy("x", moves="some")
    with pytest.raises(ValueError, match="phases is empty"):
        Strategy("x", phases=())
    with pytest.raises(ValueError, match="tie is 0.1 and the weights themselves stand still"):
        Strategy("x", moves="low_rank", rank=2, tie=0.1)
    with pytest.raises(ValueError, match="opened is 1.5; as a float it is a share"):
        Phase(opened=1.5)
    with pytest.raises(ValueError, match="opened is -1; blocks are counted from 0"):
        Phase(opened=-1)
    with pytest.raises(ValueError, match="share is 0; a phase has a positive share"):
        Phase(share=0)
    with pytest.raises(ValueError, match="5 blocks are to be opened and the body has 4"):
        Phase(opened=5).count(4)
