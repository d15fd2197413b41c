"""Where a layer-level operation acts: on plain layers, on morphed modules, on edges of morphed modules."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Literal

from torch import nn

from netmorph.errors import SiteError
from netmorph.nn import MorphedModule
from netmorph.surgery.records.layer import Plain, plain_layer
from netmorph.surgery.running.call import Call
from netmorph.surgery.running.wrappers import check_unwrapped
from netmorph.surgery.sites.find import find_sites
from netmorph.surgery.sites.kinds import class_of, origin_of, pads_same
from netmorph.surgery.sites.site import Site, Sites, check_pattern

Nature = Literal["layer", "module", "edge"]
_WORDS: dict[Nature, str] = {
    "layer": "a plain layer",
    "module": "a morphed module",
    "edge": "an edge of a morphed module",
}


@dataclass(frozen=True)
class Place:
    """A place that can grow.

    Attributes:
        name: qualified name.
        nature: a plain layer, a morphed module, or an edge of one.
        module: name of the morphed module that it is or belongs to; of a plain layer, its own.
        edge: name of the edge in the module's graph; "" of anything else.
        site: of a plain layer, what `find_sites` says of it.
    """

    name: str
    nature: Nature
    module: str
    edge: str = ""
    site: Site | None = None


def plain_sites(model: nn.Module, call: Call, verb: str) -> Sites:
    """Return the sites of a network at which a module stands, edges of morphed modules among them.

    Raises:
        SiteError: if the model is wrapped, or raised on the example.
    """
    check_unwrapped(model, verb)
    return find_sites(model, call, shortcuts=False)


def select(model: nn.Module, sites: Sites, pattern: str, natures: Collection[Nature], verb: str) -> list[Place]:
    """Return the places that a name or glob matches, in the network's order.

    Args:
        model: the network.
        sites: its sites, from `plain_sites`.
        pattern: a name, or a glob as `Sites.select` takes it.
        natures: the kinds of places that the operation acts on; others are passed over by a glob.
        verb: the operation, for errors.

    Raises:
        SiteError: if nothing matches, or only modules to which the operation does not apply.
    """
    check_pattern(pattern)
    known = {place.name: place for place in _places(model, sites)}
    exact = [known[pattern]] if pattern in known else []
    chosen = exact or [place for name, place in known.items() if fnmatchcase(name, pattern)]
    fit = [place for place in chosen if place.nature in natures]
    if not chosen:
        sites.select(pattern)  # raises and says what is there instead
    if not fit:
        raise _unfit(model, chosen[0], natures, verb)
    return fit


def pytorch_layer(model: nn.Module, name: str, verb: str) -> Plain:
    """Return the description of one of PyTorch's own convolutions or linear layers.

    Raises:
        SiteError: if the module is not a plain PyTorch layer of this kind.
    """
    layer = model.get_submodule(name)
    plain = None if origin_of(layer) is not None or pads_same(layer) else plain_layer(layer)
    if plain is None or plain.kind == "identity":
        raise SiteError(
            f"{verb} acts on PyTorch's own convolutions and linear layers, and {name!r} is a {class_of(layer)}",
            remedies=["morph it first, with netmorph.morph"],
        )
    return plain


def _places(model: nn.Module, sites: Sites) -> Iterator[Place]:
    by_name = {site.name: site for site in sites}
    edges: set[str] = set()
    for name, module in model.named_modules():
        if isinstance(module, MorphedModule):
            yield Place(name, "module", name)
            for edge in module.layout.graph.edges:
                inside = f"{name}.edges.{module.edges.key(edge.name)}".lstrip(".")
                edges.add(inside)
                if not isinstance(module.edges[edge.name], MorphedModule):
                    yield Place(inside, "edge", name, edge.name)
        elif name in by_name and name not in edges:
            yield Place(name, "layer", name, site=by_name[name])


def _unfit(model: nn.Module, place: Place, natures: Collection[Nature], verb: str) -> SiteError:
    """Return the error for a place of a kind that an operation does not act on."""
    wanted = " or ".join(_WORDS[nature] for nature in natures)
    if place.nature == "layer":
        remedy = "morph it first, with netmorph.morph"
    elif place.nature == "edge":
        remedy = f"name the module, {place.module!r}"
    else:
        edges = model.get_submodule(f"{place.name}.edges".lstrip(".")).named_children()
        names = [f"{place.name}.edges.{key}".lstrip(".") for key, _ in edges]
        remedy = f"name one of its edges: {', '.join(map(repr, names))}"
    what = f"{verb} acts on {wanted}, and {place.name!r} is {_WORDS[place.nature]}"
    return SiteError(what, site=place.name, remedies=[remedy])
