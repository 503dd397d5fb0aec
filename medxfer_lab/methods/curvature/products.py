r"""Products of a vector with the Hessian or the Gauss-Newton matrix of the mean log loss.

With L(theta) = (1/n) sum_i -log p(y_i | f_i), f_i = f(x_i; theta) the logits, J_i = df_i/dtheta:

    H v = d/dtheta (grad L(theta) . v)                          Pearlmutter, Neural Comp. 1994
    G v = (1/n) sum_i J_i' C_i J_i v,  C_i = d^2 loss / df_i^2   Schraudolph, Neural Comp. 2002

and H = G + (1/n) sum_i sum_k (dloss/df_ik) d^2 f_ik/dtheta^2. For logits, C_i does not depend on
the label (p(1 - p); diag(p) - p p'), and G is the Fisher information (Martens, JMLR 2020, sec. 9).

The graph of the first derivative is built once and kept; each further product is one backward pass
through it. That is why there are operators: Lanczos asks for many products of one matrix.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn

from medxfer_lab.methods.curvature.functional import (
    Parameters,
    check_logits,
    chosen,
    log_loss,
    logits_of,
)

Vectors = tuple[Tensor, ...]
Product = Callable[[Vectors], Vectors]
#: what one part of the data contributes: leaves (n_parameters tensors), inputs, labels -> product
Graph = Callable[[Parameters, Tensor, Tensor | None], Product]


class Operator:
    """A symmetric matrix (d, d) that is known by its products: ``operator(vector)``.

    dimension: d, the number of parameters asked for. Vectors (d,) list them in the order of
    ``names``, each tensor flattened; `flatten` and `unflatten` go between the two forms. The
    arithmetic is done in the network's own precision, the result has the vector's.
    """

    def __init__(
        self,
        graph: Graph,
        values: dict[str, Tensor],
        inputs: Tensor,
        labels: Tensor | None,
        chunk_size: int | None,
    ) -> None:
        if len(inputs) == 0:
            raise ValueError("inputs are empty; a mean needs at least one example")
        if chunk_size is not None and chunk_size < 1:
            raise ValueError(f"chunk_size is {chunk_size}; expected at least 1, or None for all")
        self._graph, self._inputs, self._labels = graph, inputs, labels
        self._chunk = min(chunk_size or len(inputs), len(inputs))
        self._leaves = {name: v.clone().requires_grad_() for name, v in values.items()}
        self._kept: Product | None = None
        self.names = tuple(values)
        self.dimension = sum(v.numel() for v in values.values())

    def __call__(self, vector: Tensor) -> Tensor:
        """(d,) -> (d,)."""
        return self.flatten(self.apply(self.unflatten(vector))).to(vector.dtype)

    def apply(self, vectors: Parameters) -> dict[str, Tensor]:
        """The same for a dict name -> tensor; every tensor may have one more axis in front.

        (k, *shape) are k vectors: they share one graph for each part of the data.
        """
        stacked, many = self._stack(vectors)
        total = [torch.zeros_like(v) for v in stacked]
        for share, product in self._products():
            for k in range(len(stacked[0])):
                for t, out in zip(total, product(tuple(v[k] for v in stacked)), strict=True):
                    t[k] += share * out
        return {n: t if many else t[0] for n, t in zip(self.names, total, strict=True)}

    def flatten(self, tensors: Parameters) -> Tensor:
        """name -> tensor, to (d,)."""
        return torch.cat([tensors[name].reshape(-1) for name in self.names])

    def unflatten(self, vector: Tensor) -> dict[str, Tensor]:
        """(d,) to name -> tensor, of the parameters' shapes."""
        if vector.shape != (self.dimension,):
            raise ValueError(
                f"the vector has shape {tuple(vector.shape)}; expected ({self.dimension},)"
            )
        parts = vector.split([leaf.numel() for leaf in self._leaves.values()])
        return {n: p.view(v.shape) for p, (n, v) in zip(parts, self._leaves.items(), strict=True)}

    def _products(self) -> Iterator[tuple[float, Product]]:
        # one part: its graph is kept for the next product; several: memory is the bound
        if self._chunk == len(self._inputs):
            if self._kept is None:
                self._kept = self._graph(self._leaves, self._inputs, self._labels)
            yield 1.0, self._kept
            return
        for start in range(0, len(self._inputs), self._chunk):
            part = slice(start, start + self._chunk)
            labels = None if self._labels is None else self._labels[part]
            inputs = self._inputs[part]
            yield len(inputs) / len(self._inputs), self._graph(self._leaves, inputs, labels)

    def _stack(self, vectors: Parameters) -> tuple[Vectors, bool]:
        if set(vectors) != set(self.names):
            odd = sorted(set(vectors) ^ set(self.names))
            raise ValueError(f"vectors and parameters differ in {', '.join(odd)}")
        shapes = [(vectors[n].shape, leaf.shape) for n, leaf in self._leaves.items()]
        many = all(v[1:] == p and len(v) > len(p) for v, p in shapes)
        if not many and any(v != p for v, p in shapes):
            name, leaf = next(
                (n, p) for n, p in self._leaves.items() if vectors[n].shape != p.shape
            )
            raise ValueError(
                f"the vector of {name} has shape {tuple(vectors[name].shape)}; expected "
                f"{tuple(leaf.shape)}, or one more axis in front in all of them"
            )
        cast = (vectors[n].detach().to(leaf) for n, leaf in self._leaves.items())
        return tuple(v if many else v[None] for v in cast), many


