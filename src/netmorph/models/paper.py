"""The paper's networks grown from one another, in one phase or in several (sections 4.1 and 4.2)."""

from __future__ import annotations

import copy
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

from torch import nn

from netmorph.errors import NetmorphError
from netmorph.graph.notation import parse
from netmorph.graph.spec import ModuleGraph
from netmorph.models.paper_net import PaperNet, Place, nets_of, parse_net, phase_net
from netmorph.models.paper_tables import paper_tables
from netmorph.nn import MorphedModule
from netmorph.surgery.growth.regrow import regrow
from netmorph.surgery.morphing.morph import morph
from netmorph.surgery.morphing.result import Result

__all__ = ["Grown", "PaperNet", "check_reach", "grow", "name_of", "paper_tables", "parse_net", "phase_net"]

# Globs on the index of a block within its stage: `*` crosses dots, so the class meets the last digit.
_ALL, _ODD, _EVEN = "layer*.shortcut", "layer*[13579].shortcut", "layer*[02468].shortcut"


@dataclass(frozen=True)
class Grown:
    """What `grow` returns.

    Attributes:
        model: the network.
        steps: what was done, in order; `rebuild_optimizer` takes one after the other. None where both names are of one
            architecture (`morph14_1c1_half` is `morph14_1c1`).
    """

    model: nn.Module
    steps: tuple[Result, ...]

    @property
    def max_abs(self) -> float:
        """Largest absolute difference of the outputs that any step made, in eval mode."""
        return max((step.parity.max_abs for step in self.steps), default=0.0)

    @property
    def max_rel(self) -> float:
        """Largest relative difference of the outputs that any step made, in eval mode."""
        return max((step.parity.max_rel for step in self.steps), default=0.0)


def grow(
    model: nn.Module,
    source: str,
    target: str,
    *,
    example_inputs: Any,
    seed: int = 0,
    calibration: Any = None,
    noise: float = 0.5,
    fill: Literal["pointwise", "dense"] = "pointwise",
    inplace: bool = False,
) -> Grown:
    """Grow a trained network of the paper into a larger one that computes the same.

    From the parent to any morphed network in one step, and from each to those that hold it: 1c1 to 3c1 to 3c3, half to
    whole, one branch to two. What was trained is kept; what is new is solved for, with BatchNorm behind every new
    convolution as the costs of the tables ask for.

    Args:
        model: the network, in train or eval mode; its width, classes and weights are free.
        source: its name, ``resnet20``.
        target: the name of what it is to become, ``morph20_1c1``.
        example_inputs: as in `morph`.
        seed: random seed.
        calibration: batches from which the new BatchNorms take their statistics (eq. 9). None: they are neutral, which
            keeps the function in eval mode only.
        noise: size of what cancels within what is new.
        fill: as in `morph`; shortcuts that are morphed already grow pointwise.
        inplace: change `model` itself instead of a copy. Each step is then done completely or not at all.

    Returns:
        The network and the result of each step.

    Raises:
        NetmorphError: if a name is unknown, the target does not contain the source, or the network is not what `source`
            says.
        ParityError: if a step changed the function by more than the tolerance.

    Example:
        >>> import torch
        >>> from netmorph.models.resnet_cifar import CifarResNet
        >>> parent, x = CifarResNet(14, width=4).eval(), torch.randn(2, 3, 16, 16)
        >>> grown = grow(parent, "resnet14", "morph14_1c1_2branch", example_inputs=x)
        >>> str(grown.model.layer1[1].shortcut.layout.graph), grown.max_rel < 1e-5
        ('1x1 > 1x1 | 1x1 > 1x1', True)
    """
    old, new = parse_net(source), parse_net(target)
    check_reach(source, target)
    _check_model(model, old)
    norm = "neutral" if calibration is None else "calibrated"
    if isinstance(calibration, Iterator):
        calibration = list(calibration)  # each step goes through it anew
    common: dict[str, Any] = {
        "example_inputs": example_inputs,
        "seed": seed,
        "calibration": calibration,
        "noise": noise,
        "norm": norm,
        "birth": "slope",  # eq. 8, the paper's
    }
    steps: list[Result] = []
    there = {place.name: place for place in old.places}
    fresh = {place.name: new.graph(place.branches) for place in new.places if place.name not in there}
    if fresh:
        steps.append(morph(model, fresh, fill=fill, inplace=inplace, **common))
    for pattern, graph in _regrown(old, new, there):
        now = steps[-1].model if steps else model
        steps.append(regrow(now, pattern, graph, inplace=inplace, **common))
    return Grown(steps[-1].model if steps else model if inplace else copy.deepcopy(model), tuple(steps))


