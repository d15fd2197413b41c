"""Newborn networks: made on the CPU, in as many processes as help, and the gradients that they are born with."""

from __future__ import annotations

import copy
import math
import multiprocessing
import os
import pickle
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from netmorph.nn.dag import MorphedModule
from netmorph.surgery.morphing.morph import morph
from netmorph.train.machine import overruns
from netmorph.train.objective import Objective

SITES = "layer*.conv1"


@dataclass(frozen=True)
class Variant:
    """A way to fill a graph.

    Attributes:
        graph: notation or name.
        fill: "pointwise" or "dense".
        size: of the noise that cancels; None where it plays no part.
    """

    graph: str
    fill: str
    size: float | None

    def __str__(self) -> str:
        return self.fill if self.size is None else f"{self.fill}, size {self.size:g}"


@dataclass(frozen=True)
class Child:
    """A newborn network and what was measured on the CPU.

    Attributes:
        model: the network, in eval mode.
        parity: the largest difference at a site, relative to its largest output, in float32.
        low_parity: the same of another child, made in bfloat16; None where none was.
        norms: of the factors, relative to their layer's.
    """

    model: nn.Module
    parity: float
    low_parity: float | None
    norms: tuple[float, ...]


def make_child(parent: nn.Module, example: Tensor, variant: Variant, seed: int, low: bool = False) -> Child:
    """Morph every first convolution of a block; with `low`, another time in bfloat16."""
    result = _morph(parent, example, variant, seed)
    other = _morph(copy.deepcopy(parent).bfloat16(), example.bfloat16(), variant, seed) if low else None
    weights = parent.state_dict()
    norms = tuple(
        float(edge.detach().norm() / weights[f"{name}.weight"].norm())
        for name, module in modules(result.model)
        for edge in module.edges.parameters()
    )
    return Child(
        result.model,
        max(site.max_rel for site in result.parity.sites),
        None if other is None else max(site.max_rel for site in other.parity.sites),
        norms,
    )


def _morph(parent: nn.Module, example: Tensor, variant: Variant, seed: int) -> Any:
    return morph(
        parent,
        {SITES: variant.graph},
        example_inputs=example,
        seed=seed,
        fill=variant.fill,  # type: ignore[arg-type]
        noise=0.5 if variant.size is None else variant.size,
        check=False,
    )


def size_matters(parent: nn.Module, example: Tensor, graph: str) -> bool:
    """Return whether children differ by the size of their noise; where nothing can cancel, they do not."""
    none, much = (
        make_child(parent, example, Variant(graph, "pointwise", size), 0).model.state_dict() for size in (0.0, 2.0)
    )
    return any(not torch.equal(none[key], much[key]) for key in none)


class Nursery:
    """Makes children of one parent, in further processes if there are cores for them.

    Args:
        parent: on the CPU.
        example: images for it.
        workers: processes; below 2 all is made in this one, when it is asked for.
    """

    def __init__(self, parent: nn.Module, example: Tensor, workers: int) -> None:
        self._parent, self._example, self._workers = parent, example, workers

    @contextmanager
    def children(self, wanted: Sequence[tuple[Variant, int]]) -> Iterator[Iterator[Child]]:
        """Yield children in the order in which variants and seeds are wanted; those of seed 0 in bfloat16, too."""
        if self._workers < 2:
            yield (make_child(self._parent, self._example, each, seed, seed == 0) for each, seed in wanted)
            return
        # As bytes: tensors that cross between processes as such would each hold a file open.
        family = pickle.dumps((self._parent, self._example))
        context = multiprocessing.get_context("spawn")  # a fork of a process that uses CUDA is broken
        with ProcessPoolExecutor(self._workers, context, initializer=_begin, initargs=(family,)) as pool:
            futures = [pool.submit(_deliver, each, seed) for each, seed in wanted]
            try:
                yield (pickle.loads(future.result()) for future in futures)
            finally:
                for future in futures:
                    future.cancel()


