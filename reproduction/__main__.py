"""``python -m reproduction``: the paper's tables and figures, and what goes beyond them."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from netmorph.cli.program import Command, run_program
from reproduction import explore_command, report_command
from reproduction.table_command import TableCommand

__all__ = ["ABOUT", "COMMANDS", "PROGRAM", "main"]

PROGRAM = "python -m reproduction"
ABOUT = "Run the experiments of Network Morphism with controls, and write their tables beside the paper's."
_TABLES = {
    "table1": "ResNets morphed on CIFAR-10",
    "table2": "The networks of Table 1, from scratch and morphed, on CIFAR-10",
    "table3": "ResNets morphed on CIFAR-100",
    "table4": "The networks of Table 3, from scratch and morphed, on CIFAR-100",
    "table5": "ResNets morphed on ImageNet",
    "figure5": "The errors of Table 1 as bars, or with --data-name cifar100 those of Table 3",
    "figure6": "The curves of Table 5's networks on ImageNet",
}
COMMANDS: dict[str, Command] = {
    **{name: TableCommand(name, about) for name, about in _TABLES.items()},
    "explore": explore_command,
    "report": report_command,
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line.

    Args:
        arguments: what follows ``python -m reproduction``; the process's own by default.

    Returns:
        The exit code, as `netmorph.cli.program.run_program` says.
    """
    return run_program(PROGRAM, ABOUT, COMMANDS, sys.argv[1:] if arguments is None else arguments)


if __name__ == "__main__":
    sys.exit(main())
