"""The name of a set of features: a digest of everything that their bits depend on.

Two calls share a key only if they feed the same numbers to the same arithmetic. What was measured
(one core, AVX2, 200 pictures of 64 px, largest features about 6) decides what belongs into it:

- *Batch size* and *number of threads* change the last bits of efficientnet_lite0 (up to 2e-5), a
  batch of one those of small_cnn (7e-7), and so does the memory layout of its weights (1e-6). They
  are part of the key.
- A picture's place in its batch and its neighbours there change nothing.

Hashing 1,000 pictures as the network is fed takes 0.06 s for efficientnet_lite0, its weights
0.01 s; computing the features 2.3 s.
"""

from __future__ import annotations

import functools
import hashlib
import importlib.util
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from medxfer_lab.nets.extract import inputs
from medxfer_lab.nets.network import Network, raw_bytes, state_digest

#: whose classes a network may be made of: their code is part of the key
_BY_VERSION = ("torch", "torchvision")
_BY_SOURCE = ("medxfer_lab.nets", "efficientnet_lite_pytorch")
#: what every module carries and eval() or a hook changes; state has a digest of its own
_BOOKKEEPING = frozenset(vars(nn.Module()))
#: variables that pick another arithmetic inside torch's libraries
_VARIABLES = ("ATEN_CPU_CAPABILITY", "DNNL_", "ONEDNN_", "MKL_CBWR", "MKL_ENABLE", "NVIDIA_TF32")
_LOADED = time.time()


class NotCacheable(ValueError):
    """What a network computes depends on something that no key can see."""


@torch.no_grad()
def feature_key(
    network: Network,
    images: Tensor | np.ndarray,
    batch_size: int = 64,
    size: int | None = None,
    block: str | None = None,
) -> str:
    """SHA-256 that names ``features(network, images, batch_size, size=size, block=block)``.

    Pictures enter as the network is fed, batch by batch: resizing and normalisation thereby count
    by what they do to these very pictures. The head does not count, nor, with ``block``, what
    lies behind the block: it may be trained while the key stays. Expects the network where it will
    compute; the mode it is in does not matter. Raises :class:`NotCacheable`.
    """
    body = network.body if block is None else network.split(block)[0]
    what = (
        code_version(),
        arithmetic(network.device),
        list(_structure(network, body)),
        state_digest(body),
        [(name, tensor.stride()) for name, tensor in body.named_parameters()],
        (block, size, str(getattr(images, "dtype", "")).removeprefix("torch.")),
    )
    digest = hashlib.sha256(repr(what).encode())
    for _, x in inputs(network, images, batch_size, size):
        digest.update(f"{tuple(x.shape)} {x.dtype} {x.stride()}\n".encode())
        digest.update(raw_bytes(x.permute(0, 2, 3, 1)))
    return digest.hexdigest()


def code_version() -> str:
    """Digest of the sources that compute features, and the versions of torch and torchvision.

    Raises :class:`NotCacheable` where a source was changed after it was loaded: the text on disk
    is then not what computes.
    """
    stats = [(path, path.stat()) for path in _sources()]
    if not stats:
        raise NotCacheable("the sources of medxfer_lab.nets are not on disk")
    for path, stat in stats:
        if max(stat.st_mtime, stat.st_ctime) > _LOADED:
            raise NotCacheable(f"{path.name} was changed after this process began: restart it")
    text = _text_digest(tuple((path, stat.st_mtime_ns, stat.st_size) for path, stat in stats))
    return f"{text} {torch.__version__} {torch.version.git_version} {_version('torchvision')}"


def _sources() -> list[Path]:
    found: list[Path] = []
    for name in _BY_SOURCE:
        spec = importlib.util.find_spec(name)  # looked up, not imported
        for folder in (spec and spec.submodule_search_locations) or ():
            found += sorted(Path(folder).rglob("*.py"))
    own = Path(__file__)
    return found if any(path.samefile(own) for path in found) else []


@functools.lru_cache(maxsize=4)
def _text_digest(files: tuple[tuple[Path, int, int], ...]) -> str:
    digest = hashlib.sha256()
    for path, _, _ in files:
        text = hashlib.sha256(path.read_bytes()).hexdigest()
        digest.update(f"{path.parent.name}/{path.name} {text}\n".encode())
    return digest.hexdigest()


@functools.cache
def _version(package: str) -> str:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version(package)
    except PackageNotFoundError:
        return "none"


def arithmetic(device: torch.device) -> tuple:
    """What decides the order and precision of sums: processor, threads, libraries, switches."""
    kind = device.type
    common = (
        _processor(kind),
        torch.get_float32_matmul_precision(),
        torch.get_default_dtype(),
        torch.are_deterministic_algorithms_enabled(),
        torch.is_autocast_enabled(kind) and torch.get_autocast_dtype(kind),
        sorted(item for item in os.environ.items() if item[0].startswith(_VARIABLES)),
    )
    if kind == "cuda":
        cudnn = torch.backends.cudnn
        tf32 = (torch.backends.cuda.matmul.allow_tf32, cudnn.allow_tf32)
        return (*common, cudnn.enabled, cudnn.version(), cudnn.benchmark, cudnn.deterministic, tf32)
    return (*common, torch.get_num_threads(), torch.backends.mkldnn.enabled)


@functools.cache
def _processor(kind: str) -> tuple[str, ...]:
    from medxfer_lab.course.machine import device_name

    return kind, device_name(kind), torch.__config__.show()


def _structure(network: Network, body: nn.Sequential) -> Iterator[tuple]:
    """What the body is made of: class and settings of every part, in order."""
    own = {k: v for k, v in vars(network).items() if k not in _BOOKKEEPING}
    own.pop("_normalise", None)  # counts by what it does
    yield _origin(type(network)), _plain(own, network.name)
    for path, part in body.named_modules(remove_duplicate=False):
        if part._forward_hooks or part._forward_pre_hooks:
            raise NotCacheable(f"'{path}' has a forward hook")
        own = {k: v for k, v in vars(part).items() if k not in _BOOKKEEPING}
        yield path, _origin(type(part)), _plain(own, path)


def _origin(kind: type) -> str:
    """A class by its full name, if its code is part of the key."""
    packages = _BY_VERSION + _BY_SOURCE
    if not any(f"{kind.__module__}.".startswith(f"{package}.") for package in packages):
        raise NotCacheable(
            f"the code of {kind.__module__}.{kind.__qualname__} is not part of the key (known: "
            f"{', '.join(packages)})"
        )
    return f"{kind.__module__}.{kind.__qualname__}"


def _plain(value: Any, where: str) -> Any:
    """A setting as something whose ``repr`` is its value; NotCacheable for what has none."""
    if value is None or isinstance(value, bool | int | float | str | bytes):
        return type(value).__name__, value
    if isinstance(value, torch.dtype | torch.device):
        return str(value)
    if isinstance(value, list | tuple):
        return type(value).__name__, [_plain(item, where) for item in value]
    if isinstance(value, dict):
        return sorted((repr(k), _plain(item, f"{where}.{k}")) for k, item in value.items())
    if isinstance(value, type):
        return _origin(value)
    raise NotCacheable(f"'{where}' is a {type(value).__name__}: no key can tell its value")
