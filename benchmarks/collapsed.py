"""After collapse: the network against the one it was before it was morphed."""

from __future__ import annotations

import copy
from functools import partial
from typing import Any

import torch
from benchmarks.measure import Ratio, race
from benchmarks.report import Report, Target, run
from torch import Tensor, nn

from netmorph.models.registry import build
from netmorph.surgery.collapsing.collapse import collapse
from netmorph.surgery.morphing.morph import morph

QUESTION = "Does a network that was morphed and collapsed run as fast as the one it came from?"
GRAPH = "3x3 > 1x1 | 1x1"
NOISE = 0.01  # of two copies of one network, on a quiet machine


def measure(report: Report) -> None:
    """Race parent, collapsed child and a copy of the parent, which tells the noise."""
    cases: list[tuple[str, dict[str, str], tuple[int, ...], dict[str, Any]]] = [
        ("netmorph:resnet20", {"layer*.conv1": GRAPH}, (128, 3, 32, 32), {}),
        ("torchvision:resnet50", {"layer*.conv2": GRAPH}, (8, 3, 224, 224), {}),
    ]
    if report.quick:
        cases = [("netmorph:resnet8", {"layer*.conv1": GRAPH}, (2, 3, 16, 16), {})]
    for name, mapping, shape, arguments in cases:
        torch.manual_seed(0)
        parent = build(name, **arguments).eval()
        x = torch.randn(shape)
        child = collapse(morph(parent, mapping, example_inputs=x[:1], act=None).model, x[:1]).model.eval()
        assert not [m for m in child.modules() if type(m).__name__ == "MorphedModule"]
        networks = {"parent": parent, "copy": copy.deepcopy(parent), "collapsed": child}
        with torch.no_grad():
            gap = float((child(x) - parent(x)).abs().max() / parent(x).abs().max())
            times = race({key: partial(_forward, each, x) for key, each in networks.items()}, 3 if report.quick else 21)
        for key, each in times.items():
            ratio = Ratio.of(each, times["parent"])
            row = {"network": name, "version": key, "seconds": each.median, "over parent": ratio.median}
            report.row(**row, error=ratio.error, spread=ratio.spread, difference=gap if key == "collapsed" else 0.0)
        ratio = Ratio.of(times["collapsed"], times["parent"])
        what = f"{name}: time over the parent's"
        report.targets.append(Target(what, ratio.median, 1 + NOISE, error=2 * ratio.error))
    report.notes = ["The copy is the parent again: its ratio is what the machine's noise amounts to."]


def _forward(network: nn.Module, x: Tensor) -> object:
    return network(x)


if __name__ == "__main__":
    run("collapsed", QUESTION, measure)
