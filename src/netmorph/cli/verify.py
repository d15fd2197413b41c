"""Measure whether two networks compute the same function, on the same random input.

Each network is a model built by name or the folder of a checkpoint. Exit code 0: they agree within the tolerance; 2:
they do not.
"""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, Any

from netmorph.cli.options import add_input

if TYPE_CHECKING:
    from netmorph.surgery.parity.network import Parity

__all__ = ["add_arguments", "run"]


def add_arguments(parser: Any) -> None:
    """Add the command's options."""
    for name in ("parent", "child"):
        parser.add_argument(name, type=str, help=f"the {name}: torchvision:resnet18, or the folder of a checkpoint")
    arguments = dict[str, bool | int | float | str | None]
    parser.add_argument("--model-args", type=arguments, default={}, help="arguments of the models given by name")
    parser.add_argument("--weights", type=str | None, default=None, help="safetensors file with the parent's weights")
    parser.add_argument(
        "--tolerance",
        type=float | None,
        default=None,
        help="maximum difference relative to the largest output (default: 1e-5 in float32)",
    )
    add_input(parser)
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(options: Any) -> int:
    """Print the difference, and say by the exit code whether it is within the tolerance."""
    from netmorph.cli.options import example, open_model
    from netmorph.surgery.parity.network import verify

    parent = open_model(options.parent, options.model_args, options.weights)
    child = open_model(options.child, options.model_args, None)
    parity = verify(parent, child, example(options.input_shape, options.seed))
    tolerance = parity.tolerance if options.tolerance is None else options.tolerance
    same = parity.max_rel <= tolerance
    if options.json:
        print(json.dumps({**_as_dict(parity), "tolerance": tolerance, "same": same}, indent=2))
    else:
        print(parity)
        print(f"{'the same' if same else 'NOT the same'}: tolerance {tolerance:.3g} in eval mode")
    return 0 if same else 2


def _as_dict(parity: Parity) -> dict[str, Any]:
    """Return the measured differences; JSON has no infinity, so what cannot be compared is null."""

    def number(value: float) -> float | None:
        return value if math.isfinite(value) else None

    return {
        mode: outputs
        and [{"output": one.path, "max_abs": number(one.max_abs), "max_rel": number(one.max_rel)} for one in outputs]
        for mode, outputs in (("eval", parity.outputs), ("train", parity.train))
    }
