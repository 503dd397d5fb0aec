"""What every network of the course has in common: a body, a head, and its own way to be fed."""

from __future__ import annotations

import hashlib
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn

#: float rounding in a resize may leave [0, 1] by this much
_SLACK = 1e-4


class Network(nn.Module):
    """A body that turns prepared images into features, and a linear head on top.

    name: e.g. ``"small_cnn"``.
    body: :class:`torch.nn.Sequential` of named blocks; prepared images (n, C, h, w) -> (n, d).
    head: :class:`torch.nn.Linear`, d -> n_classes.
    normalise: grey or colour images in [0, 1] -> what this body was trained on.
    input_size: side in pixels that ``prepare`` resizes to; ``None`` leaves the size alone.
    channels: the channel counts that ``prepare`` accepts.
    """

    def __init__(
        self,
        name: str,
        body: nn.Sequential,
        head: nn.Linear,
        normalise: Callable[[Tensor], Tensor],
        input_size: int | None,
        channels: tuple[int, ...] = (1,),
    ) -> None:
        super().__init__()
        self.name = name
        self.body = body
        self.head = head
        self.input_size = input_size
        self.channels = channels
        self._normalise = normalise

    @property
    def blocks(self) -> tuple[str, ...]:
        """Prefixes of parameter names, from input to head: ``("body.conv1", ..., "head")``.

        Every parameter belongs to exactly one of them; pooling, which has none, is left out.
        """
        first = dict.fromkeys(name.split(".")[0] for name, _ in self.body.named_parameters())
        return (*(f"body.{block}" for block in first), "head")

    @property
    def n_features(self) -> int:
        """Dimension d of the features."""
        return self.head.in_features

    @property
    def n_classes(self) -> int:
        """Number of logits."""
        return self.head.out_features

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.head.weight.device

    @property
    def digest(self) -> str:
        """SHA-256 over the body's parameters as they are now: names, shapes, values.

        The head is left out (it is drawn anew for each task), and so are batch-norm statistics:
        where they are recomputed (untrained networks) their last bits depend on the machine.
        """
        digest = hashlib.sha256()
        for name, parameter in sorted(self.body.named_parameters()):
            digest.update(f"{name}{tuple(parameter.shape)}".encode())
            values = parameter.detach().cpu().contiguous().numpy()
            digest.update(np.ascontiguousarray(values, dtype="<f4").tobytes())
        return digest.hexdigest()

    def features(self, x: Tensor) -> Tensor:
        """Prepared images (n, C, h, w) -> features (n, d)."""
        return self.body(x)

    def split(self, block: str) -> tuple[nn.Sequential, nn.Sequential]:
        """The body up to and including ``block`` (e.g. ``"body.conv2"``), and what comes after it.

        Both share their weights with the network; one after the other they are its body. Raises
        ``ValueError`` for anything that is not a block of the body.
        """
        names = [f"body.{name}" for name, _ in self.body.named_children()]
        if block not in names:
            raise ValueError(
                f"the body of {self.name} has no block {block!r}; it has {', '.join(names)}"
            )
        end = names.index(block) + 1
        return self.body[:end], self.body[end:]

    def forward(self, x: Tensor) -> Tensor:
        """Prepared images (n, C, h, w) -> logits (n,) for one class, else (n, n_classes)."""
        logits = self.head(self.body(x))
        return logits[:, 0] if self.n_classes == 1 else logits

    def prepare(self, images: Tensor | np.ndarray, size: int | None = None) -> Tensor:
        """Images (n, C, H, W), float, in [0, 1] -> this network's input (n, C', h, w), float32.

        Resized to ``size`` (default: the network's own ``input_size``, if it has one), then put on
        the scale that the network was trained on. Raises ``ValueError`` for any other shape,
        type or range: a network fed with the wrong scale answers all the same, only badly.
        """
        images = check_images(images, self.channels)
        size = self.input_size if size is None else size
        if size is not None:
            images = resize(images, size)
        return self._normalise(images.to(self.device))

    def reset_head(self, seed: int, n_classes: int | None = None) -> None:
        """Replace the head by a fresh one (torch's own initialisation, drawn from ``seed``)."""
        n_classes = self.n_classes if n_classes is None else n_classes
        self.head = new_head(self.n_features, n_classes, seed).to(self.device)


