"""Running the child: morphed modules against the same layers written by hand."""

from __future__ import annotations

import copy
import time
from functools import partial
from typing import Any

import torch
from benchmarks.measure import Clock, Ratio, race
from benchmarks.report import Report, Target, run
from torch import Tensor, nn
from torch.nn import functional as F

from netmorph.graph.symmetry import Birth
from netmorph.models.registry import build
from netmorph.nn.dag import MorphedModule
from netmorph.surgery.morphing.morph import morph

QUESTION = "What does a morphed network cost beside the same network written by hand?"
CHAIN, BRANCHES = "3x3 > 1x1", "3x3 > 1x1 | 1x1"
LIMIT = 1.02
MODES = ((False, False), (True, False), (False, True))  # channels last, compiled
NOTE = "Eval mode for forward, train mode for the other two; a train step is SGD with momentum."


class TwoBranches(nn.Module):
    """What one writes by hand for `3x3 > 1x1 | 1x1`."""

    def __init__(self, first: nn.Module, act: nn.Module, second: nn.Module, beside: nn.Module) -> None:
        super().__init__()
        self.first, self.act, self.second, self.beside = first, act, second, beside

    def forward(self, x: Tensor) -> Tensor:
        """Sum both branches."""
        out: Tensor = self.second(self.act(self.first(x))) + self.beside(x)
        return out


def measure(report: Report) -> None:
    """Race child and hand-written network in every mode."""
    for graph in (CHAIN,) if report.quick else (CHAIN, BRANCHES):
        compare(report, graph)
    report.notes = [NOTE]


def compare(report: Report, graph: str, birth: Birth = "slope", clock: Clock = time.perf_counter) -> None:
    """Race a child with its hand-written twin in every mode; forward with the slope-born child, too, if it is none."""
    depth, batch, rounds = (8, 4, 2) if report.quick else (20, 32, 21)
    torch.manual_seed(0)
    x, labels = torch.randn(batch, 3, 32, 32), torch.randint(10, (batch,))
    parent = build(f"netmorph:resnet{depth}", num_classes=10)
    grow = partial(morph, parent, {"layer*.conv1": graph}, example_inputs=x[:1])
    child = grow(birth=birth).model
    rivals = {"child": child, "hand": by_hand(child)}
    if birth != "slope":
        rivals["slope"] = grow(birth="slope").model
    with torch.no_grad():
        for training in (True, False):
            out, hand, *slope = (net.train(training)(x) for net in rivals.values())
            assert torch.equal(out, hand)
    assert all(torch.allclose(out, each, rtol=1e-4, atol=1e-4) for each in slope)
    for memory, compiled in MODES[:1] if report.quick else MODES:
        nets = {key: _prepared(net, memory, compiled) for key, net in rivals.items()}
        given = x.to(memory_format=torch.channels_last) if memory else x
        mode = "compiled" if compiled else "channels_last" if memory else "eager"
        for what, work in (("forward", forward), ("forward+backward", both_ways), ("train step", Stepper())):
            taking_part = nets if what == "forward" else {key: nets[key] for key in ("child", "hand")}
            calls = {key: partial(work, net, given, labels) for key, net in taking_part.items()}
            times = race(calls, rounds, warmup=2, clock=clock)
            ratio = Ratio.of(times["child"], times["hand"])
            row: dict[str, Any] = {"network": f"resnet{depth}, batch {batch}", "graph": graph, "mode": mode}
            row |= {"work": what, "child": times["child"].median, "by hand": times["hand"].median}
            row |= {"ratio": ratio.median, "error": ratio.error, "spread": ratio.spread}
            named = f"{graph}, {mode}, {what}: over by hand"
            report.targets.append(Target(named, ratio.median, LIMIT, error=2 * ratio.error))
            if "slope" in times:
                over = Ratio.of(times["child"], times["slope"])
                row |= {"slope-born": times["slope"].median, "over slope-born": over.median}
                row |= {"its error": over.error, "its spread": over.spread}
                named = f"{graph}, {mode}, {what}: over slope-born"
                report.targets.append(Target(named, over.median, LIMIT, error=2 * over.error))
            report.row(**row)
    report.targets.append(Target(f"{graph}: graph breaks when compiled", float(_breaks(child, x)), 0.0))


def by_hand(child: nn.Module) -> nn.Module:
    """Return a copy whose morphed modules are plain layers with the same weights."""
    network = copy.deepcopy(child)
    for name, module in list(network.named_modules()):
        if isinstance(module, MorphedModule):
            assert module.bias is None
            assert not len(module.norms)
            edges = [module.edges[edge.name] for edge in module.layout.graph.edges]
            acts = [module.acts[blob] for blob in module.layout.graph.inner]
            assert {type(layer) for layer in (*edges, *acts)} <= {nn.Conv2d, nn.PReLU, nn.ReLU}
            chain = len(edges) == 2
            plain = nn.Sequential(edges[0], acts[0], edges[1]) if chain else TwoBranches(edges[0], acts[0], *edges[1:])
            network.set_submodule(name, plain)
    return network


def _prepared(network: nn.Module, channels_last: bool, compiled: bool) -> Any:
    """Return a copy in the memory format, compiled if asked for."""
    own = copy.deepcopy(network)
    if channels_last:
        own.to(memory_format=torch.channels_last)
    if compiled:
        torch.compiler.reset()
        return torch.compile(own)
    return own


def forward(network: nn.Module, x: Tensor, labels: Tensor) -> None:
    """Run in eval mode without gradients."""
    network.eval()
    with torch.no_grad():
        network(x)


def both_ways(network: nn.Module, x: Tensor, labels: Tensor) -> None:
    """Run forward and backward in train mode."""
    network.train()
    network.zero_grad(set_to_none=True)
    F.cross_entropy(network(x), labels).backward()


class Stepper:
    """Runs forward, backward and an optimizer's step; each network has an optimizer of its own."""

    def __init__(self) -> None:
        self.optimizers: dict[int, torch.optim.Optimizer] = {}

    def __call__(self, network: nn.Module, x: Tensor, labels: Tensor) -> None:
        """Do one step."""
        optimizer = self.optimizers.get(id(network))
        if optimizer is None:
            optimizer = torch.optim.SGD(network.parameters(), lr=1e-3, momentum=0.9)
            self.optimizers[id(network)] = optimizer
        both_ways(network, x, labels)
        optimizer.step()


def _breaks(network: nn.Module, x: Tensor) -> int:
    torch.compiler.reset()
    explained = torch._dynamo.explain(copy.deepcopy(network).eval())(x)
    torch.compiler.reset()
    return int(explained.graph_break_count)


if __name__ == "__main__":
    run("running", QUESTION, measure)
