"""Plot reading: three panels about a target hospital. Which shift is it, if that can be told?"""

from __future__ import annotations

from typing import Any

import numpy as np

from medxfer_lab.course.exercise import Exercise, Variant, Wrong
from medxfer_lab.course.values import Option, choice, letters, options_text
from medxfer_lab.domain_shift.exercises.toy_hospitals import (
    DOTS,
    KINDS,
    LABELLED,
    Panels,
    panels,
)

TEXTS = {
    "none": "No shift: the target is like the source",
    "label": "Label shift: another prevalence; the diseased and the healthy look as before",
    "covariate": "Covariate shift: the source's images in other proportions; $p(y|x)$ kept",
    "concept": "Concept shift: the same images, labelled by another criterion",
    "acquisition": "Acquisition shift: the same patients, on a scanner the source never had",
    "open": "Not identifiable from this: two of the five stories draw the same three panels",
}
SHORT = {kind: kind for kind in TEXTS} | {"open": "not identifiable"}
#: kind -> (what panels 1 and 3 show of the images, what panel 2 shows of the labels)
SIGNATURES = {
    "none": ("same", "diagonal"),
    "label": ("weights", "off"),
    "covariate": ("weights", "diagonal"),
    "concept": ("same", "off"),
    "acquisition": ("elsewhere", "off"),
}
_WOULD = {
    "same": "would leave the images alone, so panels 1 and 3 would be alike for both hospitals",
    "weights": (
        "would give other weights to the kinds of images that the source has, and move none of "
        "them elsewhere"
    ),
    "elsewhere": "would put the target's dots in panel 3 where the source has none",
    "diagonal": "would leave the points of panel 2 on the diagonal",
    "off": "would take points of panel 2 off the diagonal",
}
_SHOWN = {
    "same": "Here panels 1 and 3 are alike for both, up to chance",
    "weights": "Here the target has the source's kinds of images, in other proportions",
    "elsewhere": "Here the target's dots lie where the source has none",
    "diagonal": "Here all five intervals hold the diagonal",
    "off": "Here several intervals leave the diagonal out",
}


def exercise(seed: int) -> Exercise:
    """Read :func:`figure`; the seed draws the shift, the hospital and the options' order."""
    seen = panels(seed)
    options = _options(seen, seed)
    best = next(i for i, o in enumerate(options) if not o.diagnosis)
    letter = letters(options)[best]
    return Exercise(
        id="diagnose_hospital",
        title="Diagnose a hospital",
        objective="Tell the shifts apart by what moved, and know when that cannot be done",
        kind="plot reading",
        prompt=(
            "The figure compares a source hospital with a target (both simulated).\n\n"
            "- Panel 1: the scores of a network that is calibrated at the source.\n"
            "- Panel 2: the share of diseased among labelled target patients, by fifths of the "
            "score, with 95 % intervals. It is empty if no target patient is labelled.\n"
            "- Panel 3: images, by a feature of the lesion and a feature of the scanner.\n\n"
            "One of five stories is true: no shift, or one of four shifts. Which one, if that can "
            "be told? Allow for the lucky covariate shift whose images look exactly like those of "
            "another prevalence.\n\n"
            f"{options_text(options)}\n\nAnswer with a letter."
        ),
        hints=(
            "Two questions suffice. Did the images move (panels 1 and 3)? Is a score still worth "
            "what it was at the source (panel 2)?",
            "If the images moved: to places where the source has patients too, or elsewhere? If "
            "panel 2 is empty: would any of the stories left have drawn other panels 1 and 3?",
            "Images alike: no shift or concept shift. Other proportions: label or covariate shift. "
            "Elsewhere: acquisition shift. Within each pair only labels decide, for you are to "
            "allow for luck: on the diagonal no shift or covariate shift, off it concept or label "
            "shift. No labels, no decision.",
        ),
        grade=choice(options),
        right=(
            Variant("letter", letter),
            Variant("with full stop", f" {letter}."),
            Variant("capital", letter.upper()),
            Variant("word", options[best].short),
            Variant("whole text", options[best].text),
        ),
        wrong=(
            *(
                Wrong(o.diagnosis, letters(options)[i], o.diagnosis)
                for i, o in enumerate(options)
                if o.diagnosis
            ),
            Wrong("a number", 3, "wrong-type"),
        ),
        solution=f"{options[best].text}. {options[best].message}",
    )


