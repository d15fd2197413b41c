"""Files that are there whole or not at all."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from netmorph.errors import NetmorphError

__all__ = ["as_path", "write_whole", "written_aside"]


def as_path(value: object) -> Path:
    """Return a path that a user gave.

    Raises:
        NetmorphError: if the argument is not a path.
    """
    if not isinstance(value, str | os.PathLike):
        raise NetmorphError(
            f"expected a path, text or a pathlib.Path, got a {type(value).__name__}: {value!r:.80}",
            remedies=["write 'folder/name'"],
        )
    return Path(value)


@contextmanager
def written_aside(path: Path) -> Iterator[Path]:
    """Give a file beside `path` to write, which takes its name when the block ends well, and is gone when it does not.

    Its name is always the same: for folders in which one process writes. What a killed one leaves is written over.
    """
    aside = path.with_name(f".{path.name}.part")
    try:
        yield aside
        os.replace(aside, path)
    except BaseException:
        aside.unlink(missing_ok=True)
        raise


def write_whole(path: Path, content: bytes) -> None:
    """Write a file aside, then rename it; its folder is made if need be, and its permissions are the usual ones.

    Raises:
        OSError: if the file cannot be written; no temporary file remains.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, aside = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name[:40]}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
        umask = os.umask(0)
        os.umask(umask)
        Path(aside).chmod(0o666 & ~umask)
        os.replace(aside, path)
    except BaseException:
        Path(aside).unlink(missing_ok=True)
        raise
