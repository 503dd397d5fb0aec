"""The largest stable step: predicted from curvature, and found by trying.

A step is called too long when the full-batch loss, within a few steps, is seen above its start.
On a quadratic that cannot happen below 2/lambda; above it, it happens as soon as the growing
direction outweighs what the others gain, which takes some steps: the same bisection on the
quadratic model (same start, gradient and Gauss-Newton matrix) says how many steps' grace that is.
A network differs from the model for two more reasons: its curvature is not Gauss-Newton's alone,
and it changes as the network moves.

So "found" is the step at which the loss is first seen to rise, not stability itself; found over
the *model's* own edge is what the quadratic picture is judged by. Bisection takes for granted that
whatever is longer than a step that is too long is too long as well. With Adam, whose memory can
carry the loss up without diverging, the criterion is coarser.

Steps are tried one block at a time (the others stand still), for all blocks with one step (*one*),
and for all blocks with each its own 2/lambda_b times a common factor (*each*). Then with
mini-batches, and with Adam.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import torch

from medxfer_lab import metrics
from medxfer_lab.course.jobs import Job
from medxfer_lab.loss_landscape.experiment import material as m
from medxfer_lab.loss_landscape.experiment.clusters import exponential
from medxfer_lab.loss_landscape.experiment.spectra import largest, top_hessian
from medxfer_lab.loss_landscape.experiment.walk import (
    Values,
    adam_walk,
    descend,
    gradient,
    loss_of,
    values_of,
    with_values,
)
from medxfer_lab.loss_landscape.theory.noise import adam_edge
from medxfer_lab.methods import curvature as cv

NAME, DATA, VERSION = "steps", "simulated", 1
PRESETS = {
    "smoke": {"pretrainings": 2, "n": 16, "horizon": 4, "halvings": 3, "orders": 2, "tuned": 3},
    "quick": {"pretrainings": 2, "n": 64, "horizon": 12, "halvings": 5, "orders": 2, "tuned": 60},
    "full": {"pretrainings": 8, "n": 96, "horizon": 15, "halvings": 6, "orders": 4, "tuned": 100},
}
STARTS = ("fresh", "tuned")
LOWEST, HIGHEST = 1 / 8, 8.0  # factors of the predicted step between which the edge is sought
BATCH = 32
ADAM_RATE, SETTLED = 1e-4, 60  # full-batch Adam runs so long before its edge is sought
BETA = 0.9  # Adam's memory of gradients
#: for a figure: losses of one pretraining at these factors of the predicted step
CURVE_FACTORS = (0.25, 0.5, 0.8, 0.95, 1.05, 1.25, 1.6, 2.5)
CURVE_CASES = ("body.conv1", "body.conv4", "head", "one")
_SLACK = 1e-6  # rise of the loss, relative, that rounding may make


def edge(too_long: Callable[[float], bool], halvings: int) -> float:
    """The factor at which a step becomes too long, by bisection of its logarithm.

    LOWEST or HIGHEST come back where the edge lies beyond them.
    """
    low, high = math.log(LOWEST), math.log(HIGHEST)
    if too_long(LOWEST):
        return LOWEST
    if not too_long(HIGHEST):
        return HIGHEST
    for _ in range(halvings):
        middle = (low + high) / 2
        low, high = (low, middle) if too_long(math.exp(middle)) else (middle, high)
    return math.exp((low + high) / 2)


def model_losses(operator, slope: torch.Tensor, scale: torch.Tensor, horizon: int):
    """factor -> losses (horizon + 1,), less the first, of descent on the quadratic model.

    scale: (d,) the step at factor 1. In x = delta/sqrt(scale) the step is a number and the matrix
    D^1/2 G D^1/2. Descent from 0 stays in the Krylov space of the gradient, which horizon + 1
    steps of Lanczos span, so every factor is tried on a small matrix, exactly.
    """
    root = scale.sqrt()
    start = root * slope
    dimension = operator.dimension
    found = cv.lanczos(
        lambda v: root * operator(root * v),
        dimension,
        min(horizon + 1, dimension),
        start=start,
        seed=0,
    )
    small, g = found.tridiagonal, np.zeros(len(found.tridiagonal))
    g[0] = float(start.norm())

    def losses(factor: float) -> np.ndarray:
        x, seen = np.zeros_like(g), []
        for _ in range(horizon + 1):
            seen.append(g @ x + x @ small @ x / 2)
            x = x - factor * (g + small @ x)
        return np.array(seen)

    return losses


def _rates(network, tops: dict[str, float], blocks: tuple[str, ...], how: str) -> dict[str, float]:
    """name -> step at factor 1, before the joint edge is known: 1 for all, or 2/lambda_b."""
    rates = {}
    for block in blocks:
        for name in cv.block(network, block):
            rates[name] = 1.0 if how == "one" else 2 / tops[block]
    return rates


def _joint(network, data, blocks: tuple[str, ...], tops: dict[str, float], how: str) -> dict:
    """Predicted and found factor of a common step (`how` = one) or of each block's own (each)."""
    part = cv.block(network, *blocks)
    operator = cv.gauss_newton_operator(network, data[0], part)
    rates = _rates(network, tops, blocks, how)
    fill = {name: torch.full_like(p, rates[name]) for name, p in part.items()}
    scale = operator.flatten(fill).double()
    root = scale.sqrt()
    # the factor c at which c * scale is at the edge of the quadratic model
    predicted = 2 / largest(lambda v: root * operator(root * v), operator.dimension)
    return {"operator": operator, "rates": rates, "scale": scale, "predicted": predicted}


