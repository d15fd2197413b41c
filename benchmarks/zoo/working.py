"""The rows of the suites: one archive under version control, and the files beside it that runs append to."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tools.archive import pack, read

ARCHIVE, RUNS = "zoo.tar.xz", "runs"  # git ignores folders of this name
_ROWS = "*.jsonl"


@contextmanager
def rows_folder(folder: Path) -> Iterator[Path]:
    """Give the folder of the rows, and put them into the archive at the end, however it comes.

    Args:
        folder: of archive and tables.

    Yields:
        The folder, which has what the archive has, and what an earlier run that was killed had added.

    Raises:
        SystemExit: a file of rows and the archive have each grown by themselves.
    """
    archive, runs = folder / ARCHIVE, folder / RUNS
    runs.mkdir(parents=True, exist_ok=True)
    for name, kept in (read(archive) if archive.exists() else {}).items():
        path = runs / name
        own = path.read_bytes() if path.exists() else b""
        if not own.startswith(kept):
            if not kept.startswith(own):
                raise SystemExit(
                    f"{path} is not what {archive} holds and more; move it away, or append its rows by hand"
                )
            path.write_bytes(kept)
    try:
        yield runs
    finally:
        pack(runs, [_ROWS], archive)
