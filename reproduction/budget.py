"""Budgets: how long and how the networks of an experiment are trained."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any, Literal, get_args

from netmorph.errors import NetmorphError
from netmorph.train.recipe import Recipe, load_recipe
from netmorph.train.yaml_file import read_yaml

__all__ = ["BUDGETS", "VARIANTS", "Budget", "load_budget", "load_variants"]

FillName = Literal["pointwise", "dense"]
BUDGETS = ("paper", "paper-imagenet", "medium", "short", "smoke")
_IMAGENET = ("table5", "figure6")
_FOLDER = Path(__file__).parent / "budgets"
VARIANTS = _FOLDER / "variants.yaml"


@dataclass(frozen=True)
class Budget:
    """How long and how the networks of an experiment are trained, and how they are morphed.

    Attributes:
        name: what reports call it.
        first: the recipe of the parent; a network from scratch follows it, too, over as many epochs as parent and
            phases have together.
        next: the recipe of every phase after a morph, and of the parent trained on.
        train_limit: how many training images are used; None for all.
        test_limit: how many test images are used; None for all.
        noise: of the morphs: size of what cancels, relative to what is replaced.
        fill: of the morphs.
        warm_batches: training batches from which newborn BatchNorms take their statistics (eq. 9).
    """

    name: str
    first: Recipe
    next: Recipe
    train_limit: int | None = None
    test_limit: int | None = None
    noise: float = 0.5
    fill: FillName = "pointwise"
    warm_batches: int = 8

    def __post_init__(self) -> None:
        for name, least in (("train_limit", 1), ("test_limit", 1), ("warm_batches", 0)):
            value = getattr(self, name)
            if value is not None or name == "warm_batches":
                object.__setattr__(self, name, _whole(name, value, least))
        object.__setattr__(self, "noise", _number("noise", self.noise))
        if self.fill not in get_args(FillName):
            raise NetmorphError(f"a budget's fill is {' or '.join(get_args(FillName))}, not {self.fill!r}")

    def as_dict(self) -> dict[str, Any]:
        """Return it as JSON says it."""
        return asdict(self)


def load_budget(name: str, table: str = "") -> Budget:
    """Read a budget: one of `BUDGETS`, or a YAML file.

    Args:
        name: which; "paper" is "paper-imagenet" for the paper's experiments on ImageNet.
        table: the experiment that it is for, as `experiment.TABLES` names it.

    The file holds ``first`` and ``next``, each the name of a recipe or a mapping of a recipe's fields (``recipe`` names
    the one whose other fields are taken), and may set the other fields of `Budget`.

    Raises:
        NetmorphError: if there is no such budget, or the file does not say one.
    """
    if name == "paper" and table in _IMAGENET:
        name = "paper-imagenet"
    path = Path(name) if name.endswith((".yaml", ".yml")) else None
    if path is None and name not in BUDGETS:
        raise NetmorphError(
            f"there is no budget {name!r}", remedies=[f"choose one of {', '.join(BUDGETS)}", "give a YAML file"]
        )
    source = path if path is not None else _FOLDER / f"{name}.yaml"
    return _budget(path.stem if path is not None else name, read_yaml(source))


def load_variants(source: Traversable) -> dict[str, Budget]:
    """Read several budgets from a YAML file: a mapping of names, the first of which is the base.

    The base is written as for `load_budget`, its recipes as mappings; each other says only what differs.

    Raises:
        NetmorphError: if the file cannot be read or understood.
    """
    content = read_yaml(source)
    if not isinstance(content, Mapping) or not all(isinstance(each, Mapping) for each in content.values()):
        raise NetmorphError(f"{source} does not map names to budgets")
    base: Mapping[str, Any] = next(iter(content.values()), {})
    return {str(name): _budget(str(name), _over(base, each)) for name, each in content.items()}


def _over(base: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Lay changes over a base, mappings into mappings."""
    merged = dict(base)
    for key, value in changes.items():
        old = merged.get(key)
        merged[key] = _over(old, value) if isinstance(old, Mapping) and isinstance(value, Mapping) else value
    return merged


def _budget(name: str, content: Any) -> Budget:
    """Check what a file says."""
    known = {each.name for each in fields(Budget)} - {"name"}
    if not isinstance(content, Mapping) or not {"first", "next"} <= content.keys():
        raise NetmorphError(f"the budget {name} needs the keys first and next")
    unknown = sorted(map(str, content.keys() - known))
    if unknown:
        raise NetmorphError(
            f"the budget {name} has unknown keys: {', '.join(unknown)}", shapes=f"known: {sorted(known)}"
        )
    try:
        return Budget(name, **{**content, "first": _recipe(content["first"]), "next": _recipe(content["next"])})
    except NetmorphError as error:
        error.what = f"the budget {name}: {error.what}"
        raise
    except TypeError as error:
        raise NetmorphError(f"the budget {name} cannot be understood: {error}") from error


def _whole(name: str, value: Any, least: int) -> int:
    """Return a value, which may come as text, as a whole number."""
    try:
        if isinstance(value, bool) or int(value) != float(value) or int(value) < least:
            raise ValueError
        return int(value)
    except (TypeError, ValueError, OverflowError) as error:
        raise NetmorphError(f"a budget's {name} is a whole number from {least} on, not {value!r}") from error


def _number(name: str, value: Any) -> float:
    """Return a value, which may come as text (YAML reads ``1e-4`` as one), as a number."""
    try:
        if isinstance(value, bool) or not math.isfinite(float(value)):
            raise ValueError
        return float(value)
    except (TypeError, ValueError, OverflowError) as error:
        raise NetmorphError(f"a budget's {name} is a number, not {value!r}") from error


def _recipe(given: Any) -> Recipe:
    if isinstance(given, Mapping):
        changes = {key: value for key, value in given.items() if key != "recipe"}
        return load_recipe(given["recipe"], **changes) if "recipe" in given else Recipe(**changes)
    return load_recipe(str(given))
