"""A place that can be morphed, and selections of such places by name."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import overload

import torch

from netmorph.brief import Brief
from netmorph.errors import SiteError, did_you_mean
from netmorph.filters.geometry import ConvSpec
from netmorph.surgery.running.activation import Heard
from netmorph.surgery.shortcuts.slots import Slot
from netmorph.surgery.sites.kinds import Kind


@dataclass(frozen=True, repr=False)
class Site(Brief):
    """A layer or identity shortcut of a network that can be morphed.

    Attributes:
        name: qualified name; "" is the model itself.
        kind: "conv", "linear" or "identity".
        spec: geometry of the layer; for an identity, a 1x1 kernel on its channels.
        bias: whether the layer has a bias.
        dtype: dtype of the weight; for an identity, of the input.
        device: device of the weight; for an identity, of the input.
        input_shape: input shape of the first call on the example; None if the example does not reach the site.
        output_shape: output shape of this call.
        calls: number of calls on the example.
        same_padding: whether the padding depends on the input size ("same"); `spec` then describes the convolution
            after the padding.
        slot: for a shortcut without a module, how a module is put in its place; otherwise None.
    """

    name: str
    kind: Kind
    spec: ConvSpec
    bias: bool
    dtype: torch.dtype
    device: torch.device
    input_shape: tuple[int, ...] | None = None
    output_shape: tuple[int, ...] | None = None
    calls: int = 0
    same_padding: bool = False
    slot: Slot | None = None

    @property
    def reached(self) -> bool:
        """Whether the example inputs reach it."""
        return self.calls > 0

    @property
    def positions(self) -> int:
        """Output positions of all its calls on the example, as if each were like the first; 0 if it is not reached."""
        return math.prod(self.output_shape or (0,)) // self.spec.c_out * self.calls

    def __str__(self) -> str:
        shapes = f"{self.input_shape} -> {self.output_shape}" if self.reached else "not reached by the example"
        return f"{self.name or '(the model itself)'}: {self.kind} {self.spec}, {shapes}"


class Sites(Sequence[Site]):
    """The sites of a network, in the order of its modules.

    Args:
        sites: the sites.
        refused: for each other layer, by name, the reason why it cannot be morphed.
        others: type names of all other modules, by name, for error messages.
        heard: the activations that were called in the example run.
    """

    def __init__(
        self,
        sites: Sequence[Site],
        refused: Mapping[str, str],
        others: Mapping[str, str] | None = None,
        heard: Heard | None = None,
    ) -> None:
        self._sites = tuple(sites)
        self.refused = dict(refused)
        self.heard = heard or Heard()
        self._others = dict(others or {})

    @property
    def names(self) -> tuple[str, ...]:
        """Qualified names."""
        return tuple(site.name for site in self)

    def select(self, *patterns: str, exclude: str | Sequence[str] = ()) -> Sites:
        """Return the sites that match any of the patterns and none of `exclude`.

        Patterns match the full dotted name by `fnmatch.fnmatchcase`: `*` crosses dots. `refused` of the result lists
        the refused places that the patterns met.

        Args:
            patterns: names or globs.
            exclude: names or globs to leave out; each must match something.

        Raises:
            SiteError: if a pattern matches nothing, matches only refused places, or names a refused place literally.
        """
        unwanted = [exclude] if isinstance(exclude, str) else list(exclude)
        for pattern in (*patterns, *unwanted):
            check_pattern(pattern)
        known = [*self.names, *self.refused]
        for pattern in unwanted:
            if not any(_matches(name, pattern) for name in known):
                raise self._nothing(pattern)

        def out(name: str) -> bool:
            return any(_matches(name, pattern) for pattern in unwanted)

        chosen: set[str] = set()
        met: dict[str, str] = {}
        for pattern in patterns:
            names, skipped = self._match(pattern)
            chosen.update(name for name in names if not out(name))
            met.update((name, why) for name, why in skipped.items() if not out(name))
        return Sites([site for site in self if site.name in chosen], met, self._others)

    def expect(self, count: int) -> Sites:
        """Return these sites if there are `count` of them.

        Raises:
            SiteError: if the number of sites is another one.
        """
        if len(self) != count:
            skipped = f"; refused: {', '.join(map(repr, self.refused))}" if self.refused else ""
            raise SiteError(
                f"expected {count} sites, found {len(self)}",
                shapes=f"found {_listed(self.names)}{skipped}",
                remedies=["change the patterns or the expected count"],
            )
        return self

    def _match(self, pattern: str) -> tuple[list[str], dict[str, str]]:
        """Return the site names that one pattern matches, and the refused ones."""
        if pattern in self.refused:
            raise self._refusal(pattern)
        names = [name for name in self.names if _matches(name, pattern)]
        skipped = {name: why for name, why in self.refused.items() if _matches(name, pattern)}
        if names:
            return names, skipped
        if skipped:
            name, why = next(iter(skipped.items()))
            raise SiteError(
                f"every layer that {pattern!r} matches is refused, such as {name!r}: {why}",
                shapes=f"{len(skipped)} places",
            )
        raise self._nothing(pattern)

    def _refusal(self, name: str) -> SiteError:
        return SiteError(f"it cannot be morphed: {self.refused[name]}", site=name)

    def _nothing(self, pattern: str) -> SiteError:
        inside = [name for name in self.names if name.startswith(f"{pattern}.")]
        remedies = []
        what = f"no site matches {pattern!r}"
        if pattern in self._others:
            what += f" (a module of type {self._others[pattern]} is not a site itself)"
        if inside:
            remedies.append(f"its sites are {_listed(inside)}: name one, or write {pattern + '.*'!r}")
        else:
            remedies += did_you_mean(pattern, self.names, most=3, cutoff=0.5)
            remedies.append(f"the network's sites are {_listed(self.names)}" if self else "the network has no sites")
        return SiteError(what, remedies=remedies)

    @overload
    def __getitem__(self, index: int | str) -> Site: ...

    @overload
    def __getitem__(self, index: slice) -> Sites: ...

    def __getitem__(self, index: int | str | slice) -> Site | Sites:
        if isinstance(index, str):
            for site in self:
                if site.name == index:
                    return site
            raise self._refusal(index) if index in self.refused else self._nothing(index)
        if isinstance(index, slice):
            return Sites(self._sites[index], self.refused, self._others)
        return self._sites[index]

    def __len__(self) -> int:
        return len(self._sites)

    def __iter__(self) -> Iterator[Site]:
        return iter(self._sites)

    def __repr__(self) -> str:
        return f"Sites({_listed(self.names)}, {len(self.refused)} refused)"


def check_pattern(pattern: object) -> None:
    """Raise if something else than one name or glob was given.

    Raises:
        SiteError: if the argument is not a single name or glob.
    """
    if not isinstance(pattern, str):
        raise SiteError(
            f"expected one name or glob of places, got a {type(pattern).__name__}: {pattern!r:.80}",
            remedies=["write one glob for several places, such as 'layer1.*.conv1'", "call once for each name"],
        )


def _matches(name: str, pattern: str) -> bool:
    return name == pattern or fnmatchcase(name, pattern)


def _listed(names: Sequence[str], most: int = 6) -> str:
    shown = ", ".join(repr(name) for name in names[:most])
    return shown + (f" and {len(names) - most} more" if len(names) > most else "")
