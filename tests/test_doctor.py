"""The doctor: quiet about a sound environment, and each trouble in words a resident understands."""

import importlib.metadata
import os
import shutil
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
import torch

from medxfer_lab import doctor
from medxfer_lab.nets import efficientnet_lite0, small_cnn, vision


def finding(name: str) -> doctor.Finding:
    return doctor._guarded(name, doctor._CHECKS[name])


def test_this_environment_can_run_every_page(capsys, learner_home):
    findings = doctor.examine()
    assert [f.name for f in findings] == list(doctor._CHECKS)
    assert all(f.status in ("ok", "warning", "trouble") and f.words for f in findings)
    assert doctor.main() == 0
    printed = capsys.readouterr()
    assert "Every page can run here" in printed.out and printed.err == ""


def test_exit_status_is_1_with_trouble_and_the_remedy_is_printed(monkeypatch, capsys):
    monkeypatch.setattr(doctor, "_CHECKS", {"tea": lambda: ("trouble", "no tea", "boil water")})
    assert doctor.main() == 1
    out = capsys.readouterr().out
    assert "trouble  tea: no tea" in out and "what to do: boil water" in out
    assert "could not run: 1 to mend" in out


def test_warnings_alone_do_not_fail(monkeypatch, capsys):
    monkeypatch.setattr(doctor, "_CHECKS", {"tea": lambda: ("warning", "cold tea", "")})
    assert doctor.main() == 0
    assert "1 worth knowing" in capsys.readouterr().out


def test_a_check_that_breaks_is_a_finding(monkeypatch):
    def broken():
        raise OSError("libgomp.so.1: cannot open shared object file")

    monkeypatch.setattr(doctor, "_CHECKS", {"torch": broken})
    (found,) = doctor.examine()
    assert found.status == "trouble" and "libgomp" in found.words


def test_old_python(monkeypatch):
    monkeypatch.setattr(doctor.sys, "version_info", (3, 9, 2))
    assert finding("Python").status == "trouble"
    assert "3.9.2 is too old" in finding("Python").words and "3.11" in finding("Python").remedy


@pytest.mark.parametrize(
    ("gone", "status", "words"),
    [
        ("nilearn", "trouble", "missing: nilearn"),
        ("sklearn", "trouble", "missing: scikit-learn"),
        ("jupyterlab", "warning", "jupyterlab (for `make lab`)"),
    ],
)
def test_missing_packages(monkeypatch, gone, status, words):
    there = doctor._is_there
    monkeypatch.setattr(doctor, "_is_there", lambda module: module != gone and there(module))
    found = finding("packages")
    assert (found.status, words in found.words) == (status, True)
    assert "pip install -c constraints.txt" in found.remedy


def test_every_needed_package_is_a_declared_dependency():
    declared = importlib.metadata.requires("medxfer-lab") or []
    names = {line.split(";")[0].strip() for line in declared if "extra ==" not in line}
    names = {"".join(c for c in n.split(">")[0].split("<")[0] if c not in " =!~") for n in names}
    assert set(doctor._NEEDED.values()) <= names


