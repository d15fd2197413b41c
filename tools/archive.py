"""Archives of what runs wrote: many small files under results/ are one `.tar.xz`, whose bytes follow from theirs."""

from __future__ import annotations

import tarfile
from collections.abc import Iterable
from io import BytesIO
from pathlib import Path

from netmorph.whole_files import write_whole

__all__ = ["pack", "read", "unpack"]


def pack(folder: Path, patterns: Iterable[str], archive: Path) -> None:
    """Write the files of a folder that match a pattern into an archive, in order of name, without dates and owners."""
    written = BytesIO()
    with tarfile.open(fileobj=written, mode="w:xz", format=tarfile.PAX_FORMAT, preset=9) as tar:
        for path in sorted({path for pattern in patterns for path in folder.glob(pattern)}):
            content = path.read_bytes()
            entry = tarfile.TarInfo(path.relative_to(folder).as_posix())
            entry.size = len(content)
            tar.addfile(entry, BytesIO(content))
    write_whole(archive, written.getvalue())


def read(archive: Path) -> dict[str, bytes]:
    """Return the files of an archive by name."""
    with tarfile.open(archive, "r:xz") as tar:
        return {entry.name: file.read() for entry in tar if (file := tar.extractfile(entry)) is not None}


def unpack(archive: Path, folder: Path) -> None:
    """Write the files of an archive into a folder."""
    with tarfile.open(archive, "r:xz") as tar:
        tar.extractall(folder, filter="data")
