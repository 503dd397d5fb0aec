"""What the lab trains live is what the chapter's experiment trains, only all at once."""

from __future__ import annotations

import numpy as np
import torch

from medxfer_lab.bias_variance.experiment import lab, networks
from medxfer_lab.course.record import records
from medxfer_lab.training import predict


def test_networks_at_once_are_the_experiment_s_one_by_one():
    ward = lab.admit(pool=40, test=20, seed=5)
    record = records("bias_variance")["networks.simulated"]
    names = ("scratch", "full_fine_tuning")
    found = lab.networks(ward, names, record, [16, 32], sets=2)
    assert set(found) == set(names) and found["scratch"].shape == (2, 2, 20)
    for name, j, k in (("scratch", 0, 1), ("full_fine_tuning", 1, 0)):
        n = (16, 32)[j]
        index = ward.subsets(2, n)[k]
        settings = record.results["settings"]["lesion"][name][str(n)]
        done = networks.train(ward.pictures[index], ward.labels[index], name, settings, "lesion", k)
        expected = predict(done.network, done.network.prepare(ward.test_pictures))
        np.testing.assert_allclose(found[name][j, k], expected.numpy(), atol=1e-4)
    assert not np.allclose(found["scratch"][0, 0], found["scratch"][0, 1], atol=1e-2)
    assert torch.equal(ward.subsets(2, 16)[0], ward.subsets(2, 32)[0][:16])
