"""Bug: `best_model = model` keeps a second name for the network, not a copy of its weights."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from medxfer_lab.course.exercise import Exercise, Variant, Wrong
from medxfer_lab.course.feedback import Feedback, right, show, wrong, wrong_type

BUGGY = """
def train_and_keep_best(model, train_one_epoch, validation_loss, epochs):
    best_model, best_loss = None, float("inf")
    for epoch in range(epochs):
        train_one_epoch(model)
        loss = validation_loss(model)
        if loss < best_loss:
            best_loss = loss
            best_model = model
    return best_model
""".strip()


def exercise(seed: int) -> Exercise:
    """A corrected training loop, run on a tiny network; the seed draws the course of training."""
    losses = _losses(seed)
    listed = ", ".join(f"{loss:.2f}" for loss in losses)
    return Exercise(
        id="best_model_alias",
        title="Why is the best model never the best?",
        objective="Keep the weights of the best epoch, not a name for the network",
        kind="bug",
        prompt=(
            "A team fine-tunes on a small cohort and keeps the network of the epoch with the "
            f"lowest validation loss. The losses were {listed}, and yet the network they got back "
            f"had {losses[-1]:.2f}, that of the last epoch:\n\n```python\n{BUGGY}\n```\n\n"
            "Answer with a corrected function of the same four arguments. It may return a network "
            "or a `state_dict`. `train_one_epoch(model)` changes the weights in place, as "
            "optimisers do; the network has a batch normalisation layer."
        ),
        hints=(
            "After the loop, what does `best_model is model` say? How many networks are there?",
            "You need the *numbers* of the best epoch, kept where later steps cannot reach them. "
            "`model.state_dict()` is a new dict, but its tensors are still the network's own.",
            "`copy.deepcopy(model.state_dict())` copies the tensors too, running statistics of "
            "the batch normalisation included.",
        ),
        grade=lambda answer: _grade(answer, losses),
        right=(
            Variant("deep copy of the state", _deep_state),
            Variant("deep copy of the network", _deep_module),
            Variant("state cloned, loaded back", _cloned_and_loaded),
        ),
        wrong=(
            Wrong("alias", _alias, "alias"),
            Wrong("shallow state_dict", _shallow_state, "shallow-state"),
            Wrong("copy.copy", _shallow_module, "shallow-network"),
            Wrong("copy of the last epoch", _last, "last-epoch"),
            Wrong("highest loss kept", _wrong_sign, "wrong-sign"),
            Wrong("parameters only", _parameters_only, "statistics-forgotten"),
            Wrong("copied before training", _before, "one-epoch-early"),
            Wrong("nothing returned", _nothing, "returns-nothing"),
            Wrong("not a function", "copy.deepcopy", "wrong-type"),
        ),
        solution=(
            "An assignment in Python never copies. `best_model = model` gives the one network a "
            "second name, and every later step changes it under both. `state_dict()` and "
            "`copy.copy(model)` are no better: new containers, the same tensors. Keep "
            "`copy.deepcopy(model.state_dict())`, and load it back at the end:\n\n```python\n"
            + _SOLUTION
            + "\n```"
        ),
    )


_SOLUTION = BUGGY.replace("best_model, best_loss = None", "best_state, best_loss = None").replace(
    "best_model = model\n    return best_model",
    "best_state = copy.deepcopy(model.state_dict())\n"
    "    model.load_state_dict(best_state)\n    return model",
)


def _losses(seed: int) -> list[float]:
    """A validation curve whose best epoch is neither first nor last, and whose worst neither."""
    rng = np.random.default_rng([seed, 6])
    count = int(rng.integers(6, 9))
    best = int(rng.integers(2, count - 2))
    losses = 0.45 + 0.02 * np.arange(count)[rng.permutation(count)]
    losses[best] = 0.31
    losses[best + 1] = 0.83
    return [float(round(loss, 2)) for loss in losses]


@dataclass
class _Course:
    """A course of training without training: epoch k sets every number of the network to k + 1."""

    losses: list[float]
    epoch: int = -1

    def train(self, model: Any) -> None:
        import torch

        self.epoch += 1
        with torch.no_grad():
            for tensor in model.state_dict().values():
                tensor.fill_(self.epoch + 1)

    def loss(self, model: Any) -> float:
        """By the weights, not by a counter, so that it may be asked at any time."""
        epoch = int(next(iter(model.state_dict().values())).reshape(-1)[0]) - 1
        return self.losses[epoch] if 0 <= epoch < len(self.losses) else float("inf")


def _network() -> Any:
    from torch import nn

    return nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2))


def _grade(answer: Any, losses: list[float]) -> Feedback:
    if not callable(answer) or isinstance(answer, type) or hasattr(answer, "state_dict"):
        return wrong_type(answer, "a function of `model, train_one_epoch, validation_loss, epochs`")
    model, course = _network(), _Course(losses)
    try:
        kept = answer(model, course.train, course.loss, len(losses))
    except Exception as error:
        return wrong("raises", f"Your function raised `{type(error).__name__}: {error}`.")
    if kept is None:
        return wrong("returns-nothing", "Your function returns nothing: end with `return`.")
    state = kept.state_dict() if hasattr(kept, "state_dict") else kept
    if not isinstance(state, Mapping) or not all(hasattr(v, "shape") for v in state.values()):
        return wrong_type(kept, "a function that returns a network or its `state_dict`")
    if missing := sorted(set(model.state_dict()) - set(state)):
        return wrong(
            "statistics-forgotten",
            f"The state lacks {', '.join(f'`{name}`' for name in missing)}. Batch normalisation "
            "keeps running statistics that are no parameters; `state_dict()` has them all.",
        )
    return _judge_epoch(kept, state, model, losses)


def _judge_epoch(kept: Any, state: Mapping, model: Any, losses: list[float]) -> Feedback:
    """Which epoch the kept numbers are of, and if the last one, why."""
    found = {float(v) for tensor in state.values() for v in np.unique(tensor.detach().numpy())}
    epoch = int(max(found)) - 1
    best, worst, last = int(np.argmin(losses)), int(np.argmax(losses)), len(losses) - 1
    if found == {best + 1.0}:
        return right(
            f"Epoch {best + 1} with its loss of {losses[best]:.2f}, every tensor of it, and out of "
            "the reach of later steps."
        )
    if len(found) > 1:
        return wrong("mixed", f"The state mixes numbers of the epochs {sorted(map(int, found))}.")
    if epoch == worst:
        return wrong(
            "wrong-sign",
            f"This is epoch {worst + 1}, the one with the *highest* validation loss: the "
            "comparison points the wrong way.",
        )
    if epoch == best - 1:
        return wrong(
            "one-epoch-early",
            f"This is epoch {epoch + 1}, one before the best: the copy is taken before the epoch's "
            "training, the loss after it.",
        )
    if epoch != last:
        return wrong(
            "other-epoch",
            f"This is epoch {epoch + 1}, with a loss of {show(losses[epoch])}; the lowest was "
            f"that of epoch {best + 1}.",
        )
    return _why_last(kept, state, model)


def _why_last(kept: Any, state: Mapping, model: Any) -> Feedback:
    own = {tensor.data_ptr() for tensor in model.state_dict().values()}
    shared = all(tensor.data_ptr() in own for tensor in state.values())
    if kept is model:
        return wrong(
            "alias",
            "You return the network itself, with the weights of the last epoch. `best_model = "
            "model` is a second name for it, not a copy.",
        )
    if shared and hasattr(kept, "state_dict"):
        return wrong(
            "shallow-network",
            "You return another network object, but its tensors are those of the first: a shallow "
            "copy. Its weights went on changing to the last epoch.",
        )
    if shared:
        return wrong(
            "shallow-state",
            "You keep a dict, but its tensors are the network's own: `state_dict()` copies the "
            "dict, not the numbers. They went on changing to the last epoch.",
        )
    return wrong(
        "last-epoch",
        "You do copy, but what you keep is the last epoch: look where the copy is made, and "
        "whether `best_loss` is updated.",
    )


def _keeping(keep: Callable[[Any], Any], better: Callable[[float, float], bool], start: float):
    """The loop of the prompt with another way of keeping."""

    def train_and_keep_best(model, train_one_epoch, validation_loss, epochs):
        best, best_loss = None, start
        for _ in range(epochs):
            train_one_epoch(model)
            loss = validation_loss(model)
            if better(loss, best_loss):
                best, best_loss = keep(model), loss
        return best

    return train_and_keep_best


def _lower(loss: float, best: float) -> bool:
    return loss < best


_alias = _keeping(lambda model: model, _lower, np.inf)
_shallow_state = _keeping(lambda model: dict(model.state_dict()), _lower, np.inf)
_shallow_module = _keeping(copy.copy, _lower, np.inf)
_deep_state = _keeping(lambda model: copy.deepcopy(model.state_dict()), _lower, np.inf)
_deep_module = _keeping(copy.deepcopy, _lower, np.inf)
_wrong_sign = _keeping(copy.deepcopy, lambda loss, best: loss > best, -np.inf)
_last = _keeping(copy.deepcopy, lambda loss, best: True, np.inf)
_parameters_only = _keeping(
    lambda model: {k: p.detach().clone() for k, p in model.named_parameters()}, _lower, np.inf
)


def _cloned_and_loaded(model, train_one_epoch, validation_loss, epochs):
    keep = _keeping(
        lambda m: {k: v.clone() for k, v in m.state_dict().items()}, _lower, float("inf")
    )
    model.load_state_dict(keep(model, train_one_epoch, validation_loss, epochs))
    return model


def _before(model, train_one_epoch, validation_loss, epochs):
    best, best_loss = None, float("inf")
    for _ in range(epochs):
        state = copy.deepcopy(model.state_dict())
        train_one_epoch(model)
        loss = validation_loss(model)
        if loss < best_loss:
            best, best_loss = state, loss
    return best


def _nothing(model, train_one_epoch, validation_loss, epochs):
    _deep_state(model, train_one_epoch, validation_loss, epochs)
