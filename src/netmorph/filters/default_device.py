"""Where tensors are made whose code names no device, whatever PyTorch's default is (`torch.set_default_device`)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from typing import Any, ParamSpec, TypeVar

import torch
from torch.overrides import TorchFunctionMode

Given = ParamSpec("Given")
Returned = TypeVar("Returned")


def on_cpu(function: Callable[Given, Returned]) -> Callable[Given, Returned]:
    """Let a function make its new tensors on the CPU, where it says no device; for code that runs no user's module."""

    @wraps(function)
    def computed(*args: Given.args, **kwargs: Given.kwargs) -> Returned:
        with torch.device("cpu"):
            return function(*args, **kwargs)

    return computed


@contextmanager
def on_no_device() -> Iterator[None]:
    """Let a block make networks that take no memory: their tensors have shapes and no numbers."""
    with torch.device("meta"), _RangesOnCpu():
        yield


class _RangesOnCpu(TorchFunctionMode):
    """Leaves ranges their numbers: constructors compute rates and sizes from them."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        if func in (torch.arange, torch.linspace) and kwargs.get("device") is None:
            kwargs["device"] = "cpu"
        return func(*args, **kwargs)
