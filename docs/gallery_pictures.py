"""What the gallery shows of an example: the pictures that it saved, not what happens to be open in matplotlib."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

from sphinx_gallery.scrapers import figure_rst

PICTURES = Path(__file__).parent / "_build/pictures"
# From the simple to the less so.
ORDER = [
    "split_one_conv.py",
    "grow_shortcuts.py",
    "read_a_refusal.py",
    "optimizer_carried_over.py",
    "complex_module.py",
    "border_effects.py",
    "train_then_collapse.py",
]
OPTIONS = {"train_then_collapse.py": ["--quick", "--seeds", "0", "1", "2"]}
_shown: set[Path] = set()


class Order:
    """The order of the examples, as a key for sorting.

    Args:
        folder: of the examples.
    """

    def __init__(self, folder: str) -> None:
        self.folder = folder

    def __call__(self, name: str) -> int:
        """Return an example's place; one that is missing here is an error."""
        return ORDER.index(name)

    def __repr__(self) -> str:
        return "Order"  # Sphinx compares settings by it


def arguments(gallery_conf: dict[str, Any], script_vars: dict[str, Any]) -> list[str]:
    """Return an example's arguments: the folder for its pictures, relative, so that pages name no machine's paths."""
    PICTURES.mkdir(parents=True, exist_ok=True)
    example = Path(script_vars["src_file"])
    return [os.path.relpath(PICTURES, example.parent), *OPTIONS.get(example.name, [])]


def saved_pictures(block: Any, block_vars: dict[str, Any], gallery_conf: dict[str, Any]) -> str:
    """Return the markup of the picture that a block saved: its global `picture`, once it is there and new."""
    saved = block_vars["example_globals"].get("picture")
    if saved is None or not saved.exists() or saved.resolve() in _shown:
        return ""
    _shown.add(saved.resolve())
    target = Path(next(block_vars["image_path_iterator"])).with_suffix(saved.suffix)
    shutil.copyfile(saved, target)
    return figure_rst([str(target)], gallery_conf["src_dir"])
