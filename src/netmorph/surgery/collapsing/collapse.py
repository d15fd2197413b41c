"""The way back: morphed modules that are linear become single layers again (beyond the paper)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import nn

from netmorph.nn import MorphedModule
from netmorph.surgery.collapsing.fold_site import CollapsedSite, collapse_site
from netmorph.surgery.edit.copying import own_copy
from netmorph.surgery.edit.lineage import Lineage, trace
from netmorph.surgery.edit.losses import losses
from netmorph.surgery.edit.swap import inherit, swapped
from netmorph.surgery.parity.network import Parity, differences, repeat_gap
from netmorph.surgery.records.history import history_of, note_collapse, remember, within
from netmorph.surgery.records.morphed_site import MorphedSite
from netmorph.surgery.running.call import Call, trainable
from netmorph.surgery.running.cost import CostChange, sized
from netmorph.surgery.running.probe import Run, probe
from netmorph.surgery.running.wrappers import check_unwrapped, wrapped_above
from netmorph.surgery.sites.kinds import Kind

_LINES = 10


@dataclass(frozen=True, repr=False)
class CollapseResult:
    """What `collapse` returns.

    Attributes:
        model: the network.
        collapsed: the collapsed modules, in the network's order.
        kept: for each other morphed module, by qualified name, the reason why it was kept.
        parity: the measured difference of the whole model; None without `example_inputs`.
        cost: cost of the model before and after; None without `example_inputs`.
        notices: what the user should know, one sentence each.
    """

    model: nn.Module
    collapsed: tuple[CollapsedSite, ...]
    kept: Mapping[str, str]
    parity: Parity | None = None
    cost: CostChange | None = None
    notices: tuple[str, ...] = ()
    _lineage: Lineage = field(default_factory=Lineage, repr=False, compare=False)

    def __str__(self) -> str:
        lines = self._lines()
        rest = [] if len(lines) <= _LINES else [f"and {len(lines) - _LINES + 1} more: summary() has all of it"]
        return "\n".join([*lines[: _LINES - len(rest)], *rest])

    def __repr__(self) -> str:
        return str(self)

    def summary(self) -> str:
        """Return all that there is to say, where `print` writes ten lines at most."""
        parity = [] if self.parity is None else [self.parity.summary()]
        return "\n".join([*self._lines(), *parity])

    def _lines(self) -> list[str]:
        kept = (f"{name or '(the model itself)'}: kept, {why}" for name, why in self.kept.items())
        cost = [] if self.cost is None or not self.collapsed else [f"cost    {self.cost}"]
        notes = (f"note    {notice}" for notice in self.notices)
        return [*map(str, self.collapsed), *kept, *cost, *notes] or ["there is no morphed module"]


@trainable
def collapse(
    model: nn.Module,
    example_inputs: Any = None,
    *,
    inplace: bool = False,
    tolerance: float | None = None,
    approximate: bool = False,
) -> CollapseResult:
    """Merge every linear morphed module into the single layer that computes the same: the inverse of `morph`.

    A module is linear if it has no activations and blended norms, or if all their slopes are 1. BatchNorms are folded
    as they are in eval mode, whatever mode the model is in, so that the eval function is preserved. The resulting layer
    has the kernel, padding and groups of the layer that was morphed if the filter still fits, and larger ones otherwise
    (a trained `3x3 > 3x3` becomes a 5x5). A morphed identity becomes an identity if the module still is one, and
    otherwise a convolution. Nested morphed modules are collapsed with the outer one.

    At a zero-padded border, a single layer computes the same only if no path of the module has two edges with more than
    one tap along the same dimension, and no constant (of a BatchNorm) reaches an edge with more than one tap; with the
    halo border it always does. Each layer is therefore compared with its module, including the border. If they differ,
    the module is kept, and `kept` states the difference.

    To continue training, pass the result to `rebuild_optimizer`, as for `morph`.

    Args:
        model: any network.
        example_inputs: a tensor, a tuple of arguments or a dictionary. If given, each layer is also compared on the
            input that it receives for this example, and the result includes parity and cost of the whole model.
        inplace: change `model` itself instead of a copy.
        tolerance: maximum difference relative to the module's largest output. Default: 1e-10 in float64, 1e-5 in
            float32, 4 units in the last place in half precision.
        approximate: accept differences at the image border; `tolerance` then applies to the interior only.

    Raises:
        SiteError: if the model is wrapped, raises on the example, cannot be copied, or is itself the module and
            `inplace`.

    Example:
        >>> from netmorph.surgery.morphing.morph import morph
        >>> x = torch.randn(1, 3, 8, 8, generator=torch.Generator().manual_seed(0))
        >>> parent = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.ReLU())
        >>> child = morph(parent, {"0": "3x3 > 1x1 | 1x1"}, example_inputs=x, act=None).model
        >>> collapse(child).model
        Sequential(
          (0): Conv2d(3, 4, kernel_size=(3, 3), stride=(1, 1), padding=(1, 1))
          (1): ReLU()
        )
    """
    check_unwrapped(model, "collapse")
    modules = {name: module for name, module in model.named_modules() if isinstance(module, MorphedModule)}
    call = None if example_inputs is None else Call.of(example_inputs)
    before = None if call is None else probe(model, modules, call, keep=True)
    run = _Collapse(model, before, tolerance, approximate)
    for name, module in _outermost(model, ""):
        run.attempt(name, module)
    parameters = dict(model.named_parameters(remove_duplicate=False))
    repeat = None if call is None or before is None else repeat_gap(model, call, before)
    price = None if before is None else sized(model, before.macs)
    old = {name: model.get_submodule(name) for name in run.layers}
    child = _swap(model, run, inplace=inplace)
    lineage = trace(parameters, child, run.layers, inplace=inplace)
    notices = tuple(losses(parameters, old, child, inplace=inplace))
    result = CollapseResult(child, tuple(run.sites), run.kept, notices=notices, _lineage=lineage)
    if call is None or before is None or repeat is None or price is None:
        return result
    after = probe(child, {}, call)
    parity = differences(before, after, repeat=repeat, like=child)
    parity = replace(parity, sites=tuple(site.parity for site in run.sites))
    return replace(result, parity=parity, cost=CostChange(price, sized(child, after.macs)))


class _Collapse:
    """What comes of each morphed module of a network, which itself is left as it is."""

    def __init__(self, model: nn.Module, before: Run | None, tolerance: float | None, approximate: bool) -> None:
        self.seen = {} if before is None else before.seen
        self.model, self.tolerance, self.approximate = model, tolerance, approximate
        self.kinds = _kinds(model)
        self.names = _names(model)
        self.parameters = _parameters(model)
        self.like = next((p for p in model.parameters() if p.is_floating_point()), torch.empty(0))
        self.sites: list[CollapsedSite] = []
        self.layers: dict[str, nn.Module] = {}
        self.kept: dict[str, str] = {}

    def attempt(self, name: str, module: MorphedModule) -> None:
        """Find the layer for a module; where there is none, those for the modules inside it."""
        found: tuple[CollapsedSite, nn.Module] | str | None = self._place(name) or self._tie(module)
        if found is None:
            seen = self.seen.get(name)
            recorded = None if seen is None else seen.recorded
            found = collapse_site(
                name,
                module,
                next(module.parameters(), self.like if recorded is None else recorded),
                kind=self.kinds.get(name, "conv"),
                recorded=recorded,
                tolerance=self.tolerance,
                approximate=self.approximate,
            )
        if not isinstance(found, str):
            self.sites.append(found[0])
            self.layers.update(dict.fromkeys(self.names[id(module)], found[1]))
            return
        self.kept[name] = found
        for key, child in module.named_children():
            for inner, deeper in _outermost(child, f"{name}.{key}".lstrip(".")):
                self.attempt(inner, deeper)

    def _place(self, name: str) -> str | None:
        """Return why nothing can be replaced at a place, or None."""
        why = wrapped_above(self.model, name)
        return None if why is None else f"{why.partition(':')[0]}: collapse before wrapping"

    def _tie(self, module: MorphedModule) -> str | None:
        """Return why a module must stay because others use its parameters, or None."""
        own = {id(parameter): name for name, parameter in module.named_parameters()}
        places = self.names[id(module)]
        for key, name in own.items():
            for other in self.parameters[key]:
                if not any(within(other, place) for place in places):
                    return f"its {name} is tied to {other!r}"
        return None


def _outermost(module: nn.Module, name: str) -> Iterator[tuple[str, MorphedModule]]:
    """Yield the morphed modules that lie in no other, each once."""
    seen: set[int] = set()
    todo = [(name, module)]
    while todo:
        name, module = todo.pop()
        if id(module) in seen:
            continue
        seen.add(id(module))
        if isinstance(module, MorphedModule):
            yield name, module
        else:
            todo += reversed([(f"{name}.{key}".lstrip("."), child) for key, child in module.named_children()])


def _kinds(model: nn.Module) -> dict[str, Kind]:
    """Return what each morphed place was, as far as the history tells."""
    sites = (site for record in history_of(model) for site in record.sites)
    return {site.name: site.kind for site in sites if isinstance(site, MorphedSite)}


def _names(model: nn.Module) -> dict[int, list[str]]:
    names: dict[int, list[str]] = {}
    for name, module in model.named_modules(remove_duplicate=False):
        names.setdefault(id(module), []).append(name)
    return names


def _parameters(model: nn.Module) -> dict[int, list[str]]:
    names: dict[int, list[str]] = {}
    for name, parameter in model.named_parameters(remove_duplicate=False):
        names.setdefault(id(parameter), []).append(name)
    return names


def _swap(model: nn.Module, run: _Collapse, *, inplace: bool) -> nn.Module:
    """Return the network, or a copy, with the layers in it and its history brought up to date."""
    model = own_copy(model, inplace, run.layers)
    if not run.layers:
        return model
    records = [record for site in run.sites for record in history_of(model.get_submodule(site.name), site.name)]
    for name, layer in run.layers.items():
        inherit(model.get_submodule(name), layer)
    with swapped(model, run.layers) as child:
        remember(child, *records)  # those that the modules carried themselves went with them
        note_collapse(child, {site.name: site.layer for site in run.sites})
    return child
