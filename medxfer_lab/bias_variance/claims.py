"""What the text's section on the bias-variance bargain claims, and how a record decides it.

Margins were committed before the full run (see the date of each claim, and this file's history);
later commits may mend a bug in reading a record, never move a margin.

Effects are written so that 0 means none and positive favours the claim. Intervals are 95 %, over
independent training sets (each with its own initialisation or checkpoint, and order of batches),
test patients held fixed; comparisons are paired by training set.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

from medxfer_lab.course.claim import Claim, Verdict, judge, judge_all
from medxfer_lab.course.record import Record, records

COMMITTED = "2026-11-23"
SECTION = "Principles and Mechanisms, The Bias-Variance Bargain"
Records = Mapping[str, Record]


def _networks(found: Records) -> dict:
    return found["networks.simulated"].results


def _heads(found: Records) -> dict:
    return found["heads.simulated"].results


def _interval(leaf: dict, sign: float = 1.0) -> tuple[float, float, float]:
    """(effect, low, high) of a record's leaf; sign -1 turns 'first minus second' round."""
    ends = sorted((sign * leaf["low"], sign * leaf["high"]))
    return sign * leaf["mean"], ends[0], ends[1]


def _over_sizes(rows: dict[str, tuple[float, float, float]], margin: float) -> tuple[str, str]:
    """The verdict over several sizes, and a sentence that lists them."""
    each = {n: judge(low, high, margin) for n, (_, low, high) in rows.items()}
    listed = "; ".join(
        f"{n}: {e:+.3f} [{lo:+.3f}, {hi:+.3f}], {each[n]}" for n, (e, lo, hi) in rows.items()
    )
    return judge_all(each.values()), listed


SCRATCH_MARGIN = math.log(2)


def decide_scratch_variance(found: Records) -> Verdict:
    """log(variance at n = 32 / variance at n = 1,000), scratch; delta-method interval."""
    curve = _networks(found)["lesion"]["scratch"]
    few, many = (curve[n]["squared"]["variance"] for n in ("32", "1000"))
    effect = math.log(few["mean"] / many["mean"])
    # the two sizes share patients (sets are nested); adding their errors as if independent is
    # conservative if they err in the same direction, which shared patients make likely
    error = math.hypot(*((v["high"] - v["low"]) / 2 / v["mean"] for v in (few, many)))
    low, high = effect - error, effect + error
    share = few["mean"] / curve["32"]["squared"]["total"]["mean"]
    return Verdict(
        judge(low, high, SCRATCH_MARGIN),
        effect,
        low,
        high,
        "log ratio of variances, n = 32 over n = 1,000",
        f"at n = 32 variance is {share:.0%} of the whole squared error",
    )


LOW_BIAS_SHARE = 0.1


def decide_scratch_low_bias(found: Records) -> Verdict:
    """A tenth of eta's variance over patients minus scratch's squared bias; n = 32 and 100."""
    results = _networks(found)
    bound = LOW_BIAS_SHARE * results["variance_of_eta"]
    rows = {}
    for n in ("32", "100"):
        bias = results["teacher"]["scratch"][n]["squared"]["bias"]
        rows[f"n = {n}"] = (bound - bias["mean"], bound - bias["high"], bound - bias["low"])
    verdict, listed = _over_sizes(rows, 0.0)
    effect, low, high = rows["n = 32"]
    return Verdict(verdict, effect, low, high, "squared probability, n = 32 shown", listed)


VARIANCE_MARGIN = math.log(1.25)
SMALL_SIZES = ("16", "32", "100")


def decide_variance_cut(found: Records) -> Verdict:
    """log(variance of scratch / variance of full fine-tuning) at small n, lesion labels."""
    return _variance_cut(found, "full_fine_tuning")


def decide_variance_cut_anchored(found: Records) -> Verdict:
    """The same for L2-SP, whose tie to the pretrained weights is explicit."""
    return _variance_cut(found, "l2sp")


def _variance_cut(found: Records, strategy: str) -> Verdict:
    pairs = _networks(found)["lesion"]["paired"][f"{strategy}_minus_scratch"]
    rows = {f"n = {n}": _interval(pairs[n]["log_variance_ratio"], -1) for n in SMALL_SIZES}
    verdict, listed = _over_sizes(rows, VARIANCE_MARGIN)
    effect, low, high = rows["n = 32"]
    return Verdict(verdict, effect, low, high, "log ratio of variances, n = 32 shown", listed)


BIAS_MARGIN = 0.0


def decide_bias_price(found: Records) -> Verdict:
    """Squared bias of full fine-tuning minus that of scratch (teacher labels): is a price paid?"""
    pairs = _networks(found)["teacher"]["paired"]["full_fine_tuning_minus_scratch"]
    rows = {f"n = {n}": _interval(pairs[n]["bias"]) for n in SMALL_SIZES}
    verdict, listed = _over_sizes(rows, BIAS_MARGIN)
    effect, low, high = rows["n = 32"]
    return Verdict(verdict, effect, low, high, "squared probability, n = 32 shown", listed)


SHRINK_MARGIN = 0.03


