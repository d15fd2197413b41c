"""Is a whole model's difference rounding, amplified, or an error? It is compared again in float64.

A deep network with random statistics can amplify the last bit of a float32 number to the size of its outputs.
Rounding is 2^29 times smaller in float64, and so is what becomes of it; an error stays as large as it is.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from netmorph.surgery.running.call import Call, undisturbed
from netmorph.surgery.running.outputs import compare, tensors_in
from netmorph.surgery.running.probe import Run

Row = dict[str, Any]
CHAIN = 100  # sites in a row, each within its tolerance: what a whole model may differ by
AMPLIFIED = 1e-3  # the most that rounding may come to in float64: above this the comparison tells nothing
TOGETHER = "all together: "


def sensitivity(model: nn.Module, call: Call, before: Run) -> float:
    """Return by how much a model's outputs differ, relative to the largest, if its input is rounded otherwise.

    Every number of the input is changed by about one unit in the last place of the input's dtype.
    """
    random = torch.Generator().manual_seed(0)

    def nudge(x: Tensor) -> Tensor:
        if not x.is_floating_point():
            return x
        return x * (1 + torch.finfo(x.dtype).eps * torch.randn(x.shape, generator=random).to(x.dtype))

    with undisturbed(model):
        again = tensors_in(call.map(nudge).run(model.eval()))
    return max((each.max_rel for each in compare(before.outputs, again)), default=0.0)


def in_doubt(row: Row) -> dict[str, list[str]]:
    """Return the sites to compare again in float64, by kind of graph: where nothing failed but the whole model."""
    kinds = row.get("kinds", {})
    failed = [why for each in kinds.values() for why in each["failed"]]
    if not failed or not all(why.startswith(TOGETHER) for why in failed):
        return {}
    return {kind: each["together"] for kind, each in kinds.items() if each.get("together")}


def settle(row: Row, again: Mapping[str, Any]) -> Row:
    """Return the row with what the comparison in float64 says; the status becomes "ok" where all doubt is gone.

    Args:
        row: of the model in float32, as `check` returns it.
        again: of the same sites in float64.
    """
    row = copy.deepcopy(row)
    for kind, names in in_doubt(row).items():
        each, double = row["kinds"][kind], again.get("kinds", {}).get(kind)
        if double is None:
            each["float64"] = {"status": again["status"], "why": again.get("why", "")}
            continue
        each["float64"] = {
            "status": again["status"],
            "sites": double["exact"],
            **{name: double.get(name) for name in ("interior", "border", "model", "model_abs")},
            "sensitivity": again.get("sensitivity"),
        }
        if double["exact"] == len(names) and is_rounding(each["float64"]):
            del each["together"]
            each["failed"] = []
            each["rounding"] = (
                f"the outputs differ by {each['model']:.2g} in float32, by {double['model']:.2g} in float64, where "
                f"one rounding of the input alone makes {again['sensitivity']:.2g}"
            )
    if not any(each["failed"] for each in row["kinds"].values()):
        row["status"] = "ok"
    return row


def is_rounding(double: Mapping[str, Any]) -> bool:
    """Return whether a difference in float64 is what rounding comes to.

    That is: below a whole model's tolerance, or below `CHAIN` times what one rounding of the input makes of the outputs
    of the unchanged model, and small in itself.
    """
    found, alone = double["model"], double["sensitivity"]
    if not isinstance(found, float) or not isinstance(alone, float):
        return False
    return found <= min(AMPLIFIED, CHAIN * max(1e-10, alone))
