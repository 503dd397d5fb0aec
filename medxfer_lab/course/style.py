"""One look for every figure: the same colour for the same strategy everywhere.

Colours are Okabe and Ito's palette and, where it ends, Paul Tol's muted one (both safe for the
common colour-vision deficiencies); what they cannot carry alone (direct labels, markers, line
styles) is given here as well.
"""

from __future__ import annotations

import matplotlib as mpl

#: strategy, baseline or quantity -> colour
COLOURS: dict[str, str] = {
    "scratch": "#D55E00",
    "linear_probe": "#0072B2",
    "full_fine_tuning": "#009E73",
    "l2sp": "#CC79A7",
    "partial_fine_tuning": "#E69F00",
    "discriminative": "#56B4E9",
    "gradual_unfreezing": "#882255",
    "lpft": "#332288",
    "ewc": "#AA4499",
    "normalisation_only": "#44AA99",
    "bias_only": "#999933",
    "low_rank": "#661100",
    "curvature_rates": "#4B0055",
    "untrained": "#7F7F7F",
    "matched_scales": "#B08D57",
    "pixels": "#000000",
    "prior": "#56B4E9",
    "posterior": "#0072B2",
    "bias": "#E69F00",
    "variance": "#56B4E9",
    "noise": "#999999",
    "source": "#0072B2",
    "target": "#D55E00",
    "deployed": "#000000",
    "known_prevalence": "#009E73",
    "bbse": "#E69F00",
    "em": "#CC79A7",
    "offset_20": "#56B4E9",
    "platt_100": "#882255",
    "oracle": "#7F7F7F",
    "covariate_shift": "#44AA99",
    "label_shift": "#999933",
    "concept_shift": "#AA4499",
    "known_weights": "#332288",
    "fitted_weights": "#CC6677",
    "replay": "#000000",
    "smaller_body_rates": "#0072B2",
    "early_stopping": "#117733",
    "ewc_empirical": "#5E2A55",
    "reversed": "#CC6677",
    "frozen_early": "#E69F00",
    # blocks by depth: viridis from the input on, so that darker is earlier in grey as well
    "conv1": "#440154",
    "conv2": "#414487",
    "conv3": "#2A788E",
    "conv4": "#22A884",
    "head": "#7AD151",
}

#: the same keys -> words for labels and legends
LABELS: dict[str, str] = {
    "scratch": "scratch",
    "linear_probe": "linear probe (pretrained)",
    "full_fine_tuning": "full fine-tuning",
    "l2sp": "L2-SP",
    "partial_fine_tuning": "partial fine-tuning",
    "discriminative": "discriminative rates",
    "gradual_unfreezing": "gradual unfreezing",
    "lpft": "linear probe, then fine-tuning",
    "ewc": "EWC",
    "normalisation_only": "normalisation only",
    "bias_only": "biases only",
    "low_rank": "low-rank adapters",
    "curvature_rates": "rates by curvature",
    "untrained": "linear probe (untrained)",
    "matched_scales": "linear probe (matched scales)",
    "pixels": "plain pixels",
    "prior": "prior",
    "posterior": "posterior",
    "bias": "squared bias",
    "variance": "variance",
    "noise": "noise",
    "source": "source",
    "target": "target",
    "deployed": "as deployed",
    "known_prevalence": "prevalence known",
    "bbse": "BBSE",
    "em": "EM",
    "offset_20": "offset, 20 labels",
    "platt_100": "Platt, 100 labels",
    "oracle": "oracle",
    "covariate_shift": "covariate shift",
    "label_shift": "label shift",
    "concept_shift": "concept shift",
    "known_weights": "exact weights",
    "fitted_weights": "fitted weights",
    "replay": "replay",
    "smaller_body_rates": "smaller body rates",
    "early_stopping": "early stopping",
    "ewc_empirical": "EWC, empirical Fisher",
    "reversed": "reversed rates",
    "frozen_early": "early blocks frozen",
    "conv1": "conv1",
    "conv2": "conv2",
    "conv3": "conv3",
    "conv4": "conv4",
    "head": "head",
}

#: the same keys -> marker, so that a black-and-white print still tells lines apart
MARKERS: dict[str, str] = {
    "scratch": "v",
    "linear_probe": "o",
    "full_fine_tuning": "s",
    "l2sp": "D",
    "partial_fine_tuning": "^",
    "discriminative": "<",
    "gradual_unfreezing": ">",
    "lpft": "p",
    "ewc": "d",
    "normalisation_only": "h",
    "bias_only": "1",
    "low_rank": "P",
    "curvature_rates": "X",
    "untrained": "x",
    "matched_scales": "+",
    "pixels": "*",
    "deployed": "o",
    "known_prevalence": "s",
    "bbse": "D",
    "em": "^",
    "offset_20": "<",
    "platt_100": "v",
    "oracle": "x",
    "covariate_shift": "o",
    "label_shift": "s",
    "concept_shift": "^",
    "known_weights": "o",
    "fitted_weights": "s",
    "replay": "*",
    "smaller_body_rates": "o",
    "early_stopping": "s",
    "ewc_empirical": "d",
    "reversed": ">",
    "frozen_early": "^",
    "conv1": "o",
    "conv2": "s",
    "conv3": "D",
    "conv4": "^",
    "head": "v",
}


def label(name: str) -> str:
    """The words for a key of :data:`COLOURS`; an unknown key is an error that lists the known."""
    if name not in LABELS:
        raise KeyError(f"no label for {name!r}; known: {', '.join(LABELS)}")
    return LABELS[name]


def apply() -> None:
    """Set matplotlib's defaults for the course (white ground, so that dark pages stay readable)."""
    mpl.rcParams.update(
        {
            "figure.facecolor": "white",
            "savefig.facecolor": "white",
            "axes.spines.top": False,
            "axes.spines.right": False,
            "axes.titlesize": 11,
            "axes.titleweight": "bold",
            "axes.titlelocation": "left",
            "axes.labelsize": 10,
            "font.size": 10,
            "legend.frameon": False,
            "legend.fontsize": 9,
            "lines.linewidth": 1.8,
            "lines.markersize": 5,
            "figure.constrained_layout.use": True,
        }
    )
