"""timm: 500 registered models, drawn across all families once and listed in `timm_models.txt`."""

from __future__ import annotations

import random
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.zoo.entries import Entry, Way, noise
from torch import nn

COUNT = 500
SIZES = (32, 56, 64, 96, 112, 128, 168, 192, 224)  # the smallest multiples of the usual patches and windows
LIST = Path(__file__).with_name("timm_models.txt")


def draw(count: int = COUNT, seed: int = 0) -> list[tuple[str, str]]:
    """Return (model, family): one of each family in turn, in random order, so that every prefix is a fair sample."""
    import timm

    order = random.Random(seed)
    families = {family: sorted(timm.list_models(module=family)) for family in sorted(timm.list_modules())}
    for models in families.values():
        order.shuffle(models)
    drawn: list[tuple[str, str]] = []
    while len(drawn) < count and any(families.values()):
        left = [family for family, models in families.items() if models]
        order.shuffle(left)
        drawn += [(families[family].pop(), family) for family in left]
    return drawn[:count]


def entries() -> Iterator[Entry]:
    """Yield the entries of the suite in the order of the list; the family is the group."""
    for line in LIST.read_text().splitlines():
        name, family = line.split()
        yield Entry(name, family, partial(_build, name), Lazily(name))


def _build(name: str, **arguments: Any) -> nn.Module:
    import timm

    model: nn.Module = timm.create_model(name, pretrained=False, **arguments)
    return model


class Lazily:
    """The ways of a model, listed where they are used: its configuration is timm's to tell.

    Args:
        name: of the model.
    """

    def __init__(self, name: str) -> None:
        self.name = name

    def __iter__(self) -> Iterator[Way]:
        """Yield the ways: a given `img_size` where the model fixes one, else any input that runs."""
        from timm.models import get_pretrained_cfg

        config = get_pretrained_cfg(self.name)
        channels, *own = config.input_size if config is not None else (3, 224, 224)
        fixed = config is not None and config.fixed_input_size
        for size in SIZES if fixed else ():
            yield Way({"img_size": size}, partial(noise, 1, channels, size, size))
        for size in () if fixed else SIZES:
            yield Way({}, partial(noise, 1, channels, size, size))
        yield Way({}, partial(noise, 1, channels, *own))


if __name__ == "__main__":
    LIST.write_text("".join(f"{name} {family}\n" for name, family in draw()))
