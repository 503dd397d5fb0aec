"""Small float64 networks, and their dense matrices by brute force (torch.func, no trick)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.func import functional_call, hessian, jacrev
from torch.nn import functional as F  # noqa: N812 (torch's own idiom)


class Logits(nn.Module):
    """A network whose single logit comes as (n,), as the course's networks give it."""

    def __init__(self, *layers: nn.Module) -> None:
        super().__init__()
        self.layers = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        logits = self.layers(x)
        return logits[:, 0] if logits.shape[1] == 1 else logits


@dataclass(frozen=True)
class Case:
    network: nn.Module
    inputs: Tensor
    labels: Tensor

    @property
    def parameters(self) -> dict[str, Tensor]:
        return {name: p.detach() for name, p in self.network.named_parameters()}

    def logits(self, values: dict[str, Tensor], inputs: Tensor | None = None) -> Tensor:
        return functional_call(self.network, values, (self.inputs if inputs is None else inputs,))

    def loss(self, values: dict[str, Tensor]) -> Tensor:
        logits = self.logits(values)
        if logits.ndim == 1:
            return F.binary_cross_entropy_with_logits(logits, self.labels)
        return F.cross_entropy(logits, self.labels)


def _norm(channels: int) -> nn.BatchNorm2d:
    """Batch normalisation with statistics that are not those of a fresh layer."""
    layer = nn.BatchNorm2d(channels)
    layer.running_mean.uniform_(-0.5, 0.5)
    layer.running_var.uniform_(0.5, 2)
    return layer


def _convolutions(norm: nn.Module, k: int) -> Logits:
    pool = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())
    return Logits(nn.Conv2d(1, 4, 3, bias=False), norm, nn.ReLU(), pool, nn.Linear(4, k))


NAMES = ("mlp_binary", "mlp_3", "group_norm", "batch_norm_3")


def case(name: str, n: int = 12) -> Case:
    """One of NAMES, the same every time."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(NAMES.index(name))
        image, k = "norm" in name, 3 if name.endswith("3") else 1
        if image:
            network = _convolutions(nn.GroupNorm(2, 4) if name == "group_norm" else _norm(4), k)
        else:
            network = Logits(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, k))
        inputs = torch.randn(n, 1, 6, 6) if image else torch.randn(n, 4)
        labels = torch.randint(0, max(k, 2), (n,))
    labels = labels if k > 1 else labels.double()
    return Case(network.double().eval(), inputs.double(), labels)


def _matrix(blocks: dict[str, dict[str, Tensor]], values: dict[str, Tensor]) -> Tensor:
    rows = [
        torch.cat([blocks[a][b].reshape(values[a].numel(), -1) for b in values], 1) for a in values
    ]
    return torch.cat(rows)


def dense_hessian(case: Case, values: dict[str, Tensor] | None = None) -> Tensor:
    """(d, d) of the mean log loss."""
    values = case.parameters if values is None else values
    return _matrix(hessian(case.loss)(values), values).detach()


def dense_jacobian(case: Case, values: dict[str, Tensor] | None = None) -> Tensor:
    """(n, K, d), K = 1 for a single logit."""
    values = case.parameters if values is None else values
    n = len(case.inputs)
    parts = jacrev(case.logits)(values)
    return torch.cat(
        [parts[name].reshape(n, -1, values[name].numel()) for name in values], -1
    ).detach()


def probabilities(case: Case) -> Tensor:
    """(n, K): p of each label; two columns for a single logit."""
    logits = case.logits(case.parameters).detach()
    if logits.ndim == 1:
        p = torch.sigmoid(logits)
        return torch.stack([1 - p, p], 1)
    return torch.softmax(logits, 1)


def dense_gauss_newton(case: Case, values: dict[str, Tensor] | None = None) -> Tensor:
    """(d, d): (1/n) sum_i J_i' C_i J_i."""
    jacobian, p = dense_jacobian(case, values), probabilities(case)
    curvature = torch.diag_embed(p) - p[:, :, None] * p[:, None, :]
    if jacobian.shape[1] == 1:
        curvature = curvature[:, 1:, 1:]
    return torch.einsum("nkd,nkl,nle->de", jacobian, curvature, jacobian) / len(p)


def symmetric(eigenvalues: list[float] | Tensor, seed: int = 0) -> Tensor:
    """A dense symmetric matrix with these eigenvalues and random eigenvectors."""
    values = torch.as_tensor(eigenvalues, dtype=torch.float64)
    generator = torch.Generator().manual_seed(seed)
    random = torch.randn(len(values), len(values), dtype=torch.float64, generator=generator)
    vectors = torch.linalg.qr(random)[0]
    return vectors * values @ vectors.T