def hessian_operator(
    network: nn.Module,
    inputs: Tensor,
    labels: Tensor,
    parameters: Parameters | None = None,
    chunk_size: int | None = None,
) -> Operator:
    """H of the mean log loss over (inputs, labels), at ``parameters``.

    network: inputs (n, ...) -> logits (n,) or (n, K); batch normalisation in evaluation mode.
    labels: (n,) in [0, 1], or whole numbers from 0 to K - 1.
    parameters: name -> tensor, a block of the network's own or other values for it; the rest is
        held as it stands, and H is the block's (d, d) part. ``None``: all, frozen ones too.
    chunk_size: examples held at once. ``None`` (all) keeps one graph for every later product; with
        less, each product builds its graphs again.
    """
    logits = logits_of(network)

    def graph(leaves: Parameters, x: Tensor, y: Tensor) -> Product:
        every = tuple(leaves.values())
        gradient = _derivative(log_loss(logits(leaves, x), y), every, create_graph=True)
        return lambda vectors: _derivative(gradient, every, vectors, retain_graph=True)

    return Operator(graph, chosen(network, parameters), inputs, labels, chunk_size)


def gauss_newton_operator(
    network: nn.Module,
    inputs: Tensor,
    parameters: Parameters | None = None,
    chunk_size: int | None = None,
) -> Operator:
    """G of the mean log loss over inputs: as `hessian_operator`, without labels. G >= 0."""
    logits = logits_of(network)

    def graph(leaves: Parameters, x: Tensor, _: None) -> Product:
        every, outputs = tuple(leaves.values()), logits(leaves, x)
        check_logits(outputs)
        # J'u is linear in u, so its derivative by u in the direction v is J v, whatever u is
        dual = torch.zeros_like(outputs, requires_grad=True)
        pulled = _derivative(outputs, every, (dual,), create_graph=True)

        def product(vectors: Vectors) -> Vectors:
            (pushed,) = _derivative(pulled, (dual,), vectors, retain_graph=True)
            curved = _logit_curvature(outputs.detach(), pushed) / len(outputs)
            return _derivative(outputs, every, (curved,), retain_graph=True)

        return product

    return Operator(graph, chosen(network, parameters), inputs, None, chunk_size)


def hessian_vector_product(
    network: nn.Module,
    inputs: Tensor,
    labels: Tensor,
    vectors: Parameters,
    parameters: Parameters | None = None,
    chunk_size: int | None = None,
) -> dict[str, Tensor]:
    """H v, for one vector or for k of them from one graph; see `hessian_operator`.

    vectors: name -> tensor of the parameter's shape, or (k, *shape) in all of them; so is the
    result. For one product after another keep the operator: it keeps the graph.
    """
    return hessian_operator(network, inputs, labels, parameters, chunk_size).apply(vectors)


def gauss_newton_vector_product(
    network: nn.Module,
    inputs: Tensor,
    vectors: Parameters,
    parameters: Parameters | None = None,
    chunk_size: int | None = None,
) -> dict[str, Tensor]:
    """G v, for one vector or for k of them from one graph; see `gauss_newton_operator`."""
    return gauss_newton_operator(network, inputs, parameters, chunk_size).apply(vectors)


def _logit_curvature(logits: Tensor, direction: Tensor) -> Tensor:
    """C_i u_i for each example: p(1 - p) u, or p * (u - p.u)."""
    if logits.ndim == 1:
        p = torch.sigmoid(logits)
        return p * (1 - p) * direction
    p = torch.softmax(logits, 1)
    return p * (direction - (p * direction).sum(1, keepdim=True))


def _derivative(
    outputs: Tensor | Vectors, by: Vectors, weights: Vectors | None = None, **options: bool
) -> Vectors:
    """torch.autograd.grad with zeros for what has no influence."""
    outputs = (outputs,) if isinstance(outputs, Tensor) else outputs
    weights = weights or (None,) * len(outputs)
    live = [(o, w) for o, w in zip(outputs, weights, strict=True) if o.requires_grad]
    if not live:
        return tuple(torch.zeros_like(b) for b in by)
    outputs, weights = zip(*live, strict=True)
    return torch.autograd.grad(outputs, by, weights, materialize_grads=True, **options)
