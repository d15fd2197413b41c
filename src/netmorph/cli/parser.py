"""The parser of the command line: what it refuses is said in one line, as everything else is."""

from __future__ import annotations

import re
import sys
from typing import Any, NoReturn

from jsonargparse import ArgumentParser

from netmorph.cli.program import label
from netmorph.errors import shortened

__all__ = ["Parser", "refusal"]

_KEY = re.compile(r'Parser key "([^"]*)":\s*(.*)', re.DOTALL)
_CLASS = re.compile(r"Expected an? <class '(\w+)'>")
_CHOICE = re.compile(r"Expected an? typing\.Literal\[(.*?)\]")
_VALUE = re.compile(r"(?:Got|Given) value: (.*)", re.DOTALL)
_WORDS = {
    "bool": "true or false",
    "dict": "names and values, such as '{\"depth\": 20}'",
    "float": "a number",
    "int": "a whole number",
    "list": "a list",
    "str": "text",
}


class Parser(ArgumentParser):
    """A parser whose refusals are one line, and exit with code 2."""

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        """Say what is refused, and where to read what is accepted."""
        if not self.exit_on_error:
            super().error(message, ex)
        parser: Any = getattr(ex, "subcommand_parser", None) or self
        program = parser.prog.replace(" [options]", "")
        print(f"{label(program)}: {refusal(message)}. Remedy: see {program} --help.", file=sys.stderr)
        self.exit(2)
        raise AssertionError("exit returned")


def refusal(message: str) -> str:
    """Return in words what jsonargparse says with the types of its parser, on several lines."""
    keyed = _KEY.fullmatch(message)
    if keyed is None:
        words = re.sub(r"\b[a-z]+\.(?=[a-z_]+(?:,|$))", "", " ".join(message.split()))  # plan.model is --model
        return shortened(words.rstrip("."))
    option, said = f"--{keyed[1].replace('_', '-')}", keyed[2]
    value, choice = _VALUE.search(said), _CHOICE.search(said)
    kinds = [_WORDS[name] for name in dict.fromkeys(_CLASS.findall(said)) if name in _WORDS]
    wanted = f"one of {choice[1]}" if choice else " or ".join(kinds)
    if value is None or not wanted:
        return shortened(f"{option}: {' '.join(said.split()).rstrip('.')}")
    return shortened(f"{option}: expected {wanted}, got {value[1]!r}")
