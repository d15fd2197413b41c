"""A plain layer made wider: its output channels, what lies behind them, and the one layer that reads them (Net2Net)."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial

import torch
from torch import Tensor, nn

from netmorph.errors import SiteError
from netmorph.filters.geometry import ConvSpec
from netmorph.surgery.edit.channels import channels_of, even, mixes_channels, with_channels
from netmorph.surgery.edit.memory_format import keep_memory_format
from netmorph.surgery.edit.swap import inherit
from netmorph.surgery.growth.channel_positions import Lanes
from netmorph.surgery.growth.copies import wider
from netmorph.surgery.growth.find_reader import Trail, follow
from netmorph.surgery.growth.new_channels import ChannelBirth, Channels
from netmorph.surgery.growth.perform import Change, Maker
from netmorph.surgery.growth.places import pytorch_layer
from netmorph.surgery.growth.segment import Segment, segment_parity
from netmorph.surgery.growth.unreached import notice_of
from netmorph.surgery.morphing.solve_site import check_layer
from netmorph.surgery.records.grown_places import ChangedChannels, ChangedLayer, GrownPlace
from netmorph.surgery.records.layer import plain_layer
from netmorph.surgery.running.call import Call
from netmorph.surgery.sites.assign import site_seed
from netmorph.surgery.sites.layers import BASES
from netmorph.surgery.sites.site import Sites


def layer_maker(
    name: str,
    sites: Sites,
    call: Call,
    width: int | str,
    *,
    birth: ChannelBirth,
    apart: Mapping[str, nn.Module | Tensor],
    noise: float,
    seed: int,
    check: bool,
) -> Maker:
    """Return what prepares the widening of a plain layer.

    Args:
        name: of the layer.
        sites: those of the network.
        call: example inputs.
        width: channels, or a factor.
        birth: how new channels are initialised, as in `widen`.
        apart: what the example does not reach, from `missed`.
        noise: size of what cancels, relative to the weights of the layer that reads it.
        seed: random seed of the copies, their shares and the noise.
        check: whether a difference above the tolerance is an error.
    """

    def make(model: nn.Module, recorded: Tensor | None) -> Change:
        del recorded  # an earlier change may have made the layer's input wider
        plain = pytorch_layer(model, name, "widen")
        reader = _reader(model, name, call, sites)
        blocks = math.lcm(plain.spec.groups, pytorch_layer(model, reader, "widen").spec.groups)
        number = wider(width, plain.spec.c_out, blocks=blocks, what="the layer")
        own = site_seed(seed, name)
        channels = Channels.of(plain.spec.c_out, number, birth=birth, blocks=blocks, seed=own, what="the layer")
        index, new = channels.index, channels.new
        trails = [t for train in (False, True) for t in follow(model, call, name, index, new=new, train=train)]
        _check_trails(trails)
        trail = trails[0]
        names = [name, *trail.names]
        present = {each: model.get_submodule(each) for each in names}
        for each, module in present.items():
            if each in sites.names:
                check_layer(sites[each], module)
            elif mixes_channels(module) and not (birth == "copies" and even(index)):
                raise SiteError(
                    f"{each!r} is a {type(module).__name__}, which requires every channel to be copied equally often",
                    shapes=f"{plain.spec.c_out} channels now, {number} requested, birth {birth!r}",
                    remedies=[f"double the layer by copies: width={2 * plain.spec.c_out}, birth='copies'"],
                )
        made: dict[str, nn.Module] = {}
        places: list[GrownPlace] = []
        for each, module in present.items():
            made[each], place = _wider(each, module, trail, channels, first=each == name, noise=noise, seed=seed)
            places.append(place)
        segments = (Segment(name, trail.steps, present), Segment(name, trail.steps, made))
        if new is not None:
            segments[1].take_statistics(trail.entered, new)
        measure = partial(segment_parity, *segments, trail.entered, plain.spec, check=check)
        notices = (*notice_of(apart, name, plain.spec.c_out, number), *_left(name, trails))
        return Change(made, tuple(places), measure, notices)

    return make


def _reader(model: nn.Module, name: str, call: Call, sites: Sites) -> str:
    """Return the name of the one layer that reads a layer's output, in eval and in train mode."""
    trails = [*follow(model, call, name, None), *follow(model, call, name, None, train=True)]
    if not trails:
        raise SiteError("the example does not reach it, so that the layers that read it are unknown")
    _check_trails(trails)
    paths = {tuple(trail.names) for trail in trails}
    if len(paths) > 1:
        one, other = sorted(paths)[:2]
        raise SiteError(
            "different layers read it in different calls",
            shapes=f"{' > '.join(one)} and {' > '.join(other)}",
        )
    for each in paths.pop():
        module = model.get_submodule(each)
        if isinstance(module, BASES):
            pytorch_layer(model, each, "widen")
            if each not in sites.names:
                raise SiteError(f"{each!r}, which reads it, cannot be changed: {sites.refused.get(each, 'no site')}")
        owners = [other for other, found in model.named_modules(remove_duplicate=False) if found is module]
        if len(owners) > 1:
            raise SiteError(f"{each!r}, which follows it, is shared", shapes=f"as {' and '.join(owners)}")
    return trails[0].reader


