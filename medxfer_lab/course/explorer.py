"""A figure with sliders that moves in JupyterLab and, without a kernel, on the static page.

Every frame is drawn beforehand and put into nested `Stack`s; the sliders' indices are linked to
the stacks in the browser (`jslink`), so that moving one asks no Python. Only the frame that is
seen is in the page, so its alternative text always says what is seen.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING, Any

from medxfer_lab.course.picture import close, css_width, image, render

if TYPE_CHECKING:
    from ipywidgets import VBox
    from matplotlib.figure import Figure

MOST_FRAMES = 60
MOST_BYTES = 1_200_000


@dataclass(frozen=True)
class Slider:
    """One parameter: its name, the values it takes, what the page calls it, where it starts."""

    name: str
    values: tuple
    label: str
    start: int

    def text(self, value: Any) -> str:
        """How a value is written beside the slider and in the alternative text."""
        return f"{value:g}" if isinstance(value, float) else str(value)


def explorer(
    draw: Callable[..., Figure],
    alt: str | Callable[..., str],
    dpi: float = 90,
    **parameters: Sequence,
) -> VBox:
    """A figure with one to three sliders.

    draw: `draw(**values) -> Figure`; it is fastest when it clears and returns one same figure.
    alt: what the figure shows, as text or as a function of the values that returns it; the
        values themselves are always added.
    parameters: `name=[values]` or `name=([values], "label")` or `name=([values], "label", start)`
        with start one of the values; without it the slider starts at the first.

    Returns an ipywidgets VBox. Raises ValueError for no or more than three sliders, for a slider
    with fewer than two values, and when the frames are too many or too heavy for a page.

    >>> explorer(risk_figure, "Risk against strength.", n=([20, 100, 500], "labels", 100))
    ... # doctest: +SKIP
    """
    sliders = tuple(_slider(name, given) for name, given in parameters.items())
    if not 1 <= len(sliders) <= 3:
        raise ValueError(f"an explorer has one to three sliders, not {len(sliders)}")
    frames = prod(len(slider.values) for slider in sliders)
    if frames > MOST_FRAMES:
        counts = " x ".join(str(len(slider.values)) for slider in sliders)
        raise ValueError(
            f"{counts} = {frames} frames are more than a page carries ({MOST_FRAMES}): "
            "take fewer values, or fewer sliders"
        )
    return _widget(sliders, _frames(draw, alt, dpi, sliders))


def _slider(name: str, given: Sequence) -> Slider:
    label, start = name, None
    values = given
    if isinstance(given, tuple) and given and isinstance(given[0], (list, tuple, range)):
        values, label, start = (*given, *(name, None)[len(given) - 1 :])[:3]
    values = tuple(v.item() if hasattr(v, "item") else v for v in values)
    if len(values) < 2:
        raise ValueError(f"slider {name!r} has {len(values)} values: it takes at least two")
    if start is not None and start not in values:
        raise ValueError(f"slider {name!r} cannot start at {start!r}: it takes {list(values)}")
    return Slider(name, values, label, 0 if start is None else values.index(start))


def _alt(alt: str | Callable[..., str], values: dict, texts: dict[str, str]) -> str:
    said = alt(**values) if callable(alt) else alt
    if not isinstance(said, str) or len(said.strip()) < 12:
        raise ValueError(
            f"alt gave {said!r} for {values}: say in a sentence what the figure shows there"
        )
    now = ", ".join(f"{label} {text}" for label, text in texts.items())
    return f"{said.strip()} (Now: {now}.)" if now else said.strip()


def _frames(
    draw: Callable[..., Figure], alt: str | Callable[..., str], dpi: float, sliders: tuple
) -> dict[tuple[int, ...], str]:
    """Index of each slider -> the frame as HTML, every figure closed, the whole within bounds."""
    frames, previous = {}, None
    for index in itertools.product(*(range(len(slider.values)) for slider in sliders)):
        values = {s.name: s.values[i] for s, i in zip(sliders, index)}
        texts = {s.label: s.text(s.values[i]) for s, i in zip(sliders, index)}
        fig = draw(**values)
        if previous is not None and fig is not previous:
            close(previous)
        previous = fig
        frames[index] = image(
            render(fig, dpi, colours=96), _alt(alt, values, texts), css_width(fig)
        )
    close(previous)
    size = sum(len(html) for html in frames.values())
    if size > MOST_BYTES:
        raise ValueError(
            f"the explorer's {len(frames)} frames weigh {size / 1e6:.1f} MB, more than "
            f"{MOST_BYTES / 1e6:.1f} MB: draw smaller figures, lower dpi, or take fewer values"
        )
    return frames


def _widget(sliders: tuple[Slider, ...], frames: dict[tuple[int, ...], str]) -> VBox:
    from ipywidgets import VBox

    controls = [_control(slider) for slider in sliders]
    shown = _stack(sliders, frames, controls, ())
    box = VBox([*controls, shown])
    box.add_class("medxfer-explorer")
    return box


def _control(slider: Slider) -> Any:
    from ipywidgets import Layout, SelectionSlider

    return SelectionSlider(
        options=[(slider.text(v), i) for i, v in enumerate(slider.values)],
        index=slider.start,
        description=slider.label,
        style={"description_width": "initial"},
        layout=Layout(width="32em", max_width="98%"),
    )


def _stack(sliders: tuple, frames: dict, controls: list, index: tuple[int, ...]) -> Any:
    """The stack of all frames whose first sliders stand at `index`, linked to the next slider."""
    from ipywidgets import HTML, Stack, jslink

    depth = len(index)
    if depth == len(sliders):
        return HTML(frames[index])
    here = range(len(sliders[depth].values))
    stack = Stack(
        [_stack(sliders, frames, controls, (*index, i)) for i in here],
        selected_index=sliders[depth].start,
    )
    jslink((controls[depth], "index"), (stack, "selected_index"))
    return stack
