"""Strategies of adaptation, as data: which parameters move, when, how fast, what they are tied to.

A strategy knows no backbone and holds no loop. :func:`medxfer_lab.training.plan.plan` resolves it
on a network; :func:`medxfer_lab.training.fit` and :func:`~medxfer_lab.training.fit_many` serve all.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

from torch import nn

#: which parameters of an opened block move
MOVES = ("all", "normalisation", "bias", "low_rank")
#: what weighs the squared distance from the start: nothing, or the Fisher information
WEIGHTS = ("equal", "fisher")


@dataclass(frozen=True)
class Phase:
    """A stretch of training with the same blocks open.

    share: of the steps, relative to the other phases'.
    opened: how many of the body's last blocks move; an int counts them, a float in [0, 1] is a
        share of them (rounded), None is all. The head always moves.
    """

    share: float = 1.0
    opened: int | float | None = None

    def __post_init__(self) -> None:
        if not (self.share > 0 and math.isfinite(self.share)):
            raise ValueError(f"share is {self.share}; a phase has a positive share of the steps")
        if isinstance(self.opened, float) and not 0 <= self.opened <= 1:
            raise ValueError(f"opened is {self.opened}; as a float it is a share between 0 and 1")
        if isinstance(self.opened, int) and self.opened < 0:
            raise ValueError(f"opened is {self.opened}; blocks are counted from 0 up")

    def count(self, n_blocks: int) -> int:
        """Open blocks of a body that has ``n_blocks``; more than there are is an error."""
        if self.opened is None:
            return n_blocks
        if isinstance(self.opened, float):
            return round(self.opened * n_blocks)
        if self.opened > n_blocks:
            raise ValueError(
                f"{self.opened} blocks are to be opened and the body has {n_blocks}: "
                "take fewer, or FullFineTuning()"
            )
        return self.opened


@dataclass(frozen=True)
class Strategy:
    """What a training run may change.

    The learning rate of block b, counted d = 1, 2, ... from the head into the body, is
    rate * body_rate * decay^d while a phase has it open and 0 while not; the head's is the rate.
    With block_rates it is rate * block_rates[b] instead, b counted from the input.
    The objective is the mean log loss + tie/2 sum_i w_i (theta_i - start_i)^2 over the body.

    name: key of :data:`medxfer_lab.course.style.COLOURS`.
    start: "pretrained" or "untrained": the weights that the caller is expected to pass in.
    body_rate, decay: see above; body_rate 0 freezes the body.
    phases: one after another; restart: each has a warm-up and a cosine of its own.
    moves: of an open block everything, only normalisation layers, only biases, or only low-rank
        adapters of ``rank`` that are added to its weight matrices and merged at the end.
    tie, weighting: strength of the penalty; w_i is 1 ("equal") or the Fisher information that is
        given to the training run ("fisher").
    block_rates: one relative rate a block of the body, from the input on; 0 freezes a block.
        Empty: body_rate and decay say it. A body of another number of blocks is refused where the
        strategy meets it.
    """

    name: str
    start: str = "pretrained"
    body_rate: float = 1.0
    tie: float = 0.0
    decay: float = 1.0
    phases: tuple[Phase, ...] = (Phase(),)
    restart: bool = False
    moves: str = "all"
    rank: int = 0
    weighting: str = "equal"
    block_rates: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        if self.start not in ("pretrained", "untrained"):
            raise ValueError(f"start is {self.start!r}; it is 'pretrained' or 'untrained'")
        if self.body_rate < 0 or self.tie < 0:
            raise ValueError(
                f"body_rate is {self.body_rate} and tie is {self.tie}; neither can be negative"
            )
        if not (self.decay > 0 and math.isfinite(self.decay)):
            raise ValueError(f"decay is {self.decay}; a rate's factor from block to block is > 0")
        if not all(math.isfinite(rate) and rate >= 0 for rate in self.block_rates):
            raise ValueError(
                f"block_rates is {self.block_rates}; each block's rate is finite and at least 0"
            )
        if not self.phases:
            raise ValueError("phases is empty; training needs at least one Phase()")
        if self.moves not in MOVES or self.weighting not in WEIGHTS:
            raise ValueError(
                f"moves is {self.moves!r} and weighting {self.weighting!r}; known: "
                f"{', '.join(MOVES)} and {', '.join(WEIGHTS)}"
            )
        if (self.moves == "low_rank") != (self.rank > 0):
            raise ValueError(
                f"moves is {self.moves!r} and rank is {self.rank}; low-rank adapters have a rank "
                "of at least 1, and nothing else has one"
            )
        if self.moves == "low_rank" and self.tie:
            raise ValueError(
                f"tie is {self.tie} and the weights themselves stand still under low-rank "
                "adapters: the rank is what holds them near"
            )

    def describe(self, network: nn.Module) -> str:
        """What the strategy does to this network, as one table: see :class:`Plan`."""
        from medxfer_lab.training.plan import plan

        return plan(self, network).table()


def Scratch() -> Strategy:  # noqa: N802 (reads as the strategy's name)
    """Everything moves, from an untrained start."""
    return Strategy("scratch", start="untrained")


def LinearProbe() -> Strategy:  # noqa: N802
    """Only the head moves; the pretrained body is a fixed feature extractor."""
    return Strategy("linear_probe", phases=(Phase(opened=0),))


def PartialFineTuning(blocks: int) -> Strategy:  # noqa: N802
    """The last ``blocks`` blocks of the body and the head move (Yosinski et al. 2014)."""
    return Strategy("partial_fine_tuning", phases=(Phase(opened=blocks),))


def FullFineTuning() -> Strategy:  # noqa: N802
    """Everything moves, from a pretrained start."""
    return Strategy("full_fine_tuning")


def Discriminative(decay: float = 1 / 2.6) -> Strategy:  # noqa: N802
    """Each block's rate is ``decay`` times that of the next one towards the head.

    Howard and Ruder, "Universal language model fine-tuning for text classification", ACL 2018,
    section 3.2, take 1/2.6. Above 1, early blocks move faster.
    """
    return Strategy("discriminative", decay=decay)


def BlockRates(  # noqa: N802
    rates: Iterable[float], name: str = "discriminative"
) -> Strategy:
    """Each block of the body has a rate of its own, relative to the head's, from the input on.

    rates: e.g. (1/8, 1/4, 1/2, 1) for four blocks, or what their curvatures ask for (then
    name="curvature_rates"). ``Discriminative(decay)`` is rates[b] = decay^(B - b), b from 0 up.
    """
    rates = tuple(float(rate) for rate in rates)
    if not rates:
        raise ValueError("rates is empty; give one a block of the body, or take FullFineTuning()")
    return Strategy(name, block_rates=rates)


def GradualUnfreezing(stages: int = 5) -> Strategy:  # noqa: N802
    """The head first, then more and more of the body, from the head down, in equal stages.

    Howard and Ruder 2018, section 3.3. Stage i of ``stages`` opens the share i/(stages - 1) of the
    blocks, i from 0; one schedule of rates runs over the whole training.
    """
    if stages < 2:
        raise ValueError(f"stages is {stages}; unfreezing gradually takes at least 2")
    opened = [i / (stages - 1) for i in range(stages)]
    return Strategy("gradual_unfreezing", phases=tuple(Phase(opened=o) for o in opened))


def LPFT(share: float = 0.5) -> Strategy:  # noqa: N802
    """Linear probing for ``share`` of the steps, then full fine-tuning from there.

    Kumar et al., "Fine-tuning can distort pretrained features and underperform
    out-of-distribution", ICLR 2022. Each part has its own schedule of rates.
    """
    if not 0 < share < 1:
        raise ValueError(f"share is {share}; both parts need steps: take it between 0 and 1")
    return Strategy("lpft", phases=(Phase(share, 0), Phase(1 - share)), restart=True)


def L2SP(strength: float) -> Strategy:  # noqa: N802
    """Everything moves, and the body is tied to its pretrained start (Li et al. 2018)."""
    if not strength > 0:
        raise ValueError(f"strength is {strength}; L2-SP without a tie is FullFineTuning()")
    return Strategy("l2sp", tie=strength)


def EWC(strength: float) -> Strategy:  # noqa: N802
    """L2-SP with every parameter weighed by its Fisher information on the source task.

    Kirkpatrick et al., "Overcoming catastrophic forgetting in neural networks", PNAS 2017, eq. 3.
    The training run is given the information, e.g. by
    :func:`medxfer_lab.methods.curvature.fisher_diagonal` on the source task's images.
    """
    if not strength > 0:
        raise ValueError(f"strength is {strength}; EWC without a tie is FullFineTuning()")
    return Strategy("ewc", tie=strength, weighting="fisher")


def NormalisationOnly() -> Strategy:  # noqa: N802
    """The head and the scales and shifts of normalisation layers move.

    Frankle, Schwab and Morcos, "Training BatchNorm and only BatchNorm", ICLR 2021.
    """
    return Strategy("normalisation_only", moves="normalisation")


def BiasOnly() -> Strategy:  # noqa: N802
    """The head and every additive term move (Ben Zaken et al., "BitFit", ACL 2022)."""
    return Strategy("bias_only", moves="bias")


def LowRank(rank: int = 4) -> Strategy:  # noqa: N802
    """The head and low-rank additions to every weight matrix move (Hu et al., "LoRA", ICLR 2022).

    A weight W of m outputs, seen as an (m, k) matrix, becomes W + B A with B (m, r) zero and
    A (r, k) normal with variance 1/k at the start; a matrix whose smaller side is at most r
    stands still.
    """
    if rank < 1:
        raise ValueError(f"rank is {rank}; it is at least 1")
    return Strategy("low_rank", moves="low_rank", rank=rank)