def block_edges(network, data, horizon: int, halvings: int) -> dict[str, np.ndarray]:
    """tops (B,); predicted, found, model (B + 2,): each block, then all: "one" and "each"."""
    loss, values = loss_of(network, data), values_of(network)
    start, slope = gradient(loss, values)
    blocks = network.blocks
    tops, rows = {}, []
    for block in blocks:
        operator = cv.gauss_newton_operator(network, data[0], cv.block(network, block))
        tops[block] = largest(operator, operator.dimension)
    for names, how in [((block,), "one") for block in blocks] + [(blocks, "one"), (blocks, "each")]:
        case = _joint(network, data, names, tops, how)
        rates, predicted = case["rates"], case["predicted"]
        ceiling = start * (1 + _SLACK)

        def net(factor: float, rates=rates, predicted=predicted, ceiling=ceiling) -> bool:
            steps = {name: factor * predicted * rate for name, rate in rates.items()}
            moving = {name: values[name] for name in steps}
            return not descend(loss, moving, steps, horizon, ceiling)[-1] <= ceiling

        flat = case["operator"].flatten(slope).double()
        model = model_losses(case["operator"], flat, case["scale"] * predicted, horizon)
        found = edge(net, halvings)
        grace = edge(lambda factor, model=model: bool((model(factor) > 0).any()), 12)
        rows.append((predicted, found * predicted, grace * predicted))
    predicted, found, model = np.array(rows).T
    hessians = [top_hessian(network, data, block) for block in blocks]
    hessians.append(top_hessian(network, data, *blocks))
    return {
        "tops": np.array(list(tops.values())),
        "predicted": predicted,
        "found": found,
        "model": model,
        "hessian": 2 / np.array(hessians),  # (B + 1,): what the Hessian would have said
    }


def sgd_edge(network, data, predicted: float, horizon: int, halvings: int, orders: int) -> float:
    """The factor of 2/lambda at which mini-batches drive the full loss, averaged over several
    orders of the batches, above its start within ``horizon`` steps."""
    loss, values = loss_of(network, data), values_of(network)
    start = float(loss(values))

    def too_long(factor: float) -> bool:
        losses = np.zeros(horizon + 1)
        for order in range(orders):
            losses += _sgd(network, data, values, factor * predicted, horizon, order)
        return not (losses / orders <= start * (1 + _SLACK)).all()

    return edge(too_long, halvings)


def _sgd(network, data, values: Values, rate: float, horizon: int, seed: int) -> np.ndarray:
    generator, full = torch.Generator().manual_seed(seed), loss_of(network, data)
    seen = []
    for step in range(horizon + 1):
        with torch.no_grad():
            seen.append(float(full(values)))
        if step == horizon or not math.isfinite(seen[-1]):
            break
        index = torch.randperm(len(data[1]), generator=generator)[:BATCH]
        _, slope = gradient(loss_of(network, (data[0][index], data[1][index])), values)
        values = {name: v - rate * slope[name] for name, v in values.items()}
    return np.pad(np.array(seen), (0, horizon + 1 - len(seen)), constant_values=math.inf)


def adam_edges(network, data, horizon: int, halvings: int) -> dict[str, float]:
    """Adam with a settled preconditioner: predicted rate, and the factor of it that was found.

    Full-batch Adam first runs at a small rate; then P = diag(sqrt(v) + epsilon) gives the
    preconditioned curvature and the edge (`theory.noise.adam_edge`), and larger rates are tried
    from there, memory and all, for twice the horizon (Adam's memory is slow to show a rise).
    """
    settled, state = _adam(network, data, {}, ADAM_RATE, SETTLED, None)
    start = settled["losses"][-1]
    operator = cv.gauss_newton_operator(with_values(network, settled["values"]), data[0])
    second = operator.flatten({n: s["v"] / (1 - 0.999**SETTLED) for n, s in state.items()})
    weight = (second.sqrt() + 1e-8).double().rsqrt()
    top = largest(lambda v: weight * operator(weight * v), operator.dimension)
    predicted = float(adam_edge(top, BETA))
    ceiling = start * (1 + _SLACK)

    def too_long(factor: float) -> bool:
        rate = factor * predicted
        done, _ = _adam(network, data, state, rate, 2 * horizon, settled["values"], ceiling)
        return not done["losses"][-1] <= ceiling

    return {"predicted": predicted, "factor": edge(too_long, halvings)}