def _check_trails(trails: Sequence[Trail]) -> None:
    for trail in trails:
        if trail.why:
            raise SiteError(
                f"its channels cannot be traced to a single layer that reads them: {trail.why}",
                shapes=f"after {' > '.join(trail.names)}" if trail.names else None,
                remedies=[
                    "widen a layer whose output only one convolution or linear layer reads, behind elementwise "
                    "functions, norms, pooling and flattening",
                    "morph the layer and widen a blob inside: widen(model, site, width, blob='a', ...)",
                ],
            )
    if len({(trail.lanes.outer, trail.lanes.inner) for trail in trails}) > 1:
        raise SiteError("its channels reach the layer that reads them in different orders in different calls")


def _left(name: str, trails: Sequence[Trail]) -> tuple[str, ...]:
    """Return what to say of numbers that left PyTorch on the way."""
    left = sorted({function for trail in trails for function in trail.left})
    if not left:
        return ()
    return (
        f"what {name!r} computes leaves PyTorch by {', '.join(left)}, which netmorph cannot trace: that the "
        "network's outputs are unchanged was checked for the example only",
    )


def _wider(
    name: str, module: nn.Module, trail: Trail, channels: Channels, *, first: bool, noise: float, seed: int
) -> tuple[nn.Module, GrownPlace]:
    """Return the successor of one module on the way, and its record."""
    before, index = plain_layer(module), channels.index
    if before is None:
        made = with_channels(module, index)
        return made, ChangedChannels(name, type(module).__name__, channels_of(module) or 0, len(index))
    weight, spec = module.get_parameter("weight").detach(), before.spec
    if first:
        after = spec.with_(c_out=len(index))
        weight = channels.rows(weight, seed=site_seed(seed, f"writer {name}"))
    elif name == trail.reader:
        lanes = trail.lanes
        after = spec.with_(c_in=len(index) * lanes.outer * lanes.inner)
        weight = _read(weight, channels, lanes, spec, noise=noise, seed=site_seed(seed, f"reader {name}"))
    else:  # a depthwise convolution
        after = spec.with_(c_in=len(index), c_out=len(index), groups=len(index))
        weight = weight[index.to(weight.device)]
    plain = replace(before, spec=after)
    made = plain.build(device=weight.device, dtype=weight.dtype)
    inherit(module, made)
    with torch.no_grad():
        made.get_parameter("weight").copy_(weight)
        if before.bias:
            bias = module.get_parameter("bias")
            made.get_parameter("bias").copy_(bias if name == trail.reader else bias[index.to(bias.device)])
    keep_memory_format(module, made)
    return made, ChangedLayer(name, before, plain)


def _read(weight: Tensor, channels: Channels, lanes: Lanes, spec: ConvSpec, *, noise: float, seed: int) -> Tensor:
    """Return a reader's weight with columns for the new channels, group by group."""
    columns, roles = lanes.spread(channels.index), lanes.spread_over(channels.role)
    rows, width, wide = spec.c_out // spec.groups, spec.c_in // spec.groups, len(columns) // spec.groups
    parts = []
    for group in range(spec.groups):
        here = slice(group * wide, (group + 1) * wide)
        part, own = weight[group * rows : (group + 1) * rows], columns[here] - group * width
        parts.append(channels.columns(part, own, roles[here], noise=noise, seed=site_seed(seed, f"group {group}")))
    return torch.cat(parts)
