"""Computations on the CPU, whatever PyTorch's default device is (`torch.set_default_device`)."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import ParamSpec, TypeVar

import torch

Given = ParamSpec("Given")
Returned = TypeVar("Returned")


def on_cpu(function: Callable[Given, Returned]) -> Callable[Given, Returned]:
    """Let a function make its new tensors on the CPU, where it says no device; for code that runs no user's module."""

    @wraps(function)
    def computed(*args: Given.args, **kwargs: Given.kwargs) -> Returned:
        with torch.device("cpu"):
            return function(*args, **kwargs)

    return computed
