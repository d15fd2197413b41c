"""One site of a morph: the solved module that takes the layer's place, measured against it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor, nn

from netmorph.errors import NetmorphError, ParityError, SiteError
from netmorph.filters.filter import Filter
from netmorph.graph.symmetry import Birth, check_birth
from netmorph.nn import MorphedModule
from netmorph.nn.activations import act_at, symmetries, with_acts_at
from netmorph.nn.norm import check_norms
from netmorph.solver.born import born
from netmorph.solver.cancellation import remedies_of_cancellation
from netmorph.solver.solve import Method, stopped_short
from netmorph.solver.solve import Options as SolverOptions
from netmorph.surgery.edit.memory_format import keep_memory_format
from netmorph.surgery.parity.site import SiteParity, has_modes, site_parity
from netmorph.surgery.parity.windows import windows
from netmorph.surgery.records.morphed_site import MorphedSite
from netmorph.surgery.sites.assign import Assignment
from netmorph.surgery.sites.kinds import layer_weight, origin_of
from netmorph.surgery.sites.site import Site


@dataclass(frozen=True)
class Options:
    """How to morph one site; the attributes are the arguments of `morph`, `act` and `norm` settled for the site."""

    method: Method = "closed-form"
    fill: Literal["pointwise", "dense"] = "pointwise"
    noise: float = 0.5
    keep_parent: bool = False
    act: str | None = "relu"
    norm: str | None = None
    check: bool = True
    birth: Birth = "slope"

    def __post_init__(self) -> None:
        check_birth(self.birth)


@dataclass(frozen=True)
class Graft:
    """A module ready to take a layer's place.

    Attributes:
        site: the place.
        layer: what stands there.
        module: what comes.
        record: for the history.
        parity: the measured difference.
    """

    site: Site
    layer: nn.Module
    module: MorphedModule
    record: MorphedSite
    parity: SiteParity

    def measured_again(self, recorded: Tensor | None, *, check: bool) -> Graft:
        """Return the graft with its parity as it is now.

        Args:
            recorded: an input of the layer, where the example reaches it.
            check: raise an error if the difference is above the tolerance.

        Raises:
            ParityError: if the difference is above the tolerance.
        """
        return replace(self, parity=_parity(self.site, self.layer, self.module, recorded, check=check))


def check_layer(site: Site, layer: nn.Module) -> None:
    """Raise if a layer's weights cannot be solved for.

    Raises:
        SiteError: if the weights are NaN or infinite, or on the meta device.
    """
    for name, parameter in layer.named_parameters(recurse=False):
        if parameter.is_meta:
            raise SiteError(
                f"its {name} is on the meta device and has no values",
                site=site.name,
                remedies=["load the network's weights first"],
            )
        if not parameter.isfinite().all():
            raise SiteError(
                f"its {name} contains NaN or infinite values",
                site=site.name,
                shapes=f"{name} {tuple(parameter.shape)}",
                remedies=["go back to a checkpoint from before the training diverged"],
            )


def make_graft(assignment: Assignment, layer: nn.Module, recorded: Tensor | None, options: Options) -> Graft:
    """Solve for one site, build its module and measure it against the layer.

    Raises:
        InfeasibleMorph: if the graph cannot represent the filter of the layer.
        GraphError: if the graph does not fit the site.
        ParityError: if the difference is above the tolerance (with `options.check`).
    """
    site, graph, target = assignment.site, assignment.graph, target_of(assignment.site, layer)
    try:
        act, graph = act_at(options.birth, options.act), with_acts_at(options.birth, graph, graph.inner)
        acts = symmetries(graph, act)
        how = SolverOptions(options.method, options.fill, assignment.seed, options.noise, options.keep_parent)
        solution = born(options.birth, target, graph, site.spec, acts, how)
        if not solution.status.exact:
            raise stopped_short(solution.residual, solution.stats["sweeps"], graph, site.spec)
        record = MorphedSite(
            site.name,
            site.kind,
            solution.layout,
            site.bias,
            act,
            options.norm,
            assignment.seed,
            solution.status.name,
            solution.residual,
            origin_of(layer),
            site.same_padding,
            site.slot,
        )
        module = record.build(device=site.device, dtype=site.dtype, drawn=False)
        module.load_filters(solution.filters)
        check_norms(module)
    except NetmorphError as error:
        raise _located(error, assignment) from error
    bias = layer._parameters.get("bias")
    if bias is not None and module.bias is not None:
        with torch.no_grad():
            module.bias.copy_(bias)
    keep_memory_format(layer, module)
    try:
        parity = _parity(site, layer, module, recorded, check=options.check)
    except ParityError as error:
        smaller = remedies_of_cancellation(solution.layout.graph, solution.filters, target, options.noise)
        if smaller:  # then a wider dtype helps only as long as the child stays in it
            error.remedies = (*smaller, "pass check=False to accept the difference")
        raise
    return Graft(site, layer, module, record, parity)


def _parity(site: Site, layer: nn.Module, module: MorphedModule, recorded: Tensor | None, *, check: bool) -> SiteParity:
    part = recorded if recorded is None or has_modes(module) else windows(recorded, site.spec)
    return site_parity(layer, module, part, site=site.name, spec=site.spec, check=check)


def target_of(site: Site, layer: nn.Module) -> Filter:
    """Return the filter that a site's module must equal, in float64 on the CPU."""
    if site.kind == "identity":
        return Filter.identity(site.spec.c_in, site.spec.dims)
    return Filter.of(layer_weight(layer), site.spec)


def _located(error: NetmorphError, assignment: Assignment) -> NetmorphError:
    """Fill in where an error happened, as far as it does not say so itself."""
    if error.graph is None:
        error.graph = str(assignment.graph)
    if error.shapes is None:
        error.shapes = str(assignment.site.spec)
    return error.located(assignment.site.name)
