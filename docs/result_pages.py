"""The files under results/ as parts of a page: they are written for the repository, where their links lead to files."""

from __future__ import annotations

import re
from pathlib import Path, PurePosixPath
from typing import Any

ROOT = Path(__file__).parents[1]
_LINE = re.compile(r"^\[[^\]]*\]\(\.\./(results/\S*?\.md)\)$", re.MULTILINE)
_LINK = re.compile(r"(!?)\[([^\]]*)\]\(([^)\s]+)\)")


def take_in(app: Any, docname: str, source: list[str]) -> None:
    """Put a file in the place of each line of `results.md` that is nothing but a link to it."""
    if docname == "results":
        source[0] = _LINE.sub(lambda match: _part(match[1]), source[0])


def _part(name: str) -> str:
    """Return a file without its title; pictures are found from docs/, and links to files become their names."""
    text = re.sub(r"\A# .*\n", "", (ROOT / name).read_text(encoding="utf-8"))
    folder = PurePosixPath(name).parent

    def place(match: re.Match[str]) -> str:
        picture, label, target = match.groups()
        if "://" in target or target.startswith("#"):
            return match[0]
        if picture:
            return f"![{label}](../{folder / target})"
        return f"`{folder / target}`" if label in target else f"{label} (`{folder / target}`)"

    return _LINK.sub(place, text)
