"""Names with settings, `gelu(approximate=tanh)`: how records write an activation or a norm that is not the default."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping

Setting = float | str
_NAMED = re.compile(r"([^()]*)(?:\((.*)\))?")


def split(text: str) -> tuple[str, dict[str, Setting]] | None:
    """Return a name and its settings, numbers where they are; None where it is malformed."""
    match = _NAMED.fullmatch(text)
    if match is None:
        return None
    settings: dict[str, Setting] = {}
    for part in filter(None, (match.group(2) or "").split(",")):
        key, equals, value = (piece.strip() for piece in part.partition("="))
        if not equals or not key or not value or key in settings:
            return None
        settings[key] = _value(value)
    return match.group(1).strip(), settings


def join(name: str, settings: Mapping[str, Setting], defaults: Mapping[str, Setting]) -> str:
    """Return a name with those of its settings that are not the defaults, in the order of these."""
    odd = [f"{key}={settings[key]}" for key, value in defaults.items() if settings.get(key, value) != value]
    return f"{name}({', '.join(odd)})" if odd else name


def _value(text: str) -> Setting:
    try:
        number = float(text)
    except ValueError:
        return text
    return number if math.isfinite(number) else text
