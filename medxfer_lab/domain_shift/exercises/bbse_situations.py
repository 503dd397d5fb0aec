"""The six hospitals of the exercise ``when_bbse_fails``, and what is said to who misjudges one."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Hospital:
    """The numbers of one question, all in per cent but the scans' number.

    ``source`` and ``target`` prevalence, the false-positive rate on the old and the new scanner,
    what an overconfident network says where ``true`` are diseased, a threshold ``never`` reached.
    """

    source: int
    target: int
    old_rate: int
    new_rate: int
    says: int
    true: int
    never: int
    scans: int


@dataclass(frozen=True)
class Situation:
    """A target hospital; ``slips``: wrong verdict -> (diagnosis, what a tutor says to it)."""

    key: str
    text: str
    verdict: str
    because: str
    slips: dict[str, tuple[str, str]]


def hospital(seed: int) -> Hospital:
    """The seed's numbers."""
    rng = np.random.default_rng([seed, 22])
    return Hospital(
        source=int(rng.choice([20, 25, 30, 35])),
        target=int(rng.choice([50, 55, 60, 65])),
        old_rate=int(rng.choice([6, 8, 10, 12])),
        new_rate=int(rng.choice([30, 35, 40, 45])),
        says=int(rng.choice([97, 98, 99])),
        true=int(rng.choice([80, 85, 88])),
        never=int(rng.choice([95, 96, 97, 98])),
        scans=int(rng.choice([100_000, 200_000, 500_000])),
    )


def situations(seed: int) -> list[Situation]:
    """All six in the order of their letters."""
    h = hospital(seed)
    found = [*_label_shifts(h), *_useless_verdicts(h), *_other_shifts(h)]
    return [found[i] for i in np.random.default_rng([seed, 25]).permutation(len(found))]


def _label_shifts(h: Hospital) -> list[Situation]:
    return [
        Situation(
            "calibrated",
            f"The target gets more referrals of diseased patients: {h.target} % in place of "
            f"{h.source} %. The scanner and the criterion are the same.",
            "both",
            "This is label shift, and the network meets the conditions of both ways.",
            {
                "BBSE": (
                    "em-distrusted",
                    "This is label shift with calibrated probabilities, all that EM asks for.",
                ),
                "EM": (
                    "bbse-distrusted",
                    "BBSE works here: the rates of true and false positives are those of the "
                    "source, so the count of positives is an equation in the prevalence alone.",
                ),
                "neither": (
                    "label-shift-doubted",
                    "That $p(x)$ has moved is no objection: it moved as the prevalence did, since "
                    "$p(x|y)$ is kept. Both ways are made for this.",
                ),
            },
        ),
        Situation(
            "overconfident",
            "The target gets more referrals of diseased patients. But the network was never "
            f"calibrated: where it says {h.says} %, {h.true} % are diseased at the source.",
            "BBSE",
            "BBSE uses counts of positives only, so the scale of the scores does not matter; EM "
            "multiplies odds that are wrong at the source.",
            {
                "neither": (
                    "bbse-needs-calibration",
                    "BBSE does not read the probabilities. It needs the rates of true and false "
                    "positives at the threshold, and these are kept, calibrated or not.",
                ),
                "both": (
                    "em-without-calibration",
                    "EM multiplies the network's odds by the ratio of the priors. That is Bayes' "
                    "rule only if the odds are true at the source, and here they are not.",
                ),
                "EM": (
                    "conditions-swapped",
                    "The other way round: EM reads the probabilities and needs them calibrated, "
                    "BBSE only counts positives.",
                ),
            },
        ),
    ]


def _useless_verdicts(h: Hospital) -> list[Situation]:
    return [
        Situation(
            "silent",
            "The target gets more referrals of diseased patients. The network's probabilities tell "
            f"diseased from healthy, but a scan is called positive from {h.never} % on only, and "
            "none reaches that at either hospital.",
            "EM",
            "Nobody is called positive, diseased or healthy: the two rates are equal (0), the "
            "confusion matrix is singular, and the count says nothing. EM reads the probabilities.",
            {
                "neither": (
                    "verdicts-only",
                    "The verdicts say nothing, but the probabilities behind them do, and it is "
                    "these that EM reads.",
                ),
                "BBSE": (
                    "singular-matrix",
                    "Nobody is called positive, whatever the prevalence: BBSE solves 0 = 0.",
                ),
                "both": (
                    "auc-for-verdicts",
                    "That the network ranks patients well does not help BBSE, which sees verdicts: "
                    "here all are negative, whatever the prevalence.",
                ),
            },
        ),
        Situation(
            "constant",
            "The target gets more referrals of diseased patients. But by a fault in the export "
            f"every scan, at both hospitals, gets the probability {h.source} % and is called "
            "negative. (At the source that is calibrated.)",
            "neither",
            "Scores that are the same for all tell nothing: the confusion matrix is singular, and "
            "EM stays at its start, the source prevalence.",
            {
                "EM": (
                    "calibration-suffices",
                    "Calibrated, yes, but the same for all: every prevalence explains such scores "
                    "equally well, and EM stays where it started.",
                ),
                "BBSE": (
                    "no-information",
                    "The diseased and the healthy get the same verdict. The two rates are equal, "
                    "and the confusion matrix has no inverse.",
                ),
                "both": (
                    "label-shift-suffices",
                    "That $p(x|y)$ is kept does not suffice. Scores that are the same for all "
                    "carry nothing about the prevalence.",
                ),
            },
        ),
    ]


def _other_shifts(h: Hospital) -> list[Situation]:
    return [
        Situation(
            "scanner",
            "The target has another scanner, on which healthy tissue looks suspicious: of the "
            f"healthy, {h.new_rate} % are called positive, against {h.old_rate} % at the source. "
            f"You have {h.scans:,} unlabelled scans.",
            "neither",
            "$p(x|y=0)$ has changed. Both take the additional false positives for diseased "
            "patients, and more scans only make the wrong number precise.",
            {
                "both": (
                    "more-unlabelled-data",
                    "Many scans remove chance, not bias. The healthy no longer look as they did "
                    "at the source, and more scans only make the wrong number precise.",
                ),
                "BBSE": (
                    "old-rates-on-new-scanner",
                    "BBSE solves with the source's rate of false positives. It books the "
                    "additional ones as diseased.",
                ),
                "EM": (
                    "old-calibration-on-new-scanner",
                    "The probabilities were calibrated on the source's scanner. On the new one "
                    "healthy patients get high ones, and EM books them as diseased.",
                ),
            },
        ),
        Situation(
            "newcomer",
            "The target also sees a second disease, which the source never had. Most patients with "
            "it are called positive, though they lack the disease in question. Among the kinds of "
            "patients that the source had, the AUC is 0.97 at both hospitals.",
            "neither",
            "The second disease is a class of its own, absent from the source: the patients "
            "without the disease in question no longer look as they did.",
            {
                "both": (
                    "good-auc",
                    "A good AUC among the known kinds says nothing about the third. Its positives "
                    "are booked as the disease in question.",
                ),
                "BBSE": (
                    "third-class-in-two-equations",
                    "BBSE's equation knows two kinds of positives, true ones and the source's "
                    "false ones. Here there is a third kind.",
                ),
                "EM": (
                    "third-class-in-the-mixture",
                    "EM fits a mixture of the source's two classes. The newcomers lie in neither, "
                    "and it shares them out all the same.",
                ),
            },
        ),
    ]
