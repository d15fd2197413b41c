"""Running the child: morphed modules against the same layers written by hand."""

from __future__ import annotations

import copy
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from benchmarks.measure import Ratio, race
from benchmarks.report import Report, Target, run
from torch import Tensor, nn
from torch.nn import functional as F

from netmorph.models.registry import build
from netmorph.nn.dag import MorphedModule
from netmorph.surgery.morphing.morph import morph

QUESTION = "What does a morphed network cost beside the same network written by hand?"
CHAIN, BRANCHES = "3x3 > 1x1", "3x3 > 1x1 | 1x1"
LIMIT = 1.02
MODES = ((False, False), (True, False), (False, True))  # channels last, compiled
Work = Callable[[nn.Module, Tensor, Tensor], object]


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
    depth, batch, rounds = (8, 4, 2) if report.quick else (20, 32, 21)
    for graph in (CHAIN,) if report.quick else (CHAIN, BRANCHES):
        torch.manual_seed(0)
        x, labels = torch.randn(batch, 3, 32, 32), torch.randint(10, (batch,))
        parent = build(f"netmorph:resnet{depth}", num_classes=10)
        child = morph(parent, {"layer*.conv1": graph}, example_inputs=x[:1]).model
        hand = by_hand(child)
        child.eval()
        with torch.no_grad():
            assert torch.equal(child(x), hand.eval()(x))
        for memory, compiled in MODES[:1] if report.quick else MODES:
            pair = {key: _prepared(net, memory, compiled) for key, net in (("child", child), ("hand", hand))}
            given = x.to(memory_format=torch.channels_last) if memory else x
            mode = "compiled" if compiled else "channels_last" if memory else "eager"
            for what, work in (("forward", forward), ("forward+backward", both_ways), ("train step", Stepper())):
                calls = {key: partial(work, net, given, labels) for key, net in pair.items()}
                times = race(calls, rounds, warmup=2)
                ratio = Ratio.of(times["child"], times["hand"])
                report.row(
                    network=f"resnet{depth}, batch {batch}",
                    graph=graph,
                    mode=mode,
                    work=what,
                    child=times["child"].median,
                    **{"by hand": times["hand"].median},
                    ratio=ratio.median,
                    error=ratio.error,
                    spread=ratio.spread,
                )
                named = f"{graph}, {mode}, {what}: over by hand"
                report.targets.append(Target(named, ratio.median, LIMIT, error=2 * ratio.error))
        report.targets.append(Target(f"{graph}: graph breaks when compiled", float(_breaks(child, x)), 0.0))
    report.notes = ["Eval mode for forward, train mode for the other two; a train step is SGD with momentum."]


def by_hand(child: nn.Module) -> nn.Module:
    """Return a copy whose morphed modules are plain layers with the same weights."""
    network = copy.deepcopy(child)
    for name, module in list(network.named_modules()):
        if isinstance(module, MorphedModule):
            assert module.bias is None
            edges = [module.edges[edge.name] for edge in module.layout.graph.edges]
            acts = [module.acts[blob] for blob in module.layout.graph.inner]
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
