"""The reference page's figures: they draw what they say, and sliders change what is seen."""

from __future__ import annotations

import io
from itertools import product
from types import SimpleNamespace

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from matplotlib.figure import Figure

from medxfer_lab.imaging import CT, Radiograph, Ultrasound, View
from medxfer_lab.imaging.anatomy import CHANNELS
from medxfer_lab.imaging.scanners import FLAIR, RADIOGRAPH_FRONTAL, T1_POST
from medxfer_lab.reference import figures
from medxfer_lab.reference.experiment import real_pictures
from medxfer_lab.reference.figures import cast, explorers, head, results, speed
from medxfer_lab.reference.figures.gallery import _SIMULATED


@pytest.fixture(autouse=True)
def small(monkeypatch):
    """Few pixels: these tests are about what is drawn, not how finely."""
    monkeypatch.setattr(cast, "SLICE", 48)
    monkeypatch.setattr(cast, "VOLUME", 48)
    cast.seen_through.cache_clear()
    yield
    cast.seen_through.cache_clear()
    plt.close("all")


def pixels(fig: Figure) -> np.ndarray:
    buffer = io.BytesIO()
    fig.savefig(buffer, format="rgba", dpi=40)
    return np.frombuffer(buffer.getvalue(), dtype=np.uint8)


def words(fig: Figure) -> str:
    return " ".join(t.get_text() for t in fig.findobj(plt.Text))


def all_frames_differ(draw, *values) -> None:
    frames = [pixels(draw(*chosen)) for chosen in product(*values)]
    for i, first in enumerate(frames):
        for second in frames[i + 1 :]:
            assert not np.array_equal(first, second)


def test_explorers_change_with_every_slider():
    all_frames_differ(figures.mri_contrast, figures.SEQUENCES, (1.5, 3.0))
    all_frames_differ(figures.ct_dose, figures.DOSES, ("smooth", "sharp"))
    all_frames_differ(figures.ultrasound_depth, (3.5, 12.0), (40, 100))
    all_frames_differ(figures.same_patient, figures.EVERYWHERE)


@pytest.mark.parametrize(
    "draw",
    [
        lambda: figures.mri_contrast("FLAIR", 3.0),
        lambda: figures.ct_dose("3 million", "smooth"),
        lambda: figures.ultrasound_depth(5.0, 70),
        lambda: figures.same_patient("MRI T2"),
        figures.tissue_map,
        figures.people,
        figures.mri_artefacts,
        figures.tube_or_metastasis,
        figures.radiographs,
        lambda: figures.gallery("radiograph"),
    ],
)
def test_every_simulated_figure_says_so(draw):
    assert "simulated, not for clinical use" in words(draw()).lower()


def test_an_explorers_mri_carries_its_sequence_to_the_field():
    """FLAIR nulls fluid at either field: the bar of fluid stays at zero."""
    for field in (1.5, 3.0):
        bars = figures.mri_contrast("FLAIR", field).axes[1].patches
        assert bars[0].get_width() < 1e-6 < bars[1].get_width()


def test_noise_of_the_dose_explorer_follows_the_dose():
    """A hundredth of the photons, ten times the noise (in soft tissue, where counts are many)."""
    noise = {}
    for photons in ("300 thousand", "30 million"):
        ct = CT("x", photons=explorers.DOSES[photons], quantise=False)
        repeats = torch.stack([cast.scan(ct, seed) for seed in range(12)])
        middle = repeats[:, 20:28, 20:28]
        noise[photons] = float(middle.var(0).mean().sqrt())
    assert noise["300 thousand"] / noise["30 million"] == pytest.approx(10, rel=0.15)


def test_penetration_line_is_drawn_only_where_noise_wins():
    assert "noise" not in words(figures.ultrasound_depth(3.5, 70))
    assert "white matter = noise" in words(figures.ultrasound_depth(12.0, 70))


def test_monochrome1_is_shown_with_white_bones():
    picture = cast.scan(RADIOGRAPH_FRONTAL)
    low, high = explorers._greys(RADIOGRAPH_FRONTAL, picture)
    shown = (picture - low) / (high - low)  # 0 is black
    assert shown[0, 0] == 0  # air
    assert shown.max() > 0.5


def test_the_cast_has_what_the_page_says():
    fractions = cast.seen_through(View("axial", 240.0))[0]
    for tissue in ("lesion", "oedema", "enhancing", "haematoma", "calcification"):
        assert fractions[CHANNELS.index(tissue)].max() > 0.5, tissue
    assert not (cast.tumours().kind == 6).any()  # no calcification: ultrasound sees through
    kinds = {type(s).__name__ for s, _ in figures.EVERYWHERE.values()}
    assert kinds == {"MRI", CT.__name__, Ultrasound.__name__, Radiograph.__name__}


def test_slice_of_tube_and_metastasis_is_the_same_and_the_volume_is_not():
    ball, tube = (head._cuts(head._with_one_spot(mimic, 2)) for mimic in (0.0, 1.0))
    assert torch.equal(ball[0], tube[0])
    white = T1_POST.gain * T1_POST.signal("white_matter")
    assert (ball[1] - tube[1]).abs().max() > 0.5 * white


def test_artefacts_change_the_clean_picture():
    clean, *spoiled = figures.mri_artefacts().axes
    first = clean.images[0].get_array()
    for ax in spoiled:
        assert np.abs(ax.images[0].get_array() - first).max() > 5