def decide_advantage_shrinks(found: Records) -> Verdict:
    """Fine-tuning's AUC lead over scratch at n = 32, minus its lead at n = 1,000; lesion labels."""
    pairs = _networks(found)["lesion"]["paired"]["full_fine_tuning_minus_scratch"]
    few, many = pairs["32"]["auc"], pairs["1000"]["auc"]
    effect = few["mean"] - many["mean"]
    error = math.hypot((few["high"] - few["low"]) / 2, (many["high"] - many["low"]) / 2)
    low, high = effect - error, effect + error
    said = f"lead {few['mean']:+.3f} at n = 32, {many['mean']:+.3f} at n = 1,000"
    return Verdict(judge(low, high, SHRINK_MARGIN), effect, low, high, "AUC", said)


STAY_MARGIN = math.log(1.5)


def decide_stay_near(found: Records) -> Verdict:
    """log(distance at the largest n / distance at n = 32), fine-tuning, at matched training loss.

    The control decides how it is read: if scratch networks stay as near to *their* start, it is
    little data that keeps them there, and not a strong prior.
    """
    lesion = _networks(found)["lesion"]
    tuned, control = (_growth(lesion[s]) for s in ("full_fine_tuning", "scratch"))
    if tuned is None:
        return Verdict("undecided", None, None, None, "", "the matched loss was not reached")
    effect, low, high, largest = tuned
    verdict = judge(low, high, STAY_MARGIN)
    said = f"n = 32 against n = {largest}"
    if control is not None:
        growth, low_growth, high_growth, most = control
        said += f"; scratch from its own start, against n = {most}: {growth:+.2f} "
        said += f"[{low_growth:+.2f}, {high_growth:+.2f}]"
        if verdict == "holds" and control[1] > 0:
            verdict = "holds with limits"
            said += ", so few labels explain it whatever the start"
    if "distance.simulated" in found:  # a control added later: it qualifies, it does not decide
        rows = found["distance.simulated"].results["full_fine_tuning"]
        few, many = (rows[n]["matched_distance"]["mean"] for n in ("32", "500"))
        said += f"; at one learning rate for all sizes only {math.log(many / few):+.2f} (n = 500)"
    return Verdict(verdict, effect, low, high, "log ratio of distances", said)


def _growth(curve: dict) -> tuple[float, float, float, str] | None:
    """log distance ratio between n = 32 and the largest n at which most runs matched the loss."""
    usable = [n for n, c in curve.items() if "matched_distance" in c and _mostly(c)]
    usable = sorted(usable, key=int)
    if "32" not in usable or usable[-1] == "32":
        return None
    few, many = (curve[n]["matched_distance"] for n in ("32", usable[-1]))
    effect = math.log(many["mean"] / few["mean"])
    error = math.hypot(*((v["high"] - v["low"]) / 2 / v["mean"] for v in (few, many)))
    return effect, effect - error, effect + error, usable[-1]


def _mostly(cell: dict) -> bool:
    return cell["matched_reached"] >= 0.8 * len(cell["matched_sets"])


WORTH_MARGIN = math.log(2)


def decide_fraction_suffices(found: Records) -> Verdict:
    """log(scratch labels that match the AUC of n transferred labels / n), n = 32 and 100."""
    worth = _networks(found)["lesion"]["label_worth"]["full_fine_tuning"]
    rows, listed = {}, []
    for n in ("32", "100"):
        ends = [worth[n][key] for key in ("mean", "low", "high")]
        rows[f"n = {n}"] = tuple(math.log(_labels(end) / int(n)) for end in ends)
        listed.append(
            f"n = {n}: {_said(ends[0])} scratch labels [{_said(ends[1])}, {_said(ends[2])}]"
        )
    verdict, _ = _over_sizes(rows, WORTH_MARGIN)
    effect, low, high = rows["n = 32"]
    units = "log ratio of labels, n = 32 shown"
    return Verdict(verdict, effect, low, high, units, "; ".join(listed))


def _labels(end: float | str) -> float:
    """A censored end at the edge of what was measured: ">1000" is at least 1,000 labels."""
    return float(end[1:]) if isinstance(end, str) else end


def _said(end: float | str) -> str:
    return end if isinstance(end, str) else f"{end:.0f}"


FEATURES_MARGIN = 0.05


def decide_features(found: Records) -> Verdict:
    """AUC of a head on ImageNet features minus untrained, and minus pixels, at n = 100."""
    pairs = _heads(found)["lesion"]["paired"]
    rows = {
        f"against {b}": _interval(pairs[f"imagenet_minus_{b}"]["100"]["auc"])
        for b in ("untrained", "matched_scales", "pixels")
    }
    verdict, listed = _over_sizes(rows, FEATURES_MARGIN)
    effect, low, high = rows["against untrained"]
    return Verdict(verdict, effect, low, high, "AUC, against untrained shown", listed)


FORMULA_MARGIN = 0.05


def decide_formula(found: Records) -> Verdict:
    """Measured over predicted excess risk, standardised features, zero centre, every n."""
    return _formula(found["ridge.simulated"].results["standardised"]["zero"])


