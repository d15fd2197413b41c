"""Demonstrate netmorph on real data: train, morph, check, continue training, compare.

Trains a small network on a subset of Fashion-MNIST that is part of netmorph until it has learned most of what it can,
morphs two of its convolutions into larger modules, prints the parity of each, continues training, and compares the
result with three controls at equal compute. Writes a run folder.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from netmorph.cli.options import check_seed
from netmorph.cli.training import TrainingPrinter, require
from netmorph.errors import NetmorphError

if TYPE_CHECKING:
    from netmorph.lab.quickstart import Outcome
    from netmorph.surgery.morphing.result import Result

__all__ = ["add_arguments", "run"]


def add_arguments(parser: Any) -> None:
    """Add the command's options."""
    parser.add_argument("--seed", type=int, default=0, help="random seed")
    parser.add_argument(
        "--epochs",
        type=int | None,
        default=None,
        help="number of epochs of the child after the morph; the parent is trained for four times as many (default: 8)",
    )
    parser.add_argument(
        "--quick",
        action="store_true",
        help="use few images and one epoch: shows every step, but the results are meaningless",
    )
    parser.add_argument(
        "--out", type=str | None, default=None, help="folder of the run (default: runs/quickstart-DATE-TIME)"
    )
    parser.add_argument("--json", action="store_true", help="print JSON, and no progress")


def run(options: Any) -> int:
    """Run it and print what came out."""
    if options.epochs is not None and options.epochs < 1:
        raise NetmorphError(f"--epochs must be at least 1, got {options.epochs}")
    if options.seed < 0:
        raise NetmorphError(f"--seed must be non-negative, got {options.seed}")
    check_seed(options.seed)
    require("lightning", "matplotlib")
    out = Path(options.out or time.strftime("runs/quickstart-%Y%m%d-%H%M%S"))
    print("netmorph quickstart: loading torch and Lightning", file=sys.stderr)
    from netmorph.lab.quickstart import Setting, quickstart

    given = {"seed": options.seed} | ({} if options.epochs is None else {"epochs": options.epochs})
    setting = Setting.quick(**given) if options.quick else Setting(**given)
    outcome = quickstart(setting, out, _Printer(quiet=options.json))
    if outcome.folder != out:
        print(f"netmorph: {out} was taken by another run; this run is in {outcome.folder}", file=sys.stderr)
    if options.json:
        print((outcome.folder / "results.json").read_text(encoding="utf-8"), end="")
    else:
        _print_outcome(outcome, quick=options.quick)
    return 0


class _Printer(TrainingPrinter):
    """Prints as the run goes on: each training, and the morph between."""

    def morphed(self, result: Result, changed: int, images: int) -> None:
        """Print the parity of every site."""
        if self.quiet:
            return
        from netmorph.cli.print_morph import print_morph

        print_morph(self.console, result)
        self.console.print(f"  test images whose classification became right or wrong: {changed} of {images}\n")


def _print_outcome(outcome: Outcome, *, quick: bool) -> None:
    """Print the table, its reading, and where the run lies."""
    from netmorph.cli.console import console, table

    rows = [
        (
            row.name,
            f"{row.error:.1f}",
            f"{row.params:,}",
            f"{row.macs:,}",
            str(row.epochs),
            f"{row.compute / 1e9:.1f}",
            f"{row.seconds:.0f}",
        )
        for row in outcome.contenders
    ]
    heads = ("network", "error %", "parameters", "MACs/image", "epochs", "GMACs", "seconds")
    out = console()
    title = "Epochs, GMACs (of forward passes) and seconds include all training that led to a network"
    out.print(table(heads, rows, title=title))
    for reading in outcome.readings:
        out.print(reading)
    if quick:
        out.print("With --quick the results are meaningless: too few images and epochs.")
    out.print(f"Written to {outcome.folder} ({outcome.seconds:.0f} s in all)", soft_wrap=True)
