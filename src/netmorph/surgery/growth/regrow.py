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
    """Replace morphed modules by larger graphs that contain their own, without changing the function.

    A network can thus be morphed in phases, with training in between, and end with the architecture that a single morph
    would have given it. Section 4.2 of the paper finds that such networks reach lower errors. An example is
    `0.5*id | 1x1 > 1x1`, then `0.5*id | 3x3 > 1x1`, then `0.5*id | 3x3 > 3x3`.

    Existing edges keep their trained weights, embedded in larger kernels with zeros if necessary; blobs that become
    wider get copies of channels (see `widen`). This works for any slopes of the activations. New edges between two
    blobs are solved for as in `morph`: they compute what the edges that they replace computed (a fixed `0.5*id`, or a
    trained edge that becomes several), or zero if they are added in parallel. New parts that join more than two blobs
    end in zeros, and learn from there.

    Blobs and edges are matched by name. The blobs of an expression are named a, b, ... in the order of the text, so
    start from the module's own graph (`print(result.sites[0].graph)`) and add to it. If the names would not match,
    write a list of edges: `s-a:3x3, a-t:1x1`.

    Args:
        model: any network with morphed modules, in train or eval mode.
        site: name or glob of morphed modules, which `graph` replaces as a whole, or of edges of morphed modules, which
            `graph` replaces.
        graph: the larger graph, its notation or its name in the catalogue.
        example_inputs: a tensor, a tuple of arguments or a dictionary of keyword arguments.
        seed: random seed.
        inplace: change `model` itself instead of a copy.
        act: activation of new blobs. "auto" is that of the module's other blobs, or as in `morph` if there is none.
        norm: norm of new edges. "auto" is that of the module's other edges, or None if it needs calibration data and
            none are given.
        calibration: batches for new BatchNorms, as in `calibrate`.
        birth: as in `morph`. Blobs that become wider get random channels with "zero" and "cancel", otherwise copies.
            With "pair", branches that are added in parallel are initialised as with "zero".
        noise: size of the random weights that cancel, relative to the weights that are replaced.
        check: raise an error if the parity of a module is above the tolerance.

    Returns:
        The same as `morph`; `sites` describes the new modules.

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
