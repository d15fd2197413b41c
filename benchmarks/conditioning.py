"""What fill and noise cost in quality: parity, norms, gradients at birth, and the loss after some steps."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from benchmarks.birth import (
    Child,
    Nursery,
    Ratios,
    Variant,
    beyond,
    edge_ratios,
    extent,
    geometric_mean,
    layer_ratios,
    modules,
    size_matters,
    spare_workers,
)
from benchmarks.noises import compare_noises
from benchmarks.real_images import cifar10, fashion, gpu_or_cpu, image_options
from benchmarks.report import Report, Target, run
from benchmarks.short_training import loss_after, train
from benchmarks.verdict import Differences, sentences, verdicts
from torch import nn

from netmorph.data.dataset import Dataset
from netmorph.models.registry import build

QUESTION = "Which fill and which noise give the best-conditioned children?"
GRAPHS = ("3x3 > 1x1", "3x3 > 1x1 | 1x1", "3x3 > 1x1 | 3x3 > 1x1", "3x3:2x > 1x1", "module_d")
DEFAULT = ("pointwise", 0.5)
SIZES = (0.5, 0.0, 0.1, 1.0, 2.0)  # the default first: all others are compared with it
FACTOR = 10.0
UNCHANGED = "default"


@dataclass(frozen=True)
class Plan:
    """How much is measured.

    Attributes:
        device: where networks are trained.
        width: channels of their first stage.
        graphs: of the children.
        sizes: of noise, the default first.
        seeds: children of each kind.
        parent_steps: training steps of the parent.
        steps: of the children.
        rates: learning rates of the children.
        train: images to train on, at most.
        test: images to measure on, at most.
        workers: processes that make children.
        dense: whether dense fill is compared, too; if not, neither are graphs for which no size of noise matters.
    """

    device: torch.device
    width: int
    graphs: Sequence[str]
    sizes: Sequence[float]
    seeds: int
    parent_steps: int
    steps: int
    rates: Sequence[float]
    train: int
    test: int
    workers: int
    dense: bool = True

    @classmethod
    def of(cls, device: torch.device, quick: bool) -> Plan:
        """Choose by what there is."""
        if quick:
            return cls(device, 4, GRAPHS[:2], SIZES[:2], 2, 4, 2, (0.05,), 64, 64, 0)
        if device.type == "cpu":
            return cls(device, 16, GRAPHS, SIZES, 3, 200, 50, (0.05,), 8000, 2000, 0)
        return cls(device, 16, GRAPHS, SIZES, 8, 1000, 50, (0.05, 0.01), 8000, 2000, spare_workers())


@dataclass
class Found:
    """What all data sets together came to.

    Attributes:
        plain: the default children's gradients over their twins'.
        relative: the same over the control's.
        differences: losses less the default's.
        births: by what differs from the default: the gradients over the control's, and bfloat16 parities.
    """

    plain: list[float] = field(default_factory=list)
    relative: list[float] = field(default_factory=list)
    differences: list[Differences] = field(default_factory=list)
    births: dict[str, tuple[list[float], list[float]]] = field(default_factory=dict)

    def born(self, change: str, family: Sequence[Child], ratios: Ratios) -> None:
        """Take in the children of one variant."""
        relative, low = self.births.setdefault(change, ([], []))
        relative += ratios.relative
        low += [each.low_parity for each in family if each.low_parity is not None]
        if change == UNCHANGED:
            self.plain += ratios.plain
            self.relative += ratios.relative

    def at_birth(self) -> str:
        """Return in words what the kinds of children are born with."""
        parts = (
            f"{change}: {beyond(relative, FACTOR)} of {len(relative)}, {max(low):.2g}"
            for change, (relative, low) in self.births.items()
        )
        return (
            f"At birth, edges whose gradients are more than {FACTOR:g} times off, over the control's, and the largest "
            f"difference of a site in bfloat16, over all graphs and images: {'; '.join(parts)}."
        )


def measure(
    report: Report, cifar: Path | None = None, seeds: int | None = None, sizes: Sequence[float] | None = None
) -> None:
    """Compare the ways to draw noise on one layer, then fills and sizes of noise on trained networks.

    Args:
        report: what to fill.
        cifar: the folder of CIFAR-10, if there is one.
        seeds: children of each kind; None: as many as suit the machine.
        sizes: of noise that alone are compared with the default; None: all of `SIZES`, and dense fill.
    """
    device = gpu_or_cpu()
    if device.type == "cuda":
        report.device = torch.cuda.get_device_name(device)
    plan, found = Plan.of(device, report.quick), Found()
    plan = plan if seeds is None else replace(plan, seeds=seeds)
    plan = plan if sizes is None else replace(plan, sizes=(DEFAULT[1], *sizes), dense=False)
    report.notes = _notes(plan)
    compare_noises(report)
    sources = [fashion] if cifar is None else [fashion, partial(cifar10, cifar)]
    for load in sources:
        _compare_fills(report, plan, load(plan.train, plan.test), found)
        report.targets = [
            _target(f"of {len(found.plain)} newborn edges (defaults), gradients more than 10 times off {what}", ratios)
            for what, ratios in (
                ("the He twin's", found.plain),
                ("the He twin's once that of the parent's own layer is divided out", found.relative),
            )
        ]
        said = sentences(found.differences, f"{DEFAULT[0]}, size {DEFAULT[1]:g}")
        report.notes = [*_notes(plan), found.at_birth(), *said]
    for row in verdicts(found.differences):
        report.row(**row)


def _target(what: str, ratios: Sequence[float]) -> Target:
    return Target(what, float(beyond(ratios, FACTOR)), 0.0)


def _notes(plan: Plan) -> list[str]:
    rates = " and ".join(f"{rate:g}" for rate in plan.rates)
    return [
        "Layers: `solve` with each kind of noise; errors of the module filter after its weights are cast. Networks: a "
        f"ResNet-8 trained for {plan.parent_steps} steps on real images, the first convolution of every block morphed, "
        f"then {plan.steps} steps of SGD ({rates}, momentum 0.9, batch 128), {plan.seeds} seeds; the loss is that of "
        f"{plan.test} test images. Size of noise: of what cancels within the cut, relative to the layer's filter; "
        "'any' where nothing can cancel and all sizes give the same child. Dense fill draws all taps, whatever it is.",
        "Less default's: the loss less that of the default's child of the same graph and seed, trained on the same "
        "batches; its mean over the seeds and the standard error of that mean.",
        "The He twin has the same architecture and slopes, its new edges drawn by He's rule (normal, fan-in). The "
        "control is the parent with its own layers, beside a twin whose layers at the same sites are drawn so: what "
        "it shows has nothing to do with morphing.",
    ]


# One data set --------------------------------------------------------------------------------------------------------


def _compare_fills(report: Report, plan: Plan, data: Dataset, found: Found) -> None:
    resident, example = data.to(plan.device), data.example(4)
    parent = _parent(plan, resident)
    x, labels = next(iter(resident.train_batches(min(128, len(data.train)), 7, 0)))
    variants = [each for graph in plan.graphs for each in _variants(plan, graph, size_matters(parent, example, graph))]
    wanted = [(each, seed) for each in variants for seed in range(plan.seeds)]
    control: dict[str, float] = {}
    losses: dict[str, dict[float, list[float]]] = {}
    with Nursery(parent, example, plan.workers).children(wanted) as children:
        for variant in variants:
            family = [next(children) for _ in range(plan.seeds)]
            if not control:
                control = _control(report, plan, resident, parent, [name for name, _ in modules(family[0].model)])
            pairs = [pair for seed, each in enumerate(family) for pair in edge_ratios(each.model, x, labels, seed)]
            ratios = Ratios.of(pairs, control)
            after = {
                rate: [_after(plan, resident, c.model, seed, rate) for seed, c in enumerate(family)]
                for rate in plan.rates
            }
            is_default = variant.graph not in losses
            change = UNCHANGED if is_default else _changed(variant)
            found.born(change, family, ratios)
            if is_default:
                losses[variant.graph] = after
            row = _birth_row(data, variant, family, ratios)
            for rate, each in after.items():
                gaps = tuple(a - b for a, b in zip(each, losses[variant.graph][rate], strict=True))
                difference = Differences(data.name, rate, variant.graph, change, gaps)
                if not is_default:
                    found.differences.append(difference)
                row |= _loss_cells(rate, each, None if is_default else difference)
            report.row(**row)


def _variants(plan: Plan, graph: str, sized: bool) -> Iterator[Variant]:
    """Yield the variants of a graph, the default first."""
    if sized or plan.dense:
        for size in plan.sizes if sized else (None,):
            yield Variant(graph, "pointwise", size)
    if plan.dense:
        yield Variant(graph, "dense", None)


def _changed(variant: Variant) -> str:
    return variant.fill if variant.size is None else f"size {variant.size:g}"


def _control(report: Report, plan: Plan, data: Dataset, parent: nn.Module, sites: Sequence[str]) -> dict[str, float]:
    """Return, for each site, the gradient of the parent's own layer over its twin's; report it."""
    x, labels = next(iter(data.train_batches(min(128, len(data.train)), 7, 0)))
    found = [layer_ratios(parent, sites, x, labels, seed) for seed in range(plan.seeds)]
    ratios = [ratio for each in found for ratio in each.values()]
    row: dict[str, Any] = {"graph": "control: the parent itself", "data": data.name}
    row |= {
        "gradient over He twin's": extent(ratios),
        "edges beyond 10": beyond(ratios, FACTOR),
        "edges": len(ratios),
    }
    for rate in plan.rates:
        row |= _loss_cells(rate, [_after(plan, data, parent, seed, rate) for seed in range(plan.seeds)], None)
    report.row(**row)
    return {site: geometric_mean([each[site] for each in found]) for site in sites}


def _birth_row(data: Dataset, variant: Variant, family: Sequence[Child], ratios: Ratios) -> dict[str, Any]:
    pointwise = variant.fill == "pointwise"
    return {
        "graph": variant.graph,
        "data": data.name,
        "fill": variant.fill,
        "size of noise": variant.size if variant.size is not None else "any" if pointwise else None,
        "float32 parity": max(each.parity for each in family),
        "bfloat16 parity": max(each.low_parity for each in family if each.low_parity is not None),
        "norms of factors": extent([norm for each in family for norm in each.norms]),
        "gradient over He twin's": extent(ratios.plain),
        "edges beyond 10": beyond(ratios.plain, FACTOR),
        "over the control's": extent(ratios.relative),
        "of them beyond 10": beyond(ratios.relative, FACTOR),
        "edges": len(ratios.plain),
    }


def _loss_cells(rate: float, losses: Sequence[float], difference: Differences | None) -> dict[str, Any]:
    cells: dict[str, Any] = {f"loss after, rate {rate:g}": sum(losses) / len(losses)}
    cells[f"less default's, rate {rate:g}"] = None if difference is None else difference.mean
    cells[f"its standard error, rate {rate:g}"] = None if difference is None else difference.error
    return cells


def _parent(plan: Plan, data: Dataset) -> nn.Module:
    """Return a trained network, on the CPU and in eval mode."""
    network = build("netmorph:resnet8", num_classes=data.classes, in_channels=data.channels, width=plan.width)
    train(network.to(plan.device), data, plan.parent_steps, 100, 0.05)
    return network.cpu().eval()


def _after(plan: Plan, data: Dataset, network: nn.Module, seed: int, rate: float) -> float:
    return loss_after(network, data, plan.device, plan.steps, seed, rate)


def _options() -> argparse.ArgumentParser:
    """Return what the command line may change of the plan."""
    parser = argparse.ArgumentParser(add_help=False)
    parser.add_argument("--seeds", type=int, metavar="N", help="children of each kind (default: 3, on a GPU 8)")
    parser.add_argument(
        "--sizes", type=float, nargs="+", metavar="SIZE", help="compare these sizes of noise with the default only"
    )
    return parser


if __name__ == "__main__":
    run("conditioning", QUESTION, measure, own=[_options(), image_options()])
