"""Writes optim.json: trajectories of PyTorch's optimisers, schedulers and clipping, which tests/optim.rs compares.

    python optim.py            (needs torch; last run with 2.15)

The problem has two groups of parameters: a of shape [3] and b of shape [2, 2] in the first, c of shape [2] in the
second. The loss, whose gradients are written down in both places, is

    sum_i w_i (a_i - t_i)^2 / 2  +  sum_ij (b_ij^4 / 4 - b_ij)  +  (1 - c_0)^2 + 5 (c_1 - c_0^2)^2  +  a_0 b_00 / 10

Every run is in f64. "points" has the nine numbers of a, b and c at each fifth step, the first and the last.
"""

import json
import math
from pathlib import Path

import torch

torch.set_default_dtype(torch.float64)
STEPS = 100
W, TARGET = torch.tensor([1.0, 10.0, 0.1]), torch.tensor([1.0, -2.0, 0.5])


def start():
    a = torch.tensor([0.3, 0.7, -1.1])
    b = torch.tensor([[0.2, -0.4], [1.3, 0.8]])
    c = torch.tensor([-0.6, 0.9])
    return [t.requires_grad_(True) for t in (a, b, c)]


def loss(p):
    """The loss; leaves its gradient in the parameters."""
    a, b, c = (t.detach() for t in p)
    p[0].grad = W * (a - TARGET) + torch.tensor([1.0, 0.0, 0.0]) * b[0, 0] / 10
    p[1].grad = b**3 - 1 + torch.tensor([[1.0, 0.0], [0.0, 0.0]]) * a[0] / 10
    r = c[1] - c[0] ** 2
    p[2].grad = torch.stack([-2 * (1 - c[0]) - 20 * c[0] * r, 10 * r])
    value = (W * (a - TARGET) ** 2).sum() / 2 + (b**4 / 4 - b).sum() + (1 - c[0]) ** 2 + 5 * r**2
    return value + a[0] * b[0, 0] / 10


def flat(p):
    return [float(x) for t in p for x in t.detach().flatten()]


def kept(step):
    return step % 5 == 0 or step in (1, STEPS)


def groups(p, second):
    return [{"params": p[:2]}, {"params": p[2:], **second}]


def run(make, second, before_step=None, schedule=None, metric=None):
    p = start()
    optimizer = make(groups(p, second))
    scheduler = schedule and schedule(optimizer)
    points, lrs, norms = [flat(p)], [[g["lr"] for g in optimizer.param_groups]], []
    for step in range(1, STEPS + 1):
        loss(p)
        if before_step:
            norms.append(before_step(p))
        optimizer.step()
        if scheduler:
            scheduler.step(*([metric(step)] if metric else []))
        lrs.append([g["lr"] for g in optimizer.param_groups])
        if kept(step):
            points.append(flat(p))
    return {"points": points, "lrs": lrs, "norms": norms}


def optimizers():
    O = torch.optim
    base = {
        "Sgd": (O.SGD, [
            {}, {"momentum": 0.9}, {"momentum": 0.9, "dampening": 0.3}, {"momentum": 0.8, "nesterov": True},
            {"weight_decay": 0.05}, {"momentum": 0.9, "weight_decay": 0.02, "nesterov": True},
        ], 0.01),
        "Adam": (O.Adam, [
            {}, {"betas": [0.8, 0.95]}, {"eps": 1e-3}, {"weight_decay": 0.1}, {"amsgrad": True},
            {"amsgrad": True, "weight_decay": 0.05, "betas": [0.7, 0.9]}, {"betas": [0.4, 0.99]},
        ], 0.03),
        "AdamW": (O.AdamW, [{}, {"weight_decay": 0.2}, {"amsgrad": True, "weight_decay": 0.1}], 0.03),
        "RmsProp": (O.RMSprop, [
            {}, {"alpha": 0.9}, {"momentum": 0.5}, {"centered": True}, {"eps": 1e-2, "weight_decay": 0.1},
            {"centered": True, "momentum": 0.5, "weight_decay": 0.05, "alpha": 0.95},
        ], 0.01),
    }
    for name, (kind, sets, lr) in base.items():
        for options in sets:
            second = {"lr": lr / 2, "weight_decay": 0.01}
            result = run(lambda g: kind(g, lr=lr, **options), second)
            yield {"optimizer": name, "lr": lr, "options": options, "second": second, "points": result["points"]}
        # away from the minimum, for a few steps: ascent grows without bound
        p = start()
        optimizer = kind(groups(p, {}), lr=0.001, maximize=True)
        points = [flat(p)]
        for step in range(1, STEPS + 1):
            loss(p)
            optimizer.step()
            if kept(step):
                points.append(flat(p))
        yield {"optimizer": name, "lr": 0.001, "options": {"maximize": True}, "second": {}, "points": points}


