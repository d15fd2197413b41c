"""How values show themselves at a prompt: in one short line."""

from __future__ import annotations

__all__ = ["Brief", "listed"]

_MOST = 200


class Brief:
    """Shows the beginning of its text, where a dataclass would show every field.

    A dataclass takes it with `@dataclass(repr=False)`.
    """

    __slots__ = ()

    def __repr__(self) -> str:
        """Return the class and the beginning of the text on one line."""
        text = " ".join(str(self).split())
        return f"<{type(self).__name__} {text if len(text) <= _MOST else text[: _MOST - 3] + '...'}>"


def listed(names: list[str], most: int = 4) -> str:
    """Return some names as text, the first ones where they are many."""
    shown = [repr(name) if name else "(the model itself)" for name in names]
    return ", ".join(shown[:most]) + (f" and {len(shown) - most} more" if len(shown) > most else "")
