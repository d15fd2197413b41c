"""The exceptions of netmorph: each says what is wrong, where, with which shapes, and what to do about it."""

from __future__ import annotations

import re
from collections.abc import Sequence

__all__ = [
    "GraphError",
    "InfeasibleMorph",
    "NetmorphError",
    "NotationError",
    "ParityError",
    "SiteError",
    "did_you_mean",
    "shortened",
]

_LONGEST_WORD, _LONGEST_TEXT = 256, 2000
_WORD = re.compile(rf"\S{{{_LONGEST_WORD + 1},}}")


def shortened(text: str) -> str:
    """Return a text for a message: what a user gave may have a million characters, of which the ends tell enough.

    Args:
        text: any; words above 256 characters are cut in the middle, and then the whole above 2000.
    """
    words = _WORD.sub(lambda match: _cut(match.group(), _LONGEST_WORD), text)
    return words if len(words) <= _LONGEST_TEXT else _cut(words, _LONGEST_TEXT)


def _cut(text: str, most: int) -> str:
    return f"{text[: most // 2]}[... {len(text) - most // 4 * 3:,} characters ...]{text[-(most // 4) :]}"


def did_you_mean(name: object, known: Sequence[str], *, most: int = 1, cutoff: float = 0.6) -> list[str]:
    """Return the remedy for a name that is not known, if known ones are near.

    Args:
        name: what was given.
        known: the names.
        most: how many to offer.
        cutoff: how alike they must be, from 0 to 1.
    """
    from difflib import get_close_matches

    near = get_close_matches(str(name), known, n=most, cutoff=cutoff)
    return [f"did you mean {' or '.join(map(repr, near))}?"] if near else []


class NetmorphError(Exception):
    """Base class of all errors that a user of netmorph can cause.

    Args:
        what: what is wrong, as one sentence without a full stop.
        site: qualified name of the layer or shortcut in the network; `""` is the model itself.
        graph: the module graph concerned, as notation.
        shapes: the shapes or numbers that disagree.
        remedies: what the user can do, the most likely remedy first.
    """

    def __init__(
        self,
        what: str,
        *,
        site: str | None = None,
        graph: str | None = None,
        shapes: str | None = None,
        remedies: Sequence[str] = (),
    ) -> None:
        super().__init__(what)
        self.what = what
        self.site = site
        self.graph = graph
        self.shapes = shapes
        self.remedies = tuple(remedies)

    def located(self, site: str) -> NetmorphError:
        """Return this error with `site` filled in where it is still unknown."""
        if self.site is None:
            self.site = site
        return self

    def __str__(self) -> str:
        place = [] if self.site is None else [f"site {self.site or '(the model itself)'!s}"]
        if self.graph is not None:
            place.append(f"graph {self.graph!r}")
        if self.shapes is not None:
            place.append(self.shapes)
        text = shortened(self.what) + (f" [{'; '.join(map(shortened, place))}]" if place else "")
        if self.remedies:
            text += ". Remedy: " + "; or ".join(map(shortened, self.remedies))
        return text + "."


class GraphError(NetmorphError):
    """The module graph is invalid: it has a cycle or two sinks, or its widths or strides do not fit."""


class NotationError(GraphError):
    """The notation of a graph is invalid.

    Args:
        what: what is wrong at that place.
        text: the whole notation.
        position: index into `text` of the offending character.
        remedies: what the user may do.
    """

    def __init__(self, what: str, text: str = "", position: int = 0, remedies: Sequence[str] = ()) -> None:
        super().__init__(what, remedies=remedies)
        self.text = text
        self.position = position

    def __str__(self) -> str:
        return f"{super().__str__()}\n  {self.text}\n  {' ' * self.position}^"


class SiteError(NetmorphError):
    """A layer cannot be morphed or grown, or a pattern matches no site."""


class InfeasibleMorph(NetmorphError):  # noqa: N818 - a public name
    """The graph cannot represent the filter of the site exactly.

    `missing` states what is too narrow or too small.
    """

    def __init__(
        self,
        what: str,
        *,
        missing: str = "",
        site: str | None = None,
        graph: str | None = None,
        shapes: str | None = None,
        remedies: Sequence[str] = (),
    ) -> None:
        super().__init__(what, site=site, graph=graph, shapes=shapes, remedies=remedies)
        self.missing = missing


class ParityError(NetmorphError):
    """Parent and child differ by more than the tolerance of their dtype."""
