"""Where tensors are made whose code names no device, whatever PyTorch's default is (`torch.set_default_device`)."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any, ParamSpec, TypeVar

import torch
from torch.overrides import TorchFunctionMode

Given = ParamSpec("Given")
Returned = TypeVar("Returned")
Made = TypeVar("Made")


def on_cpu(function: Callable[Given, Returned]) -> Callable[Given, Returned]:
    """Let a function make its new tensors on the CPU, where it says no device; for code that runs no user's module."""

    @wraps(function)
    def computed(*args: Given.args, **kwargs: Given.kwargs) -> Returned:
        with torch.device("cpu"):
            return function(*args, **kwargs)

    return computed


def on_no_device(make: Callable[[], Made]) -> Made:
    """Return what a function makes, such as a network, without memory for it: its tensors have shapes and no numbers.

    Most constructors only ask for tensors. Where one fails so, it computes rates or sizes from ranges and lists, and is
    called again with numbers in those.
    """
    try:
        with torch.device("meta"):
            return make()
    except Exception:
        with torch.device("meta"), _NumbersOnCpu():
            return make()


class _NumbersOnCpu(TorchFunctionMode):
    """Leaves ranges and lists their numbers."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        if func in (torch.arange, torch.linspace, torch.tensor) and kwargs.get("device") is None:
            kwargs["device"] = "cpu"
        return func(*args, **kwargs)
