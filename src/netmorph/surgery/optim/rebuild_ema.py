"""Averaged copies of a network (EMA, SWA) are morphed as the network was (beyond the paper)."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from netmorph.errors import NetmorphError
from netmorph.filters.filter import Filter
from netmorph.graph.layout import Layout
from netmorph.nn import MorphedModule
from netmorph.nn.activations import symmetries
from netmorph.nn.norm import neutralise
from netmorph.solver.born import born
from netmorph.solver.solve import Options
from netmorph.surgery.edit.memory_format import keep_memory_format
from netmorph.surgery.edit.rebuild import present_filter, set_filter
from netmorph.surgery.edit.swap import swapped
from netmorph.surgery.growth.perform import like_of
from netmorph.surgery.morphing.result import Result
from netmorph.surgery.morphing.solve_site import target_of
from netmorph.surgery.parity.site import SiteParity, site_parity
from netmorph.surgery.records.grown_places import RegrownModule
from netmorph.surgery.records.history import remember
from netmorph.surgery.records.morphed_site import MorphedSite
from netmorph.surgery.records.record import Record
from netmorph.surgery.records.replay import replayed
from netmorph.surgery.running.calibrate import has_newborn_norm
from netmorph.surgery.running.wrappers import check_unwrapped
from netmorph.surgery.sites.site import Site

_FRESH = "start a new average: AveragedModel(child)"
_PLACES = ("module", "ema")  # of torch's AveragedModel and timm's ModelEmaV2 and V3; of timm's first ModelEma


def rebuild_ema(result: Result, averaged: nn.Module | Any) -> tuple[SiteParity, ...]:
    """Grow an averaged copy of the parent, in place, as the parent was grown, so that averaging can continue.

    The copy gets the same module graphs, or grows at the same places (`widen`, `deepen`, `grow_kernel`, `regrow`). Its
    new weights are solved for from the *averaged* layers, so that the function of the average is preserved. Since they
    are drawn from the same seeds and scaled alike, they are as close to the child's weights as the averaged layers are
    to the parent's, and can be averaged with them. New BatchNorms take the child's statistics and are the identity in
    eval mode. Counters such as `n_averaged` are not changed.

    Call this right after the operation, before the child is trained.

    Args:
        result: the result of the operation itself, not a copy or pickle of it.
        averaged: `torch.optim.swa_utils.AveragedModel`, timm's `ModelEmaV3`, `ModelEmaV2` or `ModelEma`, or any object
            that holds the averaged network as `module` or `ema`.

    Returns:
        For each site, the measured difference between the averaged layer and its module.

    Raises:
        NetmorphError: if the argument contains no averaged network, or not one of the parent. Nothing is changed then.
        SiteError: if the averaged network is wrapped or compiled.
        InfeasibleMorph: if a graph cannot represent an averaged layer although it can represent the parent's (low
            rank).
        ParityError: if a site differs by more than the tolerance.

    Example:
        >>> from netmorph.surgery.morphing.morph import morph
        >>> parent = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 4, 3, padding=1))
        >>> averaged = torch.optim.swa_utils.AveragedModel(parent)
        >>> result = morph(parent, {"2": "3x3 > 1x1"}, example_inputs=torch.randn(1, 3, 8, 8))
        >>> [parity.exact for parity in rebuild_ema(result, averaged)]
        [True]
        >>> averaged.update_parameters(result.model)
    """
    if not isinstance(result, Result):
        raise NetmorphError(
            f"expected the result of a function that grows a network, got a {type(result).__name__}",
            remedies=["pass the result of morph, widen, deepen, grow_kernel or regrow", _FRESH],
        )
    place = next((key for key in _PLACES if isinstance(getattr(averaged, key, None), nn.Module)), None)
    if place is None:
        raise NetmorphError(
            f"this {type(averaged).__name__} holds no averaged network",
            remedies=["pass torch's AveragedModel, timm's ModelEmaV3, or what holds the network as .module"],
        )
    network: nn.Module = getattr(averaged, place)
    check_unwrapped(network)
    record = result.history[-1]
    if record.operation == "morph":
        model, parities = _morphed(record, result.model, network)
    elif result._again.perform is not None:
        model, parities = _grown(result, result._again.perform(network), network)
    else:
        raise NetmorphError(
            f"expected the result of morph or of a layer-level operation, got one that ends in {record.operation!r}",
            remedies=["pass the result itself, not a copy or pickle", _FRESH],
        )
    remember(model, record)
    setattr(averaged, place, model)
    return parities


def _morphed(record: Record, child: nn.Module, network: nn.Module) -> tuple[nn.Module, tuple[SiteParity, ...]]:
    """Morph an averaged network in place."""
    layers = {site.name: _layer(network, site) for site in record.sites}
    frozen = not any(each.requires_grad for each in network.parameters())
    with replayed(network, [record]) as replay:
        morphed = replay.model
        _check_same(morphed, child)
        parities = [_settle(site, layers[site.name], child, morphed, record.options) for site in record.sites]
        if frozen:
            morphed.requires_grad_(False)
    return morphed, tuple(parities)


def _grown(result: Result, again: Result, network: nn.Module) -> tuple[nn.Module, tuple[SiteParity, ...]]:
    """Put into an averaged network, in place, what grew in a copy of it."""
    _check_same(again.model, result.model)
    modules = {site.name: again.model.get_submodule(site.name) for site in again.sites}
    for site in again.sites:
        if isinstance(site, RegrownModule):
            twin = result.model.get_submodule(site.name)
            assert isinstance(twin, MorphedModule)
            _approach(site, modules[site.name], twin)
    with swapped(network, modules) as grown:
        pass
    return grown, again.parity.sites


def _approach(site: RegrownModule, module: nn.Module, twin: MorphedModule) -> None:
    """Give newborn blobs of a grown module the scale that they have in its twin, and newborn BatchNorms its statistics.

    The activations of such blobs are the identity still, so that any scale goes.
    """
    assert isinstance(module, MorphedModule)
    graph, old = site.graph, site.before.graph.blobs
    new = [edge.name for edge in graph.edges if edge.fixed is None and not {edge.source, edge.sink} <= set(old)]
    own, other = ({name: present_filter(each, name) for name in new} for each in (module, twin))
    for name, filter_ in _scaled_like(other, site.layout, own, bound=old).items():
        set_filter(module, name, filter_)
    _take_statistics(module, twin, [name for name in twin.norms if has_newborn_norm(twin.norms[name])])


def _layer(network: nn.Module, site: MorphedSite) -> nn.Module:
    """Return the averaged layer of a site."""
    try:
        layer = network.get_submodule(site.name)
    except AttributeError as error:
        if site.kind == "identity":  # a shortcut for which no module stands yet
            return nn.Identity()
        raise NetmorphError(
            f"the averaged network has no such layer: {error}",
            site=site.name,
            remedies=["pass an average of the network that was morphed"],
        ) from error
    if isinstance(layer, MorphedModule) and layer.layout == site.layout:
        raise NetmorphError(
            "the averaged network has been morphed there already",
            site=site.name,
            remedies=["call rebuild_ema once for each morph, in order"],
        )
    return layer


def _check_same(morphed: nn.Module, child: nn.Module) -> None:
    own, other = ([(key, value.shape) for key, value in each.state_dict().items()] for each in (morphed, child))
    if own != other:
        odd = min({key for key, _ in set(own) ^ set(other)}, default="the order of its parameters")
        raise NetmorphError(
            f"the averaged network is not one of the parent: it differs at {odd!r}",
            remedies=["call rebuild_ema right after morph", "start a new average: AveragedModel(result.model)"],
        )


def _settle(
    site: MorphedSite, layer: nn.Module, child: nn.Module, morphed: nn.Module, options: Mapping[str, Any]
) -> SiteParity:
    """Give one module of the averaged network its weights and statistics, and measure it."""
    module, twin = morphed.get_submodule(site.name), child.get_submodule(site.name)
    assert isinstance(module, MorphedModule)
    assert isinstance(twin, MorphedModule)
    like = like_of(morphed, module)
    place = Site(site.name, site.kind, site.layout.site, site.bias, like.dtype, like.device)
    try:
        how = Options(options["method"], options["fill"], site.seed, options["noise"], balanced=False)
        acts = symmetries(site.graph, site.act)
        birth = options.get("birth", "slope")  # records of earlier versions have none
        solution = born(birth, target_of(place, layer), site.graph, site.layout.site, acts, how)
        if solution.layout != site.layout:
            raise NetmorphError(
                "the averaged layer needs another layout of the graph than the parent's: they cannot be averaged",
                graph=str(site.graph),
                remedies=["start a new average: AveragedModel(result.model)"],
            )
        module.load_filters(_scaled_like(twin.filters(), site.layout, solution.filters))
    except NetmorphError as error:
        error.located(site.name)
        raise
    with torch.no_grad():
        if module.bias is not None:
            module.bias.copy_(layer.get_parameter("bias"))
        _take_statistics(module, twin, module.norms)
    keep_memory_format(layer, module)
    check = options["check"] and "paper" not in module.norms.kinds.values()
    return site_parity(layer, module, None, site=site.name, spec=site.layout.site, check=check)


def _take_statistics(module: MorphedModule, twin: MorphedModule, names: Iterable[str]) -> None:
    """Copy the statistics of newborn BatchNorms, as eq. 9 sets their affine part; the paper's keep theirs."""
    for name in names:
        norm, other = module.norms[name], twin.norms[name]
        if isinstance(norm, _BatchNorm):
            norm.load_state_dict(other.state_dict())
            if module.norms.kinds[name] != "paper":
                neutralise(norm)