def _regrown(old: PaperNet, new: PaperNet, there: Mapping[str, Place]) -> Iterator[tuple[str, str]]:
    """Yield globs of the morphed shortcuts that change, and what they become."""
    odd, even = (_becomes(old, new, there, parity) for parity in (1, 0))
    if odd == even:
        yield from [(_ALL, odd)] if odd else []
        return
    yield from ((pattern, graph) for pattern, graph in ((_ODD, odd), (_EVEN, even)) if graph)


def _becomes(old: PaperNet, new: PaperNet, there: Mapping[str, Place], parity: int) -> str:
    """Return what the morphed shortcuts of odd (1) or even (0) blocks become; all of one parity are alike."""
    place = next((each for each in new.places if each.name in there and each.block % 2 == parity), None)
    if place is None or (there[place.name].branches, old.kernels) == (place.branches, new.kernels):
        return ""
    return new.graph(place.branches)


def check_reach(source: str, target: str) -> None:
    """Find out without a network whether one network of the paper can be grown from another.

    Args:
        source: name of the one to grow.
        target: name of what it is to become.

    Raises:
        NetmorphError: if a name is unknown, or the target does not contain the source.
    """
    old, new = parse_net(source), parse_net(target)
    then = {place.name: place.branches for place in new.places}
    fewer = any(then.get(place.name, 0) < place.branches for place in old.places)
    smaller = old.kernels is not None and new.kernels is not None and old.kernels > new.kernels
    if old.depth != new.depth or fewer or smaller:
        raise NetmorphError(
            f"{new.name} cannot be grown from {old.name}: "
            + ("their depths differ" if old.depth != new.depth else "it has less than that somewhere"),
            remedies=[f"grow it from {new.parent}"],
        )


def name_of(model: nn.Module, depth: int) -> str:
    """Return the paper's name of a network, inferred from its shortcuts.

    Args:
        model: the network; its width, classes and weights are free, and so are its other layers.
        depth: that it should have.

    Raises:
        NetmorphError: if the paper has no such network of that depth.
    """
    for net in nets_of(depth):
        try:
            _check_model(model, net)
        except NetmorphError:
            continue
        return net.name
    raise NetmorphError(
        f"the network is neither a resnet{depth} nor one that the paper grows from it",
        remedies=[f"begin with netmorph:resnet{depth}", "name sites and graphs instead"],
    )


def _check_model(model: nn.Module, net: PaperNet) -> None:
    """Raise if a network is not what its name says."""
    modules = dict(model.named_modules(remove_duplicate=False))
    found = {name for name in modules if re.fullmatch(r"layer\d+\.\d+\.shortcut", name)}
    named = {f"layer{stage}.{block}.shortcut" for stage, n in enumerate(net.stages, start=1) for block in range(n)}
    if found != named:
        odd = sorted(found ^ named)[0]
        raise NetmorphError(
            f"the network is not a {net.name}: {odd!r} is {'missing' if odd in named else 'superfluous'}",
            shapes=f"{len(found)} shortcuts, {net.name} has {len(named)}",
            remedies=["name the network that it is as source"],
        )
    wanted = {place.name: net.graph(place.branches) for place in net.places}
    for name in sorted(named):
        module = modules[name]
        graph = _plain(module.layout.graph) if isinstance(module, MorphedModule) else None
        expected = wanted.get(name)
        if graph != (None if expected is None else parse(expected)):
            raise NetmorphError(
                f"the network is not a {net.name}",
                site=name,
                shapes=f"expected {expected or 'no morphed shortcut'}, found {graph or type(module).__name__}",
                remedies=["name the network that it is as source"],
            )


def _plain(graph: ModuleGraph) -> ModuleGraph:
    """Return a graph without the norms that its edges name: where they stand beside neutral ones, they are named."""
    return replace(graph, edges=tuple(replace(edge, norm=None) for edge in graph.edges))
