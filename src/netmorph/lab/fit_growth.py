"""The morph before a phase of a training run: sites and graphs, or one of the paper's networks by name."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from netmorph.errors import GraphError, InfeasibleMorph, NetmorphError
from netmorph.graph.symmetry import Birth
from netmorph.lab.fit_phases import FitPhase
from netmorph.lab.results import parity_of
from netmorph.models.paper import check_reach, grow, name_of, parse_net
from netmorph.surgery.morphing.morph import morph
from netmorph.surgery.morphing.plan import plan
from netmorph.surgery.morphing.result import Result

__all__ = ["Given", "check_growth", "check_sites", "grown_for", "parity_of_steps"]


@dataclass(frozen=True)
class Given:
    """What a morph is made with.

    Attributes:
        example: test images, on which parity is measured.
        batches: training images, from which new BatchNorms take their statistics (eq. 9).
        seed: random seed.
        act: activation of morphed modules, as in `morph`.
        norm: norm of morphed modules, as in `morph`.
        keep_parent: as in `morph`.
        birth: as in `morph`.
    """

    example: Tensor
    batches: Sequence[Tensor]
    seed: int
    act: str | None
    norm: str | None
    keep_parent: bool
    birth: Birth = "slope"


def grown_for(phase: FitPhase, model: nn.Module, given: Given) -> tuple[Result, ...]:
    """Morph a network for a phase, exactly.

    The paper's networks are grown as the paper has them: ReLU and BatchNorm, whatever `Given` says.

    Args:
        phase: which has sites or a name to grow to.
        model: the network, left as it is.
        given: what the morph is made with.

    Returns:
        What was done, in order; the last one's ``model`` is the network.

    Raises:
        NetmorphError: if a morph is infeasible or inexact, or the network cannot grow to the named one.
    """
    common: dict[str, Any] = {
        "example_inputs": given.example,
        "seed": given.seed,
        "calibration": list(given.batches),
    }
    model.eval()
    if phase.grow is None:
        choices: dict[str, Any] = {key: getattr(given, key) for key in ("act", "norm", "keep_parent", "birth")}
        return (morph(model, phase.sites, **common, **choices),)
    source = name_of(model, parse_net(phase.grow).depth)
    steps = grow(model, source, phase.grow, **common).steps
    if not steps:
        raise _already(phase.grow)
    return steps


def check_growth(model: nn.Module, phases: Sequence[FitPhase]) -> None:
    """Find out before any training which of the paper's networks cannot be grown, as far as their names tell.

    Args:
        model: the network at the start.
        phases: all that is to be done to it.

    Raises:
        NetmorphError: if a phase's network does not hold the one given.
    """
    source: str | None = None
    named = True  # until sites are morphed that may be shortcuts
    for number, phase in enumerate(phases, 1):
        named = named and not phase.sites
        if phase.grow is None:
            continue
        if named:
            try:
                source = name_of(model, parse_net(phase.grow).depth) if source is None else source
                check_reach(source, phase.grow)
                _check_new(source, phase.grow)
            except NetmorphError as error:
                error.what = f"phase {number}: {error.what}"
                raise
        source, named = phase.grow, True


def check_sites(model: nn.Module, phases: Sequence[FitPhase], given: Callable[[int], Given]) -> None:
    """Find out before any training what the first morph cannot do; later ones may name what it makes.

    Args:
        model: the network at the start, in eval mode.
        phases: all that is to be done to it.
        given: what a phase's morph is made with, by its number.

    Raises:
        NetmorphError: if no site matches, or a graph cannot represent every filter of its site.
    """
    number = next((number for number, phase in enumerate(phases, 1) if phase.sites or phase.grow is not None), 0)
    if not number or phases[number - 1].grow is not None:
        return
    made = given(number)
    try:
        found = plan(
            model,
            phases[number - 1].sites,
            example_inputs=made.example,
            seed=made.seed,
            act=made.act,
            birth=made.birth,
        )
        # Before any training a filter may be one that even a narrow graph holds: the morph, which comes now, tells.
        for each in () if number == 1 or made.keep_parent else found:
            if each.plan.feasible is False:
                raise InfeasibleMorph(
                    f"the graph cannot represent a trained filter exactly: {each.plan.reason}",
                    missing=each.plan.missing,
                    site=each.site.name,
                    graph=str(each.plan.graph),
                    shapes=str(each.plan.site),
                    remedies=each.plan.remedies,
                )
    except NetmorphError as error:
        if made.keep_parent and isinstance(error, GraphError):
            return  # with the layer beside it, the graph is another one
        error.what = f"phase {number}: {error.what}"
        raise


def parity_of_steps(steps: Sequence[Result]) -> dict[str, Any]:
    """Return the parity of a morph in one step or more as `parity_of` does of one, and what it cost."""
    found = [parity_of(step) for step in steps]
    return {
        "outputs_max_abs": max(each["outputs_max_abs"] for each in found),
        "outputs_max_rel": max(each["outputs_max_rel"] for each in found),
        "sites": [site for each in found for site in each["sites"]],
        "cost": {"before": steps[0].cost.before.to_dict(), "after": steps[-1].cost.after.to_dict()},
    }


def _check_new(source: str, target: str) -> None:
    """Raise if two names are of one architecture."""
    old, new = parse_net(source), parse_net(target)
    if (old.kernels, old.places) == (new.kernels, new.places):
        raise _already(target)


def _already(name: str) -> NetmorphError:
    return NetmorphError(f"the network is a {name} already", remedies=["remove grow from that phase"])
