"""Find the identity shortcuts that no module stands for: empty slots, and additions in a block's own code.

Only blocks are looked at whose own code adds tensors, and nothing is believed by its name. A place counts only if a
module put there is called exactly once in a call of its block, with a tensor of the shape of the sum, and the block's
outputs and inputs stay bit-equal, in eval and in train mode, though the module returns a copy: nobody may rely on the
shortcut being the very tensor, as in-place additions do.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from functools import cached_property

from torch import Tensor, nn
from torch.fx import Graph, GraphModule

from netmorph.errors import SiteError
from netmorph.surgery.running.call import Call
from netmorph.surgery.running.probe import Seen
from netmorph.surgery.shortcuts.additions import enters_as_argument, residuals
from netmorph.surgery.shortcuts.blocks import Outcome, Recording, blocks_of, outcome, record, same
from netmorph.surgery.shortcuts.call_signature import Form
from netmorph.surgery.shortcuts.rewire import Undo, loosened, rewire, rewiring_of, shortcut_names, traced
from netmorph.surgery.shortcuts.slots import Slot, empty_attributes, fill_empty
from netmorph.surgery.shortcuts.trace import code_of

# Attributes that hold None where a block needs no projection on its shortcut; the proof decides. The names given to
# shortcuts of additions are like these.
_EMPTY = re.compile(r"down|short|skip|proj|resid|ident|match|adapt|^res$")
_TRACED = "its block was traced by torch.fx, whose code cannot be rewired: morph the network before tracing it"
_GLOB = re.compile(r"[*?\[\]]")


@dataclass(frozen=True)
class Shortcut:
    """An identity shortcut that no module stands for.

    Attributes:
        slot: how a module can come to stand for it.
        seen: what it carries.
    """

    slot: Slot
    seen: Seen


def find_shortcuts(model: nn.Module, call: Call) -> dict[str, Shortcut | str]:
    """Return the identity shortcuts for which no module stands, by the names that modules there would have.

    The model is left as it is.

    Args:
        model: any network.
        call: the example inputs; blocks that they do not reach are passed over.

    Returns:
        The shortcuts, and of those that are refused the reason.

    Raises:
        SiteError: if the model raised on the example.
    """
    found: dict[str, Shortcut | str] = {}
    blocks = blocks_of(model)
    for name, recording in (record(model, blocks, call) if blocks else {}).items():
        if recording.call is not None:
            search = _Search(blocks[name], recording, recording.call)
            here = search.slots() or search.additions()
            if isinstance(blocks[name], GraphModule):
                here = dict.fromkeys(here, _TRACED)
            found.update((f"{name}.{leaf}".lstrip("."), result) for leaf, result in here.items())
    return found


def may_name_shortcut(pattern: str, modules: Sequence[str]) -> bool:
    """Return whether a name or glob may mean a shortcut for which no module stands.

    Args:
        pattern: the name or glob.
        modules: names of the network's modules. What matches none of them may mean anything.
    """
    if pattern in modules:
        return False
    leaf = pattern.rpartition(".")[2]
    return bool(_GLOB.search(leaf) or _EMPTY.search(leaf)) or not any(fnmatchcase(name, pattern) for name in modules)


class _UntraceableError(SiteError):
    """A block's code cannot be traced: it may have no residual addition at all."""


class _Witness(nn.Module):
    """Returns a copy of what it is called with, and remembers what that was.

    Called with both operands of an addition, it knows whether the sum has the shape of the first. What it remembers is
    in an object of its own, since the attributes of modules are put back after a run.
    """

    def __init__(self) -> None:
        super().__init__()
        self.memory = _Memory()

    def forward(self, x: Tensor, *others: Tensor) -> Tensor:
        self.memory.carried.append(x)
        self.memory.misfits.extend(each for each in others if (x + each).shape != x.shape)
        return x.clone()


@dataclass
class _Memory:
    carried: list[Tensor] = field(default_factory=list)
    misfits: list[Tensor] = field(default_factory=list)


Install = Callable[[Mapping[str, nn.Module]], Undo]


