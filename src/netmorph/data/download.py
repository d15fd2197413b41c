"""Fetch a file once, whole or not at all."""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import os
import tempfile
import urllib.request
from pathlib import Path

from netmorph.errors import NetmorphError

__all__ = ["fetch"]

_TIMEOUT = 30  # seconds without a byte


def fetch(url: str, target: Path, md5: str) -> Path:
    """Download a file, check it, and only then give it its name; several processes may do so at once.

    Args:
        url: where it is.
        target: what it is to be called; its folder is made.
        md5: its checksum, in hexadecimal.

    Returns:
        ``target``.

    Raises:
        NetmorphError: if the file cannot be downloaded or written, or its checksum is wrong.
    """
    digest = hashlib.md5(usedforsecurity=False)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        handle, aside = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
        try:
            with os.fdopen(handle, "wb") as file, urllib.request.urlopen(url, timeout=_TIMEOUT) as answer:
                while block := answer.read(2**20):
                    digest.update(block)
                    file.write(block)
            if digest.hexdigest() != md5:
                raise OSError(f"its checksum is {digest.hexdigest()} instead of {md5}")
            os.chmod(aside, 0o666 & ~_umask())  # mkstemp's files are for their owner alone
            os.replace(aside, target)
        finally:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(aside)
    except (OSError, http.client.HTTPException) as error:
        raise NetmorphError(
            f"{url} cannot be downloaded to {target}: {error}", remedies=["put the file there by hand"]
        ) from error
    return target


def _umask() -> int:
    """Return what new files are not allowed; it can only be read by setting it."""
    mask = os.umask(0o022)
    os.umask(mask)
    return mask
