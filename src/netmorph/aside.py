"""Files that are there whole or not at all."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from netmorph.errors import NetmorphError

__all__ = ["as_path", "write_whole"]


def as_path(value: object) -> Path:
    """Return a path that a user gave.

    Raises:
        NetmorphError: it is none.
    """
    if not isinstance(value, str | os.PathLike):
        raise NetmorphError(
            f"expected a path, text or a pathlib.Path, got a {type(value).__name__}: {value!r:.80}",
            remedies=["write 'folder/name'"],
        )
    return Path(value)


def write_whole(path: Path, content: bytes) -> None:
    """Write a file aside, then rename it; its folder is made if need be, and its permissions are the usual ones.

    Raises:
        OSError: it cannot be written; nothing is left beside it.
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