def schedules():
    S = torch.optim.lr_scheduler
    sgd = lambda g: torch.optim.SGD(g, lr=0.02, momentum=0.9)
    adam = lambda g: torch.optim.Adam(g, lr=0.02)
    second = {"lr": 0.01}
    sets = [
        ("StepLr", {"step_size": 30, "gamma": 0.5}), ("StepLr", {"step_size": 7, "gamma": 0.9}),
        ("MultiStepLr", {"milestones": [10, 40, 40, 80], "gamma": 0.5}),
        ("ExponentialLr", {"gamma": 0.97}),
        ("CosineAnnealingLr", {"T_max": 100}), ("CosineAnnealingLr", {"T_max": 30, "eta_min": 1e-3}),
        ("LinearLr", {}), ("LinearLr", {"start_factor": 0.25, "end_factor": 0.75, "total_iters": 40}),
        ("OneCycleLr", {"max_lr": [0.05], "total_steps": 100}),
        ("OneCycleLr", {"max_lr": [0.05, 0.02], "total_steps": 110, "pct_start": 0.25, "anneal_strategy": "linear",
                        "three_phase": True, "div_factor": 10.0, "final_div_factor": 100.0}),
        ("OneCycleLr", {"max_lr": [0.03], "total_steps": 100, "cycle_momentum": False}),
    ]
    for name, options in sets:
        kind = getattr(S, name[:-2] + "LR")
        for optimizer, make in (("Sgd", sgd), ("Adam", adam)):
            given = dict(options)
            if len(given.get("max_lr", [])) == 1:
                given["max_lr"] = given["max_lr"][0]
            result = run(make, second, schedule=lambda o: kind(o, **given))
            # the rates say everything; the points show that they, and the momentum, are used
            yield {"schedule": name, "options": options, "optimizer": optimizer, "lrs": result["lrs"],
                   "points": result["points"][-1:]}
    factor = "1 / (1 + epoch / 10) for the first group, cos(epoch / 100) for the second"
    lambdas = [lambda e: 1 / (1 + e / 10), lambda e: math.cos(e / 100)]
    result = run(sgd, second, schedule=lambda o: S.LambdaLR(o, lambdas))
    yield {"schedule": "LambdaLr", "options": {"factor": factor}, "optimizer": "Sgd", "lrs": result["lrs"],
           "points": result["points"][-1:]}

    # two schedules, one after the other: a warm-up and a decay
    class Both:
        def __init__(self, o):
            self.both = [S.LinearLR(o, 0.1, 1.0, 10), S.CosineAnnealingLR(o, 60, 1e-4)]

        def step(self):
            for s in self.both:
                s.step()

    result = run(sgd, second, schedule=Both)
    yield {"schedule": "chained", "options": {}, "optimizer": "Sgd", "lrs": result["lrs"],
           "points": result["points"][-1:]}
    for options in (
        {}, {"factor": 0.5, "patience": 2}, {"factor": 0.5, "patience": 1, "threshold": 0.05, "cooldown": 3},
        {"factor": 0.3, "patience": 0, "threshold": 0.02, "threshold_mode": "abs", "min_lr": 1e-4},
        {"mode": "max", "factor": 0.7, "patience": 3}, {"mode": "max", "patience": 1, "threshold_mode": "abs"},
    ):
        metric = lambda step: 1 / step + 0.1 * math.sin(step)
        result = run(sgd, second, schedule=lambda o: S.ReduceLROnPlateau(o, **options), metric=metric)
        yield {"schedule": "ReduceLrOnPlateau", "options": options, "optimizer": "Sgd", "lrs": result["lrs"],
               "points": result["points"][-1:]}


def lbfgs():
    for options in (
        {"lr": 0.1, "max_iter": 5}, {"lr": 0.05, "max_iter": 4, "history_size": 3}, {"lr": 0.2, "max_iter": 8, "max_eval": 5},
        {"line_search_fn": "strong_wolfe"}, {"line_search_fn": "strong_wolfe", "max_iter": 3, "history_size": 2},
        {"line_search_fn": "strong_wolfe", "lr": 5.0, "max_iter": 5}, {"line_search_fn": "strong_wolfe", "max_eval": 4},
        {"line_search_fn": "strong_wolfe", "lr": 0.01, "max_iter": 4, "tolerance_change": 1e-5},
    ):
        p = start()
        optimizer = torch.optim.LBFGS(p, **options)
        points, losses, evaluations = [flat(p)], [], []
        for _ in range(8):
            losses.append(float(optimizer.step(lambda: loss(p))))
            points.append(flat(p))
            evaluations.append(optimizer.state[p[0]]["func_evals"])
        yield {"options": options, "points": points, "losses": losses, "evaluations": evaluations}


def clipping():
    from torch.nn.utils import clip_grad_norm_, clip_grad_value_

    for kind, clip, limit in (("norm", clip_grad_norm_, 1.5), ("norm", clip_grad_norm_, 0.1), ("value", clip_grad_value_, 0.3)):
        before = lambda p: float(clip(p, limit) or 0.0)
        result = run(lambda g: torch.optim.SGD(g, lr=0.02, momentum=0.9), {}, before_step=before)
        norms = result["norms"] if kind == "norm" else []
        yield {"kind": kind, "limit": limit, "norms": norms, "points": result["points"]}


def main():
    parts = {f.__name__: list(f()) for f in (optimizers, schedules, lbfgs, clipping)}
    text = ",\n".join(
        f'"{name}": [\n' + ",\n".join(json.dumps(run, separators=(",", ":")) for run in runs) + "\n]"
        for name, runs in parts.items()
    )
    Path(__file__).with_name("optim.json").write_text("{\n" + text + "\n}\n")


if __name__ == "__main__":
    main()
