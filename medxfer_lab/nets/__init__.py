"""Networks and their pretrained weights.

network = load("small_cnn", "photographs")
x = features(network, images)  # images: (n, 1, H, W) float in [0, 1] -> (n, 64)
"""

from medxfer_lab.nets.extract import features
from medxfer_lab.nets.files import WeightsError
from medxfer_lab.nets.loading import WEIGHTS, load
from medxfer_lab.nets.network import Network

__all__ = ["WEIGHTS", "Network", "WeightsError", "features", "load"]