_family: tuple[nn.Module, Tensor]


def _begin(family: bytes) -> None:
    global _family  # noqa: PLW0603 - what a worker is told once
    torch.set_num_threads(1)
    _family = pickle.loads(family)


def _deliver(variant: Variant, seed: int) -> bytes:
    return pickle.dumps(make_child(*_family, variant, seed, seed == 0))


def spare_workers() -> int:
    """Return how many processes fit beside this one; no more than 12, for a container may show its host's cores."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(12, cores - 2)


# Gradients -----------------------------------------------------------------------------------------------------------


def modules(network: nn.Module) -> Iterator[tuple[str, MorphedModule]]:
    """Yield the morphed modules by name."""
    for name, module in network.named_modules():
        if isinstance(module, MorphedModule):
            yield name, module


def edge_ratios(child: nn.Module, x: Tensor, labels: Tensor, seed: int) -> list[tuple[str, float]]:
    """Return, for each new edge, its site and its gradient's norm at birth over that of its He-initialised twin.

    Args:
        child: on the CPU; left as it is.
        x: images, where the gradients shall be computed.
        labels: of the images.
        seed: of the twin's weights.
    """
    names = [(site, f"{site}.edges.{key}") for site, m in modules(child) for key, _ in m.edges.named_parameters()]
    found = _ratios(child, [key for _, key in names], x, labels, seed)
    return [(site, ratio) for (site, _), ratio in zip(names, found, strict=True)]


def layer_ratios(parent: nn.Module, sites: Sequence[str], x: Tensor, labels: Tensor, seed: int) -> dict[str, float]:
    """Return the same for the parent's own layers: what a trained network's gradients are beside a twin's."""
    keys = [f"{site}.weight" for site in sites]
    return dict(zip(sites, _ratios(parent, keys, x, labels, seed), strict=True))


def _ratios(network: nn.Module, keys: Sequence[str], x: Tensor, labels: Tensor, seed: int) -> list[float]:
    twin = copy.deepcopy(network)
    random = torch.Generator().manual_seed(seed)
    weights = dict(twin.named_parameters())
    for key in keys:
        nn.init.kaiming_normal_(weights[key], generator=random)
    norms = []
    for each in (copy.deepcopy(network), twin):
        each.to(x.device).train()
        Objective(each, plain=overruns(each, x.device))(x, labels)[0].backward()
        grads = {key: weight.grad for key, weight in each.named_parameters()}
        norms.append([0.0 if (grad := grads[key]) is None else float(grad.norm()) for key in keys])
    return [one / other if other else math.inf for one, other in zip(*norms, strict=True)]


def geometric_mean(values: Sequence[float]) -> float:
    """Return the geometric mean of numbers above zero."""
    return math.exp(sum(map(math.log, values)) / len(values))


@dataclass(frozen=True)
class Ratios:
    """Gradients of newborn edges over those of their twins.

    Attributes:
        sites: where each edge is.
        plain: the ratios.
        control: what the parent's own layer has at each site.
    """

    sites: tuple[str, ...]
    plain: tuple[float, ...]
    control: Mapping[str, float]

    @classmethod
    def of(cls, found: Sequence[tuple[str, float]], control: Mapping[str, float]) -> Ratios:
        """Make one of what `edge_ratios` returned."""
        return cls(tuple(site for site, _ in found), tuple(ratio for _, ratio in found), control)

    @property
    def relative(self) -> tuple[float, ...]:
        """The ratios over the control's."""
        return tuple(ratio / self.control[site] for site, ratio in zip(self.sites, self.plain, strict=True))


def beyond(ratios: Sequence[float], factor: float) -> int:
    """Count the ratios that are more than a factor away from 1."""
    return sum(not 1 / factor <= ratio <= factor for ratio in ratios)


def extent(values: Sequence[float]) -> str:
    """Return the smallest and the largest as text."""
    return f"{min(values):.2g} to {max(values):.2g}"
