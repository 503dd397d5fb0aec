r"""The network of practice: curvature by stage, and how far its old answers drift.

EfficientNet-Lite0 comes with ImageNet weights and a head of 1,000 classes; the photographs that it
was trained on are not at hand, so its source loss cannot be measured. Two things can.

*Curvature of the target loss*, stage by stage, at the start of tuning: pretrained body, a head
fitted on its features. For one logit the Gauss-Newton matrix has the rank of the patients,

    G = (1/n) sum_i c_i j_i j_i',   c_i = p_i (1 - p_i),  j_i = gradient of patient i's logit,

so the spectrum of each stage's block is that of the (n, n) Gram matrix of sqrt(c_i/n) j_i, exactly,
from one gradient a patient.

*Drift*: while a copy is tuned on the target, the old head is kept and its answers on natural
photographs (CIFAR-10's test set, grey, grown to this network's size: not ImageNet) are compared
with what they were, by D(theta) = mean_i KL(p_i(theta_0) || p_i(theta)). No labels are needed. It
is 0 at theta_0 and never less, so its gradient there is 0: indeed

    grad D = -mean_i E_{y ~ p_i(theta_0)} grad log p_i(y | theta),

which at theta_0 is the mean score, 0. Differentiated once more, at theta_0, it is the Fisher
information F, for logits the Gauss-Newton matrix (Martens, JMLR 2020, sec. 9). So D = d'Fd/2 to
second order in the step d, and d'Fd = mean_i u_i' (diag(p_i) - p_i p_i') u_i with u_i = J_i d takes
one derivative in the direction d. Beside tuning's step: a random one of the same length in each
tensor.

Batch normalisation stays in evaluation mode, in tuning as well: its statistics do not move. There
is one pretraining: intervals are over sets of patients, heads and orders of batches, no more.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping

import numpy as np
import torch
from scipy import stats
from torch import Tensor, nn
from torch.func import functional_call, jvp

from medxfer_lab import metrics, nets
from medxfer_lab.course.jobs import Job
from medxfer_lab.loss_landscape.experiment import material as m
from medxfer_lab.loss_landscape.experiment.clusters import exponential
from medxfer_lab.methods import curvature
from medxfer_lab.training import predict, probe
from medxfer_lab.training.batches import draw_batches
from medxfer_lab.training.inputs import log_loss

NAME, DATA, VERSION = "lite0", "simulated", 1
PRESETS = {
    "smoke": {"sets": 2, "n": 24, "n_curved": 6, "photographs": 6, "size": 32, "looks": [1, 2]},
    "quick": {"sets": 2, "n": 100, "n_curved": 24, "photographs": 40, "size": 64, "looks": [1, 5]},
    "full": {"sets": 3, "n": 200, "n_curved": 48, "photographs": 100, "size": 96}
    | {"looks": [1, 5, 15, 60]},
}
STRENGTH = 0.01  # of the fitted head's penalty: mean log loss + strength/2 ||w||^2
RATES = {"slow": 2e-5, "usual": 1e-4}  # of Adam
BATCH = 16
CHUNK = 50  # photographs differentiated at once
FIRST_SEED = m.TRAINING_SEED + 6_000
QUANTITIES = ("top", "trace", "relative_top", "relative_trace")


def imagenet(n_classes: int | None = 1) -> nets.Network:
    """Lite0 with ImageNet weights, in evaluation mode; None keeps its 1,000 classes."""
    network = nets.load("efficientnet_lite0", "imagenet", n_classes=n_classes)
    return network.to(memory_format=torch.channels_last)


def target(network: nets.Network, n: int, seed: int, size: int) -> m.Set:
    """n patients of the target task at this network's scale, labels as floats."""
    cohort = m.draw(n, seed)
    return _arranged(network.prepare(m.pictures(cohort), size)), cohort.labels.float()


def photographs(network: nets.Network, n: int, size: int) -> Tensor:
    """The first n test photographs, prepared, (n, 3, size, size)."""
    shown = torch.from_numpy(m.photographs().test_images[:n])[:, None].float() / 255
    return _arranged(network.prepare(shown, size))


def _arranged(inputs: Tensor) -> Tensor:
    return inputs.contiguous(memory_format=torch.channels_last)


def curvature_job(j: int, n: int, n_curved: int, size: int) -> dict:
    """(stages, quantities) of the target loss on patients other than those of the fitted head."""
    network = imagenet()
    data = target(network, n, FIRST_SEED + 2 * j, size)
    curved = target(network, n_curved, FIRST_SEED + 2 * j + 1, size)
    fit_head(network, data)
    rows, norms = stage_spectra(network, curved[0])
    losses = {"loss_fitted": m.loss(network, data), "loss": m.loss(network, curved)}
    return {"rows": rows, "norms": norms} | losses


