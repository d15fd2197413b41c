"""What a file says of a history: plain values are written, exactly the same keys and types read."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from types import UnionType
from typing import Any

from netmorph.errors import NetmorphError

MOST_EDGES = 1_024  # of a module; those of the catalogue have ten
MOST_STEPS = 8_192  # of a history: 1000 places with a module of seven edges each


def expect(data: Any, types: Mapping[str, type | UnionType], what: str) -> None:
    """Raise unless `data` is a dictionary of exactly these keys, with values of these types.

    Args:
        data: what was read from JSON.
        types: by key; a truth value is no number.
        what: is described, for the message.

    Raises:
        NetmorphError: if the data are anything else.
    """
    if not isinstance(data, dict) or data.keys() != types.keys():
        found = sorted(map(str, data)) if isinstance(data, dict) else type(data).__name__
        raise NetmorphError(f"invalid description of {what}", shapes=f"keys {sorted(types)}, found {found!s:.200}")
    for key, wanted in types.items():
        value = data[key]
        if not isinstance(value, wanted) or (isinstance(value, bool) and wanted is not bool):
            raise NetmorphError(f"{key!r} of {what} is not {value!r:.80}")


def check_length(history: Sequence[Any]) -> None:
    """Raise if a history, as JSON has it, names more than can be built in seconds.

    Raises:
        NetmorphError: if the history is too long.
    """
    sites = [site for record in history for site in _entry(record, "sites", list)]
    graphs = [_entry(_entry(site, key, dict), "graph", dict) for site in sites for key in ("before", "layout")]
    edges = [len(_entry(graph, "edges", list)) for graph in graphs]
    steps = len(history) + len(sites) + sum(edges)
    if max(edges, default=0) > MOST_EDGES or steps > MOST_STEPS:
        raise NetmorphError(
            "the history is too long for a checkpoint",
            shapes=f"{max(edges, default=0):,} edges in one module, {MOST_EDGES:,} at most; {steps:,} records, places "
            f"and edges, {MOST_STEPS:,} at most",
            remedies=["save only the weights with safetensors.torch.save_file(model.state_dict(), file)"],
        )


def _entry(data: Any, key: str, kind: type[Any]) -> Any:
    """Return an entry of a table, or an empty one of its kind where there is none such."""
    found = data.get(key) if isinstance(data, dict) else None
    return found if isinstance(found, kind) else kind()


def as_json(data: Any, what: str) -> Any:
    """Return values as JSON holds them: text for keys, numbers of Python's own.

    Args:
        data: dictionaries, lists, text and numbers; NumPy's too.
        what: is described, for the message.

    Raises:
        NetmorphError: if a value has no JSON representation.
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
        raise TypeError(f"a {type(value).__name__} is not a valid value")
    return number
