"""A cursor over notation that reads edges and widths and fails at a character."""

from __future__ import annotations

import re
from typing import Any, NoReturn

from netmorph.errors import GraphError, NotationError
from netmorph.graph.attributes import FACTOR
from netmorph.graph.spec import NAME, Edge, Fixed, Width

LONGEST = 1_000_000
_WINDOW = 100  # characters of a long notation that an error shows
_SPACE = re.compile(r"[ \t\r\n]*")
_NAME = re.compile(NAME.pattern.removesuffix(r"\Z"))
_SIDES = re.compile(r"[0-9]+(?:x[0-9]+)*")
_SCALE = re.compile(rf"{FACTOR}(?=id|avg)")
_FIXED = re.compile(r"(id|avg)(?![A-Za-z_])")
_GROUPS = re.compile(r"dw(?![A-Za-z0-9_])|[0-9]+")
_WIDTH = re.compile(r"[0-9.]+(?:/[0-9]+(?=x))?x?")
_DIGITS = 7


class Scanner:
    """A notation and a position in it.

    Raises:
        NotationError: if the text is longer than `LONGEST`, or not text.
    """

    def __init__(self, text: str) -> None:
        if not isinstance(text, str):
            raise NotationError(f"expected the notation as a string, got {type(text).__name__}")
        self.text = text
        self.at = 0
        if len(text) > LONGEST:
            self.fail(f"the notation has {len(text)} characters; at most {LONGEST} are allowed", 0)

    def excerpt(self, position: int) -> tuple[str, int]:
        """Return the text around a position on one printable line, and the position in it."""
        start = max(0, position - _WINDOW) if len(self.text) > 2 * _WINDOW else 0
        stop = min(len(self.text), max(start, position) + _WINDOW) if len(self.text) > 2 * _WINDOW else len(self.text)
        head, tail = "..." if start else "", "..." if stop < len(self.text) else ""
        shown = "".join(c if c.isprintable() else " " for c in self.text[start:stop])
        return head + shown + tail, len(head) + position - start

    def fail(self, what: str, position: int | None = None, *remedies: str) -> NoReturn:
        """Raise at a position (default: here)."""
        text, place = self.excerpt(self.at if position is None else position)
        raise NotationError(what, text, place, remedies)

    def peek(self) -> str:
        """Return the next character after white space without reading it; "" at the end."""
        self._skip()
        return self.text[self.at : self.at + 1]

    def take(self, character: str) -> bool:
        """Read a character if it is the next one."""
        if self.peek() != character:
            return False
        self.at += 1
        return True

    def expect(self, character: str, where: str) -> None:
        """Read a character or fail."""
        if not self.take(character):
            self.fail(f"expected {character!r} {where}, found {self.seen()}")

    def seen(self) -> str:
        """Return what is next, in words."""
        character = self.peek()
        return repr(character) if character else "the end"

    def name(self, what: str) -> str:
        """Read the name of a blob or an edge."""
        match = self._match(_NAME)
        if match is None:
            self.fail(f"expected the name of {what}, found {self.seen()}")
        return match.group()

    def width(self) -> Width:
        """Read a width: `64`, `4x`, `0.25x`, `1/3x`."""
        self._skip()
        start = self.at
        match = self._match(_WIDTH)
        if match is None:
            self.fail(
                f"expected a width, found {self.seen()}", None, "write 64 for channels, or 4x, 0.25x for a factor"
            )
        if len(match.group()) > 4 * _DIGITS:
            self.fail("this width has too many digits", start)
        try:
            return Width.of(match.group())
        except GraphError as error:
            self.fail(error.what, start, *error.remedies)

    def edge(self) -> tuple[dict[str, Any], Width | None, int]:
        """Read an edge with its suffixes.

        Returns:
            Its attributes, the width of the blob that it writes, and where that stands.
        """
        self._skip()
        start = self.at
        item = self._kernel()
        width, place, seen = None, start, set[str]()
        while (mark := self.peek()) and mark in "/~*:":
            place = self.at if mark == ":" else place
            if mark in seen:
                self.fail(f"{_SUFFIXES[mark]} is given twice")
            seen.add(mark)
            self.at += 1
            if mark == ":":
                width = self.width()
            elif mark == "*":
                item["groups"] = self._groups()
            else:
                item[_SUFFIXES[mark]] = self._sides(_SUFFIXES[mark])
        try:
            Edge("e", "a", "b", **item)
        except GraphError as error:
            self.fail(error.what.replace("edge 'e'", "this edge"), start, *error.remedies)
        return item, width, place

    def _skip(self) -> None:
        self.at = _SPACE.match(self.text, self.at).end()  # type: ignore[union-attr]  # it matches the empty string

    def _match(self, pattern: re.Pattern[str]) -> re.Match[str] | None:
        self._skip()
        match = pattern.match(self.text, self.at)
        if match is not None:
            self.at = match.end()
        return match

    def _kernel(self) -> dict[str, Any]:
        start = self.at
        scale = self._match(_SCALE)
        fixed = self._match(_FIXED)
        if fixed is None:
            if not self.peek().isdecimal():
                self.fail(
                    f"expected an edge, found {self.seen()}", None, "write a kernel such as 3x3, or id, or avg3x3"
                )
            return {"kernel": self._sides("kernel")}
        try:
            kind = Fixed(fixed.group(1), float(scale.group(1)) if scale else 1.0)  # type: ignore[arg-type]
        except GraphError as error:
            self.fail(error.what, start)
        return {"kernel": (1,) if kind.kind == "id" else self._sides("kernel"), "fixed": kind}

    def _sides(self, what: str) -> tuple[int, ...]:
        self._skip()
        start = self.at
        match = self._match(_SIDES)
        if match is None:
            self.fail(
                f"expected a {what}, found {self.seen()}", None, f"write a number, or one a dimension: {what} 3x3"
            )
        parts = match.group().split("x")
        if len(parts) > 3:
            self.fail(f"a {what} has at most three dimensions, got {len(parts)}", start)
        if max(map(len, parts)) > _DIGITS:
            self.fail(f"this {what} is too large", start)
        return tuple(map(int, parts))

    def _groups(self) -> int | str:
        self._skip()
        start = self.at
        match = self._match(_GROUPS)
        if match is None:
            self.fail(f"expected groups, found {self.seen()}", None, "write *dw for depthwise, or a number such as *8")
        if match.group() == "dw":
            return "dw"
        if len(match.group()) > _DIGITS:
            self.fail("these are too many groups", start)
        return int(match.group())


_SUFFIXES = {"/": "stride", "~": "dilation", "*": "groups", ":": "width"}


class Widths:
    """Widths collected by blob; two different ones for one blob are an error."""

    def __init__(self, scanner: Scanner) -> None:
        self.scanner = scanner
        self.table: dict[str, Width] = {}

    def put(self, blob: str, width: Width, position: int) -> None:
        """Note the width of a blob, given at a position of the text."""
        if blob in ("s", "t"):
            self.scanner.fail(
                "source and sink take their width from the site", position, f"leave the width of {blob!r} out"
            )
        before = self.table.setdefault(blob, width)
        if before != width:
            self.scanner.fail(f"blob {blob!r} is given two widths, {before} and {width}", position, "keep one of them")

    def braces(self) -> None:
        """Read the widths in braces at the end of a notation, and the end."""
        scanner = self.scanner
        if scanner.take("{"):
            while True:
                scanner.peek()
                start = scanner.at
                blob = scanner.name("a blob")
                scanner.expect(":", "between blob and width")
                self.put(blob, scanner.width(), start)
                if not scanner.take(","):
                    break
            scanner.expect("}", "after the widths")
        if scanner.peek():
            scanner.fail(f"unexpected {scanner.seen()}")
