"""Pretraining reproduces itself, learns, and writes weights with a card."""

import pytest
import torch
from photographs_for_tests import write_binary, write_npm

from medxfer_lab.nets import files
from medxfer_lab.nets.photographs import read_photographs
from medxfer_lab.nets.pretrain import Recipe, accuracy, augment, main, pretrain
from medxfer_lab.nets.small_cnn import checkpoint_path, small_cnn

SHORT = Recipe(epochs=3, batch_size=16)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_npm(tmp_path_factory.mktemp("photographs"))


@pytest.fixture
def one_thread():
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def test_same_seed_same_weights(folder):
    photographs = read_photographs(folder)
    first, again, other = (pretrain(photographs, seed, SHORT) for seed in (0, 0, 1))
    assert first.network.digest == again.network.digest != other.network.digest
    assert first.test_accuracy == again.test_accuracy
    assert first.network.digest != small_cnn(n_classes=10, seed=0).digest


def test_it_learns_what_can_be_learnt(folder):
    """Brightness follows the label: far above the one in ten of guessing."""
    result = pretrain(read_photographs(folder), 0, Recipe(epochs=40, batch_size=16))
    assert result.test_accuracy > 0.4
    assert result.train_loss < 1.5


def test_command_writes_weights_that_load(folder, tmp_path, capsys, one_thread, monkeypatch):
    monkeypatch.setenv("MEDXFER_QUIET", "0")
    arguments = ["--photographs", str(folder), "--seeds", "0", "2", "--epochs", "1", "--out"]
    assert main([*arguments, str(tmp_path / "a")]) == 0
    printed = capsys.readouterr()
    assert "seed 2: epoch 1 of 1" in printed.out and "not the photographs" in printed.out
    assert printed.err == ""
    written = sorted(path.name for path in (tmp_path / "a").iterdir())
    assert len(written) == 4 and all(name.startswith("small_cnn.photographs.") for name in written)
    tensors, card = files.read_weights(checkpoint_path(2, tmp_path / "a"))
    files.fill(small_cnn(n_classes=10), tensors, "pretrained")
    assert card["seed"] == 2 and not card["data"]["complete"] and card["recipe"]["epochs"] == 1
    assert main([*arguments, str(tmp_path / "b")]) == 0
    for seed in (0, 2):
        first, again = (checkpoint_path(seed, tmp_path / name) for name in "ab")
        assert first.read_bytes() == again.read_bytes()


def test_layout_does_not_matter(folder, tmp_path):
    binary = read_photographs(write_binary(tmp_path))
    short = Recipe(epochs=1, batch_size=16)
    npm = pretrain(read_photographs(folder), 0, short)
    assert pretrain(binary, 0, short).network.digest == npm.network.digest


def test_without_photographs_nothing_is_written(tmp_path, one_thread):
    with pytest.raises(ValueError, match="no photographs in"):
        main(["--photographs", str(tmp_path), "--out", str(tmp_path / "out")])
    assert list(tmp_path.iterdir()) == []


def test_accuracy_counts_and_leaves_the_mode():
    network = small_cnn(n_classes=3).train()
    with torch.no_grad():
        network.head.weight.zero_()
        network.head.bias.copy_(torch.tensor([0.0, 1.0, 0.0]))
    images = torch.zeros(4, 1, 32, 32, dtype=torch.uint8)
    assert accuracy(network, images, torch.tensor([1, 1, 0, 2])) == 0.5
    assert network.training


def test_augmentation_moves_and_mirrors_only():
    generator = torch.Generator().manual_seed(0)
    batch = torch.rand(64, 1, 32, 32)
    moved = augment(batch, 2, generator)
    assert moved.shape == batch.shape
    kinds = set()
    for before, after in zip(batch[:, 0], moved[:, 0]):
        padded = torch.nn.functional.pad(before[None, None], (2,) * 4, mode="reflect")[0, 0]
        for down in range(5):
            for right in range(5):
                window = padded[down : down + 32, right : right + 32]
                if torch.equal(window, after):
                    kinds.add((down, right, "as it was"))
                if torch.equal(window.flip(1), after):
                    kinds.add((down, right, "mirrored"))
    assert len(kinds) == 2 and len({kind[:2] for kind in kinds}) == 1
    assert torch.equal(augment(batch[:1], 0, generator).sum(), batch[:1].sum())
