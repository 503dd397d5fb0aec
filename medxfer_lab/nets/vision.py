"""The one module through which the course imports torchvision.

A torchvision wheel built for CUDA beside a torch without it cannot load its compiled operators,
and ``import torchvision`` dies with ``operator torchvision::nms does not exist``. The course needs
none of those operators. So where loading them fails, their two schemas are declared first, which
lets everything written in Python (models, transforms, feature extraction) work; calling ``nms``
itself still fails, as it must.
"""

from __future__ import annotations

import importlib
import types
from collections import OrderedDict

import torch
from torch import Tensor, nn

from medxfer_lab.nets.network import Network, new_head

_SCHEMAS = (
    "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
)
#: kept alive as long as the module: when the library object goes, its declarations go with it
_declared: list[torch.library.Library] = []


def torchvision() -> types.ModuleType:
    """The package torchvision, imported; works beside a torch that its operators do not fit."""
    try:
        return importlib.import_module("torchvision")
    except RuntimeError as error:
        if "torchvision::" not in str(error):
            raise
    _declare_operators()
    return importlib.import_module("torchvision")


def _declare_operators() -> None:
    """Declare the operators that torchvision's Python code refers to when it is imported."""
    if _declared:
        return
    library = torch.library.Library("torchvision", "FRAGMENT")
    for schema in _SCHEMAS:
        library.define(schema)
    _declared.append(library)


def operators_load() -> bool:
    """Whether torchvision's compiled operators work in this environment."""
    torchvision()
    return not _declared and importlib.import_module("torchvision.extension")._has_ops()


def load(
    name: str,
    weights: str | None = None,
    seed: int = 0,
    device: str | torch.device = "cpu",
    n_classes: int | None = 1,
) -> Network:
    """A torchvision classification model, e.g. ``"resnet18"``, as a :class:`Network`.

    weights: ``"imagenet"`` (the default; torchvision downloads them once, which needs internet)
    or ``"untrained"``. Other arguments as in :func:`medxfer_lab.nets.load`. Inputs are put on
    ImageNet's mean and standard deviation; grey is repeated to three channels; sizes stay.
    """
    weights = "imagenet" if weights is None else weights
    if weights not in ("imagenet", "untrained"):
        raise ValueError(f"{name} has no weights {weights!r}; there are imagenet, untrained")
    models = torchvision().models
    if name not in models.list_models(module=models):
        raise ValueError(
            f"no network {name!r}: the course has efficientnet_lite0 and small_cnn; torchvision "
            "adds its classification models, e.g. resnet18, densenet121"
        )
    keep_head = n_classes is None
    if keep_head and weights == "untrained":
        raise ValueError(f"{name} with weights 'untrained' has no pretrained head: give n_classes")
    model = _download(models, name) if weights == "imagenet" else _initialise(models, name, seed)
    body, head = _take_apart(model, name)
    if not keep_head:
        head = new_head(head.in_features, n_classes, seed)
    network = Network(name, body, head, normalise, None, (1, 3))
    return network.to(device).eval()


def _initialise(models: types.ModuleType, name: str, seed: int) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return models.get_model(name, weights=None)


def _download(models: types.ModuleType, name: str) -> nn.Module:
    """torchvision keeps the file in its cache and checks the digest in its name."""
    try:
        return models.get_model(name, weights=_first_imagenet(models, name))
    except OSError as error:  # no network, no such host, time-out, no space, no write access
        raise ConnectionError(
            f"the ImageNet weights of {name} could not be fetched ({error}). Without internet use "
            'load("efficientnet_lite0"), whose ImageNet weights are installed with the course'
        ) from error
    except RuntimeError as error:
        raise ConnectionError(
            f"the ImageNet weights of {name} came incomplete ({error}): try again"
        ) from error


def _first_imagenet(models: types.ModuleType, name: str):
    return next(w for w in models.get_model_weights(name) if w.name.startswith("IMAGENET1K"))


def _take_apart(model: nn.Module, name: str) -> tuple[nn.Sequential, nn.Linear]:
    """A model with one last linear layer -> (body without it, that layer)."""
    for attribute in ("fc", "classifier"):
        last = getattr(model, attribute, None)
        if isinstance(last, nn.Sequential) and isinstance(last[-1], nn.Linear):
            head, last[-1] = last[-1], nn.Identity()
            break
        if isinstance(last, nn.Linear):
            head = last
            setattr(model, attribute, nn.Identity())
            break
    else:
        raise ValueError(f"{name} does not end in one linear layer; take e.g. resnet18")
    return nn.Sequential(OrderedDict(model=model)), head


def normalise(images: Tensor) -> Tensor:
    """[0, 1] -> ImageNet's mean and standard deviation per channel, (n, 3, h, w)."""
    mean = images.new_tensor([0.485, 0.456, 0.406])[:, None, None]
    spread = images.new_tensor([0.229, 0.224, 0.225])[:, None, None]
    if images.shape[1] == 1:
        images = images.expand(-1, 3, -1, -1)
    return (images - mean) / spread
