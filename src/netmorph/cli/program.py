"""A program of several commands: its parser, its exit codes, and never a traceback."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import wraps
from io import TextIOWrapper
from typing import Any, Protocol

__all__ = ["Command", "label", "make_parser", "run_program"]


class Command(Protocol):
    """What a command is made of, as a module or an object; its docstring is its help."""

    def add_arguments(self, parser: Any) -> None:
        """Add the command's options."""

    def run(self, options: Any) -> int:
        """Do it, and return the exit code."""


def run_program(prog: str, about: str, commands: Mapping[str, Command], arguments: Sequence[str]) -> int:
    """Run one of a program's commands.

    Args:
        prog: what is typed before the command.
        about: what the program does, in a sentence.
        commands: by name.
        arguments: what was typed after ``prog``.

    Returns:
        The exit code: 0 for success, 2 for an invalid input, 75 if a time limit was reached before the end, 130 for
        Ctrl-C, 141 if the reader of the output closed it, 143 for SIGTERM, 1 for a bug in netmorph. If the arguments
        cannot be parsed, the process exits with code 2.
    """
    _print_anywhere()
    try:
        with _ending_orderly(), _flushing():
            config = make_parser(prog, about, commands).parse_args(list(arguments))
            return commands[config.subcommand].run(config[config.subcommand])
    except BrokenPipeError:
        _give_up_output()
        return 141  # what a shell says of a program that the signal of a closed pipe has ended
    except (KeyboardInterrupt, Exception) as error:
        message, code = _explain(error)
        if code == 1 and os.environ.get("NETMORPH_TRACEBACK"):
            raise
        if isinstance(error, OSError):
            _give_up_output()  # it may be what was full
        print(f"{label(prog)}: {message}", file=sys.stderr)
        return code


@contextmanager
def _ending_orderly() -> Iterator[None]:
    """Let SIGTERM end the block as Ctrl-C does, so that half-written files are removed."""

    def leave(*_: object) -> None:
        raise SystemExit(143)

    try:
        before = signal.signal(signal.SIGTERM, leave)
    except ValueError:  # not in the main thread
        yield
        return
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


@contextmanager
def _flushing() -> Iterator[None]:
    """Write out what was printed within the block, where an error still has somebody to tell of it."""
    try:
        yield
    finally:
        if sys.stdout is not None and not sys.stdout.closed:
            sys.stdout.flush()


def _give_up_output() -> None:
    """Keep Python from complaining when it flushes what nobody takes."""
    try:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except (AttributeError, OSError):  # there is no output, or it is no file
        return


def _print_anywhere() -> None:
    """Print a question mark for what an output's encoding does not have, rather than fail at the end of a training.

    A path that is no UTF-8 is printed byte by byte, as other commands do.
    """
    for stream in (sys.stdout, sys.stderr):
        encoding = getattr(stream, "encoding", None) or "utf"
        if isinstance(stream, TextIOWrapper) and not encoding.lower().startswith("utf"):
            stream.reconfigure(errors="replace")
        elif isinstance(stream, TextIOWrapper) and stream.errors == "strict":
            stream.reconfigure(errors="surrogateescape")


def _explain(error: BaseException) -> tuple[str, int]:
    """Return what to say of an error, and the exit code."""
    from netmorph.errors import shortened

    if isinstance(error, KeyboardInterrupt):
        return "interrupted; no file was left half-written", 130
    advice = "this is a bug in netmorph; NETMORPH_TRACEBACK=1 shows the traceback"
    said = _input_fault(error)
    return (said, 2) if said else (f"{type(error).__name__}: {shortened(str(error))}\n{advice}", 1)


def _input_fault(error: BaseException) -> str | None:
    """Return what to say of an error that a user or the machine caused; None for netmorph's own."""
    from netmorph.errors import NetmorphError, shortened

    if isinstance(error, NetmorphError):
        return str(error)
    if _is_out_of_memory(error):
        return "out of memory. Remedy: try a smaller network, input, batch or graph."
    if isinstance(error, ModuleNotFoundError) and not (error.name or "netmorph").startswith("netmorph"):
        return f"{error.name} is not installed. Remedy: pip install -e '.[train,cli,report]' in the clone of netmorph."
    if isinstance(error, UnicodeDecodeError):
        return "an input file is not text in UTF-8. Remedy: save it as UTF-8, or name another one."
    if isinstance(error, OSError):
        return shortened(f"{error.strerror or error}{f': {error.filename}' if error.filename else ''}")
    return None


def _is_out_of_memory(error: BaseException) -> bool:
    """Return whether memory was refused; torch says so by a RuntimeError, which on GPUs has a class of its own."""
    text = str(error)
    return isinstance(error, MemoryError) or (
        isinstance(error, RuntimeError) and ("can't allocate memory" in text or "out of memory" in text)
    )


def label(prog: str) -> str:
    """Return the name of a program with which its messages begin: of ``python -m name`` that of the package."""
    return prog.removeprefix("python -m ").split()[0]


def make_parser(prog: str, about: str, commands: Mapping[str, Command]) -> Any:
    """Build the parser of all commands; none of their modules loads torch before it runs."""
    from jsonargparse import get_loader, set_loader, set_parsing_settings

    from netmorph._version import __version__
    from netmorph.cli.parser import Parser

    set_parsing_settings(add_print_completion_argument=True)
    set_loader("yaml", _checked(get_loader("yaml")), (ValueError,))
    parser = Parser(prog=prog, description=about, version=__version__, allow_abbrev=False)
    group = parser.add_subcommands(required=True, metavar="command")
    for name, command in commands.items():
        help_text = command.__doc__ or ""
        sub = Parser(description=help_text, allow_abbrev=False)
        sub.add_argument("--config", action="config", help="read options from this YAML or JSON file")
        command.add_arguments(sub)
        group.add_subcommand(name, sub, help=help_text.partition("\n")[0].rstrip("."))
    return parser


def _checked(load: Callable[[str], Any]) -> Callable[[str], Any]:
    """Return a loader of YAML that refuses what would grow; the values of options are YAML, too."""
    if hasattr(load, "__wrapped__"):
        return load

    @wraps(load)
    def loaded(text: str) -> Any:
        from yaml import YAMLError

        from netmorph.train.yaml_file import check_yaml

        try:
            check_yaml(text, "a config file or an option")
            return load(text)
        except (YAMLError, RecursionError) as error:
            raise ValueError(str(error)) from error

    return loaded