@torch.no_grad()
def fit_head(network: nets.Network, data: m.Set) -> None:
    """Set the head to the penalised logistic fit on the network's features."""
    features = torch.cat([network.features(part) for part in data[0].split(CHUNK)])
    fitted = probe(features, data[1], STRENGTH)
    network.head.weight.copy_(fitted.weights[0])
    network.head.bias.copy_(fitted.intercepts[0])


def stage_spectra(network: nets.Network, inputs: Tensor) -> tuple[np.ndarray, np.ndarray]:
    """(stages, 4) top eigenvalue and trace of G, raw and per relative change; squared norms.

    Stages are ``network.blocks``, each with all its parameters; for one logit.
    """
    stages = {name: curvature.block(network, name) for name in network.blocks}
    leaves = [p for part in stages.values() for p in part.values()]
    gradients, weights = [], []
    for x in inputs.split(1):
        logit = network(x)[0]
        found = torch.autograd.grad(logit, leaves)
        p = float(torch.sigmoid(logit.detach().double()))
        weights.append((p * (1 - p) / len(inputs)) ** 0.5)
        gradients.append([g.flatten() for g in found])
    rows, norms, begin = [], [], 0
    scale = torch.tensor(weights)[:, None]
    for part in stages.values():
        columns = range(begin, begin + len(part))
        begin += len(part)
        value = torch.cat([leaves[i].detach().flatten() for i in columns])
        j = scale * torch.stack([torch.cat([row[i] for i in columns]) for row in gradients])
        rows.append([*top_and_trace(j), *top_and_trace(j * value)])
        norms.append(float(value.double().square().sum()))
    return np.array(rows), np.array(norms)


def top_and_trace(rows: Tensor) -> tuple[float, float]:
    """Largest eigenvalue and trace of rows' rows (d, d), from the Gram matrix of rows (n, d)."""
    gram = (rows @ rows.T).double()
    return float(torch.linalg.eigvalsh(gram)[-1]), float(gram.trace())


def drift_job(j: int, rate: float, n: int, looks: list[int], size: int, n_photographs: int) -> dict:
    """(looks, 2) measured KL and forecast on photographs; the same of a random last step."""
    old, network = imagenet(None), imagenet()
    network.reset_head(j)
    data = target(network, n, FIRST_SEED + 2 * j, size)
    shown = photographs(old, n_photographs, size)
    answers = predict(old, shown)
    optimiser = torch.optim.Adam(network.parameters(), rate)
    index = draw_batches(n, BATCH, max(looks), seed=j).index
    begin = {name: p.detach() for name, p in old.body.named_parameters()}
    rows, losses, moved = [], [], []
    network.eval()
    for step, batch in enumerate(index, start=1):
        optimiser.zero_grad()
        log_loss(network(data[0][batch]), data[1][batch]).backward()
        optimiser.step()
        if step in looks:
            delta = {n: p.detach() - begin[n] for n, p in network.body.named_parameters()}
            rows.append(drift(old, delta, shown, answers))
            losses.append(m.loss(network, data))
            moved.append(_length(delta) / _length(begin))
    control = drift(old, random_like(delta, seed=j), shown, answers)
    return {"rows": np.array(rows), "random": np.array(control)} | {
        "losses": np.array(losses),
        "moved": np.array(moved),
    }


def drift(
    old: nets.Network, delta: Mapping[str, Tensor], inputs: Tensor, answers: Tensor
) -> tuple[float, float]:
    """Mean KL(old || moved) in nats, and half d'Fd; delta: the body's, name -> step.

    answers: (n, K) logits of the old network on inputs.
    """
    moved = copy.deepcopy(old)
    with torch.no_grad():
        for name, parameter in moved.body.named_parameters():
            parameter.add_(delta[name])
    return divergence(answers, predict(moved, inputs)), forecast(old, delta, inputs)


def divergence(first: Tensor, second: Tensor) -> float:
    """Mean over examples of KL(softmax(first) || softmax(second)), logits (n, K), nats."""
    p, q = (logits.double().log_softmax(1) for logits in (first, second))
    return float((p.exp() * (p - q)).sum(1).mean())


def forecast(network: nn.Module, delta: Mapping[str, Tensor], inputs: Tensor) -> float:
    """d'Fd/2 on inputs, nats; delta moves the body, the head stays."""
    values = {f"body.{n}": p.detach() for n, p in network.body.named_parameters()}
    steps = {f"body.{name}": step for name, step in delta.items()}
    total = 0.0
    for part in inputs.split(CHUNK):

        def logits(moving: dict[str, Tensor], part: Tensor = part) -> Tensor:
            return functional_call(network, moving, (part,))

        at, pushed = jvp(logits, (values,), (steps,))
        p, u = at.detach().double().softmax(1), pushed.detach().double()
        total += float(((p * u**2).sum(1) - (p * u).sum(1) ** 2).sum())
    return total / (2 * len(inputs))


