"""What a training run does one after the other: phases, each a recipe and the morph before it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from netmorph.errors import NetmorphError
from netmorph.models.paper_net import parse_net
from netmorph.surgery.sites.assign import read_graph
from netmorph.train.recipe import Recipe, load_recipe

__all__ = ["FitPhase", "cut_phases", "read_phases"]


@dataclass(frozen=True)
class FitPhase:
    """A morph, if any, and the training that follows.

    Attributes:
        recipe: of the training.
        sites: what is morphed before it: graphs, as text, by pattern of sites.
        grow: or which of the paper's networks it grows to before it, such as ``morph20_1c1``.
    """

    recipe: Recipe
    sites: Mapping[str, str] = field(default_factory=dict)
    grow: str | None = None

    def __post_init__(self) -> None:
        if self.grow is not None and self.sites:
            raise NetmorphError("grow and at exclude each other", remedies=["give each a phase of its own"])
        if self.grow is not None and parse_net(self.grow).kernels is None:
            raise NetmorphError(
                f"{self.grow} is a parent, and no network grows to it",
                remedies=[f"name what it grows to, such as morph{parse_net(self.grow).depth}_1c1"],
            )
        for graph in self.sites.values():
            read_graph(graph)  # found out now rather than after the phases before

    def as_dict(self) -> dict[str, Any]:
        """Return it as JSON says it."""
        grow = {} if self.grow is None else {"grow": self.grow}
        return {"sites": dict(self.sites), **grow, "recipe": asdict(self.recipe)}


def read_phases(given: Sequence[Mapping[str, Any]], recipe: str, overrides: Mapping[str, Any]) -> tuple[FitPhase, ...]:
    """Read phases as a config file writes them.

    Args:
        given: one mapping a phase: ``at`` and ``to`` (one text or a list of them each) or ``grow`` (a name of the
            paper, ``morph20_1c1``), ``recipe``, and any key of a recipe, such as ``epochs`` and ``lr``.
        recipe: name or file of the recipe of phases that name none.
        overrides: keys of a recipe for all phases, which a phase's own go before.

    Raises:
        NetmorphError: if a key is unknown, a phase's ``at`` and ``to`` do not match or stand beside ``grow``, ``grow``
            is no name of the paper, or there is no phase.
    """
    if not given:
        raise NetmorphError("a run needs at least one phase")
    phases = []
    for number, phase in enumerate(given, 1):
        if not isinstance(phase, Mapping):
            raise NetmorphError(f"phase {number} is not a mapping: {phase!r}")
        own = {key: value for key, value in phase.items() if key not in ("at", "to", "grow", "recipe")}
        odd = [key for key in own if not isinstance(key, str) or key == "name_or_path"]  # load_recipe tells of others
        if odd:
            raise NetmorphError(
                f"phase {number} has no key {odd[0]!r}", remedies=["write at, to, grow, recipe, or keys of a recipe"]
            )
        sites = _pairs(_texts(phase, "at", number), _texts(phase, "to", number), f"phase {number}: ")
        made = load_recipe(str(phase.get("recipe", recipe)), **{**overrides, **own})
        try:
            phases.append(FitPhase(made, sites, _name(phase)))
        except NetmorphError as error:
            error.what = f"phase {number}: {error.what}"
            raise
    return tuple(phases)


def cut_phases(recipe: Recipe, at: Sequence[str], to: Sequence[str], when: Sequence[int]) -> tuple[FitPhase, ...]:
    """Cut a recipe's epochs into phases at the epochs after which sites are morphed.

    Every phase follows the recipe's schedule anew over its own epochs.

    Args:
        recipe: of all phases; its epochs are those of all phases together.
        at: patterns of sites.
        to: for each pattern its graph.
        when: for each pattern after how many epochs it is morphed, or one number for all; 0 is before the first.

    Raises:
        NetmorphError: if the lists do not match, or a number lies outside the recipe's epochs.
    """
    if len(at) != len(to):
        raise NetmorphError(f"{len(at)} --at but {len(to)} --to", remedies=["give one --to for every --at"])
    if at and len(when) not in (1, len(at)):
        raise NetmorphError(
            f"{len(at)} --at but {len(when)} --grow-at",
            remedies=["give one --grow-at for all, or one for every --at", "0 morphs before the first epoch"],
        )
    if when and not at:
        raise NetmorphError("--grow-at but no --at", remedies=["select the layers to morph with --at and --to"])
    whens = list(when) * len(at) if len(when) == 1 else list(when)
    odd = [epoch for epoch in whens if not 0 <= epoch < recipe.epochs]
    if odd:
        raise NetmorphError(
            f"--grow-at {odd[0]} does not lie within the {recipe.epochs} epochs",
            remedies=[f"give a number from 0 to {recipe.epochs - 1}"],
        )
    starts = sorted({0, *whens})
    phases = []
    for start, end in zip(starts, [*starts[1:], recipe.epochs], strict=True):
        chosen = [index for index, epoch in enumerate(whens) if epoch == start]
        sites = _pairs([at[index] for index in chosen], [to[index] for index in chosen], f"epoch {start}: ")
        phases.append(FitPhase(replace(recipe, epochs=end - start), sites))
    return tuple(phases)


def _texts(phase: Mapping[str, Any], key: str, number: int) -> list[str]:
    """Read one text or a list of them."""
    given = phase.get(key, [])
    texts = [given] if isinstance(given, str) else given
    if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
        raise NetmorphError(f"phase {number}: {key} must be a string or a list of strings, got {given!r}")
    return texts


def _name(phase: Mapping[str, Any]) -> str | None:
    """Read the name of one of the paper's networks."""
    given = phase.get("grow")
    if given is not None and not isinstance(given, str):
        raise NetmorphError(f"grow must be the name of one of the paper's networks, got {given!r}")
    return given


def _pairs(at: Sequence[str], to: Sequence[str], where: str) -> dict[str, str]:
    """Pair patterns with graphs."""
    if len(at) != len(to):
        raise NetmorphError(f"{where}{len(at)} --at but {len(to)} --to", remedies=["give one --to for every --at"])
    twice = sorted({pattern for pattern in at if at.count(pattern) > 1})
    if twice:
        raise NetmorphError(
            f"{where}--at {twice[0]!r} is given twice in one phase", remedies=["give each pattern once in a phase"]
        )
    return dict(zip(at, to, strict=True))
