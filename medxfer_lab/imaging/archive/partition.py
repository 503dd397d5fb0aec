"""Cutting a cohort into parts without cutting a patient in two."""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components
from torch import Tensor

from medxfer_lab.imaging.archive.errors import ArchiveError
from medxfer_lab.imaging.cohort import Cohort

NEAR = 0.98  # correlation of two pictures of 16 x 16 from which they count as nearly the same
NEAR_LIMIT = 6000  # images among which near-duplicates are looked for


class PatientsUnknown(UserWarning):
    """Images without patient ids were split: one patient may be on both sides."""


@dataclass(frozen=True)
class Split:
    """parts: cohorts by name; index: name -> (n_part,) places in the cohort that was split.

    notes: what whoever reports a figure from these parts must say.
    """

    parts: dict[str, Cohort]
    index: dict[str, Tensor]
    notes: tuple[str, ...] = ()

    def __getitem__(self, name: str) -> Cohort:
        return self.parts[name]

    def __str__(self) -> str:
        """One line a part (images, patients, images of each class), then the notes."""
        lines = []
        for name, part in self.parts.items():
            ids = part.patient_ids
            patients = "patients unknown" if ids is None else f"{len(ids.unique())} patients"
            per_class = _memberships(part.labels)[0].sum(0).astype(int).tolist()
            lines.append(f"{name}: {len(part)} images, {patients}, by class {per_class}")
        return "\n".join([*lines, *(f"note: {note}" for note in self.notes)])


def split(
    cohort: Cohort, fractions: Mapping[str, float], seed: int, near: float | None = None
) -> Split:
    """Cut ``cohort`` into parts such as {"train": .7, "val": .1, "test": .2}.

    The same seed gives the same parts.

    All images of a patient go to one part. Patients with many images and rare classes are placed
    first, each into the part that still lacks most of what they bring, so that every class is
    shared out in the given fractions as nearly as whole patients allow (for one image a patient
    and one label each: to within one image a class and part). Without patient ids identical images
    stay together, a note says what that leaves open, and :class:`PatientsUnknown` is warned; with
    ``near`` nearly equal images stay together as well (see :func:`near_duplicates`).

    Source: iterative stratification, Sechidis et al. 2011, doi:10.1007/978-3-642-23808-6_10, with
    patients in the place of single examples.
    """
    names, wanted = _checked(fractions)
    groups, notes = _groups(cohort, near)
    if groups.max() + 1 < len(names):
        raise ArchiveError(
            f"{int(groups.max()) + 1} patients cannot fill {len(names)} parts: ask for fewer parts"
        )
    part = _deal(groups, cohort.labels, wanted, seed)[groups]
    index = {name: torch.from_numpy(np.flatnonzero(part == p)) for p, name in enumerate(names)}
    empty = [name for name in names if len(index[name]) == 0]
    if empty:
        raise ArchiveError(
            f"part {empty[0]!r} came out empty with {int(groups.max()) + 1} patients: make its "
            "fraction larger"
        )
    if cohort.patient_ids is None:
        notes += _near_note(cohort.images, part)
        warnings.warn(" ".join(notes), PatientsUnknown, stacklevel=2)
    parts = {name: cohort.take(place) for name, place in index.items()}
    return Split(parts, index, notes)


def _checked(fractions: Mapping[str, float]) -> tuple[list[str], np.ndarray]:
    wanted = np.array(list(fractions.values()), dtype=float)
    if len(wanted) < 2 or not (wanted > 0).all() or abs(wanted.sum() - 1) > 1e-6:
        raise ArchiveError(
            f"fractions are {dict(fractions)}; expected at least two positive numbers that sum to 1"
        )
    return list(fractions), wanted / wanted.sum()


