"""Show a module graph: its edges, morphing sequence, equation and feasibility.

The graph is a notation such as '1x1 > 3x3 | id', an edge list such as 's-a:3x3, a-t:1x1', the name of a module of the
catalogue such as module_d, or a JSON file. --out also writes a drawing to a file.
"""

from __future__ import annotations

import json
import math
import re
import sys
from typing import TYPE_CHECKING, Any

from netmorph.cli.options import Text
from netmorph.errors import NetmorphError

if TYPE_CHECKING:
    from netmorph.filters.geometry import ConvSpec
    from netmorph.graph.reduce import Reduction
    from netmorph.graph.spec import ModuleGraph
    from netmorph.solver.plan import SitePlan

__all__ = ["add_arguments", "run"]

_MOST_PATHS = 64
_MOST_DIGITS, _MOST_TAPS = 9, 10_000
_MOST_STEPS = 40


def add_arguments(parser: Any) -> None:
    """Add the command's options."""
    parser.add_argument("graph", type=str, help="module graph, name of the catalogue, or JSON file")
    parser.add_argument("--channels", type=int, default=64, help="number of output channels of the site")
    parser.add_argument(
        "--in-channels", type=int | None, default=None, help="number of input channels (default: --channels)"
    )
    parser.add_argument("--kernel", type=str, default="3", help="kernel of the site: 3, 1x3, or 3x3x3")
    parser.add_argument("--stride", type=int, default=1, help="stride of the site")
    parser.add_argument("--dilation", type=int, default=1, help="dilation of the site")
    parser.add_argument("--groups", type=int, default=1, help="groups of the site")
    parser.add_argument(
        "--out",
        type=Text(),
        action="append",
        default=[],
        help="write the drawing to this file: .svg, .png, .dot (Graphviz) or .mmd (Mermaid); repeatable",
    )
    parser.add_argument(
        "--strip", action="store_true", help="draw the morphing sequence, with one picture for each step"
    )
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(options: Any) -> int:
    """Print the graph and what it would do at the site."""
    from netmorph.cli.options import read_graph
    from netmorph.graph.draw import listing
    from netmorph.graph.layout import resolve_widths
    from netmorph.graph.paths import path_count
    from netmorph.graph.reduce import reduce
    from netmorph.solver.plan import plan_site

    graph, site = read_graph(options.graph), _site(options)
    reduction, paths, plan = reduce(graph), path_count(graph), plan_site(graph, site)
    files = _draw(plan, options)
    if options.json:
        more = {"equation": _equation(graph, paths), "morphing_sequence": _steps(reduction), "drawings": files}
        print(json.dumps({**plan.to_dict(), **more}, indent=2))
        return 0
    _print_drawing(plan)
    print(f"{graph}\n\n{listing(graph, resolve_widths(graph, site))}\n")
    kind = "simple" if reduction.is_simple else f"complex: an irreducible core of {len(reduction.core.edges)} edges"
    _print("kind", [f"{kind}; {paths} path{'s' if paths > 1 else ''} from s to t"])
    _print("morphing sequence", _steps(reduction) or ["none: no step of Algorithm 1 applies"])
    _print("equation", _equation(graph, paths).splitlines())
    lines = str(plan).splitlines()[1:]
    _print("at the site", [line for line in lines if not line.startswith("kind ")])
    for file in files:
        print(f"Drawn to {file}")
    return 0


def _draw(plan: SitePlan, options: Any) -> list[str]:
    """Write the files that were asked for."""
    from netmorph.graph.draw.write import draw

    if options.strip and not options.out:
        raise NetmorphError("--strip needs an output file", remedies=["name one with --out morphing.svg"])
    given = [options.out] if isinstance(options.out, str) else options.out
    return [str(draw(plan, file, strip=options.strip)) for file in given]


def _print_drawing(plan: SitePlan) -> None:
    """Draw the graph with characters, if it fits into the terminal and the terminal knows them."""
    from netmorph.cli.console import console
    from netmorph.graph.draw.terminal import to_text

    # There is no stdout where it was closed.
    text = to_text(
        plan.graph, plan.marks, unicode=(getattr(sys.stdout, "encoding", None) or "").lower().startswith("utf")
    )
    lines = [] if text is None else text.splitlines()
    if not lines or max(map(len, lines)) > console().width:
        return
    legend = ["[ ] carries the layer's filter"] if plan.carrying else []
    legend += ["! is too narrow"] if plan.marks.narrow else []
    print("\n".join([*lines, *([", ".join(legend)] if legend else []), ""]))


def _site(options: Any) -> ConvSpec:
    """Read the site's geometry."""
    from netmorph.filters.geometry import ConvSpec

    if not re.fullmatch(r"\d+(x\d+){0,2}", options.kernel):
        raise NetmorphError(f"--kernel {options.kernel!r} is not a kernel", remedies=["write 3, 1x3 or 3x3x3"])
    sides = [int(side) for side in options.kernel.split("x") if len(side) < _MOST_DIGITS]
    if len(sides) <= options.kernel.count("x") or math.prod(sides) ** (2 if len(sides) == 1 else 1) > _MOST_TAPS:
        raise NetmorphError(f"--kernel {options.kernel} is too large: the site has at most {_MOST_TAPS:,} taps")
    return ConvSpec.same(
        options.channels if options.in_channels is None else options.in_channels,
        options.channels,
        sides,
        dims=max(2, len(sides)),
        stride=options.stride,
        dilation=options.dilation,
        groups=options.groups,
    )


def _equation(graph: ModuleGraph, paths: int) -> str:
    """Write eq. 5 out, unless nobody could read it."""
    from netmorph.graph.paths import equation

    return equation(graph) if paths <= _MOST_PATHS else f"a sum over {paths} paths"


def _steps(reduction: Reduction) -> list[str]:
    """Write the atomic morphs that make the module, in order."""
    from netmorph.graph.write import write_atom

    lines = []
    for step in reduction.steps[:_MOST_STEPS]:
        joint = ">" if step.type == "I" else "|"
        parts = f" {joint} ".join(f"{edge.name} ({write_atom(edge)})" for edge in step.edges)
        blob = f", a new blob {step.blob}" if step.blob else ""
        lines.append(f"Type {step.type:<2}  {step.edge.name} -> {parts}{blob}")
    if len(reduction.steps) > _MOST_STEPS:
        lines.append(f"and {len(reduction.steps) - _MOST_STEPS} more")
    return lines


def _print(head: str, lines: list[str]) -> None:
    """Print a headed paragraph."""
    from rich.text import Text

    from netmorph.cli.console import console

    out = console()
    out.print(Text(head, style="bold"))
    for line in lines:
        out.print(Text(f"  {line}"))
