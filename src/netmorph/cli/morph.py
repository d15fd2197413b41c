"""Replace layers of a network by modules, check that its function is preserved, and save the child.

The child's folder contains model.safetensors and config.json, for netmorph.load and the other commands.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from netmorph.cli.options import add_birth, add_model, add_sites

__all__ = ["add_arguments", "run"]


def add_arguments(parser: Any) -> None:
    """Add the command's options."""
    add_model(parser)
    add_sites(parser)
    parser.add_argument(
        "--out", type=str, required=True, help="output folder for the child; must not exist, or be empty"
    )
    parser.add_argument(
        "--act",
        type=str,
        default="auto",
        help="activation of the inner blobs: auto (as in the network), none, gelu, ...",
    )
    parser.add_argument(
        "--norm",
        type=str,
        default="auto",
        help="norm of the new edges: auto (none without calibration data), neutral, none, ...",
    )
    parser.add_argument(
        "--keep-parent",
        action="store_true",
        help="if a graph cannot represent the filter, add a parallel edge with the layer's kernel",
    )
    add_birth(parser)
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(options: Any) -> int:
    """Morph, print the parity of each site, and save."""
    from netmorph.cli.console import console
    from netmorph.cli.options import example, open_model, read_sites
    from netmorph.cli.print_morph import print_morph
    from netmorph.lab.report.read import MORPH
    from netmorph.lab.results import parity_of
    from netmorph.lab.run_folder import environment, require_free, write_json
    from netmorph.surgery.morphing.morph import morph
    from netmorph.surgery.records.checkpoint import save
    from netmorph.whole_files import written_aside

    mapping = read_sites(options.at, options.to)
    out = Path(options.out)
    require_free(out)
    model = open_model(options.model, options.model_args, options.weights)
    result = morph(
        model,
        mapping,
        example_inputs=example(options.input_shape, options.seed),
        seed=options.seed,
        act=None if options.act == "none" else options.act,
        norm=None if options.norm == "none" else options.norm,
        keep_parent=options.keep_parent,
        birth=options.birth,
    )
    save(result.model, out)  # the network knows how it was built
    found = {"parity": parity_of(result), "cost": result.cost.to_dict(), "notices": list(result.notices)}
    with written_aside(out / MORPH) as aside:  # what netmorph report tells of
        write_json(aside, {**found, "environment": environment()})
    if options.json:
        print(json.dumps({**found, "folder": str(out)}, indent=2))
    else:
        screen = console()
        print_morph(screen, result)
        screen.print(f"Written to {out}", soft_wrap=True)
    return 0