def _adam(network, data, state, rate, steps, values, ceiling=math.inf) -> tuple[dict, dict]:
    """Full-batch Adam that can be stopped and gone on with: values, losses, moments and count."""
    loss = loss_of(network, data)
    values = dict(values or values_of(network))
    state = {n: dict(s) for n, s in state.items()} or {
        n: {"m": torch.zeros_like(v), "v": torch.zeros_like(v), "t": 0} for n, v in values.items()
    }
    losses = []
    for step in range(steps + 1):
        now, slope = gradient(loss, values)
        losses.append(now)
        if step == steps or not now <= ceiling:
            break
        for name, g in slope.items():
            s = state[name]
            s["t"] += 1
            s["m"] = BETA * s["m"] + (1 - BETA) * g
            s["v"] = 0.999 * s["v"] + 0.001 * g.square()
            ahead = s["m"] / (1 - BETA ** s["t"])
            size = (s["v"] / (1 - 0.999 ** s["t"])).sqrt() + 1e-8
            values[name] = values[name] - rate * ahead / size
    return {"values": values, "losses": losses}, state


def steps_job(
    k: int, n: int, horizon: int, halvings: int, orders: int, tuned: int
) -> dict[str, np.ndarray | float]:
    """Every edge for pretraining k and its own patients, at both starts."""
    data, fresh = m.target(n, m.TRAINING_SEED + 100 + k), m.start(k)
    way = adam_walk(fresh, data, seed=k, steps=tuned, learning_rate=1e-3, at=[tuned])
    networks = {"fresh": fresh, "tuned": with_values(fresh, way[tuned])}
    out: dict = {}
    for start, network in networks.items():
        found = block_edges(network, data, horizon, halvings)
        out |= {f"{start}_{key}": value for key, value in found.items()}
        out[f"loss_{start}"] = m.loss(network, data)
        one = float(found["predicted"][len(network.blocks)])
        out[f"{start}_sgd"] = sgd_edge(network, data, one, horizon, halvings, orders)
        adam = adam_edges(network, data, horizon, halvings)
        out |= {f"{start}_adam_{key}": value for key, value in adam.items()}
    return out


def curves_job(k: int, n: int, horizon: int, tuned: int) -> dict[str, np.ndarray]:
    """start.case -> (factors, horizon + 1) losses at CURVE_FACTORS times the predicted step."""
    data, fresh = m.target(n, m.TRAINING_SEED + 100 + k), m.start(k)
    way = adam_walk(fresh, data, seed=k, steps=tuned, learning_rate=1e-3, at=[tuned])
    out = {}
    for start, network in {"fresh": fresh, "tuned": with_values(fresh, way[tuned])}.items():
        loss, values = loss_of(network, data), values_of(network)
        for case in CURVE_CASES:
            part = cv.block(network, *(network.blocks if case == "one" else (case,)))
            operator = cv.gauss_newton_operator(network, data[0], part)
            step = 2 / largest(operator, operator.dimension)
            moving = {name: values[name] for name in part}
            rows = [
                descend(loss, moving, dict.fromkeys(part, factor * step), horizon)
                for factor in CURVE_FACTORS
            ]
            # a run whose loss is not a number any more stops there
            filled = [row + [math.nan] * (horizon + 1 - len(row)) for row in rows]
            out[f"{start}_{case.replace('body.', '')}"] = np.array(filled)
            out[f"{start}_{case.replace('body.', '')}_step"] = np.array(step)
    return out


def run(parameters: dict, runner) -> dict:
    """Predicted and found steps, and the logarithm of found over predicted with intervals."""
    rest = {key: value for key, value in parameters.items() if key != "pretrainings"}
    jobs = [Job(f"pretraining-{k}", {"k": k, **rest}) for k in range(parameters["pretrainings"])]
    found = list(runner(jobs, steps_job).values())
    shared = {key: parameters[key] for key in ("n", "horizon", "tuned")}
    (curves,) = runner([Job("curves-0", {"k": 0, **shared})], curves_job).values()
    listed = {key: _plain(value) for key, value in curves.items()}
    return {start: _start(found, start) for start in STARTS} | {
        "curves": {"factors": list(CURVE_FACTORS), **listed}
    }