def _groups(cohort: Cohort, near: float | None) -> tuple[np.ndarray, tuple[str, ...]]:
    """(n,) number of the group that must stay together, from 0; and the notes on it."""
    if cohort.patient_ids is not None:
        return np.unique(cohort.patient_ids.numpy(), return_inverse=True)[1], ()
    groups = np.unique(_digests(cohort.images), return_inverse=True)[1]
    repeated = len(groups) - int(groups.max()) - 1
    notes = (
        f"No patient ids are known for {cohort.source}, so two images of one patient may be on "
        "different sides, and scores on the held-out part may be too good.",
        f"Images that repeat another one exactly were kept on its side: {repeated}.",
    )
    if near is None:
        return groups, notes
    pairs = np.array(near_duplicates(cohort.images, near), dtype=int).reshape(-1, 2)
    links = coo_matrix((np.ones(len(pairs)), groups[pairs].T), shape=(groups.max() + 1,) * 2)
    joined = connected_components(links, directed=False)[1][groups]
    return joined, (
        *notes,
        f"Nearly equal images (thumbnails correlate by {near} or more) were kept together: "
        f"{int(joined.max()) + 1} groups of {len(joined)} images, the largest of "
        f"{np.bincount(joined).max()}.",
    )


def _deal(groups: np.ndarray, labels: Tensor, wanted: np.ndarray, seed: int) -> np.ndarray:
    """(groups,) part of each group."""
    member, rarity = _memberships(labels)
    brings = np.zeros((groups.max() + 1, member.shape[1]))
    np.add.at(brings, groups, member)
    size = np.bincount(groups)
    brings = np.concatenate([brings, size[:, None]], 1)
    weight = np.append(rarity, 1e-6 / len(groups))  # of two equal parts the emptier one
    missing = wanted[:, None] * brings.sum(0)
    rng = np.random.default_rng(seed)
    chance, tie = rng.random(len(size)), rng.random(len(wanted)) * 1e-13
    rarest = np.where(brings[:, :-1] > 0, rarity, 0).max(1)
    part = np.empty(len(size), dtype=int)
    for group in np.lexsort((chance, -rarest, -size)):
        part[group] = np.argmax(missing @ (weight * brings[group]) + tie)
        missing[part[group]] -= brings[group]
    return part


def _memberships(labels: Tensor) -> tuple[np.ndarray, np.ndarray]:
    """(n, K) which classes each image has, and (K,) one over the number of images of each."""
    y = labels.numpy()
    if y.ndim == 2:
        member = np.concatenate([y > 0, ~(y > 0).any(1, keepdims=True)], 1)
    else:
        member = y[:, None] == np.unique(y)
    return member.astype(float), 1 / np.maximum(member.sum(0), 1)


def _digests(images: Tensor) -> np.ndarray:
    """(n,) a digest of each image's pixels."""
    return np.array(
        [hashlib.blake2b(i.contiguous().numpy().tobytes(), digest_size=16).digest() for i in images]
    )


def duplicates(first: Cohort, second: Cohort) -> list[tuple[int, int]]:
    """(i, j) for every image i of ``first`` that is, to the pixel, image j of ``second``."""
    places: dict[bytes, list[int]] = {}
    for j, digest in enumerate(_digests(second.images)):
        places.setdefault(bytes(digest), []).append(j)
    found = enumerate(_digests(first.images))
    return [(i, j) for i, digest in found for j in places.get(bytes(digest), [])]


def near_duplicates(images: Tensor, at_least: float = NEAR) -> list[tuple[int, int]]:
    """Pairs i < j of images whose thumbnails (16 x 16) correlate by ``at_least``.

    A screen, not a proof: frames of one sweep pass it, and so may two patients in the same pose.
    images: (n, C, H, W) or (n, C, D, H, W); channels and slices are averaged.
    """
    flat = images.float().flatten(1, -3).mean(1, keepdim=True)
    small = torch.nn.functional.adaptive_avg_pool2d(flat, 16).flatten(1).double()
    small = small - small.mean(1, keepdim=True)
    small = small / small.norm(dim=1, keepdim=True).clamp(min=1e-12)
    pairs = []
    for start in range(0, len(small), 512):
        alike = small[start : start + 512] @ small.T >= at_least
        for i, j in alike.nonzero().tolist():
            if start + i < j:
                pairs.append((start + i, j))
    return pairs


def _near_note(images: Tensor, part: np.ndarray) -> tuple[str, ...]:
    if len(images) > NEAR_LIMIT:
        return (f"Near-duplicates were not looked for among more than {NEAR_LIMIT} images.",)
    pairs = near_duplicates(images)
    across = [(i, j) for i, j in pairs if part[i] != part[j]]
    images_across = len({i for pair in across for i in pair})
    return (
        f"Pairs of nearly equal images (thumbnails correlate by {NEAR} or more) that were parted: "
        f"{len(across)}, {images_across} images in all.",
    )
