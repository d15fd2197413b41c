"""More channels: copies that compute what their originals do, whose readers share the weights out (Net2Net)."""

from __future__ import annotations

from functools import partial
from typing import Any

from torch import Tensor, nn

from netmorph.errors import SiteError
from netmorph.surgery.edit.rebuild import Defaults
from netmorph.surgery.growth.new_channels import ChannelBirth
from netmorph.surgery.growth.perform import Change, Maker, like_of, morphed_at, perform
from netmorph.surgery.growth.places import plain_sites, select
from netmorph.surgery.growth.unreached import missed
from netmorph.surgery.growth.widen_blob import widened
from netmorph.surgery.growth.widen_layer import layer_maker
from netmorph.surgery.morphing.result import Result
from netmorph.surgery.parity.site import site_parity
from netmorph.surgery.records.grown_places import RegrownModule
from netmorph.surgery.running.call import Call
from netmorph.surgery.sites.assign import site_seed


def widen(
    model: nn.Module,
    site: str,
    width: int | str = "2x",
    *,
    example_inputs: Any,
    blob: str | None = None,
    birth: ChannelBirth = "copies",
    noise: float = 0.1,
    seed: int = 0,
    inplace: bool = False,
    check: bool = True,
) -> Result:
    """Give layers, or blobs of morphed modules, more channels without changing the function.

    By default, new channels are copies of existing ones (Chen, Goodfellow and Shlens, 2016). The weights that read a
    channel are divided among the channel and its copies, unequally and with noise that cancels, so that they receive
    different gradients and diverge from the first step on. This is exact with any activation, whatever its slopes, and
    with BatchNorm in train mode too. `birth` selects other initialisations.

    To widen a plain layer, exactly one convolution or linear layer may read its output. Elementwise functions,
    BatchNorm, PReLU, pooling, flattening, depthwise convolutions and (if every channel is copied equally often)
    LayerNorm may lie in between. The reader is found by running the network. What lies in between is tested in float64,
    with values of many magnitudes and in both modes, to make sure that it acts on each channel separately; otherwise
    the error names the obstacle. Layers that the example inputs do not reach, and that may read the layer too, are
    listed in `notices`. In a morphed module, pass the name of an inner `blob`; the edges into it get new rows and the
    edges out of it new columns. Blobs that are tied to it by depthwise edges or edges without weights are widened as
    well.

    Args:
        model: any network, in train or eval mode.
        site: name or glob of plain convolutions and linear layers; with `blob`, of morphed modules.
        width: the new number of channels, or a factor such as "2x" or "1.5x".
        example_inputs: a tensor, a tuple of arguments or a dictionary of keyword arguments.
        blob: inner blob of the morphed modules.
        birth: how new channels are initialised: as "copies"; "zero": at random, with zero weights in the layer that
            reads them; "cancel": as random pairs that are read with opposite signs. The latter two require that what
            lies in between acts on each channel separately (no LayerNorm, RMSNorm or GroupNorm). A BatchNorm there
            takes the statistics of new channels from the example inputs.
        noise: size of the random weights that cancel, relative to the weights that read the channels.
        seed: random seed for the choice of copies, their shares and the noise.
        inplace: change `model` itself instead of a copy.
        check: raise an error if parity is above the tolerance.

    Returns:
        The same as `morph`; the parity of a plain layer is measured at the output of the layer that reads it.

    Raises:
        SiteError: if there is no such layer, several layers read its output, the width is not larger than the present
            one, or the number of groups does not divide it.
        GraphError: if a blob cannot be widened.
        ParityError: if the output has changed by more than the tolerance.

    Example:
        >>> import torch
        >>> parent = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 4, 3))
        >>> result = widen(parent, "0", "1.5x", example_inputs=torch.randn(1, 3, 8, 8))
        >>> [tuple(p.shape) for p in result.model.parameters() if p.dim() > 1], result.parity.exact
        ([(12, 3, 3, 3), (4, 12, 3, 3)], True)
    """
    if not isinstance(blob, str | None):
        raise SiteError(
            f"expected the name of one blob, got a {type(blob).__name__}: {blob!r:.80}",
            remedies=["call widen once for each blob"],
        )
    call = Call.of(example_inputs)
    sites = plain_sites(model, call, "widen")
    places = select(model, sites, site, ("layer", "module"), "widen")
    apart = missed(model, call) if blob is None else {}
    makers: dict[str, Maker] = {}
    for place in places:
        if (place.nature == "module") != (blob is not None):
            continue
        if blob is not None:
            makers[place.name] = _blob_maker(place.name, blob, width, birth=birth, noise=noise, seed=seed, check=check)
        else:
            makers[place.name] = layer_maker(
                place.name, sites, call, width, birth=birth, apart=apart, noise=noise, seed=seed, check=check
            )
    if not makers:
        raise _unfit(model, places[0].name, blob)
    options = {"site": site, "width": width, "blob": blob, "birth": birth, "noise": noise, "seed": seed}
    return perform("widen", model, call, makers, inplace=inplace, options=options, strict=check and blob is None)


def _blob_maker(
    name: str, blob: str, width: int | str, *, birth: ChannelBirth, noise: float, seed: int, check: bool
) -> Maker:
    """Return what prepares the widening of an inner blob of the module called `name`."""

    def make(model: nn.Module, recorded: Tensor | None) -> Change:
        module = morphed_at(model, name)
        own, place_seed = Defaults.of(module), site_seed(seed, name)
        like = like_of(model, module)
        new = widened(module, {blob: width}, seed=place_seed, noise=noise, like=like, birth=birth)
        place = RegrownModule(name, module.layout, new.layout, own.act, own.norm, place_seed)
        measure = partial(site_parity, module, new, recorded, site=name, spec=module.layout.site, check=check)
        return Change({name: new}, (place,), measure)

    return make


def _unfit(model: nn.Module, name: str, blob: str | None) -> SiteError:
    if blob is not None:
        return SiteError(
            f"it is a plain layer and has no blob {blob!r}", site=name, remedies=["leave out blob=", "morph it first"]
        )
    inner = morphed_at(model, name).layout.graph.inner
    listed = ", ".join(map(repr, inner))
    return SiteError(
        "it is a morphed module, whose output cannot be widened",
        site=name,
        remedies=[f"name an inner blob, blob={inner[0]!r} of {listed}" if inner else "deepen one of its edges first"],
    )
