"""The settings of new norms: those of the norms that the network has around the place (beyond the paper)."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from netmorph.graph.spec import ModuleGraph
from netmorph.nn.norm import named, norm_kind, norm_name, norm_settings

_LIKE: dict[str, type[nn.Module]] = {"group": nn.GroupNorm, "layer": nn.LayerNorm}
_DIMS: dict[int, type[nn.Module]] = {0: nn.BatchNorm1d, 1: nn.BatchNorm1d, 2: nn.BatchNorm2d, 3: nn.BatchNorm3d}


def own_norm(model: nn.Module, name: str, norm: str | None, dims: int) -> tuple[str | None, list[str]]:
    """Return a norm's name with the settings of the network's own norms of its kind, and what cannot follow.

    Those in the smallest part around the place that has any decide, and in it the commonest: of BatchNorms, those of
    the place's dimensions and SyncBatchNorms before others.

    Args:
        model: the network.
        name: of the place.
        norm: as `norm_name` reads it; settings that it names stay.
        dims: spatial dimensions of the place.
    """
    kind = norm_kind(norm)
    if kind is None or "(" in str(norm):
        return norm_name(norm), []
    like = _nearest(model, name, _LIKE.get(kind, _BatchNorm), dims)
    if like is None:
        return kind, []
    notices = []
    if isinstance(like, _BatchNorm):
        if like.weight is None:
            notices.append("new BatchNorms have an affine part, unlike the network's: it makes them the identity")
        if like.running_mean is None:
            notices.append("new BatchNorms keep running statistics, unlike the network's: they make them the identity")
    return named(kind, norm_settings(like)), notices


def with_own_norms(graph: ModuleGraph, model: nn.Module, name: str, dims: int) -> ModuleGraph:
    """Return a graph whose edges' own norms have the settings of the network's."""
    edges = [
        edge if edge.norm is None else replace(edge, norm=own_norm(model, name, edge.norm, dims)[0] or "none")
        for edge in graph.edges
    ]
    return replace(graph, edges=tuple(edges))


def _nearest(model: nn.Module, name: str, kind: type[nn.Module], dims: int) -> nn.Module | None:
    same = (_DIMS[dims], nn.SyncBatchNorm)
    for wanted in (same, kind) if kind is _BatchNorm else (kind,):
        around: str | None = name
        while around is not None:
            part = _part(model, around)
            found = [] if part is None else [each for each in part.modules() if isinstance(each, wanted)]
            if found:
                commonest = Counter(map(_settings, found)).most_common(1)[0][0]
                return next(each for each in found if _settings(each) == commonest)
            around = around.rpartition(".")[0] if around else None
    return None


def _part(model: nn.Module, name: str) -> nn.Module | None:
    try:
        return model.get_submodule(name)
    except AttributeError:  # a shortcut for which no module stands yet
        return None


def _settings(norm: nn.Module) -> tuple[object, ...]:
    unlike = (getattr(norm, "weight", None) is None, getattr(norm, "running_mean", None) is None)
    return (*norm_settings(norm).items(), *unlike)
