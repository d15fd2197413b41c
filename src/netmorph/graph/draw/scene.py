"""A picture as a list of shapes, before it is written as SVG or painted as PNG. Units are pixels, y points down."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Literal

__all__ = ["GLYPH", "Box", "Curve", "Head", "Label", "Point", "Role", "Scene", "text_width"]

Point = tuple[float, float]
Role = Literal["ink", "faint", "line", "fixed", "carry", "fresh", "blob", "end", "narrow", "frame", "paper"]

# Of the monospaced fonts in use none is wider; so a label's size is known without the font.
GLYPH = 0.62


@dataclass(frozen=True)
class Box:
    """A rounded rectangle.

    Attributes:
        x: left.
        y: top.
        width: its width.
        height: its height.
        role: decides its colours.
        about: what a pointer shows.
    """

    x: float
    y: float
    width: float
    height: float
    role: Role
    about: str = ""

    def overlaps(self, other: Box) -> bool:
        """Whether the two have an inner point in common."""
        beside = self.x + self.width <= other.x or other.x + other.width <= self.x
        return not (beside or self.y + self.height <= other.y or other.y + other.height <= self.y)


@dataclass(frozen=True)
class Label:
    """One line of text.

    Attributes:
        x: its middle, or its left end under `start`.
        y: its middle.
        text: what it says.
        size: height of the font.
        role: decides its colour.
        bold: whether it is bold.
        start: whether `x` is its left end.
    """

    x: float
    y: float
    text: str
    size: float
    role: Role = "ink"
    bold: bool = False
    start: bool = False

    @property
    def box(self) -> Box:
        """What it covers at most."""
        width = text_width(self.text, self.size)
        left = self.x if self.start else self.x - width / 2
        return Box(left, self.y - 0.6 * self.size, width, 1.2 * self.size, "paper")


@dataclass(frozen=True)
class Curve:
    """A line through points; each piece leaves and arrives horizontally.

    Attributes:
        points: two or more, from left to right.
        role: decides its colour and width.
    """

    points: tuple[Point, ...]
    role: Role


@dataclass(frozen=True)
class Head:
    """An arrow's head that points to the right, or upwards or downwards by its line's end.

    Attributes:
        x: its tip.
        y: its tip.
        role: decides its colour.
    """

    x: float
    y: float
    role: Role


@dataclass(frozen=True)
class Scene:
    """Shapes on a canvas.

    Attributes:
        width: of the canvas.
        height: of the canvas.
        title: what the picture shows, for those who cannot see it.
        boxes: drawn first.
        curves: drawn over the boxes.
        heads: drawn over the curves.
        labels: drawn last.
    """

    width: float
    height: float
    title: str = ""
    boxes: tuple[Box, ...] = ()
    curves: tuple[Curve, ...] = ()
    heads: tuple[Head, ...] = ()
    labels: tuple[Label, ...] = field(default=())

    def moved(self, dx: float, dy: float) -> Scene:
        """Return the scene with all shapes shifted; the canvas grows to hold them."""
        return replace(
            self,
            width=self.width + dx,
            height=self.height + dy,
            boxes=tuple(replace(box, x=box.x + dx, y=box.y + dy) for box in self.boxes),
            curves=tuple(replace(c, points=tuple((x + dx, y + dy) for x, y in c.points)) for c in self.curves),
            heads=tuple(replace(head, x=head.x + dx, y=head.y + dy) for head in self.heads),
            labels=tuple(replace(label, x=label.x + dx, y=label.y + dy) for label in self.labels),
        )

    @classmethod
    def together(cls, parts: Iterable[Scene], title: str) -> Scene:
        """Return one scene with the shapes of all, its canvas large enough for each."""
        scenes = tuple(parts)
        return cls(
            max(scene.width for scene in scenes),
            max(scene.height for scene in scenes),
            title,
            tuple(box for scene in scenes for box in scene.boxes),
            tuple(curve for scene in scenes for curve in scene.curves),
            tuple(head for scene in scenes for head in scene.heads),
            tuple(label for scene in scenes for label in scene.labels),
        )


def text_width(text: str, size: float) -> float:
    """Return the width that a text takes at most."""
    return GLYPH * size * len(text)