def figure(seed: int = 0) -> tuple[Any, str]:
    """The matplotlib figure to read, and its alternative text, which suffices to answer."""
    import matplotlib.pyplot as plt

    from medxfer_lab.course import style

    style.apply()
    seen = panels(seed)
    fig, (scores, labels, images) = plt.subplots(1, 3, figsize=(9.6, 3.3))
    _draw_scores(scores, seen)
    _draw_labels(labels, seen)
    _draw_images(images, seen)
    fig.suptitle("Source and target hospital (simulated)", fontsize=10)
    return fig, _alternative(seen)


_GREY, _BLUE = "#8C8C8C", "#0072B2"


def _draw_scores(ax: Any, seen: Panels) -> None:
    edges = np.linspace(0, 1, 11)
    ax.hist(seen.source_scores, edges, density=True, color=_GREY, alpha=0.5, label="source")
    ax.hist(
        seen.target_scores, edges, density=True, histtype="step", color=_BLUE, lw=2, label="target"
    )
    ax.set(title="1: scores", xlabel="score", ylabel="density", xlim=(0, 1))
    ax.legend(loc="upper center")


def _draw_labels(ax: Any, seen: Panels) -> None:
    ax.plot([0, 1], [0, 1], "--", color=_GREY, lw=1.2)
    ax.text(0.99, 0.0, "dashed: as at source", color="#555555", fontsize=8, ha="right")
    for p in seen.points:
        ax.plot([p.score] * 2, [p.low, p.high], color=_BLUE, lw=1.5)
        ax.plot(p.score, p.share, "o", color=_BLUE)
    if not seen.points:
        ax.text(0.5, 0.3, "no target patient\nis labelled", ha="center", va="center")
    title = f"2: {LABELLED} labelled target patients" if seen.points else "2: labelled patients"
    ax.set(title=title, xlabel="score", ylabel="share of diseased")
    ax.set(xlim=(0, 1), ylim=(-0.02, 1.02))


def _draw_images(ax: Any, seen: Panels) -> None:
    ax.plot(*seen.source[:DOTS].T, "o", color=_GREY, ms=4, alpha=0.6, mew=0, label="source")
    ax.plot(*seen.target[:DOTS].T, "^", color=_BLUE, ms=4, mfc="none", mew=0.9, label="target")
    ax.set(title="3: images", xlabel="feature of the lesion", ylabel="feature of the scanner")
    ax.set(xlim=(-4.5, 4.5), ylim=(-4, 8.7))
    ax.legend(loc="upper left", ncols=2, handletextpad=0.2, columnspacing=1.0)


def _alternative(seen: Panels) -> str:
    edges = np.linspace(0, 1, 6)
    shares = [np.histogram(s, edges)[0] / len(s) for s in (seen.source_scores, seen.target_scores)]
    bars = "; ".join(
        f"{edges[i]:.1f} to {edges[i + 1]:.1f} {shares[0][i]:.0%} and {shares[1][i]:.0%}"
        for i in range(5)
    )
    points = "; ".join(
        f"{p.share:.2f} ({p.low:.2f} to {p.high:.2f}) at {p.score:.2f}" for p in seen.points
    )
    return (
        "Three panels on a simulated source and target hospital. Panel 1, histograms of the score, "
        f"shares of source and target patients by score: {bars}. Panel 2, "
        + (
            "share of diseased among target patients (95 % interval) against the mean score, with "
            f"the diagonal dashed: {points}. "
            if points
            else "share of diseased against score, holds only the dashed diagonal: no target "
            "patient is labelled. "
        )
        + f"Panel 3, images by two features. Source: {_clouds(seen.source)}. "
        f"Target: {_clouds(seen.target)}."
    )


