"""Merge linear modules into single layers, and save the network.

BatchNorms are folded; activations must be the identity (slope 1, or morphed with --act none). Exit code 0: no morphed
module is left; 2: some modules cannot be collapsed and are kept; the reason is printed for each.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from netmorph.cli.options import add_model
from netmorph.errors import NetmorphError

if TYPE_CHECKING:
    from netmorph.surgery.collapsing.collapse import CollapseResult

__all__ = ["add_arguments", "run"]


def add_arguments(parser: Any) -> None:
    """Add the command's options."""
    add_model(parser)
    parser.add_argument(
        "--out", type=str, required=True, help="output folder for the network; must not exist, or be empty"
    )
    parser.add_argument(
        "--tolerance",
        type=float | None,
        default=None,
        help="maximum difference relative to the largest output of a layer (default: 1e-5 in float32)",
    )
    parser.add_argument("--approximate", action="store_true", help="accept differences at the image border")
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(options: Any) -> int:
    """Collapse, print what each module became or why it stays, and save."""
    from netmorph.cli.options import example, open_model
    from netmorph.lab.run_folder import require_free
    from netmorph.surgery.collapsing.collapse import collapse
    from netmorph.surgery.records.checkpoint import save

    out = Path(options.out)
    require_free(out)
    model = open_model(options.model, options.model_args, options.weights)
    x = example(options.input_shape, options.seed)
    result = collapse(model, x, inplace=False, tolerance=options.tolerance, approximate=options.approximate)
    if not result.collapsed and not result.kept:
        raise NetmorphError(
            f"there is no morphed module in {options.model}", remedies=["pass a folder that netmorph morph wrote"]
        )
    if result.collapsed:
        save(result.model, out)
    if options.json:
        print(json.dumps({**_as_dict(result), "folder": str(out) if result.collapsed else None}, indent=2))
    else:
        _print(result, out)
    return 2 if result.kept else 0


def _print(result: CollapseResult, out: Path) -> None:
    from netmorph.cli.console import console, table

    screen = console()
    rows = [
        (site.name or "(the model itself)", str(site.graph), str(site.layer), f"{site.parity.max_rel:.1e}")
        for site in result.collapsed
    ]
    if rows:
        heads = ("site", "module", "layer", "difference")
        screen.print(table(heads, rows, title="Largest difference, relative to the largest output", left=3))
        assert result.parity is not None
        screen.print(f"  outputs of the network: largest difference {result.parity.max_abs:.1e}")
        screen.print(f"  for one call on the example: {result.cost}")
    for name, why in result.kept.items():
        screen.print(f"  stays: {name or '(the model itself)'}: {why}", markup=False, soft_wrap=True)
    screen.print(f"Written to {out}" if rows else "Nothing was written", soft_wrap=True)


def _as_dict(result: CollapseResult) -> dict[str, Any]:
    assert result.parity is not None
    assert result.cost is not None
    return {
        "collapsed": [
            {
                "site": site.name,
                "graph": str(site.graph),
                "layer": site.layer.to_dict(),
                "difference": site.parity.max_rel,
                "tolerance": site.parity.tolerance,
            }
            for site in result.collapsed
        ],
        "kept": dict(result.kept),
        "outputs_max_abs": result.parity.max_abs,
        "cost": result.cost.to_dict(),
    }