def test_torch_that_cannot_be_imported(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    assert finding("torch").status == "trouble"
    assert "cannot be imported" in finding("torch").words
    # the others say what they can, and none of them ends the examination
    assert len(doctor.examine()) == len(doctor._CHECKS)


def test_old_torch(monkeypatch):
    monkeypatch.setattr(torch, "__version__", "2.3.1")
    assert finding("torch").status == "trouble" and "2.3.1 is too old" in finding("torch").words


@pytest.mark.parametrize(
    ("versions", "loads", "status", "words"),
    [
        (("2.13.0+cpu", "0.28.0"), True, "ok", "torchvision 0.28.0 beside torch 2.13.0+cpu"),
        (("2.13.0+cpu", "0.28.0"), False, "ok", "a build for CUDA beside a torch without it"),
        (("2.13.0", "0.26.0"), True, "warning", "do not belong together (0.28 would)"),
    ],
)
def test_torch_against_torchvision(monkeypatch, versions, loads, status, words):
    found = dict(zip(("torch", "torchvision"), versions))
    monkeypatch.setattr(doctor.importlib.metadata, "version", found.__getitem__)
    monkeypatch.setattr(vision, "operators_load", lambda: loads)
    result = finding("torchvision")
    assert result.status == status and words in result.words


def test_torchvision_that_cannot_be_imported(monkeypatch):
    def broken():
        raise ImportError("undefined symbol: _ZN3c10")

    monkeypatch.setattr(vision, "operators_load", broken)
    found = finding("torchvision")
    assert found.status == "trouble" and "undefined symbol" in found.words
    assert 'pip install "torchvision==0.' in found.remedy


@pytest.mark.parametrize(
    ("build", "driver", "hidden", "status", "words"),
    [
        (None, False, None, "ok", "built without CUDA and no driver"),
        (None, True, None, "warning", "this torch is built without CUDA"),
        ("12.8", False, None, "ok", "no NVIDIA driver on this machine"),
        ("12.8", True, None, "warning", "torch finds no device"),
        ("12.8", True, "", "warning", "CUDA_VISIBLE_DEVICES='' hides it"),
    ],
)
def test_no_gpu_and_why(monkeypatch, build, driver, hidden, status, words):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    monkeypatch.setattr(torch.version, "cuda", build)
    monkeypatch.setattr(torch.version, "hip", None, raising=False)
    monkeypatch.setattr(doctor, "_has_nvidia_driver", lambda: driver)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if hidden is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", hidden)
    found = finding("GPU")
    assert found.status == status and words in found.words
    assert "processor" in found.words


def test_a_gpu_is_named(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda index: "Some GPU")
    assert finding("GPU").status == "ok" and "Some GPU" in finding("GPU").words


def test_damaged_and_missing_weights(monkeypatch, tmp_path):
    for seed in small_cnn.CHECKPOINTS:
        for path in (
            small_cnn.checkpoint_path(seed),
            small_cnn.checkpoint_path(seed).with_suffix(".json"),
        ):
            shutil.copy(path, tmp_path)
    monkeypatch.setattr(small_cnn, "FOLDER", tmp_path)
    assert finding("weights").status == "ok"
    small_cnn.checkpoint_path(0).write_bytes(b"cut short")
    small_cnn.checkpoint_path(1).unlink()
    found = finding("weights")
    assert found.status == "trouble"
    assert "photographs.0.safetensors do not match" in found.words
    assert "photographs.1.safetensors are missing" in found.words
    assert "photographs.2" not in found.words


def test_missing_imagenet_weights(monkeypatch, tmp_path):
    monkeypatch.setattr(efficientnet_lite0, "weights_file", lambda: tmp_path / "gone.pth")
    found = finding("weights")
    assert found.status == "trouble" and "ImageNet weights gone.pth are missing" in found.words


def test_no_write_access(monkeypatch, tmp_path):
    monkeypatch.setenv("MEDXFER_HOME", str(tmp_path / "not" / "yet" / "there"))
    assert finding("write access").status == "ok"
    assert not (tmp_path / "not").exists()  # looking leaves no traces
    monkeypatch.setattr(doctor, "_may", lambda folder: "there" not in str(folder))
    found = finding("write access")
    assert found.status == "warning" and "only as long as the session" in found.words
    monkeypatch.setattr(doctor, "_may", lambda folder: "there" in str(folder))
    assert "cannot refresh the records" in finding("write access").words


def test_a_folder_that_refuses_files(monkeypatch, tmp_path):
    assert doctor._may(tmp_path)

    def refuse(**_):
        raise PermissionError("Permission denied")

    monkeypatch.setattr(doctor.tempfile, "TemporaryFile", refuse)
    assert not doctor._may(tmp_path)


def test_no_temporary_folder(monkeypatch):
    def none():
        raise FileNotFoundError("No usable temporary directory found")

    monkeypatch.setattr(doctor.tempfile, "gettempdir", none)
    assert finding("write access").status == "trouble"


@pytest.mark.parametrize(("gib", "status"), [(0.5, "trouble"), (2, "warning"), (8, "ok")])
def test_little_memory(monkeypatch, gib, status):
    monkeypatch.setattr(doctor, "_free_memory", lambda: gib * doctor.GIB)
    assert finding("memory").status == status
    assert f"{gib:.1f} GiB free" in finding("memory").words


def test_a_container_s_limits_count(monkeypatch, tmp_path):
    monkeypatch.setattr(doctor, "_CGROUP", tmp_path)
    free = psutil.virtual_memory().available
    assert doctor._free_memory() == pytest.approx(free, rel=0.2)
    files = {"memory.max": "3000000", "memory.current": "2500000", "cpu.max": "150000 100000"}
    for name, text in files.items():
        (tmp_path / name).write_text(text + "\n")
    (tmp_path / "memory.stat").write_text("anon 1000000\ninactive_file 400000\n")
    assert doctor._free_memory() == 900_000
    assert doctor._cores() <= 1.5
    (tmp_path / "memory.max").write_text("max\n")
    (tmp_path / "cpu.max").write_text("max 100000\n")
    assert doctor._free_memory() > 900_000
    affinity = getattr(os, "sched_getaffinity", None)
    assert doctor._cores() == (len(affinity(0)) if affinity else os.cpu_count())


@pytest.mark.parametrize(
    ("threads", "load", "policy", "status", "words"),
    [
        (1, 9.0, "", "ok", "uses 1 on 2 cores"),
        (2, 0.5, "", "ok", "uses 2 on 2 cores"),
        (2, 9.0, "", "warning", "busy"),
        (2, 9.0, "PASSIVE", "ok", "uses 2"),
        (8, 0.5, "", "warning", "more than there are"),
    ],
)
def test_thread_hazards(monkeypatch, threads, load, policy, status, words):
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads)
    monkeypatch.setattr(doctor, "_cores", lambda: 2)
    monkeypatch.setattr(doctor, "_load", lambda: load)
    monkeypatch.setenv("OMP_WAIT_POLICY", policy)
    found = finding("threads")
    assert found.status == status and words in found.words
    assert status == "ok" or "OMP_NUM_THREADS=1" in found.remedy


def test_the_doctor_imports_nothing_heavy():
    code = "import sys; from medxfer_lab import doctor; print('torch' in sys.modules)"
    root = Path(doctor.__file__).parents[1]
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, cwd=root
    )
    assert done.stdout.strip() == "False", done.stderr
