"""The ``netmorph`` command."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib import import_module
from typing import Any

from netmorph.cli.program import run_program

__all__ = ["ABOUT", "commands", "main"]

ABOUT = "Grow a trained PyTorch network without losing what it has learned."
_COMMANDS = ("quickstart", "plan", "morph", "verify", "show", "collapse", "fit", "report", "doctor")
_MOVED = {"reproduce": "table1", "explore": "explore"}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line.

    Args:
        arguments: what follows ``netmorph``; the process's own by default.

    Returns:
        The exit code, as `run_program` says.
    """
    given = list(sys.argv[1:] if arguments is None else arguments)
    if given and given[0] in _MOVED:
        told = f"netmorph {given[0]} is now python -m reproduction {_MOVED[given[0]]}, in a clone of netmorph"
        print(f"netmorph: {told}; see reproduction/README.md there.", file=sys.stderr)
        return 2
    return run_program("netmorph", ABOUT, commands(), given)


def commands() -> dict[str, Any]:
    """Return the commands by name: modules of this package."""
    return {name: import_module(f"netmorph.cli.{name}") for name in _COMMANDS}


if __name__ == "__main__":
    sys.exit(main())