class _Search:
    """The search in one block.

    Args:
        block: the block.
        recording: what it was called with.
        call: its first call.
    """

    def __init__(self, block: nn.Module, recording: Recording, call: Call) -> None:
        self.block = block
        self.recording = recording
        self.call = call

    @cached_property
    def before(self) -> dict[bool, Outcome | None]:
        """What the block leaves behind as it is, by mode."""
        return {training: outcome(self.block, self.call, training=training) for training in (False, True)}

    def slots(self) -> dict[str, Shortcut | str]:
        """Return the attributes that hold None where a module on the shortcut would stand."""
        found: dict[str, Shortcut | str] = {}
        for name in filter(_EMPTY.search, empty_attributes(self.block)):
            seen = self._prove([name], lambda modules: fill_empty(self.block, *next(iter(modules.items()))))
            if not isinstance(seen, str) and self._is_shortcut(seen[name]):
                found[name] = self._shortcut(Slot(), seen[name])
        return found

    def additions(self) -> dict[str, Shortcut | str]:
        """Return the shortcuts of additions in the block's own code, and why others are refused."""
        try:
            form, graph = self._traced()
            names = shortcut_names(self.block, len(residuals(graph)))
        except _UntraceableError as error:
            return {"shortcut": error.what} if self.recording.adds_input else {}
        except SiteError as error:
            return {"shortcut": error.what}
        done = rewiring_of(self.block)
        names = [name for name in names if done is None or name not in done.names]
        if not self.recording.alike:
            return dict.fromkeys(names, "its block is called in several ways")

        def prove(some: list[str], graph: Graph | None = None) -> dict[str, Tensor] | str:
            return self._prove(some, lambda modules: rewire(self.block, form, modules, graph=graph, both=True))

        seen = prove(names, graph) if names else {}
        if not isinstance(seen, str):
            return {name: self._shortcut(Slot(form), x) for name, x in seen.items()}
        alone = {name: prove([name]) if len(names) > 1 else seen for name in names}
        return {name: x if isinstance(x, str) else self._shortcut(Slot(form), x[name]) for name, x in alone.items()}

    def _traced(self) -> tuple[Form, Graph]:
        """Return how the block is called, and its code.

        Raises:
            SiteError: if the code cannot be traced, or there is one that cannot be rewritten.
        """
        try:
            form = Form.of(self.block, self.call.args, self.call.kwargs)
            graph = traced(self.block, form)
        except SiteError as error:
            raise _UntraceableError(error.what) from error
        if not residuals(graph):
            argument = enters_as_argument(graph)
            if argument is not None:
                raise SiteError(f"its residual enters the block as the argument {argument!r}: it starts elsewhere")
            return form, graph
        if code_of(traced(self.block, form, training=True)) != code_of(graph):
            raise SiteError("its code is not the same in train and in eval mode: it may read self.training")
        free = loosened(self.block, form)
        return free, graph if free == form else traced(self.block, free)

    def _prove(self, names: Sequence[str], install: Install) -> dict[str, Tensor] | str:
        """Return what modules of these names carry, if the block does not notice them; else why they are none."""
        before = self.before  # measured while nothing is installed
        witnesses = {name: _Witness() for name in names}
        try:
            undo = install(witnesses)
        except SiteError as error:
            return error.what
        carried: dict[str, Tensor] = {}
        try:
            for training, expected in before.items():
                if expected is None:  # BatchNorm refuses a single value in train mode
                    continue
                after = outcome(self.block, self.call, training=training)
                why = _judge(witnesses, expected, after)
                if why is not None:
                    return why
                carried = carried or {name: witness.memory.carried[0] for name, witness in witnesses.items()}
                for witness in witnesses.values():
                    witness.memory.carried.clear()
        finally:
            undo()
        return carried or "the block cannot be run alone"

    def _is_shortcut(self, x: Tensor) -> bool:
        """Return whether a module that carries `x` stands beside the block's branch: from its input to its output."""
        after = self.before[False]
        assert after is not None
        ends = any(each.shape == x.shape for each in after.output.values())
        return ends and any(same(x, each) for each in after.inputs.values())

    def _shortcut(self, slot: Slot, x: Tensor) -> Shortcut:
        shape = self.recording.shape(tuple(x.shape))
        seen = Seen(self.recording.calls, shape, shape, x.dtype, x.device)
        seen.channels.add((shape[1] if len(shape) > 1 else -1, shape[-1] if shape else -1))
        return Shortcut(slot, seen)


def _judge(witnesses: Mapping[str, _Witness], before: Outcome, after: Outcome | None) -> str | None:
    """Return why modules on a block's shortcuts cannot stay, or None."""
    if after is None:
        return "its block raises an exception with a module in this place"
    for witness in witnesses.values():
        if len(witness.memory.carried) != 1:
            return f"it is called {len(witness.memory.carried)} times in one call of its block"
        if witness.memory.misfits:
            return "it carries a tensor of another shape than the sum"
    if not before.same(after):
        return "its block computes something else with a module there; it may add in place to a tensor used elsewhere"
    return None
