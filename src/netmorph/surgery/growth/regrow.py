"""Grow a morphed module into a larger graph, in place of its own (beyond the paper)."""

from __future__ import annotations

from typing import Any

from torch import nn

from netmorph.graph.layout import Layout
from netmorph.graph.spec import ModuleGraph
from netmorph.graph.symmetry import Birth
from netmorph.surgery.growth.larger_module import Growing, in_place, larger_graphs, maker
from netmorph.surgery.growth.perform import perform
from netmorph.surgery.growth.places import Place, plain_sites, select
from netmorph.surgery.morphing.result import Result
from netmorph.surgery.running.call import Call
from netmorph.surgery.sites.assign import read_graph


def regrow(  # noqa: PLR0913 - a public verb; all but the first three are keywords
    model: nn.Module,
    site: str,
    graph: ModuleGraph | str,
    *,
    example_inputs: Any,
    seed: int = 0,
    inplace: bool = False,
    act: str | None = "auto",
    norm: str | None = "auto",
    calibration: Any = None,
    birth: Birth = "slope",
    noise: float = 0.5,
    check: bool = True,
) -> Result:
    """Grow morphed modules into a larger graph of which their own is a part, and keep what they compute.

    So a network can be morphed in phases, trained in between, and end with the architecture that one morph would have
    given it (section 4.2 of the paper finds that such networks reach lower errors): `0.5*id | 1x1 > 1x1`, then
    `0.5*id | 3x3 > 1x1`, then `0.5*id | 3x3 > 3x3`, or `1x1 > 1x1 | 1x1 > 1x1`.

    What goes on keeps its trained weights: edges in larger kernels among zeros, blobs in wider ones among copies (see
    `widen`), whatever the slopes of the activations have become. What is new between two blobs is solved for, as in
    `morph`: it does what the edges did whose place it takes (a fixed `0.5*id`, a trained edge that becomes several), or
    nothing where it comes besides. What joins more blobs than two ends in zeros, and learns from there.

    Blobs and edges are recognised by name: those of an expression are named a, b, ... in the order of the text, so
    write the module's own graph (`result.sites[0].graph` prints it) and add to it. Where names would not fit, write
    edges: `s-a:3x3, a-t:1x1`.

    Args:
        model: any network with morphed modules, in train or eval mode.
        site: name or glob of morphed modules, which take the whole graph; or of edges of morphed modules, in whose
            place the graph comes.
        graph: the larger graph, its notation or its name in the catalogue.
        example_inputs: a tensor, a tuple of arguments or a dictionary of keyword arguments.
        seed: of what is new.
        inplace: change `model` itself; else a copy.
        act: activation of new blobs: "auto" is that of the module's others, as for `morph` where it has none.
        norm: norm of new edges: "auto" is that of the module's others (none, where that needs data and there is none).
        calibration: batches, as `calibrate` takes them, for new BatchNorms.
        birth: how what is new is born, as in `morph`; blobs that become wider get random channels under "zero" and
            "cancel", else copies. A branch that comes besides is born by "zero" under "pair".
        noise: size of what cancels within what is new, relative to what it replaces.
        check: raise where a module's parity is above the tolerance.

    Returns:
        What `morph` returns; `sites` says what each module became.

    Raises:
        SiteError: if there is no such module or edge.
        GraphError: if the present graph is not part of the larger one; the message states what is missing, narrower or
            smaller.
        InfeasibleMorph: if the new edges cannot represent the filter that they replace.
        ParityError: if the output of a module has changed by more than the tolerance.

    Example:
        >>> import torch
        >>> from netmorph.surgery.morphing.morph import morph
        >>> parent, x = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1)), torch.randn(1, 3, 8, 8)
        >>> child = morph(parent, {"0": "3x3 > 1x1"}, example_inputs=x).model
        >>> result = regrow(child, "0", "3x3 > 3x3 | 1x1", example_inputs=x)
        >>> str(result.model[0].layout.graph), result.parity.sites[0].exact
        ('3x3 > 3x3 | 1x1', True)
    """
    call, wanted = Call.of(example_inputs), read_graph(graph)

    def change(layout: Layout, present: ModuleGraph, place: Place) -> ModuleGraph:
        return wanted if place.nature == "module" else in_place(layout, present, place.edge, wanted)

    sites = plain_sites(model, call, "regrow")
    places = select(model, sites, site, ("module", "edge"), "regrow")
    graphs = larger_graphs(model, places, change)
    growing = Growing(act, norm, calibration is not None, noise, seed, check, sites.heard, birth)
    options = {
        "site": site,
        "graph": str(wanted),
        "act": act,
        "norm": norm,
        "birth": birth,
        "noise": noise,
        "seed": seed,
    }
    makers = {name: maker(name, larger, growing) for name, larger in graphs.items()}
    return perform("regrow", model, call, makers, inplace=inplace, options=options, calibration=calibration)
