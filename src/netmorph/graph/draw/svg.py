"""A scene as SVG: no scripts, no fonts to fetch, light and dark, readable by those who cannot see it."""

from __future__ import annotations

from xml.sax.saxutils import escape, quoteattr

from netmorph.graph.draw.palette import DARK, FONT, LIGHT, WIDTHS
from netmorph.graph.draw.scene import Box, Curve, Head, Label, Point, Scene

__all__ = ["STYLE", "path_of", "to_svg"]

_HEAD = 8.0


def to_svg(scene: Scene, *, style: bool = True) -> str:
    """Return a scene as one SVG element.

    Args:
        scene: the picture.
        style: whether it brings its colours and a ground, so that it reads on any page; else the page has `STYLE`.
    """
    width, height = round(scene.width, 1), round(scene.height, 1)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" class="netmorph" role="img" width="{width:g}" height="{height:g}" '
        f'viewBox="0 0 {width:g} {height:g}" style="max-width:100%;height:auto">',
        f"<title>{escape(scene.title)}</title>",
    ]
    if style:
        parts.append(f"<style>{STYLE}</style>")
        parts.append('<rect class="nm-paper" width="100%" height="100%" rx="8"/>')
    parts += [_box(box) for box in scene.boxes]
    parts += [_curve(curve) for curve in scene.curves]
    parts += [_head(head) for head in scene.heads]
    parts += [_label(label) for label in scene.labels]
    return "\n".join([*parts, "</svg>"])


def path_of(points: tuple[Point, ...]) -> str:
    """Return the path of a curve: straight where two points share their height, else an S."""
    (x, y), *others = points
    out = [f"M{x:.1f} {y:.1f}"]
    for to_x, to_y in others:
        if abs(to_y - y) < 0.05:
            out.append(f"H{to_x:.1f}")
        else:
            middle = (x + to_x) / 2
            out.append(f"C{middle:.1f} {y:.1f} {middle:.1f} {to_y:.1f} {to_x:.1f} {to_y:.1f}")
        x, y = to_x, to_y
    return "".join(out)


def _box(box: Box) -> str:
    shape = f'x="{box.x:.1f}" y="{box.y:.1f}" width="{box.width:.1f}" height="{box.height:.1f}" rx="9"'
    about = f"<title>{escape(box.about)}</title>" if box.about else ""
    return f'<rect class="nm-{box.role}" {shape}>{about}</rect>'


def _curve(curve: Curve) -> str:
    return f'<path class="nm-stroke nm-s-{curve.role}" d={quoteattr(path_of(curve.points))}/>'


def _head(head: Head) -> str:
    x, y = head.x, head.y
    return f'<path class="nm-f-{head.role}" d="M{x:.1f} {y:.1f}l{-_HEAD:g} -4.2v8.4z"/>'


def _label(label: Label) -> str:
    anchor = "" if label.start else ' text-anchor="middle"'
    weight = ' font-weight="600"' if label.bold else ""
    # The baseline by hand: dominant-baseline is not known to every viewer.
    place = f'x="{label.x:.1f}" y="{label.y + 0.35 * label.size:.1f}" font-size="{label.size:g}"'
    return f'<text class="nm-t nm-f-{label.role}" {place}{anchor}{weight}>{escape(label.text)}</text>'


def _rules(colours: dict[str, str]) -> str:
    fills = "".join(f".nm-f-{role}{{fill:{colour}}}" for role, colour in colours.items() if "-" not in role)
    lines = "".join(f".nm-s-{role}{{stroke:{colours[role]}}}" for role in WIDTHS)
    boxes = "".join(
        f".netmorph .nm-{role}{{fill:{colours[f'{role}-fill']};stroke:{colours[role]}}}"
        for role in ("blob", "end", "narrow", "frame")
    )
    return f"{fills}{lines}{boxes}.nm-paper{{fill:{colours['paper']}}}"


STYLE = (
    f".nm-t{{font-family:{FONT}}}.nm-stroke{{fill:none}}"
    + "".join(f".nm-s-{role}{{stroke-width:{width:g}}}" for role, width in WIDTHS.items())
    + ".nm-s-fixed{stroke-dasharray:5 3}.nm-blob,.nm-end,.nm-narrow{stroke-width:1.4}"
    + _rules(LIGHT)
    + f"@media (prefers-color-scheme:dark){{{_rules(DARK)}}}"
    + f"@media print{{{_rules(LIGHT)}}}"
)
