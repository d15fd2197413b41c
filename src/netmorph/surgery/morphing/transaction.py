"""A change of a network, all or nothing: what was there is held against what is there now, and then written down."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace

from torch import nn

from netmorph.surgery.edit.copying import own_copy
from netmorph.surgery.edit.lineage import trace
from netmorph.surgery.edit.losses import losses
from netmorph.surgery.morphing.result import Again, Result
from netmorph.surgery.parity.network import differences, repeat_gap
from netmorph.surgery.parity.outputs_after import check_outputs, run_child
from netmorph.surgery.parity.site import SiteParity
from netmorph.surgery.records.history import history_of, remember
from netmorph.surgery.records.record import Record
from netmorph.surgery.running.call import Call
from netmorph.surgery.running.cost import CostChange, sized
from netmorph.surgery.running.probe import Run


class Transaction:
    """One call of a verb, from the network as it was to a `Result`.

    Swap the new modules into `target` inside `edit.swap.swapped`, which undoes it if anything raises, call `compare`
    there, and `result` behind it.
    """

    def __init__(self, model: nn.Module, call: Call, before: Run, *, inplace: bool, names: Collection[str]) -> None:
        """Note what is there.

        Args:
            model: the network.
            call: example inputs.
            before: what the network did on them.
            inplace: change the network itself; else a copy.
            names: what will be replaced, by qualified name.

        Raises:
            SiteError: if the network cannot be copied, or is itself to be replaced in place.
        """
        self.model, self.call, self.before, self.inplace = model, call, before, inplace
        self.price, self.repeat = sized(model, before.macs), repeat_gap(model, call, before)
        self.target = own_copy(model, inplace, names)
        self.parameters, self.copied = (
            dict(each.named_parameters(remove_duplicate=False)) for each in (model, self.target)
        )
        self.notices: list[str] = []

    def compare(
        self, child: nn.Module, modules: Mapping[str, nn.Module], sites: Sequence[SiteParity], *, train: bool = True
    ) -> None:
        """Run the child, whose modules must be called where the layers were, and compare its outputs.

        Raises:
            SiteError: if it does not run, or goes on calling a layer that was replaced.
        """
        self.after = run_child(child, modules, self.call, self.before, train=train)
        self.parity = replace(
            differences(self.before, self.after, repeat=self.repeat, like=self.model), sites=tuple(sites)
        )

    def hold(self, child: nn.Module, why: str, remedies: Sequence[str], *, check: bool = True) -> None:
        """Assert that the child's outputs are the parent's, as `check_outputs` does.

        Raises:
            ParityError: if they are not.
        """
        self.notices += check_outputs(
            self.parity, child, self.call, self.after, why=why, remedies=remedies, check=check
        )

    def result(
        self,
        operation: str,
        child: nn.Module,
        record: Record,
        modules: Mapping[str, nn.Module],
        old: Mapping[str, nn.Module],
        notices: Sequence[str],
        again: Again,
    ) -> Result:
        """Write the record down and return the result.

        Args:
            operation: name of the verb.
            child: the network now.
            record: for the history.
            modules: what came in, by qualified name.
            old: what stood there.
            notices: what the user should know, besides what is lost.
            again: does the same on a copy of the network.
        """
        remember(child, record)
        return Result(
            child,
            self.parity,
            record.sites,
            history_of(child),
            CostChange(self.price, sized(child, self.after.macs)),
            (*notices, *self.notices, *losses(self.parameters, old, child, inplace=self.inplace)),
            operation,
            trace(self.parameters, child, modules, inplace=self.inplace, copied=self.copied),
            again,
        )
