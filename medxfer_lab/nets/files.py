"""Weights on disk: a safetensors file and beside it a card that says what it is.

Safetensors hold numbers only: opening one cannot run code, as opening a pickle can. The card is
JSON with at least ``sha256``, the digest of the weights file; a file that does not match its card
is refused.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import safetensors.torch
from safetensors import SafetensorError
from torch import Tensor, nn

#: where the weights that come with the package lie
FOLDER = Path(__file__).parent / "weights"
_REMEDY = "reinstall the package, or make it again with `medxfer pretrain`"


class WeightsError(ValueError):
    """A weights file that is missing, damaged, or not what its card says."""


def sha256(path: str | Path) -> str:
    """Hexadecimal SHA-256 of a file."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def card_path(path: str | Path) -> Path:
    """Where the card of a weights file lies: same name, ``.json``."""
    return Path(path).with_suffix(".json")


def write_weights(path: str | Path, tensors: dict[str, Tensor], card: dict) -> Path:
    """Write weights and card, each whole or not at all; the card gets the digest and the count.

    The same tensors give the same bytes. The weights go first: if the process dies in between, the
    old card no longer matches, and reading says so.
    """
    from medxfer_lab.course.atomic import write_atomically  # course draws; reading does without

    path = Path(path)
    tensors = {name: tensors[name].detach().cpu().contiguous() for name in sorted(tensors)}
    data = safetensors.torch.save(tensors)
    card = {
        **card,
        "file": path.name,
        "sha256": hashlib.sha256(data).hexdigest(),
        "parameters": sum(tensor.numel() for tensor in tensors.values()),
    }
    text = json.dumps(card, indent=2, sort_keys=True, allow_nan=False) + "\n"
    write_atomically(path, data)
    write_atomically(card_path(path), text)
    return path


def read_card(path: str | Path) -> dict:
    """The card of a weights file; :class:`WeightsError` where it is missing or not a card."""
    path = card_path(path)
    try:
        card = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise WeightsError(
            f"the card {path.name} is missing from {path.parent}: {_REMEDY}"
        ) from None
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise WeightsError(f"the card {path.name} is not readable ({error}): {_REMEDY}") from None
    if not isinstance(card, dict) or not isinstance(card.get("sha256"), str):
        raise WeightsError(f"the card {path.name} gives no 'sha256': {_REMEDY}")
    return card


def read_weights(path: str | Path) -> tuple[dict[str, Tensor], dict]:
    """Tensors by name, and the card, after checking the file against the card's digest."""
    path = Path(path)
    card = read_card(path)
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        raise WeightsError(
            f"the weights {path.name} are missing from {path.parent}: {_REMEDY}"
        ) from None
    found = hashlib.sha256(data).hexdigest()
    if found != card["sha256"]:
        raise WeightsError(
            f"the weights {path.name} do not match their card: SHA-256 {found[:12]}..., "
            f"the card says {card['sha256'][:12]}... ({len(data)} bytes; cut short, or edited?): "
            f"{_REMEDY}"
        )
    try:
        return safetensors.torch.load(data), card
    except SafetensorError as error:
        raise WeightsError(f"{path.name} is not a safetensors file ({error}): {_REMEDY}") from None


def fill(module: nn.Module, tensors: dict[str, Tensor], source: str) -> None:
    """Copy ``tensors`` into ``module``; names and shapes must agree, or nothing is copied."""
    own = module.state_dict()
    missing, extra = sorted(own.keys() - tensors.keys()), sorted(tensors.keys() - own.keys())
    if missing or extra:
        raise WeightsError(
            f"{source} is for another network: {len(missing)} tensors missing"
            f" {missing[:3]}, {len(extra)} unknown {extra[:3]}"
        )
    for name, tensor in own.items():
        if tensor.shape != tensors[name].shape:
            raise WeightsError(
                f"{source}: '{name}' has shape {tuple(tensors[name].shape)}, "
                f"the network expects {tuple(tensor.shape)}"
            )
    module.load_state_dict(tensors)
