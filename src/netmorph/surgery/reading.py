"""Reading what a file says of a history: exactly the keys and types that were written, else an error (section 6)."""

from __future__ import annotations

from collections.abc import Mapping
from types import UnionType
from typing import Any

from netmorph.errors import NetmorphError


def expect(data: Any, types: Mapping[str, type | UnionType], what: str) -> None:
    """Raise unless `data` is a dictionary of exactly these keys, with values of these types.

    Args:
        data: what was read from JSON.
        types: by key; a truth value is no number.
        what: is described, for the message.

    Raises:
        NetmorphError: it is not.
    """
    if not isinstance(data, dict) or data.keys() != types.keys():
        found = sorted(map(str, data)) if isinstance(data, dict) else type(data).__name__
        raise NetmorphError(
            f"this is not the description of {what}", shapes=f"keys {sorted(types)}, found {found!s:.200}"
        )
    for key, wanted in types.items():
        value = data[key]
        if not isinstance(value, wanted) or (isinstance(value, bool) and wanted is not bool):
            raise NetmorphError(f"{key!r} of {what} is not {value!r:.80}")
