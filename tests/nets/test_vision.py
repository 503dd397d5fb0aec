"""torchvision through its one door, beside whatever torch is installed."""

import subprocess
import sys
import urllib.error

import pytest
import torch

from medxfer_lab.nets import load, vision


def test_a_fresh_process_can_use_torchvision_whatever_its_build():
    """In another process, for a first import can fail only once."""
    code = (
        "from medxfer_lab.nets import vision; vision.torchvision();"
        "import torchvision; from torchvision.transforms import v2;"
        "from torchvision.models import feature_extraction;"
        "print(torchvision.__version__, vision.operators_load())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split()[1] in ("True", "False")


def test_nothing_is_declared_where_the_operators_load(monkeypatch):
    monkeypatch.setattr(vision.importlib, "import_module", lambda name: name)
    monkeypatch.setattr(vision, "_declared", [])
    assert vision.torchvision() == "torchvision"
    assert vision._declared == []


def test_schemas_are_declared_once_and_kept_alive(monkeypatch):
    answers = iter([RuntimeError("operator torchvision::nms does not exist"), "fine"])

    def answer(name):
        found = next(answers)
        if isinstance(found, Exception):
            raise found
        return found

    class Library:
        def __init__(self, *_):
            self.schemas = []

        def define(self, schema):
            self.schemas.append(schema)

    monkeypatch.setattr(vision.importlib, "import_module", answer)
    monkeypatch.setattr(vision.torch.library, "Library", Library)
    monkeypatch.setattr(vision, "_declared", [])
    assert vision.torchvision() == "fine"
    assert len(vision._declared) == 1 and len(vision._declared[0].schemas) == 2


def test_other_errors_of_the_import_are_not_hidden(monkeypatch):
    def broken(name):
        raise RuntimeError("something else")

    monkeypatch.setattr(vision.importlib, "import_module", broken)
    with pytest.raises(RuntimeError, match="something else"):
        vision.torchvision()


@torch.no_grad()
@pytest.mark.parametrize("name", ["resnet18", "mobilenet_v3_small"])
def test_taking_apart_changes_nothing(name):
    models = vision.torchvision().models
    model = vision._initialise(models, name, seed=0).eval()
    x = torch.randn(2, 3, 64, 64)
    whole = model(x)
    body, head = vision._take_apart(model, name)
    assert torch.allclose(head(body.eval()(x)), whole, atol=1e-5)


@torch.no_grad()
def test_untrained_torchvision_network():
    first, again = (load("resnet18", "untrained", seed=2) for _ in range(2))
    assert first.digest == again.digest != load("resnet18", "untrained", seed=3).digest
    assert first.n_features == 512
    x = first.prepare(torch.full((2, 1, 40, 40), 0.5))
    assert x[0, :, 0, 0] == pytest.approx([0.06550218, 0.19642857, 0.41777778])
    assert first(x).shape == (2,)


def test_without_internet_the_message_says_what_works(monkeypatch):
    models = vision.torchvision().models

    def offline(name, weights):
        raise urllib.error.URLError("Name or service not known")

    monkeypatch.setattr(models, "get_model", offline)
    with pytest.raises(ConnectionError, match=r"resnet18 could not.*efficientnet_lite0"):
        load("resnet18", "imagenet")


def test_an_incomplete_download_is_named(monkeypatch):
    models = vision.torchvision().models

    def damaged(name, weights):
        raise RuntimeError("invalid hash value")

    monkeypatch.setattr(models, "get_model", damaged)
    with pytest.raises(ConnectionError, match="came incomplete"):
        load("resnet18")


def test_unknown_models_and_weights():
    with pytest.raises(ValueError, match="no network 'resnet17'"):
        load("resnet17")
    with pytest.raises(ValueError, match="no weights 'swag'"):
        load("resnet18", "swag")
    with pytest.raises(ValueError, match="give n_classes"):
        load("resnet18", "untrained", n_classes=None)
    with pytest.raises(ValueError, match="does not end in one linear layer"):
        load("squeezenet1_0", "untrained")
