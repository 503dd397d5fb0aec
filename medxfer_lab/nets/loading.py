"""``load``: a network by name, with the weights asked for."""

from __future__ import annotations

import torch

from medxfer_lab.nets import files
from medxfer_lab.nets.efficientnet_lite0 import (
    efficientnet_lite0,
    read_imagenet,
    rescale_stages,
    with_imagenet,
)
from medxfer_lab.nets.initial import calibrate_batch_norm, matched_scales, texture
from medxfer_lab.nets.network import Network
from medxfer_lab.nets.small_cnn import CHECKPOINTS, checkpoint_path, small_cnn

#: what `load` knows: network -> weights
WEIGHTS: dict[str, tuple[str, ...]] = {
    "efficientnet_lite0": ("imagenet", "untrained", "matched_scales"),
    "small_cnn": ("photographs", "untrained", "matched_scales"),
}
#: small_cnn's checkpoints whose scales "matched_scales" takes in turn. Not len(CHECKPOINTS): there
#: were three when the first records were made, and a seed must go on meaning the same network.
_SCALES = 3
_SOURCE_CLASSES = {"imagenet": 1000, "photographs": 10}


def load(
    name: str,
    weights: str | None = None,
    seed: int = 0,
    device: str | torch.device = "cpu",
    n_classes: int | None = 1,
) -> Network:
    """A network in evaluation mode, on ``device``; nothing is downloaded.

    name: ``"efficientnet_lite0"`` (1,280 features) or ``"small_cnn"`` (64 features); any other
        name is looked up in torchvision (see :mod:`medxfer_lab.nets.vision`).
    weights: ``"imagenet"`` (efficientnet_lite0) or ``"photographs"`` (small_cnn) are the pretrained
        ones and the default; ``"untrained"`` is torch's own initialisation; ``"matched_scales"``
        is drawn at random with each pretrained tensor's mean and standard deviation.
    seed: of the initialisation, of the draw, and of the head. For small_cnn it also picks the
        pretrained checkpoint, 0 to 7 (``"matched_scales"``: the checkpoint seed modulo 3).
    n_classes: of a fresh head; ``None`` keeps the head that came with the pretrained weights.

    The same arguments give the same weights. Raises ``ValueError`` for unknown names and
    :class:`~medxfer_lab.nets.files.WeightsError` for missing or damaged files.
    """
    if name not in WEIGHTS:
        from medxfer_lab.nets import vision

        return vision.load(name, weights, seed, device, n_classes)
    weights = WEIGHTS[name][0] if weights is None else weights
    if weights not in WEIGHTS[name]:
        raise ValueError(f"{name} has no weights {weights!r}; there are {', '.join(WEIGHTS[name])}")
    if n_classes is None:
        n_classes = _source_classes(name, weights)
    build = _lite0 if name == "efficientnet_lite0" else _small
    return build(weights, seed, n_classes).to(device).eval()


def _source_classes(name: str, weights: str) -> int:
    if weights not in _SOURCE_CLASSES:
        raise ValueError(f"{name} with weights {weights!r} has no pretrained head: give n_classes")
    return _SOURCE_CLASSES[weights]


def _lite0(weights: str, seed: int, n_classes: int) -> Network:
    network = efficientnet_lite0(n_classes, seed)
    if weights == "imagenet":
        return with_imagenet(network)
    noise = texture(16, 96, seed=0)
    if weights == "untrained":
        rescale_stages(network, noise)
        return network
    body, _ = read_imagenet()
    files.fill(network.body, matched_scales(body, seed), "matched scales")
    calibrate_batch_norm(network.body, network.prepare(noise))
    return network


def _small(weights: str, seed: int, n_classes: int) -> Network:
    network = small_cnn(n_classes, seed)
    if weights == "untrained":
        return network
    if weights == "photographs" and seed not in CHECKPOINTS:
        raise ValueError(
            f"small_cnn has pretrained checkpoints for seeds {CHECKPOINTS}, not {seed}; for "
            "another head on the same checkpoint call reset_head(seed)"
        )
    path = checkpoint_path(seed % _SCALES if weights == "matched_scales" else seed)
    tensors, _ = files.read_weights(path)
    body = {key.removeprefix("body."): t for key, t in tensors.items() if key.startswith("body.")}
    if weights == "matched_scales":
        body = matched_scales(body, seed)
    files.fill(network.body, body, path.name)
    if weights == "photographs" and n_classes == _SOURCE_CLASSES[weights]:
        head = {key: tensors.get(f"head.{key}") for key in ("weight", "bias")}
        files.fill(network.head, {k: t for k, t in head.items() if t is not None}, path.name)
    return network
