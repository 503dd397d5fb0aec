"""One way to run them all: what a record rests on, runs that resume, refusals that explain."""

from __future__ import annotations

import numpy as np
import pytest

from medxfer_lab.course.record import Record, differences
from medxfer_lab.loss_landscape import experiment
from medxfer_lab.loss_landscape.experiment import EXPERIMENTS, curvature, material, spectra
from medxfer_lab.nets.photographs import CIFAR10_DIGEST


@pytest.fixture
def counted(monkeypatch):
    """The curvature experiment on random numbers for matrices: what is asked is who runs when."""
    seen, original = [], curvature.curvature_job

    def job(k, n, steps):
        seen.append(k)
        rng, out = np.random.default_rng(k), {}
        for place in curvature.PLACES:
            out[place] = rng.uniform(1, 2, (5, len(spectra.MEASURES)))
            out[f"loss_{place}"] = rng.uniform()
        return out

    def spectrum(k, n, steps, lanczos, starts):
        values = {f"{what}_{p}": np.ones((1, 2)) for p in curvature.HESSIAN_PLACES for what in WHAT}
        for i in range(3):
            values |= {f"loss_{i}": 1.0, f"units_{i}": np.ones((5, 5))}
        return values

    job.__module__, job.__qualname__ = original.__module__, original.__qualname__
    original = curvature.spectrum_job
    spectrum.__module__, spectrum.__qualname__ = original.__module__, original.__qualname__
    monkeypatch.setattr(curvature, "curvature_job", job)
    monkeypatch.setattr(curvature, "spectrum_job", spectrum)
    return seen


WHAT = ("nodes", "weights")


def run(folder) -> Record:
    (record,) = experiment.run("smoke", experiment="curvature", folder=folder, progress=False)
    return record


def test_a_resumed_run_is_the_same_run(counted, tmp_path):
    first = run(tmp_path)
    assert Record.load(tmp_path / "curvature.simulated.json") == first and counted == [0, 1]
    assert first.parameters == curvature.PRESETS["smoke"]
    assert first.seeds == {"training": material.TRAINING_SEED, "tuning": material.TUNING_SEED}
    (gone,) = (tmp_path / "curvature.simulated").glob("pretraining-1*.npz")
    gone.unlink()
    assert differences(first, run(tmp_path)) == [] and counted == [0, 1, 1]


@pytest.mark.parametrize("what", ["experiment", "material", "weights", "photographs"])
def test_other_circumstances_reuse_nothing(counted, tmp_path, monkeypatch, what):
    first = run(tmp_path).fingerprint
    if what == "experiment":
        monkeypatch.setattr(curvature, "VERSION", curvature.VERSION + 1)
    elif what == "material":
        monkeypatch.setattr(material, "VERSION", material.VERSION + 1)
    elif what == "weights":
        digests = material.digests() | {"small_cnn.7": "0" * 64}
        monkeypatch.setattr(material, "digests", lambda: digests)
    else:
        monkeypatch.setattr(experiment, "CIFAR10_DIGEST", "0" * 64)
    assert run(tmp_path).fingerprint != first and counted == [0, 1, 0, 1]


def test_every_record_rests_on_all_eight_pretrainings_and_the_photographs():
    for module in EXPERIMENTS.values():
        files = experiment.sources(module, module.DATA).files
        assert set(files) >= {f"small_cnn.{k}" for k in range(8)} | {"photographs", "material"}
        assert files["photographs"] == CIFAR10_DIGEST


def test_every_experiment_has_the_same_door():
    text = {"curvature", "steps", "forgetting", "rates", "tradeoff", "valley", "paths", "lite0"}
    assert set(EXPERIMENTS) >= text
    for name, module in EXPERIMENTS.items():
        assert (module.NAME, module.DATA) == (name, "simulated") and isinstance(module.VERSION, int)
        assert set(module.PRESETS) == {"smoke", "quick", "full"}
        full = module.PRESETS["full"]
        for preset in module.PRESETS.values():
            assert set(preset) == set(full)
            for key in ("sets", "n", "n_test", "pretrainings", "horizon", "pairs"):
                assert preset.get(key, 0) <= full.get(key, 0), (name, key)
        # Student's t over pretrainings: with seven degrees of freedom
        assert full.get("pretrainings", 8) == 8
        assert callable(module.run) and callable(module.recheck)


def test_unknown_names_are_refused_with_the_known_ones(tmp_path):
    with pytest.raises(ValueError, match="no experiment is called 'step'; known: curvature, ste"):
        experiment.run("smoke", experiment="step", folder=tmp_path)