def decide_formula_natural(found: Records) -> Verdict:
    """The same for features on their natural scale; added after the first run, on new sets."""
    return _formula(found["ridge.simulated"].results["natural"]["zero"])


def _formula(rows: dict) -> Verdict:
    """Holds: every ratio within 5 % of 1. With limits: compatible with that at over half of n."""
    worst = max(rows, key=lambda n: abs(rows[n]["ratio"]["mean"] - 1))
    inside = [abs(r["ratio"]["mean"] - 1) <= FORMULA_MARGIN for r in rows.values()]
    touches = [
        r["ratio"]["low"] <= 1 + FORMULA_MARGIN and r["ratio"]["high"] >= 1 - FORMULA_MARGIN
        for r in rows.values()
    ]
    limits = "holds with limits" if 2 * sum(touches) > len(touches) else "does not hold"
    ratio = rows[worst]["ratio"]
    return Verdict(
        "holds" if all(inside) else limits,
        ratio["mean"],
        ratio["low"],
        ratio["high"],
        "measured / predicted",
        f"worst at n = {worst}; within the margin at {sum(inside)} of {len(inside)} sizes",
    )


CLAIMS: tuple[Claim, ...] = (
    Claim(
        "scratch_variance",
        "Training from scratch on few labels is a high-variance endeavour.",
        SECTION,
        "Variance of the predicted probability over training sets, small network, lesion labels: "
        "at n = 32 at least twice that at n = 1,000.",
        SCRATCH_MARGIN,
        COMMITTED,
        decide_scratch_variance,
    ),
    Claim(
        "scratch_low_bias",
        "Training from scratch on few labels has low bias.",
        SECTION,
        "Squared bias against the teacher's eta at n = 32 and 100: at most a tenth of the variance "
        "of eta over patients.",
        0.0,
        COMMITTED,
        decide_scratch_low_bias,
    ),
    Claim(
        "variance_cut",
        "A pretrained start cuts the variance (full fine-tuning).",
        SECTION,
        "Variance of scratch over that of full fine-tuning, n = 16, 32 and 100, lesion labels: at "
        "least 1.25.",
        VARIANCE_MARGIN,
        COMMITTED,
        decide_variance_cut,
    ),
    Claim(
        "variance_cut_anchored",
        "Being anchored by prior knowledge cuts the variance (L2-SP).",
        SECTION,
        "Variance of scratch over that of L2-SP, n = 16, 32 and 100, lesion labels: at least 1.25.",
        VARIANCE_MARGIN,
        COMMITTED,
        decide_variance_cut_anchored,
    ),
    Claim(
        "bias_price",
        "The variance cut is paid for with a small bias.",
        SECTION,
        "Squared bias of full fine-tuning minus that of scratch, teacher labels, n = 16, 32, 100: "
        "above zero.",
        BIAS_MARGIN,
        COMMITTED,
        decide_bias_price,
    ),
    Claim(
        "advantage_shrinks",
        "The advantage of transfer shrinks as labels grow.",
        SECTION,
        "Lead of fine-tuning over scratch in AUC: at least .03 larger at n = 32 than at n = 1,000.",
        SHRINK_MARGIN,
        COMMITTED,
        decide_advantage_shrinks,
    ),
    Claim(
        "stay_near",
        "Sparse data leave the parameters near the pretrained start.",
        SECTION,
        "Distance from the pretrained weights at matched training loss: at the largest n at least "
        "1.5 times that at n = 32; scratch networks and their own start are the control.",
        STAY_MARGIN,
        COMMITTED,
        decide_stay_near,
    ),
    Claim(
        "fraction_suffices",
        "With transfer a fraction of the data suffices.",
        SECTION,
        "Scratch labels that reach the AUC of n fine-tuned labels, n = 32 and 100: at least 2 n.",
        WORTH_MARGIN,
        COMMITTED,
        decide_fraction_suffices,
    ),
    Claim(
        "features_beat_controls",
        "ImageNet features carry over to scans.",
        SECTION,
        "AUC of a linear probe at n = 100, lesion labels: at least .05 above the untrained "
        "network, the matched scales and plain pixels.",
        FEATURES_MARGIN,
        COMMITTED,
        decide_features,
    ),
    Claim(
        "formula_predicts",
        "The random-design formula predicts the risk of heads on real features.",
        "this course's derivation",
        "Measured over predicted excess risk within 5 % of 1 at every n, Gaussian teacher labels, "
        "nothing fitted; features standardised one by one.",
        FORMULA_MARGIN,
        COMMITTED,
        decide_formula,
    ),
    Claim(
        "formula_predicts_natural",
        "The same formula predicts the risk when features keep their natural scale.",
        "this course's derivation; claim added after the first run showed heavy tails",
        "The same margin, on training sets of its own, features centred but not rescaled.",
        FORMULA_MARGIN,
        COMMITTED,
        decide_formula_natural,
    ),
)


def verdicts() -> dict[str, Verdict]:
    """Every claim's verdict from the records at hand."""
    found = records("bias_variance")
    return {claim.id: claim.verdict(found) for claim in CLAIMS}
