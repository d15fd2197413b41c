"""The main verb: replace layers by module graphs and keep the function."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any, Literal

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from netmorph.errors import SiteError
from netmorph.graph.spec import ModuleGraph
from netmorph.graph.symmetry import Birth
from netmorph.nn.norm import NEEDY, norm_kind
from netmorph.solver.solve import Method
from netmorph.surgery.edit.swap import inherit, swapped
from netmorph.surgery.morphing.result import Again, Result
from netmorph.surgery.morphing.solve_site import Graft, Options, check_layer, make_graft
from netmorph.surgery.morphing.transaction import Transaction
from netmorph.surgery.parity.site import has_modes
from netmorph.surgery.parity.windows import windows_of
from netmorph.surgery.records.record import Record
from netmorph.surgery.running.activation import own_activation
from netmorph.surgery.running.calibrate import has_newborn_norm, run_through
from netmorph.surgery.running.call import Call, trainable
from netmorph.surgery.running.probe import Run, few, probe
from netmorph.surgery.running.smallest_input import grown_reach
from netmorph.surgery.running.wrappers import check_unwrapped
from netmorph.surgery.shortcuts.slots import opened
from netmorph.surgery.sites.assign import Assignment
from netmorph.surgery.sites.find import chosen_among
from netmorph.surgery.sites.kinds import notice
from netmorph.surgery.sites.norms import own_norm, with_own_norms

_WHY = "every module computes what its layer did: its code looks at the types or parameters of its layers"


@trainable
def morph(  # noqa: PLR0913 - the public verb; all but the first two are keywords
    model: nn.Module,
    mapping: Mapping[str, ModuleGraph | str],
    *,
    example_inputs: Any,
    seed: int = 0,
    inplace: bool = False,
    act: str | None = "auto",
    norm: str | None = "auto",
    calibration: Any = None,
    method: Method = "closed-form",
    fill: Literal["pointwise", "dense"] = "pointwise",
    noise: float = 0.5,
    keep_parent: bool = False,
    birth: Birth = "slope",
    check: bool = True,
) -> Result:
    """Replace layers of a network by module graphs so that the network computes the same function (eq. 5).

    netmorph solves for the filters of each module, and compares the module with the layer that it replaces, in the
    layer's own dtype and including the image border. Modules are put into the network only when all of them have
    passed; if anything fails, nothing is changed. Training mode, BatchNorm statistics, gradients and random generators
    are preserved.

    The model runs on the example inputs three times: in eval mode, in train mode (since some code behaves differently
    there), and again in eval mode, to find out whether it is deterministic. The child runs once in eval mode. It also
    runs in train mode if a new module has a norm, or if a site is reached only in that mode. Otherwise new modules
    compute the same in both modes, and the outputs in train mode are not measured; `verify` does so.

    Args:
        model: any network, on any device, in train or eval mode.
        mapping: a dict from names or globs of sites to graphs, notations or names of the catalogue. Globs match the
            full dotted name as in `fnmatch`, and `*` also matches dots; "" is the model itself.
        example_inputs: a tensor, a tuple of arguments or a dictionary of keyword arguments. If the model takes a single
            dictionary, pass `({...},)`.
        seed: random seed. The noise of each site depends only on it and on the site's name.
        inplace: change `model` itself instead of a copy.
        act: activation of the inner blobs, parametric and initially the identity (eq. 8). "auto" is the activation that
            is called after the layer in the example run, else before it, else the most frequent one of the network, or
            ReLU if none is found. Otherwise a name of torch.nn, with settings as in "gelu(approximate=tanh)", or None
            for no activation.
        norm: norm after each edge. "auto" is "calibrated" if `calibration` is given and the network uses BatchNorm,
            else None. "calibrated" and "paper" need `calibration`; the others are "neutral", "group" and "layer".
            Settings (eps, momentum, SyncBatchNorm or not) are those of the network's norms near the site.
        calibration: batches, as in `calibrate`.
        method: "closed-form", "alternating" (the paper's Algorithm 2) or "stepwise".
        fill: "pointwise" or "dense" (noise at all kernel positions; the input of the module is padded once).
        noise: size, relative to the layer's filter, of the random weights that cancel within a module.
        keep_parent: if a graph cannot represent the filter, add a parallel edge called `parent` with the layer's
            kernel. Its filter is that of the layer minus what the other paths compute.
        birth: how a module with activations is initialised so that it computes the layer's function. "slope" (the
            paper's) uses parametric activations of slope 1, with which the module is linear at first. "pair" uses plain
            activations, and gives each channel u a partner -u, since `phi(u) - phi(-u)` is a multiple of u for ReLU,
            LeakyReLU, GELU, SiLU and Hardswish; each blob with an activation then counts with half of its channels.
            With "zero", paths without an activation represent the layer's filter, and the branches beside them are
            random with a last layer of zeros. "cancel" is the same, but the channels of a branch come in equal pairs
            that are read with opposite signs. Norms are exact in eval mode with every birth. In train mode they are
            exact with "zero" and "cancel"; with "slope" and "pair" a BatchNorm is as close to the identity as the batch
            is to the calibration data.
        check: raise an error if the parity of a site is above the tolerance, or if the outputs of a deterministic
            network differ by more than 100 times that. With False, and always with norm="paper", which is not exact,
            parity is only reported.

    Raises:
        SiteError: if a site does not exist, is refused or matches two patterns, weights are not finite, or the model is
            wrapped.
        InfeasibleMorph: if a graph cannot represent the filter of its site.
        GraphError: if a graph does not fit its site.
        ParityError: if a module differs from the layer that it replaces by more than the tolerance, or if only the
            outputs of the network do, because its code depends on the types or parameters of its layers.

    Example:
        >>> import torch
        >>> parent = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 4, 3, padding=1))
        >>> result = morph(parent, {"2": "3x3 > 1x1 | 1x1"}, example_inputs=torch.randn(1, 3, 8, 8))
        >>> result.parity.max_rel < 1e-5, result.sites[0].name
        (True, '2')
    """
    call = Call.of(example_inputs)
    check_unwrapped(model)
    normed = calibration is not None or norm not in (None, "auto")
    part = few if normed else windows_of  # in train mode a norm is told by the whole batch
    chosen, skipped, run = chosen_among(model, call, mapping, seed, keep=True, part=part)
    norm, notices = _norm(norm, model, chosen, calibrated=calibration is not None)
    options = Options(method, fill, noise, keep_parent, act, norm, check, birth)
    notices += [f"skipped {name!r}: {why}" for name, why in skipped.items()]
    given = {"mapping": {pattern: str(graph) for pattern, graph in mapping.items()}, "seed": seed, **asdict(options)}
    settled = {each.site.name: _settled(model, run, each, options) for each in chosen}
    notices += dict.fromkeys(notice for _, said in settled.values() for notice in said)
    chosen = tuple(
        replace(each, graph=with_own_norms(each.graph, model, each.site.name, each.site.spec.dims)) for each in chosen
    )
    with opened(model, [each.site for each in chosen], keep=inplace):
        if any(each.site.slot is not None for each in chosen):  # what stands there now was not there to be seen
            layers = {each.site.name: model.get_submodule(each.site.name) for each in chosen}
            run = probe(model, layers, call, keep=True, part=part)
        own = [own for own, _ in settled.values()]
        return _replace(model, call, chosen, run, own, calibration, inplace=inplace, given=given, notices=notices)


def _settled(model: nn.Module, run: Run, chosen: Assignment, options: Options) -> tuple[Options, list[str]]:
    """Return the options of one site, its activation and norm those of the network, and what to say about it."""
    site, graph, act, notices = chosen.site, chosen.graph, options.act, []
    if act == "auto":
        act, said = own_activation(model, run.heard, site.name)
        unnamed = any(blob not in graph.activations for blob in graph.inner)
        notices += [said] if said is not None and unnamed else []
    for norm in dict.fromkeys([options.norm, *(edge.norm for edge in graph.edges)]):
        notices += own_norm(model, site.name, norm, site.spec.dims)[1]
    return replace(options, act=act, norm=own_norm(model, site.name, options.norm, site.spec.dims)[0]), notices


def _replace(
    model: nn.Module,
    call: Call,
    chosen: Sequence[Assignment],
    before: Run,
    options: Sequence[Options],
    calibration: Any,
    *,
    inplace: bool,
    given: Mapping[str, Any],
    notices: Sequence[str],
) -> Result:
    """Replace the layers that stand at the chosen sites."""
    layers = {each.site.name: model.get_submodule(each.site.name) for each in chosen}
    for each in chosen:
        check_layer(each.site, layers[each.site.name])
    check = options[0].check
    grafts = []
    for each, own in zip(chosen, options, strict=True):
        seen = before.seen[each.site.name]
        grafts.append(make_graft(each, layers[each.site.name], seen.recorded, own))
        notices = [*notices, *grown_reach(each.site.name, layers[each.site.name], grafts[-1].module, seen)]
        if calibration is None:
            seen.recorded = None  # else records add up with the network's depth
    modules = {graft.site.name: graft.module for graft in grafts}
    change = Transaction(model, call, before, inplace=inplace, names=modules)
    for name, module in modules.items():
        inherit(change.target.get_submodule(name), module)
    with swapped(change.target, modules) as child:
        if calibration is not None and any(map(has_newborn_norm, modules.values())):
            run_through(child, modules, calibration)
            grafts = [
                graft.measured_again(before.seen[name].recorded, check=check and not _is_paper(graft))
                for name, graft in zip(modules, grafts, strict=True)
            ]
        reached = not any(before.seen[name].late for name in modules)
        sites = [graft.parity for graft in grafts]
        change.compare(child, modules, sites, train=not reached or any(map(has_modes, modules.values())))
        if all(site.exact for site in sites):  # else theirs is the word to say
            leave = [f"leave out the sites where it does, of {', '.join(map(repr, modules))}"]
            change.hold(child, _WHY, leave, check=check)
    record = Record("morph", tuple(graft.record for graft in grafts), given)
    return change.result("morph", child, record, modules, layers, [*notices, *_notices(grafts, before)], Again())


def _norm(
    norm: str | None, model: nn.Module, chosen: Sequence[Assignment], *, calibrated: bool
) -> tuple[str | None, list[str]]:
    """Return the norm of the new modules, and what to say about it."""
    notices: list[str] = []
    if norm == "auto":
        normed = any(isinstance(module, _BatchNorm) for module in model.modules())
        norm = "calibrated" if calibrated and normed else None
        if norm is None:
            why = "no calibration= was given" if normed else "the network has no BatchNorm"
            notices.append(f"the new modules have no norm, since {why}")
    named = {norm_kind(each) for each in (norm, *(edge.norm for each in chosen for edge in each.graph.edges))}
    needy = sorted(name for name in named if name in NEEDY)
    if needy and not calibrated:
        raise SiteError(
            f"norm {needy[0]!r} needs calibration data for its statistics",
            remedies=[
                "pass calibration=batches",
                "use norm='neutral', which is exact in eval mode only",
                "use norm=None",
            ],
        )
    if "paper" in named:
        notices.append("norm 'paper' does not keep the function: parity is reported but not checked")
    return norm, notices


def _is_paper(graft: Graft) -> bool:
    return "paper" in graft.module.norms.kinds.values()


def _notices(grafts: Sequence[Graft], before: Run) -> list[str]:
    notices = []
    for graft in grafts:
        name = graft.site.name
        if not before.seen[name].calls:
            notices.append(f"{name!r} is not reached by the example: its parity was measured on synthetic inputs")
        if graft.record.status == "KEPT_PARENT":
            notices.append(
                f"{name!r}: the graph cannot represent the layer's filter; an additional parallel edge, "
                "'parent', represents the remainder"
            )
        note = notice(graft.layer)
        if note is not None:
            notices.append(f"{name!r}: {note}")
    return notices
