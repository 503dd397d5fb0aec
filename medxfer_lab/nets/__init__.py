"""Networks and their pretrained weights.

network = load("small_cnn", "photographs")
x = features(network, images)  # images: (n, 1, H, W) float in [0, 1] -> (n, 64)
x = cached_features(network, images)  # the same bits; from disk if they were computed before
"""

from medxfer_lab.nets.extract import features
from medxfer_lab.nets.feature_cache import FeatureCache, cached_features
from medxfer_lab.nets.files import WeightsError
from medxfer_lab.nets.loading import WEIGHTS, load
from medxfer_lab.nets.network import Network

__all__ = [
    "WEIGHTS",
    "FeatureCache",
    "Network",
    "WeightsError",
    "cached_features",
    "features",
    "load",
]