def random_like(delta: Mapping[str, Tensor], seed: int) -> dict[str, Tensor]:
    """A random direction, as long as delta in every tensor."""
    generator = torch.Generator().manual_seed(seed)
    drawn = {n: torch.randn(d.shape, generator=generator).to(d) for n, d in delta.items()}
    return {n: d * (delta[n].norm() / d.norm()) for n, d in drawn.items()}


def _length(tensors: Mapping[str, Tensor]) -> float:
    return sum(float(t.double().square().sum()) for t in tensors.values()) ** 0.5


def run(parameters: dict, runner) -> dict:
    """Curvature by stage over sets; drift against its forecast at both rates."""
    p = parameters
    shared = {"n": p["n"], "size": p["size"]}
    sets = range(p["sets"])
    jobs = [Job(f"curvature-{j}", {"j": j, "n_curved": p["n_curved"]} | shared) for j in sets]
    curved = list(runner(jobs, curvature_job).values())
    looking = {"looks": p["looks"], "n_photographs": p["photographs"]}
    jobs = [
        Job(f"drift-{name}-{j}", {"j": j, "rate": rate} | looking | shared)
        for name, rate in RATES.items()
        for j in sets
    ]
    drifts = runner(jobs, drift_job)
    stages = [name.removeprefix("body.") for name in imagenet().blocks]
    return {
        "stages": stages,
        "curvature": curvature_summary(stages, curved),
        "drift": {
            name: drift_summary(p["looks"], [drifts[f"drift-{name}-{j}"] for j in sets])
            for name in RATES
        },
    }


def curvature_summary(stages: list[str], done: list[dict]) -> dict:
    """By stage: geometric means with intervals (over sets, of logs), and every set's values.

    depth_rank: Spearman's correlation of a quantity with depth, head left out, over sets.
    """
    rows = np.stack([job["rows"] for job in done])  # (sets, stages, quantities)
    out: dict = {"stages": {}, "depth_rank": {}}
    for s, stage in enumerate(stages):
        cell: dict = {"squared_norm": float(np.mean([job["norms"][s] for job in done]))}
        for q, name in enumerate(QUANTITIES):
            values = rows[:, s, q]
            cell[name] = {"values": [float(f"{v:.5g}") for v in values]} | exponential(
                np.log(values)
            )
        out["stages"][stage] = cell
    depth = np.arange(len(stages) - 1)
    for q, name in enumerate(QUANTITIES):
        ranks = [stats.spearmanr(depth, row[:-1, q]).statistic for row in rows]
        out["depth_rank"][name] = metrics.mean_interval(ranks).record()
    for name in ("loss_fitted", "loss"):
        out[name] = metrics.mean_interval([job[name] for job in done]).record()
    return out


def drift_summary(looks: list[int], done: list[dict]) -> dict:
    """At each look: measured, forecast and the geometric mean of measured/forecast, over sets."""
    rows = np.stack([job["rows"] for job in done])  # (sets, looks, 2)
    control = np.stack([job["random"] for job in done])  # (sets, 2)
    out: dict = {"looks": {}, "random": _against(control)}
    for i, step in enumerate(looks):
        cell = _against(rows[:, i])
        for key in ("losses", "moved"):
            cell[key] = metrics.mean_interval([job[key][i] for job in done]).record()
        out["looks"][step] = cell
    # tuning's last step against a random one as long
    out["tuned_over_random"] = exponential(np.log(rows[:, -1, 0] / control[:, 0]))
    return out


def _against(pairs: np.ndarray) -> dict:
    """pairs: (sets, 2), measured and forecast."""
    return {
        "measured": metrics.mean_interval(pairs[:, 0]).record(),
        "forecast": metrics.mean_interval(pairs[:, 1]).record(),
        "ratio": exponential(np.log(pairs[:, 0] / pairs[:, 1])),
        "sets": [[float(f"{v:.5g}") for v in pair] for pair in pairs],
    }


def recheck(record, k: int) -> dict[str, tuple[float, float]]:
    """Set k's curvature again: {stage.quantity: (record, now)} of raw and relative top."""
    p = record.parameters
    job = curvature_job(k, p["n"], p["n_curved"], p["size"])
    pairs = {}
    for s, stage in enumerate(record.results["stages"]):
        for q in (0, 2):
            then = record.results["curvature"]["stages"][stage][QUANTITIES[q]]["values"][k]
            pairs[f"{stage}.{QUANTITIES[q]}"] = then, float(job["rows"][s, q])
    return pairs
