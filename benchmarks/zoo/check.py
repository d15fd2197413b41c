"""One model: every convolution and linear layer of it, morphed and measured, once for each kind of graph."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from time import process_time
from typing import Any

from benchmarks.zoo.graphs import geometry, notation, work
from benchmarks.zoo.rounding import CHAIN, TOGETHER, sensitivity
from benchmarks.zoo.shared_noise import shared_noise
from torch import nn

from netmorph.errors import NetmorphError, ParityError
from netmorph.graph.notation import parse
from netmorph.solver.target import CONVOLUTIONS
from netmorph.surgery.edit.swap import swap
from netmorph.surgery.morphing.solve_site import Graft, Options, check_layer, make_graft
from netmorph.surgery.parity.network import differences, repeat_gap
from netmorph.surgery.running.call import Call, reason
from netmorph.surgery.running.probe import NOT_RUN, Run, probe
from netmorph.surgery.sites.assign import Assignment
from netmorph.surgery.sites.find import look
from netmorph.surgery.sites.site import Site


@dataclass(frozen=True)
class Limits:
    """What is left out, and counted as left out.

    Attributes:
        work: multiply-accumulates of one site's solve (`graphs.work`); where all sites are above it, the cheapest is
            done.
        seconds: processor time of the whole process after which no further site is begun; small ones come first, each
            kind has its share, and the first site of each is always done.
    """

    work: float = 12e9
    seconds: float = math.inf


def check(
    model: nn.Module,
    call: Call,
    kinds: Sequence[str],
    limits: Limits | None = None,
    only: Mapping[str, Collection[str]] | None = None,
) -> dict[str, Any]:
    """Morph all sites of a model, once for each kind of graph, and return what came of it as JSON-ready values.

    The model is changed while it is measured and put back after.

    Args:
        model: the network.
        call: its example inputs.
        kinds: of graphs.
        limits: of the sites.
        only: the names of the sites to morph, by kind; None: all.
    """
    limits = limits or Limits()
    model.eval()
    sites, before = look(model, call, shortcuts=False, keep=True)
    before = replace(before, train=None, note=NOT_RUN)
    names = {name for name, module in model.named_modules() if not isinstance(module, nn.Identity)}
    refused = Counter(_general(why) for name, why in sites.refused.items() if name in names)
    wanted = [site for site in sites if site.kind != "identity"]
    watched = {site.name for site in wanted} if only is None else set().union(*only.values())
    for name in before.seen.keys() - watched:
        before.seen[name].recorded = None
    row: dict[str, Any] = {
        "params": sum(p.numel() for p in model.parameters()),
        "convolutions": sum(isinstance(module, CONVOLUTIONS) for module in model.modules()),
        "layers": len(wanted) + refused.total(),
        "refused": dict(refused),
        "sites": len(wanted),
        "not_reached": sum(not site.reached for site in wanted),
        "geometry": dict(Counter(geometry(site.spec) for site in wanted)),
        "repeat": _number(repeat_gap(model, call, before)),
        "kinds": {},
    }
    for index, kind in enumerate(kinds):
        until = process_time() + (limits.seconds - process_time()) / (len(kinds) - index)
        chosen = [site for site in wanted if only is None or site.name in only[kind]]
        row["kinds"][kind] = _kind(model, call, kind, chosen, before, Limits(limits.work, until))
    row["status"] = "FAILED" if any(each["failed"] for each in row["kinds"].values()) else "ok"
    if row["status"] == "FAILED" or only is not None:
        row["sensitivity"] = _number(sensitivity(model, call, before))
    return row


def _kind(model: nn.Module, call: Call, kind: str, sites: list[Site], before: Run, limits: Limits) -> dict[str, Any]:
    start = process_time()
    grafts: list[Graft] = []
    refused: Counter[str] = Counter()
    failed: list[str] = []
    late = 0
    within = [site for site in sites if work(kind, site.spec) <= limits.work]
    within = within or sorted(sites, key=lambda site: work(kind, site.spec))[:1]
    with shared_noise():
        for site in _in_order(kind, within):
            if grafts and process_time() > limits.seconds:
                late += 1
                continue
            made = _graft(kind, site, model.get_submodule(site.name), before)
            if isinstance(made, Graft):
                grafts.append(made)
            elif made[0]:
                refused[made[1]] += 1
            else:
                failed.append(f"{site.name}: {made[1]}")
    result: dict[str, Any] = {
        "exact": len(grafts),
        "refused": dict(refused),
        "over_limit": len(sites) - len(within),
        "late": late,
        "failed": failed,
        "geometry": dict(Counter(geometry(graft.site.spec) for graft in grafts)),
    }
    result |= _worst(grafts) | {"solve_seconds": round(process_time() - start, 2)}
    if grafts:
        together = _together(model, call, grafts, before)
        failed += together.pop("failed", [])
        result |= together
    return result


def _in_order(kind: str, sites: list[Site]) -> list[Site]:
    """Return the sites, cheapest geometry first, those that share their noise together."""
    groups: dict[Any, list[Site]] = {}
    for site in sites:
        groups.setdefault(site.spec, []).append(site)
    return [site for spec in sorted(groups, key=lambda spec: work(kind, spec)) for site in groups[spec]]


def _graft(kind: str, site: Site, layer: nn.Module, before: Run) -> Graft | tuple[bool, str]:
    """Return the graft, or whether it is refused (else it failed) and why."""
    try:
        check_layer(site, layer)
        graph = parse(notation(kind, site.spec))
        return make_graft(Assignment(site, graph, 0), layer, before.seen[site.name].recorded, Options())
    except ParityError as error:
        return False, str(error)
    except NetmorphError as error:
        bug = type(error) is NetmorphError
        return not bug, _general(error.what)
    except Exception as error:
        if is_memory(error):
            raise
        return False, reason(error)


def _worst(grafts: list[Graft]) -> dict[str, float | None]:
    """Return the largest relative differences over sites and inputs."""
    measured = [each for graft in grafts for each in graft.parity.measured]

    def largest(values: Iterable[float | None]) -> float | None:
        return max((value for value in values if value is not None), default=None)

    return {"interior": largest(m.interior for m in measured), "border": largest(m.border for m in measured)}


def _together(model: nn.Module, call: Call, grafts: list[Graft], before: Run) -> dict[str, Any]:
    """Return the parity of the whole model with all grafts in."""
    modules: Mapping[str, nn.Module] = {graft.site.name: graft.module.train(graft.layer.training) for graft in grafts}
    with ExitStack() as stack:
        for graft in grafts:
            stack.callback(swap, model, graft.site.name, graft.layer)
            swap(model, graft.site.name, modules[graft.site.name])
        try:
            after = probe(model, modules, call, train=False)
        except NetmorphError as error:
            return {"failed": [f"{TOGETHER}{error.what}"]}
    missed = [name for name in modules if before.seen[name].calls != after.seen[name].calls]
    if missed:
        return {"failed": [f"called another number of times than its layer: {name}" for name in missed]}
    parity = differences(before, after, repeat=0.0, like=model)
    far = not parity.max_rel <= CHAIN * parity.tolerance
    doubt = {
        "failed": [f"{TOGETHER}the outputs differ by {parity.max_rel:.2g}, relative to the largest"],
        "together": list(modules),
    }
    return (doubt if far else {}) | {
        "model": _number(parity.max_rel),
        "model_abs": _number(parity.max_abs),
        "model_notes": sorted({each.note for each in parity.outputs if each.note}),
    }


def _general(why: str) -> str:
    """Return a reason without the names in it, so that like reasons count together."""
    return re.sub(r"'[^']*'", "'…'", why)


def _number(value: float) -> float | str:
    return value if math.isfinite(value) else str(value)


def is_memory(error: BaseException) -> bool:
    """Return whether an exception says that memory ran out."""
    return isinstance(error, MemoryError) or "allocate memory" in str(error)
