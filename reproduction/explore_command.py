"""Grow one network in several ways, each against the parent trained on the same way, and write the table.

The variants (rate after the morph, noise, fill, when to morph) stand in a YAML file; --print-variants shows netmorph's
own to begin with. The folder may be stopped, or killed, at any moment; the same command goes on. Exit code 0: all is
done; 75: --time-limit ended it, repeat the command.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from netmorph.cli.training import add_data
from netmorph.errors import NetmorphError
from reproduction.table_command import add_running, carry_out, check_running

__all__ = ["add_arguments", "run"]


def add_arguments(parser: Any) -> None:
    """Add the command's options."""
    parser.add_argument(
        "net",
        type=str | None,
        nargs="?",
        default=None,
        help="a network of the paper, such as morph20_3c1; --print-variants needs none",
    )
    parser.add_argument(
        "--variants", type=str | None, default=None, help="YAML file of variants (default: those of netmorph)"
    )
    parser.add_argument("--print-variants", action="store_true", help="print netmorph's variants and do nothing")
    add_data(parser, "cifar10", "cifar10")
    add_running(parser, "runs/explore-NET-DATA")


def run(options: Any) -> int:
    """Run what is left, write the table, and say by the exit code whether all is done."""
    from reproduction.budget import VARIANTS, load_variants

    if options.print_variants:
        print(VARIANTS.read_text(encoding="utf-8"), end="")
        return 0
    if options.net is None:
        raise NetmorphError("explore needs a network to grow to", remedies=["name one, such as morph20_1c1"])
    check_running(options)
    from reproduction.explore import make_exploration

    variants = load_variants(VARIANTS if options.variants is None else Path(options.variants))
    experiment = make_exploration(options.net, variants, options.seeds)
    out = Path(options.out or f"runs/explore-{options.net}-{options.data_name}")
    return carry_out(experiment, options.data_name, out, options)
