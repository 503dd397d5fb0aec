"""Decision: the same patients on two scanners. What of p(x), p(y), p(x|y), p(y|x) is kept?"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from medxfer_lab.course.exercise import Exercise, Variant, Wrong
from medxfer_lab.course.feedback import Feedback, right, wrong, wrong_type
from medxfer_lab.course.parts import named
from medxfer_lab.course.values import Mistake, apart, array, as_array, as_number
from medxfer_lab.domain_shift.exercises.words import percent

QUANTITIES = ("p(x)", "p(y)", "p(x|y)", "p(y|x)")
KEYS = ("old", "new", "kept")
EXAMPLE = 'answer = {"old": 0.5, "new": 0.6, "kept": ["p(x)", "p(y)"]}'


@dataclass(frozen=True)
class Clinic:
    """``counts``: (2, 2) patients by lesion (rows: without, with) and label (columns: 0, 1).
    ``old``, ``new``: (2,) P(bright | lesion) on the two scanners, same order of rows."""

    counts: np.ndarray
    old: np.ndarray
    new: np.ndarray
    story: str


def exercise(seed: int) -> Exercise:
    """P(y=1 | bright) on both scanners, and the list of what is kept; the seed draws the tables."""
    clinic = _clinic(seed)
    (healthy, others), (spared, diseased) = clinic.counts
    old, new = (posterior(clinic.counts, channel) for channel in (clinic.old, clinic.new))
    mistakes = _mistakes(clinic)
    kept = ["p(y)"]
    return Exercise(
        id="two_scanners",
        title="Two scanners, same patients: covariate shift?",
        objective="Say what a new scanner leaves as it was, and what it does not",
        kind="decision",
        prompt=(
            f"A hospital {clinic.story}. Its patients stay the same. Of {clinic.counts.sum()}, "
            f"{diseased} have a lesion and the disease ($y = 1$), {spared} a lesion without the "
            f"disease, {others} the disease without a lesion, {healthy} neither. The label belongs "
            "to the patient: scanning does not change it.\n\n"
            "The image says one thing only: whether a spot is bright ($x$ = bright) or not. How "
            "often it is depends on the lesion and not on the label:\n\n"
            f"- old scanner: bright in {percent(clinic.old[1])} of patients with a lesion, and in "
            f"{percent(clinic.old[0])} of those without\n"
            f"- new scanner: bright in {percent(clinic.new[1])} of patients with a lesion, and in "
            f"{percent(clinic.new[0])} of those without\n\n"
            "Compute $P(y = 1 \\mid x = \\text{bright})$ on both scanners. Then say which of "
            "`p(x)`, `p(y)`, `p(x|y)` and `p(y|x)` are the same on both. (Covariate shift keeps "
            "`p(y|x)`, label shift keeps `p(x|y)`.)\n\nAnswer with a dict of the keys `old`, "
            f"`new` (numbers) and `kept` (a list), such as `{EXAMPLE[9:]}`."
        ),
        hints=(
            "Fill in a table for each scanner: how many of the patients have a bright image, and "
            "how many of these have the disease?",
            "With the old scanner, patients with a lesion and the disease give "
            f"{diseased} · {clinic.old[1]:.2f} bright images on average, those with the disease "
            f"and no lesion {others} · {clinic.old[0]:.2f}. The patients without the disease give "
            "the rest.",
            "Read the four off your two tables: the share of bright images, of diseased patients, "
            "of bright images in each class, of diseased patients at each brightness. Which of "
            "them needs no image at all?",
        ),
        grade=_grade(clinic),
        right=(
            Variant("dict", {"old": old, "new": new, "kept": kept}),
            Variant("rounded", {"old": round(old, 2), "new": round(new, 2), "kept": "p(y)"}),
            Variant("list", [old, new, {"P(y)"}]),
            Variant("texts", {"old": f"{100 * old:.1f} %", "new": f"{new:.4f}", "kept": "p( y )"}),
        ),
        wrong=(
            *(
                Wrong(
                    m.diagnosis, {"old": m.value[0], "new": m.value[1], "kept": kept}, m.diagnosis
                )
                for m in mistakes
            ),
            *(
                Wrong(name, {"old": old, "new": new, "kept": listed}, name)
                for name, listed in _BELIEFS.items()
            ),
            Wrong("per cent", {"old": 100 * old, "new": 100 * new, "kept": kept}, "percent"),
            Wrong("yes or no", "yes", "wrong-type"),
        ),
        solution=(
            f"On the old scanner $P(y = 1 \\mid \\text{{bright}}) = {old:.3f}$, on the new one "
            f"{new:.3f}: `p(y|x)` is not kept, so this is no covariate shift. `p(x|y)` and `p(x)` "
            "are not kept either: another share of the diseased, and of all, is bright. Only the "
            f"prevalence stays, {_prevalence(clinic.counts):.3f}, for it belongs to the patients. "
            "What a lesion means is unchanged. How surely brightness stands for a lesion is not. "
            "So a probability learned on the old images is wrong on the new ones, even where the "
            "new scanner is the better one."
        ),
    )


def posterior(counts: np.ndarray, channel: np.ndarray) -> float:
    """P(y=1 | bright) = sum_z n(z, 1) c(z) / sum_zy n(z, y) c(z), with c(z) = P(bright | z)."""
    bright = counts * channel[:, None]
    return float(bright[:, 1].sum() / bright.sum())


def _prevalence(counts: np.ndarray) -> float:
    return float(counts[:, 1].sum() / counts.sum())


def _detection(counts: np.ndarray, channel: np.ndarray) -> np.ndarray:
    """P(bright | y) for y = 0, 1: (2,)."""
    return (counts * channel[:, None]).sum(axis=0) / counts.sum(axis=0)


def _clinic(seed: int) -> Clinic:
    """Tables on which all slips are told apart, and nothing but the prevalence is kept."""
    rng = np.random.default_rng([seed, 21])
    while True:
        lesions = 10 * int(rng.integers(20, 46))
        diseased = 10 * round(lesions * rng.uniform(0.6, 0.85) / 10)
        others = 10 * int(rng.integers(4, 13))
        counts = np.array([[1000 - lesions - others, others], [lesions - diseased, diseased]])
        dull = np.array([rng.choice([0.15, 0.2, 0.25, 0.3]), rng.choice([0.55, 0.6, 0.65, 0.7])])
        keen = np.array([rng.choice([0.02, 0.04, 0.05, 0.08]), rng.choice([0.8, 0.85, 0.9, 0.95])])
        sharper = bool(rng.integers(2))
        story = (
            "replaces its scanner by one with less noise and higher resolution"
            if sharper
            else "replaces a long protocol by a faster and noisier one"
        )
        old, new = (dull, keen) if sharper else (keen, dull)
        clinic = Clinic(counts, old, new, story)
        answers = [posterior(counts, old), posterior(counts, new)]
        if apart([answers, *(m.value for m in _mistakes(clinic))], rtol=0, atol=0.03):
            return clinic


def _mistakes(clinic: Clinic) -> list[Mistake]:
    """Numbers for (old, new) that follow from a known slip."""
    n, channels = clinic.counts, (clinic.old, clinic.new)
    answers = [posterior(n, c) for c in channels]
    rates = [_detection(n, c) for c in channels]
    return [
        Mistake(
            "upside-down",
            [float(r[1]) for r in rates],
            "This is $P(\\text{bright} \\mid y = 1)$: how many of the diseased are bright. Asked "
            "is the reverse: how many of the bright are diseased.",
        ),
        Mistake(
            "prevalence-forgotten",
            [float(r[1] / r.sum()) for r in rates],
            "You weighed the diseased and the healthy alike. There are more of the one than of the "
            "other: multiply by the prevalence, or count patients.",
        ),
        Mistake(
            "lesion-for-image",
            [float(n[1, 1] / n[1].sum())] * 2,
            "This is $P(y = 1 \\mid \\text{lesion})$, which is indeed the same on both. But the "
            "image does not show the lesion itself: some lesions stay dark, and some bright spots "
            "are none.",
        ),
        Mistake(
            "joint",
            [float(r[1] * _prevalence(n)) for r in rates],
            "This is the share of all patients who are bright *and* diseased. Divide by the share "
            "of all patients who are bright.",
        ),
        Mistake(
            "image-ignored",
            [_prevalence(n)] * 2,
            "This is the prevalence, $P(y = 1)$, before any image was seen.",
        ),
        Mistake(
            "same-patients",
            [answers[0]] * 2,
            "Right for the old scanner. The patients are the same on the new one, but not the "
            "bright ones among them: count them again.",
        ),
        Mistake("swapped", answers[::-1], "Both numbers are right, at each other's scanner."),
    ]


#: diagnosis -> what the learner holds to be kept
_BELIEFS = {
    "covariate-shift": ["p(y)", "p(y|x)"],
    "label-shift": ["p(y)", "p(x|y)"],
    "image-kept": ["p(x)", "p(y)"],
    "all-kept": list(QUANTITIES),
    "nothing-kept": [],
    "prevalence-left-out": ["p(y|x)"],
}
_SAYS = {
    "covariate-shift": (
        "The labels belong to the patients, but `p(y|x)` speaks of images. You found two different "
        "numbers for $P(y = 1 \\mid \\text{bright})$, so it is not kept: no covariate shift."
    ),
    "label-shift": (
        "`p(x|y)` says what the diseased, and the healthy, look like. Another share of the "
        "diseased is bright on the new scanner, so it is not kept: this is no label shift."
    ),
    "image-kept": "The patients are the same, but not the share of bright images: count them.",
    "all-kept": (
        "That the patients are the same settles `p(y)`, which needs no image. The other three "
        "speak of images: compare each on both scanners. Two numbers of yours differ already."
    ),
    "nothing-kept": (
        "One of them is kept: the one that speaks of patients only. They are the same, and so are "
        "their labels."
    ),
    "prevalence-left-out": (
        "You left out the one that speaks of patients only, and took one that your own two "
        "numbers show to have moved."
    ),
}


def _grade(clinic: Clinic) -> Callable[[Any], Feedback]:
    """The numbers first, for they decide what is kept."""
    expected = [posterior(clinic.counts, c) for c in (clinic.old, clinic.new)]
    numbers = array(
        expected,
        _mistakes(clinic),
        praise="",
        rtol=0.0,
        atol=0.006,
        names=KEYS[:2],
    )

    def grade(answer: Any) -> Feedback:
        given = named(answer, KEYS)
        if given is None:
            return wrong_type(answer, "a dict with the keys old, new, kept", EXAMPLE)
        found = numbers([_number(given["old"]), _number(given["new"])])
        if not found.correct:
            return _percent(given, expected) or found
        kept = _quantities(given["kept"])
        if kept is None:
            return wrong_type(given["kept"], f"a list of some of {', '.join(QUANTITIES)}", EXAMPLE)
        if kept == {"p(y)"}:
            return right(
                "Same patients, same labels, and yet `p(y|x)` moved: noise and contrast change "
                "what an image tells. This is acquisition shift. It would keep `p(y|x)` only if "
                "every image made a lesion as probable as before."
            )
        belief = _belief(kept)
        return wrong(belief, f"Both numbers are right. {_SAYS[belief]}")

    return grade


def _percent(given: Mapping, expected: list[float]) -> Feedback | None:
    values = as_array([_number(given[key]) for key in KEYS[:2]])
    if values is None or values.shape != (2,):
        return None
    if not np.allclose(values / 100, expected, rtol=0, atol=0.006):
        return None
    return wrong("percent", "The size is right, but in per cent: give shares between 0 and 1.")


def _number(given: Any) -> Any:
    """Texts such as "25 %" as numbers; all else as it came, for :func:`array` to judge."""
    value = as_number(given)
    return given if value is None else value


def _quantities(given: Any) -> set[str] | None:
    """The quantities that a list or a text names; None where it names something else."""
    if isinstance(given, str):
        given = [part for part in given.split(",") if part.strip()]
    if not isinstance(given, list | tuple | set | frozenset):
        return None
    if not all(isinstance(part, str) for part in given):
        return None
    found = {"".join(part.lower().split()).strip("'\"`$.") for part in given}
    found -= {"none", "nothing"}
    return found if found <= set(QUANTITIES) else None


def _belief(kept: set[str]) -> str:
    if not kept:
        return "nothing-kept"
    if kept == set(QUANTITIES):
        return "all-kept"
    if "p(y)" not in kept:
        return "prevalence-left-out" if "p(y|x)" in kept else "nothing-kept"
    if "p(y|x)" in kept:
        return "covariate-shift"
    return "label-shift" if "p(x|y)" in kept else "image-kept"
