"""Files that others wrote: regular ones only, and no more of them than such a file can hold, before anything is parsed.

A link is followed, for on shared machines folders are full of them; what counts is what has been opened. A pipe or a
device is refused without waiting for it, and a file that grows or lies about its size is read up to the bound.
"""

from __future__ import annotations

import json
import os
import stat
from io import BufferedReader
from pathlib import Path
from typing import Any

from netmorph.errors import NetmorphError

__all__ = ["DEEPEST", "LARGEST", "open_regular", "parse_json", "read_json", "read_text"]

LARGEST = 8 * 2**20
"""Bytes of text: ten times what the history of a network of 150 morphed layers takes."""
DEEPEST = 64
_FLAGS = ("O_NONBLOCK", "O_NOCTTY", "O_CLOEXEC", "O_BINARY")  # those that the system has


def open_regular(path: Path, most: int | None = None) -> BufferedReader:
    """Open a regular file for reading bytes.

    Args:
        path: the file, or a link to it.
        most: bytes that it may have; None: any number, for who does not read it whole.

    Raises:
        NetmorphError: if it is a device, a pipe, a folder or a socket, or is larger than the limit.
        OSError: if the file cannot be opened.
    """
    handle = os.open(path, os.O_RDONLY | sum(getattr(os, flag, 0) for flag in _FLAGS))
    try:
        found = os.fstat(handle)
        if not stat.S_ISREG(found.st_mode):
            raise NetmorphError(
                f"{path} is not a regular file", remedies=["pass a regular file, not a device, pipe or folder"]
            )
        if most is not None and found.st_size > most:
            raise _too_large(path, most)
        return os.fdopen(handle, "rb")
    except BaseException:
        os.close(handle)
        raise


def read_text(path: Path, most: int = LARGEST) -> str:
    """Read a file of text in UTF-8.

    Args:
        path: the file.
        most: bytes that it may have.

    Raises:
        NetmorphError: if it is not a regular file, or is larger than the limit.
        OSError: if the file cannot be read.
        ValueError: if the file is not UTF-8.
    """
    with open_regular(path, most) as file:
        content = file.read(most + 1) or b""
    if len(content) > most:  # it grew, or is one of those that say 0 and have no end
        raise _too_large(path, most)
    return content.decode("utf-8")


def read_json(path: Path, most: int = LARGEST) -> Any:
    """Read a file of JSON.

    Args:
        path: the file.
        most: bytes that it may have.

    Raises:
        NetmorphError: if it is not a regular file, or is larger than the limit.
        OSError: if the file cannot be read.
        ValueError: if it is not JSON in UTF-8, is nested deeper than `DEEPEST`, or contains an unpaired surrogate.
    """
    return parse_json(read_text(path, most))


def parse_json(text: str) -> Any:
    """Read JSON whose length is bounded already.

    Raises:
        ValueError: if it is not JSON, is nested deeper than `DEEPEST`, or contains an unpaired surrogate.
    """
    try:
        data = json.loads(text)
    except RecursionError:
        raise _too_deep() from None
    level: list[Any] = [data]
    for _ in range(DEEPEST):
        for value in level:
            if isinstance(value, str):
                value.encode()  # raises for text that could not be printed
        level = [inner for value in level for inner in _inside(value)]
        if not level:
            return data
    raise _too_deep()


def _inside(value: Any) -> list[Any]:
    if isinstance(value, dict):
        return [*value, *value.values()]
    return value if isinstance(value, list) else []


def _too_large(path: Path, most: int) -> NetmorphError:
    return NetmorphError(
        f"{path} is too large for such a file",
        shapes=f"{most:,} bytes at most",
        remedies=["pass a file that netmorph wrote"],
    )


def _too_deep() -> ValueError:
    return ValueError(f"it is nested more than {DEEPEST} deep")