def _plain(values: np.ndarray) -> list | float:
    """Rounded numbers, None where a loss is not one."""
    if np.ndim(values) == 0:
        return float(values)
    return [[round(float(v), 5) if math.isfinite(v) else None for v in row] for row in values]


def cases() -> list[str]:
    """Keys of the record: each block, all with one step, all with each block's own."""
    return [b.replace("body.", "") for b in m.start(0).blocks] + ["one", "each"]


def _start(found: list[dict], start: str) -> dict:
    stack = {
        key: np.stack([job[f"{start}_{key}"] for job in found])
        for key in ("predicted", "found", "model", "hessian")
    }
    out: dict = {}
    for i, case in enumerate(cases()):
        out[case] = {
            key: exponential(np.log(stack[key][:, i])) for key in ("predicted", "found", "model")
        }
        out[case]["pretrainings"] = stack["found"][:, i].tolist()
        logs = {
            "log_found_over_predicted": (stack["found"], stack["predicted"]),
            "log_found_over_model": (stack["found"], stack["model"]),
        }
        for key, (a, b) in logs.items():
            out[case][key] = metrics.mean_interval(np.log(a[:, i] / b[:, i])).record()
        beyond = stack["found"][:, i] / stack["predicted"][:, i]
        out[case]["predicted_pretrainings"] = stack["predicted"][:, i].tolist()
        out[case]["beyond_the_search"] = int(((beyond <= LOWEST) | (beyond >= HIGHEST)).sum())
        if case != "each":
            ratio = np.log(stack["found"][:, i] / stack["hessian"][:, i])
            out[case]["log_found_over_hessian"] = metrics.mean_interval(ratio).record()
    out |= _rules(stack, len(cases()) - 2)
    for kind in ("sgd", "adam_factor"):
        factors = np.array([job[f"{start}_{kind}"] for job in found])
        out[f"{kind}_pretrainings"] = factors.tolist()
        out[f"log_{kind.replace('_factor', '')}"] = metrics.mean_interval(np.log(factors)).record()
        out[f"beyond_{kind.replace('_factor', '')}"] = int(
            ((factors <= LOWEST) | (factors >= HIGHEST)).sum()
        )
    one = stack["found"][:, -2] / stack["predicted"][:, -2]
    sgd = np.array([job[f"{start}_sgd"] for job in found])
    out["log_sgd_over_one"] = metrics.mean_interval(np.log(sgd / one)).record()
    out["sgd_over_one"] = exponential(np.log(sgd / one))
    out["adam_over_predicted"] = exponential(np.log([job[f"{start}_adam_factor"] for job in found]))
    rates = [job[f"{start}_adam_predicted"] for job in found]
    out["adam_predicted"] = exponential(np.log(rates))
    out["loss"] = metrics.mean_interval([job[f"loss_{start}"] for job in found]).record()
    return out


def _rules(stack: dict[str, np.ndarray], blocks: int) -> dict:
    """Log ratios, found steps throughout: the least block's own over the common one; the common
    one over 2/(sum of curvatures); a block's own over what it takes jointly; last over first."""
    found, one, each = stack["found"][:, :blocks], stack["found"][:, -2], stack["found"][:, -1]
    # 2 over the sum of the blocks' curvatures
    rule = 1 / (1 / stack["predicted"][:, :blocks]).sum(1)
    logs = {
        "least_block_over_one": found.min(1) / one,
        "one_over_sum_rule": one / rule,
        "own_over_joint": 1 / each,
        "last_over_first": found[:, blocks - 2] / found[:, 0],
        "head_over_first": found[:, blocks - 1] / found[:, 0],
    }
    return {name: metrics.mean_interval(np.log(v)).record() for name, v in logs.items()}


def recheck(record, k: int) -> dict[str, tuple[float, float]]:
    """Repeat the edges of the last block and of the head at the fresh start of pretraining k."""
    p = record.parameters
    data, network = m.target(p["n"], m.TRAINING_SEED + 100 + k), m.start(k)
    loss, values = loss_of(network, data), values_of(network)
    start, pairs = m.loss(network, data), {}
    for block in ("body.conv4", "head"):
        operator = cv.gauss_newton_operator(network, data[0], cv.block(network, block))
        step = 2 / largest(operator, operator.dimension)
        ceiling = start * (1 + _SLACK)

        def too_long(factor: float, names=operator.names, step=step, ceiling=ceiling) -> bool:
            rates = {name: factor * step for name in names}
            moving = {name: values[name] for name in names}
            return not descend(loss, moving, rates, p["horizon"], ceiling)[-1] <= ceiling

        then = record.results["fresh"][block.replace("body.", "")]["pretrainings"][k]
        pairs[block] = (then, step * edge(too_long, p["halvings"]))
    return pairs
