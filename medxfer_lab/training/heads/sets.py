"""Training sets as rows of pools: one Gram matrix serves every set that is drawn from a pool."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from medxfer_lab.training.heads.gram import Gram, gram, submatrices

#: bytes that one chunk of sets may take, and one pool's Gram matrix
MEMORY = 512 * 2**20
#: on a CPU: bytes of a chunk beyond which fresh memory costs more than a longer batch saves, and
#: the fewest sets worth a batch (measured with `benchmarks/heads.py`)
COMFORT, FEWEST = 96 * 2**20, 4


@dataclass(frozen=True)
class Sets:
    """m training sets of n patients each.

    features: (B, N, d) pools, any float type. owner: (m,) pool of each set. index: (m, n) rows of
    the pool, or None where set i is the whole of pool i. gram: (N, N) of a single pool, or None.
    """

    features: Tensor
    owner: Tensor
    index: Tensor | None
    gram: Tensor | None = None

    @property
    def m(self) -> int:
        return len(self.owner)

    @property
    def n(self) -> int:
        return self.features.shape[1] if self.index is None else self.index.shape[1]

    @property
    def d(self) -> int:
        return self.features.shape[2]

    def chunks(self, bytes_per_set: int) -> Iterator[slice]:
        """Slices of sets that keep to the memory limit, and to less on a CPU."""
        most = max(1, MEMORY // bytes_per_set)
        if self.features.device.type == "cpu":
            most = min(most, max(FEWEST, COMFORT // bytes_per_set))
        parts = -(-self.m // most)
        size = -(-self.m // parts)
        for first in range(0, self.m, size):
            yield slice(first, min(first + size, self.m))

    def rows(self, part: slice, index: Tensor | None = None) -> Tensor:
        """(c, n, d) float64 features of a chunk's patients, or of other rows of their pools."""
        index = (None if self.index is None else self.index[part]) if index is None else index
        owner = self.owner[part]
        if index is None:
            return self.features[owner].double()
        return self.features[owner[:, None], index].double()

    def grams(self, part: slice) -> Gram:
        """The Gram matrices of a chunk."""
        if self.gram is None:
            return Gram(gram(self.rows(part)))
        return Gram(submatrices(self.gram, self.index[part]))

    def with_gram(self) -> Sets:
        """The same sets with their pool's Gram matrix, where it pays and fits the memory limit."""
        pools, size, _ = self.features.shape
        pays = self.index is not None and size**2 <= 3 * self.m * self.n**2
        if pools > 1 or not pays or 8 * size**2 > MEMORY:
            return self
        return replace(self, gram=gram(self.features.double())[0])

    def in_order(self, targets: Tensor) -> tuple[Sets, Tensor]:
        """Each set's patients in the pool's order, with their targets (m, n, C).

        A head does not feel the order; memory does: cutting a Gram matrix takes a third.
        """
        if self.index is None:
            return self, targets
        index, order = self.index.sort(dim=1)
        return replace(self, index=index), targets.gather(1, order[..., None].expand_as(targets))

    def weights(self, part: slice, duals: Tensor) -> Tensor:
        """X'A: (k, c, C, d) weights of duals (k, c, n, C)."""
        k, c, n, classes = duals.shape
        size = self.features.shape[1]
        if self.index is not None and len(self.features) == 1 and k * classes * size <= 64 * n:
            # one dense product over the pool beats gathering every set's rows
            spread = duals.new_zeros(k, c, classes, size)
            where = self.index[part][None, :, None].expand(k, c, classes, n)
            spread.scatter_add_(3, where, duals.transpose(2, 3))
            return spread @ self.features[0].double()
        flat = duals.permute(1, 0, 3, 2).reshape(c, k * classes, n)
        return (flat @ self.rows(part)).reshape(c, k, classes, self.d).transpose(0, 1)


def groups(pools: Tensor, rows: list[Tensor] | None) -> Iterator[tuple[list[int], Sets]]:
    """Sets of equal size together: their positions, and the sets."""
    if rows is None:
        m = len(pools)
        yield list(range(m)), Sets(pools, torch.arange(m, device=pools.device), None)
        return
    sizes: dict[int, list[int]] = {}
    for position, chosen in enumerate(rows):
        sizes.setdefault(len(chosen), []).append(position)
    for members in sizes.values():
        owner = torch.zeros(len(members), dtype=torch.long, device=pools.device)
        yield members, Sets(pools, owner, torch.stack([rows[i] for i in members]))
