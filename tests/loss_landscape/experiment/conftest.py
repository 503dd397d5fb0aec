"""Made-up photographs, a runner without processes or files, and a network small enough to be
written down: its Jacobian, Gauss-Newton matrix and Hessian, dense and in float64."""

from __future__ import annotations

from collections import OrderedDict
from functools import lru_cache
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call, hessian, jacrev

from medxfer_lab import nets
from medxfer_lab.course.record import Record, fingerprint
from medxfer_lab.loss_landscape.experiment import material as m
from medxfer_lab.nets.photographs import Photographs
from medxfer_lab.training.inputs import log_loss


@pytest.fixture(scope="session", autouse=True)
def drawn_once():
    """The same draw is rendered once a session: nobody writes into a cohort."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(m, "draw", lru_cache(maxsize=16)(m.draw))
        yield


@pytest.fixture
def pictures(monkeypatch):
    """Noise in place of photographs: what is asked is who is shown what."""
    rng = np.random.default_rng(0)
    shown = rng.integers(0, 256, (2, 96, 32, 32)).astype(np.uint8)
    labels = rng.integers(0, 10, (2, 96))
    found = Photographs(shown[0], labels[0], shown[1], labels[1], "made up")
    monkeypatch.setattr(m, "photographs", lambda: found)
    m.source.cache_clear()
    m.source_training.cache_clear()
    yield found
    m.source.cache_clear()
    m.source_training.cache_clear()


@pytest.fixture(scope="session")
def runner():
    def run(jobs, function) -> dict[str, dict]:
        keys = [job.key for job in jobs]
        assert len(set(keys)) == len(keys)
        return {job.key: dict(function(**job.parameters)) for job in jobs}

    return run


@pytest.fixture
def as_record(tmp_path):
    """Results as they come back from disk; raises for what a record cannot hold."""

    def make(module, parameters: dict, results: dict) -> Record:
        record = Record(
            chapter="loss_landscape",
            experiment=module.NAME,
            data=module.DATA,
            device="cpu",
            preset="smoke",
            version=module.VERSION,
            fingerprint=fingerprint(parameters),
            results=results,
            parameters=parameters,
        )
        return Record.load(record.save(tmp_path / f"{module.NAME}.json"))

    return make


@pytest.fixture(scope="session")
def tiny():
    """(classes, seed) -> a float64 network of vectors, three blocks, and twelve examples."""

    def make(classes: int = 1, seed: int = 0) -> tuple[nets.Network, tuple[Tensor, Tensor]]:
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            layers = OrderedDict(
                conv1=nn.Linear(3, 4), act1=nn.Tanh(), conv4=nn.Linear(4, 3), act4=nn.Tanh()
            )
            head = nn.Linear(3, classes)
            network = nets.Network("tiny", nn.Sequential(layers), head, lambda x: x, None)
            x = torch.randn(12, 3, dtype=torch.float64)
            y = torch.arange(12) % max(2, classes)
        return network.double().eval(), (x, y)

    return make


@pytest.fixture(scope="session")
def dense():
    """(network, data) -> its matrices over all parameters, in the order of their names."""

    def make(network, data) -> SimpleNamespace:
        values = {n: p.detach().clone() for n, p in network.named_parameters()}
        sizes = {n: v.numel() for n, v in values.items()}
        (x, y), n = data, len(data[1])

        def logits(flat: Tensor) -> Tensor:
            parts = flat.split(list(sizes.values()))
            named = {k: p.view(values[k].shape) for k, p in zip(sizes, parts, strict=True)}
            return functional_call(network, named, (x,))

        flat = torch.cat([v.reshape(-1) for v in values.values()])
        jacobian, z = jacrev(logits)(flat), logits(flat)
        if z.ndim == 1:
            p = torch.sigmoid(z)
            curved = (p * (1 - p))[:, None, None]
            jacobian = jacobian[:, None]
        else:
            p = torch.softmax(z, 1)
            curved = torch.diag_embed(p) - p[:, :, None] * p[:, None]
        gauss_newton = torch.einsum("nkd,nkl,nle->de", jacobian, curved, jacobian) / n
        names = np.repeat(list(sizes), list(sizes.values()))
        return SimpleNamespace(
            flat=flat,
            loss=lambda flat: log_loss(logits(flat), y),
            gradient=torch.func.grad(lambda v: log_loss(logits(v), y))(flat),
            gauss_newton=gauss_newton,
            hessian=hessian(lambda v: log_loss(logits(v), y))(flat),
            block=lambda block: np.flatnonzero([name.startswith(f"{block}.") for name in names]),
        )

    return make
