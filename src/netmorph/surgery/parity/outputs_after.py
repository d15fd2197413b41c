"""The whole network with its new modules: they are called as their layers were, and its outputs stay."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from netmorph.errors import ParityError, SiteError
from netmorph.surgery.parity.network import Parity
from netmorph.surgery.running.call import Call, in_mode, undisturbed
from netmorph.surgery.running.outputs import compare, largest, tensors_in
from netmorph.surgery.running.probe import Run, probe

_AMPLIFIED = 100  # how much more than one layer's rounding a whole network may make of it
_MOST = 0.5  # of the largest output; above it nothing would be asserted in half precision


def run_child(
    child: nn.Module, modules: Mapping[str, nn.Module], call: Call, before: Run, *, train: bool = True
) -> Run:
    """Run the child; every new module must be called where its layer was."""
    try:
        after = probe(child, modules, call, train=train)
    except SiteError as error:
        raise SiteError(
            f"the network does not run with the new modules: {error.what}",
            shapes=error.shapes,
            remedies=["leave out the sites whose attributes its code reads"],
        ) from error
    for name in modules:
        calls, expected = after.seen[name].calls, before.seen[name].calls
        if calls < expected:
            raise SiteError(
                "the network holds another reference to the layer and continues to call it",
                site=name,
                shapes=f"{calls} of {expected} calls reach the new module",
                remedies=["keep layers in registered modules only, not in plain lists or bound methods"],
            )
    return after


def check_outputs(
    parity: Parity, child: nn.Module, call: Call, after: Run, *, why: str, remedies: Sequence[str], check: bool = True
) -> list[str]:
    """Assert that a network returns what its parent did, as far as rounding lets it.

    Nothing is asserted of networks that are not deterministic, that return no tensor, or whose outputs jump when their
    inputs change by a rounding (those that select by top-k or non-maximum suppression).

    Args:
        parity: of the outputs.
        child: the network as it is now.
        call: the example inputs.
        after: what the child returned on them.
        why: what agrees all the same, and what follows from that.
        remedies: what the user may do.
        check: raise; False only gives notice.

    Returns:
        Notices.

    Raises:
        ParityError: if the outputs differ by more than 100 times the tolerance, or half their size where that is less.
    """
    allowed = min(_AMPLIFIED * parity.tolerance, _MOST)
    if not parity.deterministic or not parity.outputs or parity.max_rel <= allowed:
        return []
    gap = str(max(parity.outputs, key=lambda each: each.max_rel))
    if _jumps(child, call, after, parity.tolerance, allowed):
        return [f"the network's outputs differ, as they do when its inputs change by a rounding ({gap})"]
    what = f"the network's outputs differ, though {why}"
    if not check:
        return [f"{what} ({gap})"]
    raise ParityError(what, shapes=f"{gap}; at most {allowed:.3g} allowed", remedies=remedies)


def _jumps(model: nn.Module, call: Call, run: Run, tolerance: float, allowed: float) -> bool:
    generator = torch.Generator().manual_seed(0)

    def rounded(x: Tensor) -> Tensor:
        if not x.is_floating_point() or x.is_nested or x.layout != torch.strided:
            return x
        return x + (tolerance * largest(x) * torch.randn(x.shape, generator=generator, device="cpu")).to(x)

    try:
        with undisturbed(model):
            outputs = tensors_in(call.map(rounded).run(in_mode(model, False)))
        return any(each.max_rel > allowed for each in compare(run.outputs, outputs))
    except (ParityError, SiteError):
        return False
