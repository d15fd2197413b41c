"""Attributes of blobs and edges that are values of their own: a width, and what an edge without weights does."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from fractions import Fraction
from sys import float_info
from typing import Literal

from netmorph.errors import GraphError

WIDTH = re.compile(r"[0-9]{1,7}|[0-9]{0,7}\.?[0-9]{1,6}x|[0-9]{1,16}/[1-9][0-9]{0,9}x")
# Bounded, or a million digits would cost quadratic time.
FACTOR = r"(-?(?:[0-9]{1,32}(?:\.[0-9]{0,32})?|\.[0-9]{1,32})(?:[eE][+-]?[0-9]{1,4})?)\s*\*\s*"
_FIXED = re.compile(rf"(?:{FACTOR})?(id|avg)")
LARGEST = 1 << 20


@dataclass(frozen=True)
class Width:
    """A blob's channel count: absolute (`64`), or relative to the site's output channels (`4x`, `0.25x`)."""

    value: Fraction
    relative: bool = False

    def __post_init__(self) -> None:
        whole = self.value.denominator == 1 or (self.relative and self.value.denominator < 10**9)
        if not whole or not 0 < self.value <= LARGEST:
            raise GraphError(
                f"a width must be a positive number of channels, or a positive factor such as 4x, got {self}",
                remedies=["write 64 for 64 channels, or 0.25x for a quarter of the site's output channels"],
            )

    @classmethod
    def of(cls, value: int | str | Width) -> Width:
        """Read a width from an integer, from text such as "64", "4x", "0.25x" or "1/3x", or from a width.

        Raises:
            GraphError: if the text or value is not one of these.
        """
        if isinstance(value, Width):
            return value
        text = str(value).strip()
        if isinstance(value, bool) or not WIDTH.fullmatch(text):
            raise GraphError(f"{value!r} is not a valid width", remedies=["write 64 channels, or a factor: 4x, 0.25x"])
        return cls(Fraction(text.removesuffix("x")), text.endswith("x"))

    def resolve(self, c_out: int) -> int:
        """Return the channels for a site with `c_out` output channels: rounded half up, at least 1."""
        return max(1, math.floor(self.value * (c_out if self.relative else 1) + Fraction(1, 2)))

    def __str__(self) -> str:
        decimal = f"{float(self.value):.6f}".rstrip("0").rstrip(".")
        number = decimal if Fraction(decimal) == self.value else str(self.value)
        return number + ("x" if self.relative else "")


@dataclass(frozen=True)
class Fixed:
    """The operation of an edge without weights: a scaled identity, or average pooling over its kernel.

    Attributes:
        kind: "id" or "avg".
        scale: factor of the result.
    """

    kind: Literal["id", "avg"] = "id"
    scale: float = 1.0

    def __post_init__(self) -> None:
        if self.kind not in ("id", "avg") or not abs(self.scale) <= float_info.max:
            raise GraphError(f"a fixed edge must be 'id' or 'avg' with a finite scale, got {self.kind!r}, {self.scale}")
        object.__setattr__(self, "scale", float(self.scale))

    @classmethod
    def of(cls, value: str | Fixed) -> Fixed:
        """Read what an edge without weights does from text such as "id", "avg" or "0.5*id", or from such a value.

        Raises:
            GraphError: if the text or value is not one of these.
        """
        if isinstance(value, Fixed):
            return value
        match = _FIXED.fullmatch(value.strip()) if isinstance(value, str) else None
        if match is None:
            raise GraphError(
                f"{value!r:.80} is not an operation of an edge without weights",
                remedies=["write 'id', 'avg', or with a factor '0.5*id'"],
            )
        return cls(match.group(2), float(match.group(1) or 1))  # type: ignore[arg-type]  # the pattern has both kinds
