"""YAML that a user gives: text of a bounded size, each part of which stands there once."""

from __future__ import annotations

from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any

from netmorph.bounded import read_text
from netmorph.errors import NetmorphError

__all__ = ["check_yaml", "read_yaml"]

LARGEST = 256 * 1024  # characters: a hundred times what a recipe, a budget or a run's options take


def read_yaml(source: Traversable) -> Any:
    """Read a YAML file.

    Raises:
        NetmorphError: if the file is not a regular one, is too large, is not YAML, or uses aliases.
    """
    import yaml

    try:
        if not source.is_file():
            raise NetmorphError(f"{source} is not a file", remedies=["give a YAML file"])
        text = read_text(Path(str(source)), LARGEST)
        check_yaml(text, str(source))
        return yaml.safe_load(text)
    except (OSError, UnicodeDecodeError, yaml.YAMLError, RecursionError) as error:
        raise NetmorphError(f"{source} cannot be read: {error}") from error


def check_yaml(text: str, name: str) -> None:
    """Refuse what would grow when it is copied or written: ten lines of aliases to aliases stand for a billion values.

    Raises:
        NetmorphError: if the text uses aliases, or is too large to check.
        yaml.YAMLError: if the text is not YAML.
    """
    import yaml

    suspect = "&" in text and "*" in text
    if suspect and (len(text) > LARGEST or any(isinstance(token, yaml.AliasToken) for token in yaml.scan(text))):
        raise NetmorphError(f"{name} uses YAML aliases (*name)", remedies=["write out what they stand for"])
