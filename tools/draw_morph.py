"""Draw the picture at the top of the README: one convolution, and the paper's module (D) that replaces it.

python tools/draw_morph.py            # writes docs/morph.svg
"""

from pathlib import Path

BLUE, INK, GREY = "#0072B2", "#1f2328", "#6e7781"
CHILD = {"s": (470, 130), "a": (600, 60), "b": (600, 200), "c": (710, 130), "t": (850, 130)}
PARENT = {"s": (70, 130), "t": (230, 130)}
# The edges of module (D), eq. 6 of the paper, each with its kernel and where along it the label stands.
EDGES = [
    ("s", "a", "3x3", 0.5), ("s", "b", "3x3", 0.5), ("a", "c", "3x3", 0.45), ("b", "c", "1x1", 0.45),
    ("a", "t", "1x1", 0.42), ("c", "t", "1x1", 0.45), ("b", "t", "1x1", 0.42),
]  # fmt: skip
RADIUS = 17


def arrow(start: tuple[float, float], end: tuple[float, float], color: str) -> str:
    """Draw a line from circle to circle."""
    dx, dy = end[0] - start[0], end[1] - start[1]
    length = (dx * dx + dy * dy) ** 0.5
    ux, uy = dx / length, dy / length
    x1, y1 = start[0] + RADIUS * ux, start[1] + RADIUS * uy
    x2, y2 = end[0] - (RADIUS + 7) * ux, end[1] - (RADIUS + 7) * uy
    return (
        f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" stroke="{color}" stroke-width="2" '
        f'marker-end="url(#head)"/>'
    )


def label(x: float, y: float, text: str) -> str:
    """Write a kernel on a white plate, so that it is read over its line."""
    return (
        f'<rect x="{x - 19:.1f}" y="{y - 10:.1f}" width="38" height="20" rx="4" fill="#ffffff"/>'
        f'<text x="{x:.1f}" y="{y + 5:.1f}" font-size="14" fill="{INK}">{text}</text>'
    )


def blob(x: float, y: float, name: str) -> str:
    """Draw a blob."""
    return (
        f'<circle cx="{x}" cy="{y}" r="{RADIUS}" fill="#ffffff" stroke="{INK}" stroke-width="2"/>'
        f'<text x="{x}" y="{y + 5}" font-size="15" fill="{INK}">{name}</text>'
    )


def picture() -> str:
    """Return the whole SVG."""
    parts = [
        '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 920 270" width="920" height="270" role="img" '
        'font-family="Helvetica, Arial, sans-serif" text-anchor="middle">',
        "<title>One trained convolution becomes the paper's module (D), and the network computes the same</title>",
        f'<defs><marker id="head" viewBox="0 0 8 8" refX="2" refY="4" markerWidth="5" markerHeight="5" orient="auto">'
        f'<path d="M0 0 L8 4 L0 8 z" fill="{BLUE}"/></marker></defs>',
        '<rect x="1" y="1" width="918" height="268" rx="10" fill="#ffffff" stroke="#d0d7de"/>',
        arrow(PARENT["s"], PARENT["t"], BLUE),
        label(145, 130, "3x3"),
        f'<text x="150" y="255" font-size="14" fill="{GREY}">one trained convolution</text>',
        f'<text x="350" y="112" font-size="16" fill="{INK}">nm.morph</text>',
        f'<path d="M290 130 H402" stroke="{INK}" stroke-width="2" fill="none"/>',
        f'<path d="M400 123 L414 130 L400 137 z" fill="{INK}"/>',
        f'<text x="350" y="156" font-size="13" fill="{GREY}">same function</text>',
        f'<text x="660" y="255" font-size="14" fill="{GREY}">seven to train on: module (D) of the paper</text>',
    ]
    parts += [arrow(CHILD[source], CHILD[sink], BLUE) for source, sink, _, _ in EDGES]
    for source, sink, kernel, along in EDGES:
        (x1, y1), (x2, y2) = CHILD[source], CHILD[sink]
        parts.append(label(x1 + along * (x2 - x1), y1 + along * (y2 - y1), kernel))
    parts += [blob(*place, name) for places in (PARENT, CHILD) for name, place in places.items()]
    return "\n".join([*parts, "</svg>"]) + "\n"


if __name__ == "__main__":
    target = Path(__file__).parents[1] / "docs/morph.svg"
    target.write_text(picture(), encoding="utf-8")
    print(target)
