"""Carrying out a layer-level operation: every change is measured before it counts, all of them or none happen."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from netmorph.errors import NetmorphError, SiteError
from netmorph.nn import MorphedModule
from netmorph.surgery.edit.swap import swapped
from netmorph.surgery.morphing.result import Again, Result
from netmorph.surgery.morphing.transaction import Transaction
from netmorph.surgery.parity.site import SiteParity
from netmorph.surgery.records.record import Place, Record
from netmorph.surgery.running.calibrate import has_newborn_norm, run_through
from netmorph.surgery.running.call import Call, trainable
from netmorph.surgery.running.probe import Run, probe
from netmorph.surgery.running.smallest_input import grown_reach
from netmorph.surgery.running.wrappers import wrapped_above

_WHY = "the layers agree: its code uses what they compute in other ways too"


@dataclass(frozen=True)
class Change:
    """One change, ready to be made.

    Attributes:
        modules: what comes in, by qualified name.
        places: for the history.
        measure: measures the difference; raises where it is above the tolerance.
        notices: what the user should know.
    """

    modules: Mapping[str, nn.Module]
    places: tuple[Place, ...]
    measure: Callable[[], SiteParity]
    notices: tuple[str, ...] = ()


Maker = Callable[[nn.Module, Tensor | None], Change]


@trainable
def perform(
    operation: str,
    model: nn.Module,
    call: Call,
    makers: Mapping[str, Maker],
    *,
    inplace: bool,
    options: Mapping[str, Any],
    calibration: Any = None,
    strict: bool = False,
) -> Result:
    """Make changes to a network one after the other; if anything fails, nothing has changed.

    Args:
        operation: its name, for the history.
        model: the network.
        call: example inputs.
        makers: by name of a place, what prepares its change from the network as it is then and an input recorded there.
        inplace: change the network itself instead of a copy.
        options: the arguments given, for the history.
        calibration: batches for newborn BatchNorms.
        strict: hold the whole network's outputs to a tolerance as well.

    Raises:
        NetmorphError: if a maker raises (with the site added to the message), or if the network does not run
            afterwards.
    """
    _check(model, makers)
    before = probe(model, {name: model.get_submodule(name) for name in makers}, call, keep=True)
    change = Transaction(model, call, before, inplace=inplace, names=makers)
    child = change.target
    original = dict(model.named_modules(remove_duplicate=False))  # as they stand before any change
    changes: dict[str, Change] = {}
    measured: dict[str, SiteParity] = {}
    reaches: list[str] = []
    with ExitStack() as stack:
        for name, make in makers.items():
            try:
                changes[name] = make(child, before.seen[name].recorded)
                measured[name] = changes[name].measure()
                present, coming = child.get_submodule(name), changes[name].modules[name]
                reaches += grown_reach(name, present, coming, before.seen[name])
            except NetmorphError as error:
                raise error.located(name) from error
            child = stack.enter_context(swapped(child, changes[name].modules))
        modules = {name: module for made in changes.values() for name, module in made.modules.items()}
        old = {name: original[name] for name in modules}
        if calibration is not None and any(map(has_newborn_norm, modules.values())):
            run_through(child, modules, calibration)
            measured = {name: made.measure() for name, made in changes.items()}
        change.compare(child, {name: modules[name] for name in makers}, list(measured.values()))
        if strict:
            change.hold(child, _WHY, ["leave this layer as it is"])
    record = Record(operation, tuple(place for made in changes.values() for place in made.places), dict(options))
    again = Again(partial(_again, operation, call, makers, options, strict))
    return change.result(operation, child, record, modules, old, [*_notices(changes, before), *reaches], again)


def _again(
    operation: str, call: Call, makers: Mapping[str, Maker], options: Mapping[str, Any], strict: bool, model: nn.Module
) -> Result:
    return perform(operation, model, call, makers, inplace=False, options=options, strict=strict)


def like_of(model: nn.Module, module: nn.Module) -> Tensor:
    """Return a tensor with the dtype and device of new parameters of a module."""
    own = (tensor for tensor in (*module.parameters(), *model.parameters()) if tensor.is_floating_point())
    return next(own, torch.empty(0))


def morphed_at(model: nn.Module, name: str) -> MorphedModule:
    """Return the morphed module of a name that is known to be one."""
    found = model.get_submodule(name)
    assert isinstance(found, MorphedModule)
    return found


def _check(model: nn.Module, names: Mapping[str, object]) -> None:
    owners: dict[int, list[str]] = {}
    for name, module in model.named_modules(remove_duplicate=False):
        owners.setdefault(id(module), []).append(name)
    for name in names:
        wrapper = wrapped_above(model, name)
        if wrapper is not None:
            raise SiteError(wrapper, site=name)
        others = [other for other in owners[id(model.get_submodule(name))] if other != name]
        if others:
            raise SiteError(f"it is shared: the same module is also registered as {others[0]!r}", site=name)


def _notices(changes: Mapping[str, Change], before: Run) -> Sequence[str]:
    notices = [notice for change in changes.values() for notice in change.notices]
    notices += [
        f"{name!r} is not reached by the example: its parity was measured on synthetic inputs"
        for name in changes
        if not before.seen[name].calls
    ]
    return list(dict.fromkeys(notices))
