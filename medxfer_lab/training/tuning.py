"""Equal tuning budgets: every strategy gets the same number of trials on draws never reported."""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Choice:
    """The settings that won, their mean validation loss, and every trial (settings, mean loss).

    A trial that diverged (a loss that is not a number) has the loss infinity.
    """

    settings: dict
    loss: float
    trials: tuple[tuple[dict, float], ...]

    @property
    def at_the_edge(self) -> bool:
        """Whether a setting that varies as a number won with its smallest or largest value: then
        the best may lie beyond what was tried."""
        for name, value in self.settings.items():
            tried = {trial[name] for trial, _ in self.trials}
            numbers = all(isinstance(v, int | float) for v in tried)
            if numbers and len(tried) > 1 and value in (min(tried), max(tried)):
                return True
        return False

    def record(self) -> dict:
        """For a record: what won, and all that was tried (None for a trial that diverged)."""
        trials = [
            {"settings": settings, "loss": loss if math.isfinite(loss) else None}
            for settings, loss in self.trials
        ]
        return {
            "settings": self.settings,
            "loss": self.loss,
            "at_the_edge": self.at_the_edge,
            "trials": trials,
        }


def tune(
    candidates: Mapping[str, Sequence[dict]],
    evaluate: Callable[[str, dict, Hashable], float],
    draws: Sequence[Hashable],
    budget: int,
    reported: Sequence[Hashable] = (),
) -> dict[str, Choice]:
    """Pick, for each strategy, the settings with the lowest mean loss over the tuning draws.

    candidates: strategy -> exactly ``budget`` different settings. evaluate(strategy, settings,
    draw) trains on one draw and returns the validation loss. The draws must never be reported:
    a number that chose a setting is optimistic about it. reported: the draws that will be; one
    that is in both is an error. Ties go to the earlier candidate; a trial that diverged on any
    draw cannot win.
    """
    if not draws:
        raise ValueError("draws is empty; tuning needs at least one draw of its own")
    if both := [draw for draw in draws if draw in set(reported)]:
        raise ValueError(
            f"draws {both[:5]} are to tune and to be reported; a number that chose a setting is "
            "optimistic about it: tune on draws of their own"
        )
    for name, settings in candidates.items():
        distinct = {tuple(sorted(s.items())) for s in settings}
        if len(settings) != budget or len(distinct) != budget:
            raise ValueError(
                f"{name!r} has {len(distinct)} different settings for a budget of {budget} trials; "
                "equal budgets are the point: give each strategy the same number"
            )
    choices = {}
    for name, settings in candidates.items():
        trials = tuple((dict(s), _mean_loss(evaluate, name, s, draws)) for s in settings)
        best, loss = min(trials, key=lambda trial: trial[1])
        if not math.isfinite(loss):
            raise ValueError(
                f"every trial of {name!r} diverged ({', '.join(map(str, settings))}): "
                "offer smaller learning rates"
            )
        choices[name] = Choice(best, loss, trials)
    return choices


def _mean_loss(evaluate: Callable, name: str, settings: dict, draws: Sequence[Hashable]) -> float:
    losses = [float(evaluate(name, dict(settings), draw)) for draw in draws]
    return sum(losses) / len(losses) if all(map(math.isfinite, losses)) else math.inf