@pytest.mark.parametrize("modality", ["MR", "CT", "ultrasound", "radiograph"])
def test_gallery_frames_tell_simulated_from_real(modality):
    fig = figures.gallery(modality)
    colours = [ax.spines["left"].get_edgecolor() for ax in fig.axes]
    half = len(colours) // 2
    assert len(set(colours[:half])) == 1 and len(set(colours[half:])) == 1
    assert colours[0] != colours[half]
    titles = [ax.get_title(loc="left") for ax in fig.axes]
    assert all(t.startswith("simulated") for t in titles[:half])
    assert all(t.startswith("real") for t in titles[half:])
    for region in figures.regions(modality):
        assert region in words(fig)


def test_gallery_without_the_extras_names_the_package(monkeypatch):
    monkeypatch.setattr(real_pictures, "path_of", lambda name: None)
    assert "needs the package\npydicom-data" in words(figures.gallery("CT"))


def test_gallery_of_an_unknown_modality():
    with pytest.raises(ValueError, match="modality is 'PET'; the gallery has MR, CT"):
        figures.gallery("PET")


def test_gallery_shows_the_scanners_it_names():
    named = _SIMULATED["MR"]["FLAIR"]
    assert (named.tr_ms, named.ti_ms) == (FLAIR.tr_ms, FLAIR.ti_ms)


def record(results_):
    return SimpleNamespace(results=results_)


def test_invariance_colours_follow_what_is_expected():
    cell = {"mean": 0.05, "low": 0.01, "high": 0.11}
    expected = {"p(x)": "kept", "p(y)": "changed", "p(y|x)": "no overlap: not comparable"}
    row = {column: cell | {"expected": word} for column, word in expected.items()}
    fig = results.invariance(record({"matrix": {"label": row}}))
    colours = [plt.matplotlib.colors.to_hex(p.get_facecolor()).upper() for p in fig.axes[0].patches]
    assert colours == [results.KEPT, results.CHANGED, results.UNSEEN]
    assert "0.05" in words(fig) and "0.01 to 0.11" in words(fig)


def test_confusion_shows_counts_row_by_truth():
    names = ["MR", "CT"]
    real = {"MR": {"MR": 7, "CT": 1}, "CT": {"MR": 2, "CT": 9}}
    simulated = {"MR": {"MR": 40, "CT": 0}, "CT": {"MR": 3, "CT": 37}}
    arm = {"held_out_scanners": {"confusion": simulated}, "scan_area": {"confusion": real}}
    fig = results.confusion(record({"modalities": names, "imagenet": arm}))
    texts = [[t.get_text() for t in ax.texts] for ax in fig.axes]
    assert texts == [["40", "0", "3", "37"], ["7", "1", "2", "9"]]


@pytest.fixture(scope="module")
def engine():
    """A record of the engine with few, invented rows: the figures read it, whatever it says."""

    def row(name, networks, threads, ratio, **more):
        return {"name": name, "networks": networks, "threads": threads, "ratio": ratio} | {
            "sizes": "some",
            "opponent": "bare loop",
            "ours_s": 0.5,
            "theirs_s": 0.5 * ratio,
            "largest_difference": 3e-9,
            "share": ratio / 100,
            "note": "",
        } | more  # fmt: skip

    rows = [
        row(name, m, threads, 1 + k + m / 10 / threads)
        for k, name in enumerate(speed.KINDS)
        for m in (1, 8, 32)
        for threads in (1, 2)
    ]
    rows.append(row("Lite0, the head only", 1, 2, 7.5, technique="cached activations"))
    missing = row("cnn", None, 2, 1.0, note="missing: pip install it") | {"ratio": None}
    promises = {
        "a": {"words": "this", "least": 6.0, "measured": 7.25, "met": True},
        "b": {"words": "that", "least": 2.5, "measured": 1.75, "met": False},
    }
    heads = [row("heads", 200, 2, 6.0), row("heads", 4, 2, 1.5, note="growth")]
    results = {"rows": {"training": rows, "loops": [missing], "heads": heads}, "targets": promises}
    return SimpleNamespace(results=results)


def test_growth_and_shares_draw_every_row(engine):
    fig = speed.growth(engine)
    for ax, threads in zip(fig.axes, (2, 1), strict=True):
        lines = [line for line in ax.lines if len(line.get_xdata()) == 3]
        assert len(lines) == len(speed.KINDS)
        for k, line in enumerate(lines):
            expected = [1 + k + m / 10 / threads for m in (1, 8, 32)]
            np.testing.assert_allclose(line.get_ydata(), expected)
    (ax,) = speed.shares(engine).axes
    assert len(ax.lines) == len(speed.KINDS)
    np.testing.assert_allclose(ax.lines[0].get_ydata(), [1 + m / 20 for m in (1, 8, 32)])


def test_tables_show_what_the_record_says(engine):
    table = speed.table(engine, "training", technique="cached activations")
    assert len(table.rows) == 1 and "<td>7.5</td>" in table._repr_html_()
    assert "3e-09" in table._repr_html_() and "Lite0" in repr(table)
    absent = speed.table(engine, "loops")._repr_html_()
    assert "missing: pip install it" in absent and "<td>1</td>" not in absent
    hidden = speed.table(engine, "loops", hide=("sizes", "note"))._repr_html_()
    assert "missing: pip install it" in hidden and "<td>some</td>" not in hidden
    assert [r["networks"] for r in speed.table(engine, "heads").rows] == [200]
    assert "<td>4</td><td>0.5</td><td>0.75</td><td>1.5</td>" in speed.series(engine)._repr_html_()
    words = speed.promises(engine)._repr_html_()
    assert words.count("<td>met</td>") == words.count("<td>missed</td>") == 1
    assert "<td>1.75</td>" in words and "<td>2.5</td>" in words