def state_digest(module: nn.Module) -> str:
    """SHA-256 over a module's whole state: names, shapes, types and values, to the last bit.

    Parameters and buffers, batch-norm statistics and what ``state_dict`` leaves out included. It
    says whether two modules are in the same state on this machine; for what a record names, which
    must hold on any machine, see :attr:`Network.digest`.
    """
    digest = hashlib.sha256()
    state = [*module.named_parameters(remove_duplicate=False)]
    state += module.named_buffers(remove_duplicate=False)
    for name, tensor in sorted(state, key=lambda item: item[0]):
        digest.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}\n".encode())
        digest.update(raw_bytes(tensor))
    return digest.hexdigest()


def raw_bytes(tensor: Tensor) -> np.ndarray:
    """The bytes of a tensor's values, row by row, whatever its type, layout and device."""
    flat = tensor.detach().cpu().contiguous().reshape(-1)
    return flat.view(torch.uint8).numpy()


def new_head(n_features: int, n_classes: int, seed: int) -> nn.Linear:
    """A linear layer with torch's own initialisation, uniform in +-1/sqrt(n_features)."""
    if n_classes < 1:
        raise ValueError(f"n_classes is {n_classes}; a head needs at least 1")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return nn.Linear(n_features, n_classes)


def check_images(images: Tensor | np.ndarray, channels: tuple[int, ...] = (1, 3)) -> Tensor:
    """``images`` as float32 tensor (n, C, H, W) in [0, 1], or an error that says what to do."""
    if isinstance(images, np.ndarray):
        images = torch.from_numpy(np.ascontiguousarray(images))
    if not isinstance(images, Tensor):
        raise TypeError(f"images are {type(images).__name__}; expected a torch tensor or an array")
    shape, wanted = tuple(images.shape), " or ".join(map(str, channels))
    if images.ndim != 4:
        hint = "add the channel axis with images[:, None]" if images.ndim == 3 else "reshape them"
        raise ValueError(f"images have shape {shape}; expected (n, {wanted}, H, W): {hint}")
    if images.shape[1] not in channels:
        raise ValueError(f"images have {shape[1]} channels (shape {shape}); expected {wanted}")
    if 0 in images.shape[1:]:
        raise ValueError(f"images of shape {shape} have no pixels")
    if not images.is_floating_point():
        kind = str(images.dtype).removeprefix("torch.")
        raise ValueError(
            f"images are {kind}; expected floats in [0, 1]: divide 8-bit pictures by 255, "
            "normalise scanner units with imaging.normalize.percentile"
        )
    if images.numel():
        _check_range(images)
    return images.float()


def _check_range(images: Tensor) -> None:
    low, high = (float(value) for value in torch.aminmax(images.detach()))
    if not (np.isfinite(low) and np.isfinite(high)):
        raise ValueError("images hold NaN or infinity: clean them before they enter a network")
    if low < -_SLACK or high > 1 + _SLACK:
        end, value = ("reach", high) if high > 1 + _SLACK else ("go down to", low)
        raise ValueError(
            f"images {end} {value:.6g}; expected [0, 1]. Scanner units? Normalise first with "
            "imaging.normalize.percentile. Pictures of 0 to 255? Divide by 255. Already "
            "standardised? prepare() does that itself"
        )


def resize(images: Tensor, size: int) -> Tensor:
    """Images (n, C, H, W) -> (n, C, size, size).

    Shrinking averages over area exactly, so that nothing aliases: output pixel i is the mean of
    the input over [i s, (i + 1) s), s = H / size, pixels cut by the border counting by the part
    inside. Growing is bilinear.
    """
    if size < 1:
        raise ValueError(f"size is {size}; expected at least 1 pixel")
    height, width = images.shape[-2:]
    if (height, width) == (size, size):
        return images
    if min(height, width) < size:
        return nn.functional.interpolate(
            images, (size, size), mode="bilinear", antialias=True, align_corners=False
        )
    rows, columns = _overlap(height, size, images), _overlap(width, size, images)
    return rows @ images @ columns.T


def _overlap(n_in: int, n_out: int, like: Tensor) -> Tensor:
    """(n_out, n_in): the share of each input pixel in each output pixel; rows sum to 1."""
    edges = torch.arange(n_out + 1, dtype=torch.float64) * (n_in / n_out)
    starts = torch.arange(n_in, dtype=torch.float64)
    right = torch.minimum(edges[1:, None], starts + 1)
    left = torch.maximum(edges[:-1, None], starts)
    return ((right - left).clamp(min=0) * (n_out / n_in)).to(like)
