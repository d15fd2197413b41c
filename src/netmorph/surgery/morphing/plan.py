"""What a morph would do, site by site, before any work."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from torch import nn

from netmorph.brief import Brief, listed
from netmorph.errors import GraphError
from netmorph.graph.spec import ModuleGraph
from netmorph.graph.symmetry import Birth, Symmetry, check_birth
from netmorph.nn.activations import symmetries
from netmorph.solver.plan import FillName, SitePlan, plan_site
from netmorph.surgery.running.activation import own_activation
from netmorph.surgery.running.call import Call
from netmorph.surgery.running.cost import Cost, CostChange, sized
from netmorph.surgery.running.probe import Run
from netmorph.surgery.running.wrappers import check_unwrapped
from netmorph.surgery.sites.assign import Assignment
from netmorph.surgery.sites.find import chosen_among
from netmorph.surgery.sites.site import Site

_LINES, _KINDS = 10, 6
_RANK = {False: 0, None: 1, True: 2}


@dataclass(frozen=True, repr=False)
class PlannedSite(Brief):
    """The plan for one site of a network.

    Attributes:
        site: the site.
        plan: reduction, cut, feasibility and cost of the graph there.
    """

    site: Site
    plan: SitePlan

    @property
    def macs(self) -> tuple[int, int]:
        """MACs of all its calls on the example, before and after, without norms and activations."""
        return self.plan.parent_macs * self.site.positions, self.plan.macs * self.site.positions

    def to_dict(self) -> dict[str, Any]:
        """Return JSON-ready values."""
        before, after = self.macs
        return {
            "name": self.site.name,
            "kind": self.site.kind,
            "reached": self.site.reached,
            **self.plan.to_dict(),
            "macs_of_call": after,
            "parent_macs_of_call": before,
        }

    def __str__(self) -> str:
        lines = str(self.plan).splitlines()
        where = "" if self.site.reached else " (not reached by the example)"
        return "\n".join([f"{self.site.name or '(the model itself)'}{where}", *(f"  {line}" for line in lines)])


@dataclass(frozen=True, repr=False)
class ModelPlan(Sequence[PlannedSite]):
    """The plan for a network.

    Attributes:
        sites: one plan for each matched site, in the network's order.
        refused: layers that globs match and that cannot be morphed, with reasons.
        cost: cost of parent and child, without new norms, activations and biases.
    """

    sites: tuple[PlannedSite, ...]
    refused: Mapping[str, str]
    cost: CostChange

    @property
    def feasible(self) -> bool | None:
        """Whether every site can hold any filter; None: no site cannot, but of some only solving tells."""
        verdicts = {planned.plan.feasible for planned in self.sites}
        return False if False in verdicts else None if None in verdicts else True

    def to_dict(self) -> dict[str, Any]:
        """Return JSON-ready values."""
        return {
            "feasible": self.feasible,
            "sites": [planned.to_dict() for planned in self.sites],
            "refused": dict(self.refused),
            "cost": self.cost.to_dict(),
        }

    def _repr_html_(self) -> str:
        from netmorph.surgery.morphing.html import plan_html

        return plan_html(self)

    def __getitem__(self, index: Any) -> Any:
        return self.sites[index]

    def __len__(self) -> int:
        return len(self.sites)

    def __repr__(self) -> str:
        return str(self)

    def __str__(self) -> str:
        text = self.summary()
        if text.count("\n") < _LINES:
            return text
        kinds: dict[str, list[str]] = {}
        for planned in sorted(self.sites, key=lambda each: _RANK[each.plan.feasible]):
            kinds.setdefault(planned.plan.verdict, []).append(planned.site.name)
        lines = [f"{listed(names)}: {verdict}" for verdict, names in kinds.items()]
        if len(lines) > _KINDS:
            lines = [*lines[: _KINDS - 1], f"and {len(lines) - _KINDS + 1} more kinds of sites"]
        lines += [f"skipped: {listed(list(self.refused))}"] if self.refused else []
        return "\n".join([*lines, self._count(), "all of it: summary()"])

    def summary(self) -> str:
        """Return the whole plan, site by site, where `print` writes ten lines at most."""
        parts = [str(planned) for planned in self.sites]
        parts += [f"{name} is skipped: {why}" for name, why in self.refused.items()]
        return "\n".join([*parts, self._count()])

    def _count(self) -> str:
        return f"{len(self.sites)} site{'s' if len(self.sites) != 1 else ''}: {self.cost}"


def plan(
    model: nn.Module,
    mapping: Mapping[str, ModuleGraph | str],
    *,
    example_inputs: Any,
    fill: FillName = "pointwise",
    act: str | None = "auto",
    birth: Birth = "slope",
    seed: int = 0,
) -> ModelPlan:
    """Report what `morph` would do with the same mapping: reduction, cut, feasibility and cost of each site.

    The result does not depend on the weights. The model runs on the example inputs and is not changed.

    Args:
        model: any network.
        mapping: as in `morph`.
        example_inputs: as in `morph`.
        fill: as in `morph`.
        act: as in `morph`; not every activation supports birth="pair".
        birth: as in `morph`; with "pair", each blob with an activation counts with half of its channels.
        seed: as in `morph`; it draws the noise whose rank decides where the maximum flow cannot.

    Raises:
        SiteError: as for `morph`.
        GraphError: if a graph does not fit its site, or the birth is unknown.
    """
    check_birth(birth)
    call = Call.of(example_inputs)
    check_unwrapped(model)
    chosen, refused, run = chosen_among(model, call, mapping, seed)
    sites = tuple(
        PlannedSite(each.site, _plan(each, fill, _acts(model, run, each, act, birth), birth)) for each in chosen
    )
    before = sized(model, run.macs)
    params = before.params + sum(each.plan.params - each.plan.parent_params for each in sites)
    macs = before.macs + sum(each.macs[1] - each.macs[0] for each in sites)
    return ModelPlan(sites, refused, CostChange(before, Cost(params, before.buffers, macs)))


def _acts(model: nn.Module, run: Run, chosen: Assignment, act: str | None, birth: Birth) -> Mapping[str, Symmetry]:
    """Return what the activations of one site's graph do to x and -x; nothing where no birth asks."""
    if birth == "slope":
        return {}
    act = own_activation(model, run.heard, chosen.site.name)[0] if act == "auto" else act
    return symmetries(chosen.graph, act)


def _plan(assignment: Assignment, fill: FillName, acts: Mapping[str, Symmetry], birth: Birth) -> SitePlan:
    site = assignment.site
    try:
        found = plan_site(assignment.graph, site.spec, fill=fill, seed=assignment.seed, birth=birth, acts=acts)
    except GraphError as error:
        if error.graph is None:
            error.graph = str(assignment.graph)
        raise error.located(site.name) from error
    return replace(found, parent_params=0, parent_macs=0) if site.kind == "identity" else found
