"""Options that several sub-commands share, and what they mean."""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from netmorph.bounded import read_text
from netmorph.errors import GraphError, NetmorphError

if TYPE_CHECKING:
    from torch import Tensor, nn

    from netmorph.graph.spec import ModuleGraph

_LARGEST_SEED = 2**50  # a run's own seeds are up to a thousand times it
_MOST_NUMBERS = 2**32  # 16 GiB

__all__ = [
    "Text",
    "add_birth",
    "add_input",
    "add_model",
    "add_sites",
    "check_arguments",
    "check_seed",
    "example",
    "open_model",
    "read_graph",
    "read_sites",
]


def add_model(parser: Any) -> None:
    """Add what names a network and the input to try it on."""
    parser.add_argument(
        "--model",
        type=str,
        required=True,
        help="torchvision:resnet18, timm:resnet50, netmorph:resnet20, or the folder of a checkpoint",
    )
    parser.add_argument(
        "--model-args",
        type=dict[str, bool | int | float | str | None],
        default={},
        help="arguments of the constructor: --model-args.num_classes=10, or --model-args '{\"num_classes\": 10}'",
    )
    parser.add_argument("--weights", type=str | None, default=None, help="safetensors file with the model's weights")
    add_input(parser)


def add_input(parser: Any) -> None:
    """Add what the network is tried on."""
    parser.add_argument("--input-shape", type=str, default="1,3,224,224", help="shape of the random example input")
    parser.add_argument("--seed", type=int, default=0, help="random seed")


def add_sites(parser: Any) -> None:
    """Add what is to be morphed into what."""
    parser.add_argument(
        "--at",
        type=Text(),
        action="append",
        required=True,
        help="layers to morph: a qualified name, or a pattern such as 'layer1.*.conv1'; repeatable",
    )
    parser.add_argument(
        "--to",
        type=Text(),
        action="append",
        required=True,
        help="module for the corresponding --at: a graph such as '3x3 > 1x1 | id', or a name; repeatable",
    )


def add_birth(parser: Any) -> None:
    """Add how modules with a real activation compute their layers' functions from the start."""
    parser.add_argument(
        "--birth",
        type=str,
        default="slope",
        help="initialisation of modules: slope (parametric activations), pair, zero or cancel (plain activations)",
    )


class Text:
    """The type of a repeatable option: one text on the command line, one or a list of them in a config file."""

    def __call__(self, value: object) -> object:
        """Take the value as it is."""
        if not all(isinstance(item, str) for item in (value if isinstance(value, list) else [value])):
            raise ValueError(f"expected text, got {value!r:.80}")
        return value

    def __repr__(self) -> str:
        return "text"


def read_sites(at: list[str] | str, to: list[str] | str) -> dict[str, ModuleGraph]:
    """Pair patterns with graphs.

    Raises:
        NetmorphError: if they are not equally many, or a pattern is given twice.
        NotationError: if a graph cannot be read.
    """
    at, to = ([given] if isinstance(given, str) else given for given in (at, to))
    if len(at) != len(to):
        raise NetmorphError(f"{len(at)} --at but {len(to)} --to", remedies=["give one --to for every --at"])
    twice = sorted({pattern for pattern in at if at.count(pattern) > 1})
    if twice:
        raise NetmorphError(f"--at {twice[0]!r} is given twice", remedies=["give each pattern once"])
    return {pattern: read_graph(text) for pattern, text in zip(at, to, strict=True)}


def read_graph(text: str) -> ModuleGraph:
    """Read a graph from its notation, its name in the catalogue, or a JSON file.

    Raises:
        GraphError: if the argument is none of these, or the file is not a text file.
        OSError: if the file cannot be read.
    """
    from netmorph.graph.codec import from_json
    from netmorph.surgery.sites.assign import read_graph as read

    if not text.endswith(".json"):
        return read(text)
    try:
        return from_json(read_text(Path(text)))
    except UnicodeDecodeError as error:
        raise GraphError(f"{text} is not text in UTF-8: {error}", remedies=["save it as UTF-8"]) from error


def open_model(name: str, arguments: Mapping[str, Any], weights: str | None) -> nn.Module:
    """Open a network by name or from a checkpoint's folder, in eval mode; say so where its weights are random."""
    from netmorph.models.opening import load_weights, open_model

    check_arguments(arguments)
    model = open_model(name, arguments)
    if weights is not None:
        load_weights(model, Path(weights))
    elif not Path(name).is_dir() and not arguments.keys() & {"weights", "pretrained"}:
        print(f"netmorph: {name} is randomly initialised (--weights FILE.safetensors loads weights)", file=sys.stderr)
    model.eval()  # an override of train may return nothing
    return model


def example(shape: str, seed: int) -> Tensor:
    """Draw a standard normal input of a shape such as ``1,3,224,224``.

    Raises:
        NetmorphError: if the shape cannot be read or is too large, or the seed is.
    """
    check_seed(seed)
    texts = shape.strip("() ").split(",")
    try:
        sizes = [int(size) for size in (texts if texts[-1].strip() else texts[:-1])]  # (4,) as Python writes it
    except ValueError:
        sizes = []
    if not sizes or min(sizes) < 1:
        raise NetmorphError(f"--input-shape {shape!r} is not a shape", remedies=["write sizes such as 1,3,224,224"])
    if math.prod(sizes) > _MOST_NUMBERS:
        raise NetmorphError(f"--input-shape {shape} is too large", remedies=["use a smaller input"])
    import torch

    return torch.randn(sizes, generator=torch.Generator().manual_seed(seed))


def check_arguments(arguments: Mapping[str, Any]) -> None:
    """Raise if a model's arguments name it, too."""
    if "name" in arguments:
        raise NetmorphError("--model-args.name is not a model argument", remedies=["name the network with --model"])


def check_seed(seed: int) -> None:
    """Raise if a seed is too large to draw from, or to make others of."""
    if abs(seed) > _LARGEST_SEED:
        raise NetmorphError(f"--seed must be at most 2^50, got {seed}")
