"""More layers in series: one convolution becomes two (Type I, eq. 2; Net2Net's deeper nets, Network Morphism 2016)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from torch import nn

from netmorph.errors import SiteError
from netmorph.filters.geometry import ConvSpec, per_dimension
from netmorph.graph.layout import Layout
from netmorph.graph.spec import Edge, Groups, Ints, ModuleGraph
from netmorph.graph.symmetry import Birth, check_birth
from netmorph.surgery.growth.grow_kernel import kernel_sides
from netmorph.surgery.growth.larger_module import Growing, in_place, larger_graphs, maker
from netmorph.surgery.growth.perform import perform
from netmorph.surgery.growth.places import Place, plain_sites, select
from netmorph.surgery.morphing.morph import morph
from netmorph.surgery.morphing.result import Result
from netmorph.surgery.running.call import Call


def deepen(  # noqa: PLR0913 - a public verb; all but the first two are keywords
    model: nn.Module,
    site: str,
    kernel: int | Sequence[int] = 1,
    *,
    example_inputs: Any,
    width: int | str | None = None,
    seed: int = 0,
    inplace: bool = False,
    act: str | None = "auto",
    norm: str | None = "auto",
    calibration: Any = None,
    birth: Birth = "slope",
    noise: float = 0.5,
    check: bool = True,
) -> Result:
    """Insert a layer after a layer without changing the function: `K` becomes `K > kernel`.

    A plain convolution, linear layer or identity is morphed (see `morph`). An edge of a morphed module becomes two
    edges of the same module: `0.5*id | 1x1 > 1x1`, deepened at its identity, becomes `1x1 > 1x1 | 1x1 > 1x1`. The new
    layer is not an identity, as in Net2Net, but random, and the filters of the layer before it are solved for, so that
    both learn from the first step on. Between the two there is a parametric activation that is initially the identity
    (eq. 8), or a plain one (see `birth`).

    Args:
        model: any network, in train or eval mode.
        site: name or glob of plain layers, or of edges of morphed modules.
        kernel: kernel size of the new layer; all its kernel positions but one start at zero.
        example_inputs: a tensor, a tuple of arguments or a dictionary of keyword arguments.
        width: number of channels between the two layers: 64, or "2x" relative to the site's output. By default as many
            as the site's output, and twice that for birth="pair".
        seed: random seed.
        inplace: change `model` itself instead of a copy.
        act: activation between the two layers. "auto" is that of the module's other blobs; for plain layers as in
            `morph`.
        norm: norm after each of the two layers, as in `morph` and `regrow`.
        calibration: batches for new BatchNorms.
        birth: "slope" or "pair", as in `morph`.
        noise: size of the random weights that cancel.
        check: raise an error if parity is above the tolerance.

    Returns:
        The same as `morph`.

    Raises:
        SiteError: if there is no such layer, the kernel is invalid, or a glob matches both plain layers and edges.
        InfeasibleMorph: if `width` is too narrow to pass all channels.
        GraphError: if the width is invalid, or the norm of an edge cannot be kept.

    Example:
        >>> import torch
        >>> parent, x = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1)), torch.randn(1, 3, 8, 8)
        >>> result = deepen(parent, "0", 3, example_inputs=x)
        >>> str(result.sites[0].graph), result.parity.sites[0].exact
        ('3x3 > 3x3', True)
    """
    call, sides = Call.of(example_inputs), kernel_sides(kernel)
    check_birth(birth, ("slope", "pair"))
    width = "2x" if width is None and birth == "pair" else width
    sites = plain_sites(model, call, "deepen")
    places = select(model, sites, site, ("layer", "edge"), "deepen")
    if len({place.nature for place in places}) > 1:
        raise SiteError(
            f"{site!r} matches both plain layers and edges of morphed modules",
            shapes=f"such as {places[0].name!r} and {places[-1].name!r}",
            remedies=["call deepen once for each kind"],
        )
    if places[0].nature == "layer":
        mapping = {p.name: _series(p.site.spec, sides, width) for p in places if p.site is not None}
        made = morph(
            model,
            mapping,
            example_inputs=call,
            seed=seed,
            inplace=inplace,
            act=act,
            norm=norm,
            calibration=calibration,
            noise=noise,
            birth=birth,
            check=check,
        )
        return replace(made, operation="deepen")

    def change(layout: Layout, graph: ModuleGraph, place: Place) -> ModuleGraph:
        edge = graph.edge(place.edge)
        return in_place(layout, graph, place.edge, _series(layout.specs[place.edge], sides, width, edge))

    growing = Growing(act, norm, calibration is not None, noise, seed, check, sites.heard, birth)
    makers = {name: maker(name, larger, growing) for name, larger in larger_graphs(model, places, change).items()}
    options = {
        "site": site,
        "kernel": _listed(kernel),
        "width": width,
        "act": act,
        "norm": norm,
        "birth": birth,
        "seed": seed,
    }
    return perform("deepen", model, call, makers, inplace=inplace, options=options, calibration=calibration)


def _series(spec: ConvSpec, kernel: tuple[int, ...], width: int | str | None, edge: Edge | None = None) -> ModuleGraph:
    """Return the graph of a layer and one more behind it.

    Args:
        spec: geometry of the present layer.
        kernel: of the new one, one number for all dimensions or one for each.
        width: of the blob between.
        edge: of the present layer, where it is one of a module.
    """
    sides: Ints = per_dimension(kernel, spec.dims, "kernel") or (1,)
    groups: Groups = spec.groups if edge is None or edge.fixed is None else 1
    if edge is not None and edge.groups == "dw":
        groups = "dw"
    first = Edge(
        "s_a",
        "s",
        "a",
        edge.kernel if edge is not None and edge.fixed is None else spec.kernel or (1,),
        stride=None if edge is None else edge.stride,
        dilation=None if edge is None or edge.fixed is not None else edge.dilation,
        groups=groups,
    )
    return ModuleGraph.from_edges(
        [first, Edge("a_t", "a", "t", sides, groups=groups)], widths=None if width is None else {"a": width}
    )


def _listed(kernel: int | Sequence[int]) -> int | list[int]:
    return kernel if isinstance(kernel, int) else list(kernel)
