"""Blobs of a morphed module made wider by copies of their channels (Net2Net; see `copies`)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from fractions import Fraction

import torch
from torch import Tensor, nn

from netmorph.errors import GraphError, SiteError
from netmorph.graph.layout import Layout, lay_out
from netmorph.graph.spec import LARGEST, Edge, ModuleGraph, Width
from netmorph.nn import MorphedModule
from netmorph.nn.norm import BlendedGroupNorm, BlendedLayerNorm
from netmorph.surgery.edit.rebuild import Defaults, present_filter, rebuilt
from netmorph.surgery.growth.copies import wider
from netmorph.surgery.growth.new_channels import ChannelBirth, Channels
from netmorph.surgery.sites.assign import site_seed

Maps = dict[str, Channels]
"""By blob, its channels when it is wider."""


def widened(
    module: MorphedModule,
    widths: Mapping[str, int | str],
    *,
    seed: int,
    noise: float,
    like: Tensor,
    birth: ChannelBirth = "copies",
) -> MorphedModule:
    """Return a module that computes what `module` does, with wider inner blobs; `module` is left as it is.

    Blobs that depthwise edges or edges without weights tie together become wider together.

    Args:
        module: the present module.
        widths: new channels by inner blob: a number, or a factor such as "2x" of the present ones.
        seed: random seed of the copies, their shares and the noise.
        noise: size of what cancels, relative to the weights that read the blob.
        like: a tensor of the dtype and on the device of new parameters.
        birth: how new channels are initialised, as in `widen`.

    Raises:
        SiteError: if there is no such inner blob, or the width is not larger than the present one.
        GraphError: if a tied blob is the source or the sink, the blob has grouped edges, or what stands beside it
            cannot be widened exactly.
    """
    layout = module.layout
    for blob in widths:
        _check_blob(layout.graph, blob)
    numbers = {blob: wider(width, layout.widths[blob], what=f"blob {blob!r}") for blob, width in widths.items()}
    maps: Maps = {}
    factors: dict[str, bool] = {}
    for blob, number in numbers.items():
        if blob not in maps:
            own, what = site_seed(seed, blob), f"blob {blob!r}"
            channels = Channels.of(layout.widths[blob], number, birth=birth, blocks=1, seed=own, what=what)
            tied = _tied(layout, blob, channels)
            maps |= tied
            factors |= dict.fromkeys(tied, str(widths[blob]).endswith("x"))
        if len(maps[blob]) != number:
            raise GraphError(
                f"blob {blob!r} is tied to others by depthwise edges or edges without weights, and becomes as wide",
                shapes=f"{len(maps[blob])} channels by the others, {number} requested",
                remedies=["name the same factor for all of them, or only one of them"],
            )
    graph = _with_widths(layout, {blob: len(channels) for blob, channels in maps.items()}, factors)
    new_layout = lay_out(graph, layout.site, layout.cuts, layout.cut, border=layout.border)
    new = rebuilt(module, new_layout, Defaults.of(module), seed=seed, like=like)
    _fill(module, new, maps, seed=seed, noise=noise)
    return new


def _check_blob(graph: ModuleGraph, blob: str) -> None:
    if blob in graph.inner:
        return
    inner = ", ".join(map(repr, graph.inner))
    what = "the network determines the widths of source and sink" if blob in graph.blobs else "it has no such blob"
    raise SiteError(
        f"blob {blob!r} cannot be widened: {what}",
        graph=str(graph),
        remedies=[f"its inner blobs are {inner}" if inner else "deepen one of its edges first"],
    )


def _tied(layout: Layout, blob: str, channels: Channels) -> Maps:
    """Return the channels of all blobs that must become wider with one."""
    maps, todo = {blob: channels}, [blob]
    while todo:
        present = todo.pop()
        for edge, other, implied in _ties(layout, present, maps):
            if other in (layout.graph.source, layout.graph.sink):
                raise GraphError(
                    f"blob {blob!r} is tied to {other!r} by edge {edge.name!r}, which acts on each channel separately",
                    graph=str(layout.graph),
                    remedies=["widen another blob", "regrow the module with a 1x1 in place of that edge first"],
                )
            if other not in maps:
                maps[other] = implied
                todo.append(other)
    return maps


def _ties(layout: Layout, blob: str, maps: Maps) -> Iterator[tuple[Edge, str, Channels]]:
    """Yield the edges at a blob that keep channels apart, with the blob at the other end and its channels."""
    channels = maps[blob]
    for edge in layout.graph.edges:
        spec = layout.specs[edge.name]
        apart = edge.fixed is not None or edge.groups == "dw" or spec.groups > 1
        if blob not in (edge.source, edge.sink) or not apart:
            continue
        times = spec.c_out // spec.c_in
        known = blob == edge.sink and edge.source in maps  # it was the source that made this blob wider
        if spec.groups != spec.c_in or (times > 1 and blob == edge.sink and not known):
            raise GraphError(
                f"blob {blob!r} cannot be widened: edge {edge.name!r} has groups of several channels",
                graph=str(layout.graph),
                shapes=str(spec),
                remedies=["widen another blob"],
            )
        if blob == edge.source:
            yield edge, edge.sink, channels.times(times)
        elif not known:
            yield edge, edge.source, channels


def _with_widths(layout: Layout, numbers: Mapping[str, int], factors: Mapping[str, bool]) -> ModuleGraph:
    """Return the graph with wider blobs: as a factor where the user gave one and the blob has one, else a number."""
    widths = layout.graph.widths
    for blob, number in numbers.items():
        before = widths.get(blob, Width(Fraction(1), relative=True))
        value = before.value * Fraction(number, layout.widths[blob])
        widths[blob] = Width(Fraction(number))
        if factors[blob] and before.relative and value <= LARGEST and value.denominator < 10**9:
            candidate = Width(value, relative=True)
            if candidate.resolve(layout.site.c_out) == number:
                widths[blob] = candidate
    edges = tuple(
        replace(edge, groups=numbers[edge.source]) if edge.source in numbers and edge.groups not in (1, "dw") else edge
        for edge in layout.graph.edges
    )
    return replace(layout.graph, edges=edges, width_items=tuple(widths.items()))


@torch.no_grad()
def _fill(old: MorphedModule, new: MorphedModule, maps: Maps, *, seed: int, noise: float) -> None:
    """Write the weights, norms and slopes around the blobs in `maps`."""
    for edge in new.layout.graph.edges:
        spec = new.layout.specs[edge.name]
        if edge.fixed is None and spec != old.layout.specs[edge.name]:
            weight = present_filter(old, edge.name).weight.to(like_of(old.edges[edge.name]).dtype)
            own, read = site_seed(seed, f"edge {edge.name}"), maps.get(edge.source)
            if edge.sink in maps:
                written = maps[edge.sink]
                weight = written.rows(weight, seed=own) if spec.groups == 1 else weight[written.index]
            if read is not None and spec.groups == 1:
                weight = read.columns(weight, read.index, read.role, noise=noise, seed=own)
            new.edges[edge.name].get_parameter("weight").copy_(weight)
        if edge.sink in maps and edge.name in old.norms:
            norm = old.norms[edge.name]
            _check_norm(norm, edge.name, maps[edge.sink])
            gather_into(new.norms[edge.name], norm, maps[edge.sink].index)
    for blob, channels in maps.items():
        if blob in old.acts:
            gather_into(new.acts[blob], old.acts[blob], channels.index)


def like_of(module: nn.Module) -> Tensor:
    """Return a parameter of an edge's module."""
    return next(module.parameters())


