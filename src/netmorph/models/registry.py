"""Models by name: ``netmorph:resnet20``, ``torchvision:resnet18``, ``timm:resnet50``."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable
from importlib import import_module
from inspect import signature
from typing import TYPE_CHECKING, Any

from netmorph.errors import NetmorphError
from netmorph.models.paper_net import KERNELS, NAME, PaperNet, parse_net

if TYPE_CHECKING:
    from torch import nn

__all__ = ["build"]

_KNOWN_DEPTHS = (8, 14, 18, 20, 32, 34, 44, 56, 110)
_PLAIN = "plain"
_SUFFIXES = ("", "_half", "_2branch", "_2branch_half")


def build(name: str, **kwargs: Any) -> nn.Module:
    """Build a network by name.

    Args:
        name: ``source:model``, where the source is ``netmorph``, ``torchvision`` or ``timm``. netmorph has the
            paper's networks: ``resnet20`` (any depth 6n + 2) for CIFAR, ``resnet18`` and ``resnet34`` for ImageNet, and
            the architectures into which the paper morphs them, randomly initialised, such as ``morph20_1c1_2branch``
            (see `parse_net`); and ``plain``, a small network of three convolutions. Nothing is downloaded unless an
            argument such as ``weights="DEFAULT"`` requests it.
        **kwargs: arguments of the model's constructor (``num_classes=10``). netmorph's morphed networks also accept
            ``shortcut_scale``: 0.5 as in the paper, or 1.0 for an unscaled identity beside the branches.

    Returns:
        The network, in train mode. It stores its name and arguments for `save`.

    Raises:
        NetmorphError: if the source or model is unknown, a package is missing, or the model does not accept the
            arguments.
    """
    if not isinstance(name, str):
        raise NetmorphError(
            f"expected a model's name as a string, got {name!r}", remedies=["such as netmorph:resnet20"]
        )
    source, colon, model = name.partition(":")
    maker = _SOURCES.get(source)
    if not colon or maker is None:
        raise NetmorphError(
            f"no model source in {name!r}",
            remedies=[f"write source:model with one of {', '.join(_SOURCES)}, such as torchvision:resnet18"],
        )
    built = maker(model, kwargs)
    if import_module("netmorph.surgery.records.history").history_of(built):  # it is named already
        return built
    import_module("netmorph.surgery.records.parent_name").name_parent(built, name, kwargs)
    return built


def _netmorph(model: str, kwargs: dict[str, Any]) -> nn.Module:
    """Build one of netmorph's own: the paper's, or a plain one."""
    if model == _PLAIN:
        return _call(f"netmorph:{model}", import_module("netmorph.models.plain_net").PlainNet, kwargs)
    if NAME.fullmatch(model) is None:
        raise _unknown("netmorph", model, _known())
    net = parse_net(model)
    if kwargs.get("depth", net.depth) != net.depth:
        raise NetmorphError(
            f"netmorph:{model} has a depth of {net.depth}, not of {kwargs['depth']!r}",
            remedies=["leave out depth=, and name the network of the depth that you want"],
        )
    kwargs = {key: value for key, value in kwargs.items() if key != "depth"}
    if net.kernels is not None:
        return _morphed(net, kwargs)
    module, kind = ("imagenet", "ImageNetResNet") if net.imagenet else ("cifar", "CifarResNet")
    resnet = getattr(import_module(f"netmorph.models.resnet_{module}"), kind)
    return _call(f"netmorph:{model}", resnet, {"depth": net.depth, **kwargs})


def _morphed(net: PaperNet, kwargs: dict[str, Any]) -> nn.Module:
    """Build the architecture of a morphed network, with fresh weights."""
    given = dict(kwargs)
    scale, seed = given.pop("shortcut_scale", 0.5), given.get("seed", 0)
    construct = import_module("netmorph.models.construct").construct
    morphed: nn.Module = construct(build(f"netmorph:{net.parent}", **given), net, seed=seed, shortcut_scale=scale)
    return morphed


def _known() -> list[str]:
    """Return the names of netmorph's networks, in the depths that are used most."""
    morphs = [f"{kernels}{suffix}" for kernels in KERNELS for suffix in _SUFFIXES]
    paper = (
        name for depth in _KNOWN_DEPTHS for name in (f"resnet{depth}", *(f"morph{depth}_{each}" for each in morphs))
    )
    return [_PLAIN, *paper]


def _torchvision(model: str, kwargs: dict[str, Any]) -> nn.Module:
    """Build one of torchvision's, untrained unless ``weights`` is given."""
    models = _require("torchvision", "torchvision.models", "pip install torchvision")
    if model not in models.list_models():
        raise _unknown("torchvision", model, models.list_models())
    maker = models.get_model_builder(model)
    if "weights_backbone" in signature(maker).parameters:  # which by default is downloaded
        kwargs = {"weights_backbone": None, **kwargs}
    return _call(f"torchvision:{model}", maker, kwargs)


def _timm(model: str, kwargs: dict[str, Any]) -> nn.Module:
    """Build one of timm's, untrained unless ``pretrained`` is given."""
    timm = _require("timm", "timm", "pip install timm")
    if not timm.is_model(model):
        raise _unknown("timm", model, timm.list_models())
    return _call(f"timm:{model}", lambda **given: timm.create_model(model, **given), kwargs)


_SOURCES: dict[str, Callable[[str, dict[str, Any]], nn.Module]] = {
    "netmorph": _netmorph,
    "torchvision": _torchvision,
    "timm": _timm,
}


def _require(package: str, module: str, remedy: str) -> Any:
    """Import an optional package or say how to get it."""
    try:
        return import_module(module)
    except ModuleNotFoundError as error:
        raise NetmorphError(f"{package} is not installed ({error})", remedies=[remedy]) from error


def _unknown(source: str, model: str, known: Iterable[str]) -> NetmorphError:
    """Say which names come close."""
    close = difflib.get_close_matches(model, list(known), n=3, cutoff=0.5)
    remedies = [f"did you mean {' or '.join(f'{source}:{name}' for name in close)}?"] if close else []
    return NetmorphError(f"{source} has no model {model!r}", remedies=remedies)


def _call(name: str, maker: Callable[..., nn.Module], kwargs: dict[str, Any]) -> nn.Module:
    """Call a constructor and turn what it refuses into one message."""
    try:
        return maker(**kwargs)
    except NetmorphError:
        raise
    except Exception as error:  # a source raises whatever it likes, and what downloads for it, too
        given = ", ".join(f"{key}={value!r}" for key, value in kwargs.items()) or "no arguments"
        remedies = ["check the model's arguments"]
        if isinstance(error, OSError):
            remedies = ["leave out the argument that asks for weights", "connect this computer to where they are"]
        raise NetmorphError(f"{name} refuses {given}: {error}", remedies=remedies) from error
