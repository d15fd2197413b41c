"""Which graph goes to which site: the mapping that `morph` and `plan` take."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass

from netmorph.errors import GraphError, SiteError
from netmorph.graph.catalogue import catalogue
from netmorph.graph.notation import parse
from netmorph.graph.spec import NAME, ModuleGraph
from netmorph.surgery.sites.site import Site, Sites


@dataclass(frozen=True)
class Assignment:
    """A site and the graph that replaces it.

    Attributes:
        site: the site.
        graph: the graph.
        seed: random seed of the site's noise.
    """

    site: Site
    graph: ModuleGraph
    seed: int


def assign(
    sites: Sites, mapping: Mapping[str, ModuleGraph | str], seed: int
) -> tuple[tuple[Assignment, ...], dict[str, str]]:
    """Return each matched site with its graph, in the network's order, and the refused places that globs met.

    Args:
        sites: the network's sites.
        mapping: patterns as `Sites.select` takes them, to graphs, notations or names of the catalogue.
        seed: from which each site's own seed follows.

    Raises:
        SiteError: if a pattern matches nothing or names a refused place, or two patterns match one site.
        GraphError: if a notation cannot be read.
    """
    check_mapping(mapping)
    by_name: dict[str, tuple[str, ModuleGraph]] = {}
    skipped: dict[str, str] = {}
    for pattern, value in mapping.items():
        graph = read_graph(value)
        chosen = sites.select(pattern)
        skipped.update(chosen.refused)
        for name in chosen.names:
            if name in by_name:
                raise SiteError(
                    f"two patterns match it: {by_name[name][0]!r} and {pattern!r}",
                    site=name,
                    remedies=["let every site match one pattern only", "morph twice, one pattern at a time"],
                )
            by_name[name] = (pattern, graph)
    found = [
        Assignment(site, by_name[site.name][1], site_seed(seed, site.name)) for site in sites if site.name in by_name
    ]
    return tuple(found), skipped


def check_mapping(mapping: object) -> None:
    """Raise if a mapping takes anything but names.

    Raises:
        SiteError: if `mapping` is not a non-empty dict of names.
    """
    if not isinstance(mapping, Mapping) or not mapping or not all(isinstance(key, str) for key in mapping):
        raise SiteError(
            f"expected a dict from names of sites to graphs, got {mapping!r}",
            remedies=['write {"layer1.*.conv1": "3x3 > 1x1 | 1x1"}'],
        )


def read_graph(value: ModuleGraph | str) -> ModuleGraph:
    """Return a graph, or read it from its notation or its name in the catalogue.

    Raises:
        GraphError: if the argument is none of these.
    """
    if isinstance(value, ModuleGraph):
        return value
    if not isinstance(value, str):
        raise GraphError(
            f"expected a graph, its notation or a name of the catalogue, got {value!r}",
            remedies=["write '3x3 > 1x1 | 1x1'"],
        )
    name = value.strip()
    if name in catalogue or (NAME.match(name) and name != "id"):
        return catalogue[name]
    return parse(value)


def site_seed(seed: int, name: str) -> int:
    """Return the seed of one site: it depends on the given seed and the site's name, on no order."""
    digest = hashlib.sha256(f"{seed}\0{name}".encode()).digest()
    return int.from_bytes(digest[:8]) >> 1
