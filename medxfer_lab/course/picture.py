"""A figure with words: every picture on every page carries alternative text.

A bare matplotlib figure reaches the page as an `<img>` without `alt`, which a screen reader
cannot read out. `picture` draws it once, closes it, and returns HTML that says what it shows.
"""

from __future__ import annotations

import base64
import html
import io
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.figure import Figure

CSS_PIXELS_PER_INCH = 96


@dataclass(frozen=True)
class Picture:
    """A drawn figure: `png` bytes, `alt` text, `caption` (may be empty), `width` in CSS pixels."""

    png: bytes
    alt: str
    caption: str = ""
    width: int = 0

    def image(self) -> str:
        """The `<img>` element, its data inside it."""
        return image(self.png, self.alt, self.width)

    def _repr_html_(self) -> str:
        caption = f"<figcaption>{html.escape(self.caption)}</figcaption>" if self.caption else ""
        return f'<figure class="medxfer-figure">{self.image()}{caption}</figure>'

    def __repr__(self) -> str:
        return f"Picture: {self.alt}"


def picture(fig: Figure, alt: str, caption: str = "", dpi: float = 120) -> Picture:
    """Draw `fig` once, close it, and return it with its alternative text.

    alt: what the figure shows and what to see in it, one to three sentences.
    caption: shown under the figure. dpi: dots per inch of the drawing; the size on the page is
    that of the figure in inches, whatever the dpi.

    Raises ValueError when `alt` says nothing.
    """
    _must_say_something(alt)
    drawn = render(fig, dpi)
    close(fig)
    return Picture(drawn, alt.strip(), caption.strip(), css_width(fig))


def render(fig: Figure, dpi: float, colours: int | None = None) -> bytes:
    """`fig` as PNG bytes; `colours` reduces it to a palette of so many (a third of the bytes)."""
    buffer = io.BytesIO()
    # A white ground whatever the notebook's theme: the figures' colours are chosen for it.
    fig.savefig(buffer, format="png", dpi=dpi, facecolor="white", metadata={"Software": None})
    if colours is None:
        return buffer.getvalue()
    from PIL import Image

    with Image.open(buffer) as drawn:
        reduced = drawn.convert("RGB").quantize(colours, dither=Image.Dither.NONE)
    out = io.BytesIO()
    reduced.save(out, format="png", optimize=True)
    return out.getvalue()


def image(png: bytes, alt: str, width: int = 0) -> str:
    """An `<img>` element that carries its own data."""
    data = base64.b64encode(png).decode()
    size = f' width="{width}"' if width else ""
    return f'<img alt="{html.escape(alt)}"{size} src="data:image/png;base64,{data}">'


def close(fig: Figure) -> None:
    """Forget `fig`, so that the inline back end does not show it a second time without words."""
    import matplotlib.pyplot as plt

    plt.close(fig)


def css_width(fig: Figure) -> int:
    """The width of `fig` in CSS pixels, so that its size on a page does not hang on its dpi."""
    return round(fig.get_size_inches()[0] * CSS_PIXELS_PER_INCH)


def _must_say_something(alt: str) -> None:
    if not isinstance(alt, str) or len(alt.strip()) < 12:
        raise ValueError(
            f"alt is {alt!r}: say in a sentence what the figure shows and what to see in it; "
            "readers who cannot see it get this text instead"
        )
