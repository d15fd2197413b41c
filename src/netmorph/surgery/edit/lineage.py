"""Which parameter of the parent became which parameter of the child: what an optimizer must know.

Parent and child may be the same network, whose old layers are gone: only the optimizer still holds their parameters. So
parameters are remembered themselves, not their names, and weakly, so that a result keeps no parent in memory.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from itertools import count
from typing import Any, Protocol
from weakref import ReferenceType, ref

from torch import nn
from torch.nn.parameter import is_lazy

from netmorph.errors import NetmorphError

_REPLACED = "_netmorph_replaced"
_turns = count(1)


@dataclass(frozen=True)
class Heir:
    """A parameter that outlives a morph, perhaps as a copy.

    Attributes:
        name: qualified name in the child.
        was: qualified name in the parent: another where a module that grew hands a norm or an edge on.
        parent: the parent's parameter.
        child: the child's; the same where the morph was in place, but for the bias of a replaced layer.
    """

    name: str
    was: str
    parent: ReferenceType[nn.Parameter]
    child: ReferenceType[nn.Parameter]


@dataclass(frozen=True)
class Newborn:
    """A parameter that a morph brought.

    Attributes:
        name: qualified name in the child.
        child: the parameter.
        origins: parameters of the parent whose treatment it shares: the weight of the layer that was replaced; of an
            identity, which has none, the weights of the smallest part around it that has any.
    """

    name: str
    child: ReferenceType[nn.Parameter]
    origins: tuple[ReferenceType[nn.Parameter], ...]


@dataclass(frozen=True)
class Lineage:
    """All parameters of parent and child of one morph.

    Attributes:
        heirs: those that go on.
        departed: names and parameters of the parent that the child no longer has.
        newborn: those that are new, in the child's order.
        turn: orders the morphs of this process.
    """

    heirs: tuple[Heir, ...] = ()
    departed: tuple[tuple[str, ReferenceType[nn.Parameter]], ...] = ()
    newborn: tuple[Newborn, ...] = ()
    turn: int = 0

    def __reduce__(self) -> tuple[Any, ...]:
        """Copies and pickles of a result hold other parameters, of which nothing is known."""
        return Lineage, ()


class Descent(Protocol):
    """What `morph` returns, and every other operation that tells what became of the parameters."""

    @property
    def model(self) -> nn.Module:
        """The child."""

    @property
    def _lineage(self) -> Lineage:
        """What became of the parent's parameters."""


def check_result(result: object) -> None:
    """Raise if something else than a result was given.

    Raises:
        NetmorphError: if the argument is not the result of `morph` or of another function that grows a network.
    """
    if not isinstance(getattr(result, "_lineage", None), Lineage):
        raise NetmorphError(
            f"expected the result of morph or of another function that grows a network, got a {type(result).__name__}",
            remedies=["pass result, not result.model"],
        )


def trace(
    before: Mapping[str, nn.Parameter],
    child: nn.Module,
    sites: Collection[str],
    *,
    inplace: bool = False,
    copied: Mapping[str, nn.Parameter] | None = None,
) -> Lineage:
    """Return what became of a parent's parameters.

    A parameter goes on where the child has itself, under whatever name, or else one of the same name and shape: names
    tell, since a morphed module names its weights otherwise than a layer and its bias, which takes over the layer's
    values, alike.

    Args:
        before: the parent's parameters by qualified name, tied ones under each name, from before the change.
        child: the changed network.
        sites: qualified names of the places that were changed.
        inplace: whether the parent itself was changed, so that what departed is of no use any more.
        copied: where a copy was changed, its parameters by name from before the change.
    """
    after = dict(child.named_parameters(remove_duplicate=False))
    stay = _old_names(before if copied is None else copied, after)
    kept = {id(before[name]) for name in stay.values()}
    departed = {name: old for name, old in before.items() if id(old) not in kept}
    turn = next(_turns)
    if inplace:
        for name, old in departed.items():
            old.__dict__[_REPLACED] = (turn, name)
    return Lineage(
        tuple(Heir(name, was, ref(before[was]), ref(after[name])) for name, was in stay.items()),
        tuple((name, ref(old)) for name, old in departed.items()),
        tuple(
            Newborn(name, ref(new), tuple(map(ref, _origins(before, name, sites))))
            for name, new in after.items()
            if name not in stay
        ),
        turn,
    )


def replaced_before(parameter: nn.Parameter, turn: float) -> str | None:
    """Return the name that a parameter had until a morph in place before `turn` replaced its layer, or None."""
    when, name = parameter.__dict__.get(_REPLACED, (turn, ""))
    return name if when < turn else None


def _old_names(before: Mapping[str, nn.Parameter], after: Mapping[str, nn.Parameter]) -> dict[str, str]:
    """Return the names that parameters had, by those that they or their successors have now; in the old order."""
    same: dict[int, list[str]] = {}
    for name, old in before.items():
        same.setdefault(id(old), []).append(name)
    found = {}
    for name, new in after.items():
        names = same.get(id(new), [])
        if names:
            found[name] = name if name in names else names[0]
    elsewhere = set(found.values())
    for name, old in before.items():
        if name not in elsewhere and name in after and name not in found and _alike(old, after[name]):
            found[name] = name
    order = {name: index for index, name in enumerate(before)}
    return dict(sorted(found.items(), key=lambda pair: order[pair[1]]))


def _alike(old: nn.Parameter, new: nn.Parameter) -> bool:
    return old is new or (is_lazy(old) and is_lazy(new)) or (not is_lazy(old) and old.shape == new.shape)


def _origins(before: Mapping[str, nn.Parameter], name: str, sites: Collection[str]) -> list[nn.Parameter]:
    """Return the parent's weights in the place around `name`, or in the smallest part around that which has any."""
    place = max((site for site in sites if _inside(name, site)), key=len, default=name)
    for part in _upwards(place):
        found = [old for key, old in before.items() if _inside(key, part) and not is_lazy(old) and old.dim() > 1]
        if found:
            return found
    return []


def _upwards(place: str) -> Iterator[str]:
    while place:
        yield place
        place = place.rpartition(".")[0]
    yield ""


def _inside(name: str, part: str) -> bool:
    return not part or name.startswith(f"{part}.")