def _scaled_like(
    model: Mapping[str, Filter], layout: Layout, filters: Mapping[str, Filter], bound: Collection[str] = ()
) -> dict[str, Filter]:
    """Scale every inner blob by the power of two that brings its edges nearest to those of `model` in size.

    Blobs in `bound` stay as they are.

    The solver balances what it solved, and two targets that are near may fall on two sides of a rounding.
    """
    graph = layout.graph
    given = [edge for edge in graph.edges if edge.name in filters]
    logs = {edge: _log(model[edge.name], filters[edge.name]) for edge in given if edge.fixed is None}
    # A blob beside an edge without weights stays as it is, as it does in the solver.
    beside = {blob for edge in graph.edges if edge.fixed is not None for blob in (edge.source, edge.sink)}
    shift = dict.fromkeys({graph.source, graph.sink, *beside, *bound}, 0)
    while True:
        bridges = [edge for edge in logs if (edge.source in shift) != (edge.sink in shift)]
        if not bridges:
            break
        # Noise differs by a power of two exactly and tells best; what was solved for by any number.
        edge = min(bridges, key=lambda each: abs(logs[each] - round(logs[each])))
        if edge.source in shift:
            shift[edge.sink] = shift[edge.source] + round(logs[edge])
        else:
            shift[edge.source] = shift[edge.sink] - round(logs[edge])
    powers = {edge.name: shift[edge.sink] - shift[edge.source] for edge in given}
    return {name: replace(filters[name], weight=filters[name].weight * 2.0**power) for name, power in powers.items()}


def _log(model: Filter, filter_: Filter) -> float:
    """Return the binary logarithm of how much larger `model` is; 0 where one of them is all zero."""
    sizes = float(model.weight.norm()), float(filter_.weight.norm())
    return math.log2(sizes[0] / sizes[1]) if min(sizes) > 0 else 0.0
