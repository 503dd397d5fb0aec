"""Equal tuning budgets: every strategy gets the same number of trials on draws never reported."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Choice:
    """The settings that won, their mean validation loss, and every trial (settings, mean loss)."""

    settings: dict
    loss: float
    trials: tuple[tuple[dict, float], ...]


def tune(
    candidates: Mapping[str, Sequence[dict]],
    evaluate: Callable[[str, dict, Hashable], float],
    draws: Sequence[Hashable],
    budget: int,
) -> dict[str, Choice]:
    """Pick, for each strategy, the settings with the lowest mean loss over the tuning draws.

    candidates: strategy -> exactly ``budget`` different settings. evaluate(strategy, settings,
    draw) trains on one draw and returns the validation loss. The draws must never be reported:
    a number that chose a setting is optimistic about it. Ties go to the earlier candidate.
    """
    if not draws:
        raise ValueError("draws is empty; tuning needs at least one draw of its own")
    for name, settings in candidates.items():
        distinct = {tuple(sorted(s.items())) for s in settings}
        if len(settings) != budget or len(distinct) != budget:
            raise ValueError(
                f"{name!r} has {len(distinct)} different settings for a budget of {budget} trials; "
                "equal budgets are the point: give each strategy the same number"
            )
    choices = {}
    for name, settings in candidates.items():
        trials = tuple(
            (dict(s), sum(evaluate(name, dict(s), d) for d in draws) / len(draws)) for s in settings
        )
        best, loss = min(trials, key=lambda trial: trial[1])
        choices[name] = Choice(best, loss, trials)
    return choices
