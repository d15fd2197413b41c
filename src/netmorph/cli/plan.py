"""Report what a morph would do before any work: reduction, cut, feasibility and cost of each site.

Exit code 0: every site is feasible, or undecided until solved; 2: a site is infeasible.
"""

from __future__ import annotations

import json
from typing import Any

from netmorph.cli.options import add_birth, add_model, add_sites

__all__ = ["add_arguments", "run"]


def add_arguments(parser: Any) -> None:
    """Add the command's options."""
    add_model(parser)
    add_sites(parser)
    parser.add_argument(
        "--act",
        type=str,
        default="auto",
        help="activation of the inner blobs, which must support pairs for --birth pair: auto (as in the network), "
        "none, gelu, ...",
    )
    add_birth(parser)
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(options: Any) -> int:
    """Print the plan."""
    from netmorph.cli.options import example, open_model, read_sites
    from netmorph.surgery.morphing.plan import plan

    mapping = read_sites(options.at, options.to)
    model = open_model(options.model, options.model_args, options.weights)
    found = plan(
        model,
        mapping,
        example_inputs=example(options.input_shape, options.seed),
        seed=options.seed,
        act=None if options.act == "none" else options.act,
        birth=options.birth,
    )
    print(json.dumps(found.to_dict(), indent=2) if options.json else found.summary())
    return 2 if found.feasible is False else 0