def gather_into(new: nn.Module, old: nn.Module, index: Tensor) -> None:
    """Copy a module's parameters and buffers into a wider one of its kind, channel by channel, and its mode.

    Args:
        new: the wider one.
        old: the present one.
        index: for each new channel, the present one.
    """
    for values, present in (
        (new.named_parameters(), dict(old.named_parameters())),
        (new.named_buffers(), dict(old.named_buffers())),
    ):
        for name, tensor in values:
            before = present[name]
            tensor.requires_grad_(before.requires_grad)
            tensor.data.copy_(before.data if before.shape == tensor.shape else before.data[index.to(before.device)])
    new.train(old.training)


def _check_norm(norm: nn.Module, edge: str, channels: Channels) -> None:
    """Raise if a norm's statistics over several channels would change by the copies."""
    if not isinstance(norm, BlendedGroupNorm | BlendedLayerNorm) or bool((norm.slope == 1).all()):
        return
    even = channels.birth == "copies" and len(set(torch.bincount(channels.index).tolist())) == 1
    if isinstance(norm, BlendedGroupNorm) or not even:
        raise GraphError(
            f"the {type(norm).__name__} of edge {edge!r} normalises over several channels, so that new channels would "
            "change its output",
            remedies=["widen by a whole factor such as '2x', by copies"]
            if not isinstance(norm, BlendedGroupNorm)
            else [],
        )