def _clouds(images: np.ndarray) -> str:
    """Where the dots lie: by the scanner's feature, then by the lesion's."""
    second = images[:, 1]
    places = {"around -2": second < 0, "around 2": (second >= 0) & (second < 3.5)}
    places["around 5"] = second >= 3.5
    rows = ", ".join(f"{inside.mean():.0%} {name}" for name, inside in places.items())
    return (
        f"scanner feature {rows}; lesion feature on average {images[:, 0].mean():.1f}, "
        f"above 0 in {(images[:, 0] > 0).mean():.0%}"
    )


def _options(seen: Panels, seed: int) -> list[Option]:
    """All six kinds in the seed's order, with what is said to who picks them."""
    found = []
    for kind in np.random.default_rng([seed, 27]).permutation(KINDS):
        kind = str(kind)
        if kind == seen.kind:
            found.append(Option(TEXTS[kind], _why(seen), short=SHORT[kind]))
        else:
            diagnosis, message = _objection(kind, seen)
            found.append(Option(TEXTS[kind], message, diagnosis, SHORT[kind]))
    return found


def _rivals(seen: Panels) -> tuple[str, str]:
    """The two that no unlabelled image tells apart."""
    return ("label", "covariate") if seen.moved else ("none", "concept")


def _name(kind: str) -> str:
    return "an unchanged hospital" if kind == "none" else TEXTS[kind].split(":")[0].lower()


def _why(seen: Panels) -> str:
    if seen.kind == "open":
        one, other = (_name(kind) for kind in _rivals(seen))
        luck = " Leave luck aside, and label shift is the better bet." if seen.moved else ""
        return (
            f"{_SHOWN['weights' if seen.moved else 'same']}, and both {one} and {other} can do "
            f"that. Only labels could tell, and panel 2 has none.{luck}"
        )
    image, label = SIGNATURES[seen.kind]
    if not seen.points:
        return f"{_SHOWN[image]}. Of the five stories only this one does that: no label is needed."
    return f"{_SHOWN[image]}. {_SHOWN[label]}. Of the five stories only this one does both."


def _objection(said: str, seen: Panels) -> tuple[str, str]:
    """Diagnosis and message for a wrong kind: the first panel that speaks against it."""
    if said == "open":
        decides = (
            f"Panels 1 and 3 leave at most two, and panel 2 has {LABELLED} labels to decide."
            if seen.points
            else "Panel 2 is empty, but only one story puts images where the source has none."
        )
        return "gave-up", f"It can be told. {decides}"
    images = "weights" if seen.moved else "same"
    if seen.kind != "open":
        images = SIGNATURES[seen.kind][0]
    would = SIGNATURES[said]
    if would[0] != images:
        return f"{said}-against-images", (
            f"{_name(said).capitalize()} {_WOULD[would[0]]}. {_SHOWN[images]}."
        )
    if said == "label" and seen.by_vendor:
        return "label-against-images", (
            "Label shift would move the scores as the prevalence moves, and leave the scanners "
            "alone. Here the shares of the scanners moved and the scores did not."
        )
    if seen.kind == "open":
        rival = next(kind for kind in _rivals(seen) if kind != said)
        return f"{said}-without-labels", (
            f"It may be that. But {_name(rival)} would have drawn the same panels 1 and 3, and "
            "panel 2, which alone could tell, is empty."
        )
    label = SIGNATURES[seen.kind][1]
    return f"{said}-against-labels", (
        f"That agrees with panels 1 and 3. But {_name(said)} {_WOULD[would[1]]}. {_SHOWN[label]}."
    )
