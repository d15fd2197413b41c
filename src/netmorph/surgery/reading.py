"""What a file says of a history: plain values are written, exactly the same keys and types read (section 6)."""

from __future__ import annotations

import json
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


def as_json(data: Any, what: str) -> Any:
    """Return values as JSON holds them: text for keys, numbers of Python's own.

    Args:
        data: dictionaries, lists, text and numbers; NumPy's too.
        what: is described, for the message.

    Raises:
        NetmorphError: it holds something else.
    """
    try:
        return json.loads(json.dumps(data, default=_number))
    except (TypeError, ValueError, RecursionError) as error:
        raise NetmorphError(
            f"{what} cannot be written as JSON: {error}", remedies=["use text, numbers, lists and dictionaries"]
        ) from error


def _number(value: Any) -> bool | int | float:
    """Return a scalar of another library, such as `np.int64(3)`, as Python's own."""
    number = value.item() if hasattr(value, "item") else None
    if not isinstance(number, bool | int | float):
        raise TypeError(f"a {type(value).__name__} is none of its values")
    return number
