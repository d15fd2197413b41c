"""The ``netmorph`` command: sub-commands, exit codes, and never a traceback."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from importlib import import_module
from io import TextIOWrapper
from typing import Any

__all__ = ["main"]

_COMMANDS = (
    "quickstart",
    "plan",
    "morph",
    "verify",
    "show",
    "collapse",
    "fit",
    "reproduce",
    "explore",
    "report",
    "doctor",
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line.

    Args:
        arguments: what follows ``netmorph``; the process's own by default.

    Returns:
        The exit code: 0 for success, 2 for a wrong input, 75 where a time limit ended what is not through yet, 130 for
        Ctrl-C, 1 for a fault of netmorph's own. Where the arguments cannot be read the process exits with code 2
        instead.
    """
    _print_anywhere()
    try:
        return _run(list(sys.argv[1:] if arguments is None else arguments))
    except BrokenPipeError:
        # Whoever read the output has gone; keep Python from complaining when it flushes.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 2
    except (KeyboardInterrupt, Exception) as error:
        message, code = _explain(error)
        if code == 1 and os.environ.get("NETMORPH_TRACEBACK"):
            raise
        print(f"netmorph: {message}", file=sys.stderr)
        return code


def _print_anywhere() -> None:
    """Print a question mark for what an output's encoding does not have, rather than fail at the end of a training."""
    for stream in (sys.stdout, sys.stderr):
        encoding = getattr(stream, "encoding", None) or "utf"
        if isinstance(stream, TextIOWrapper) and not encoding.lower().startswith("utf"):
            stream.reconfigure(errors="replace")


def _explain(error: BaseException) -> tuple[str, int]:
    """Return what to say of an error, and the exit code."""
    from netmorph.errors import NetmorphError

    if isinstance(error, KeyboardInterrupt):
        return "interrupted; nothing was left half-written", 130
    if isinstance(error, NetmorphError):
        return str(error), 2
    if isinstance(error, ModuleNotFoundError) and not (error.name or "netmorph").startswith("netmorph"):
        return f"{error.name} is not installed. Remedy: pip install 'netmorph[train,cli,report]'.", 2
    if isinstance(error, UnicodeDecodeError):
        return "a file that is given is not text in UTF-8. Remedy: save it as UTF-8, or name another one.", 2
    if isinstance(error, OSError):
        return f"{error.strerror or error}{f': {error.filename}' if error.filename else ''}", 2
    advice = "this is a fault of netmorph's own; NETMORPH_TRACEBACK=1 shows where"
    return f"{type(error).__name__}: {error}\n{advice}", 1


def _run(arguments: list[str]) -> int:
    """Parse, and hand over to the sub-command."""
    config = _parser().parse_args(arguments)
    command: Any = import_module(f"netmorph.cli.{config.subcommand}")
    code: int = command.run(config[config.subcommand])
    return code


def _parser() -> Any:
    """Build the parser of all sub-commands; none of their modules loads torch before it runs."""
    from jsonargparse import ArgumentParser, set_parsing_settings

    from netmorph._version import __version__

    set_parsing_settings(add_print_completion_argument=True)
    parser = ArgumentParser(
        prog="netmorph",
        description="Grow a trained PyTorch network without losing what it has learned.",
        version=__version__,
        allow_abbrev=False,
    )
    commands = parser.add_subcommands(required=True, metavar="command")
    for name in _COMMANDS:
        module = import_module(f"netmorph.cli.{name}")
        about = module.__doc__ or ""
        sub = ArgumentParser(description=about, allow_abbrev=False)
        sub.add_argument("--config", action="config", help="read options from this YAML or JSON file")
        module.add_arguments(sub)
        commands.add_subcommand(name, sub, help=about.partition("\n")[0].rstrip("."))
    return parser


if __name__ == "__main__":
    sys.exit(main())
