"""Features that were computed once are read from disk the next time, and never when stale.

A file is found by a key over everything its numbers depend on (`key`), so nothing has to be
invalidated: change a weight, a pixel or the code, and the key is another one. What lies in the
folder, and how much of it, is the business of `store`.
"""

from __future__ import annotations

import functools
import os
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from medxfer_lab.nets.extract import features, in_use
from medxfer_lab.nets.feature_cache.key import NotCacheable, feature_key
from medxfer_lab.nets.feature_cache.store import FeatureCache, default_folder, say
from medxfer_lab.nets.network import Network

__all__ = ["FeatureCache", "NotCacheable", "cached_features", "default_cache", "feature_key"]


def cached_features(
    network: Network,
    images: Tensor | np.ndarray,
    batch_size: int = 64,
    device: str | torch.device | None = None,
    progress: bool = False,
    size: int | None = None,
    block: str | None = None,
    *,
    cache: FeatureCache | None = None,
) -> np.ndarray:
    """What :func:`medxfer_lab.nets.features` returns for the same arguments, bit for bit.

    cache: where to look first and to leave what was computed; by default :func:`default_cache`.

    A network whose code cannot be vouched for (:class:`NotCacheable`) and a folder that cannot be
    written cost time, not correctness: the features are computed.
    """
    cache = default_cache() if cache is None else cache
    arguments = (network, images, batch_size, device)
    if cache is None:
        return features(*arguments, progress, size, block)
    try:
        with in_use(network, device):
            key = feature_key(network, images, batch_size, size, block)
    except NotCacheable as reason:
        say(f"features of {network.name} are not cached: {reason}", once=True)
        return features(*arguments, progress, size, block)
    found = cache.get(key)
    if found is None:
        found = features(*arguments, progress, size, block)
        cache.put(key, found)
    return found


def default_cache() -> FeatureCache | None:
    """The cache in the learner's own folder, or None where nothing may be left there.

    A silent process (MEDXFER_QUIET: site builds, tests) is no learner: it writes only into a
    folder that it was given by name (MEDXFER_HOME).
    """
    from medxfer_lab.course.jobfile import is_quiet

    if is_quiet() and not os.environ.get("MEDXFER_HOME"):
        return None
    return _cache_in(default_folder())


@functools.cache
def _cache_in(folder: Path) -> FeatureCache:
    """One object per folder, so that it counts hits and warns once."""
    return FeatureCache(folder)
