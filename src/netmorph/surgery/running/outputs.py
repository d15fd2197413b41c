"""Compare what two models return, whatever its nesting."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields, is_dataclass
from typing import Any

import torch
from torch import Tensor

from netmorph.brief import Brief
from netmorph.errors import ParityError


@dataclass(frozen=True, repr=False)
class OutputParity(Brief):
    """The difference of one output tensor between two models.

    Attributes:
        path: where it stands in the output, such as `logits` or `[0].boxes`; "" for the output itself.
        max_abs: largest absolute difference; inf where the two cannot be compared.
        max_rel: `max_abs` relative to the largest value of the parent's output; `max_abs` itself where that is 0.
        note: why the two cannot be compared, if so.
    """

    path: str
    max_abs: float
    max_rel: float
    note: str = ""

    def __str__(self) -> str:
        text = f"{self.path or 'output'}: max abs {self.max_abs:.3g}, relative {self.max_rel:.3g}"
        return f"{text} ({self.note})" if self.note else text


def tensors_in(output: Any) -> dict[str, Tensor]:
    """Return copies of the tensors and numbers in a nested output, by their place in it.

    Dictionaries, dataclasses, lists and (named) tuples are entered; anything else that is no tensor is passed over.
    """
    return {path: _settled(value) for path, value in _walk(output, "")}


def compare(parent: Mapping[str, Tensor], child: Mapping[str, Tensor]) -> tuple[OutputParity, ...]:
    """Compare two models' outputs, as `tensors_in` returns them; equal infinities count as equal.

    Raises:
        ParityError: if the parent's own output is NaN.
    """
    return tuple(_compare(path, parent.get(path), child.get(path)) for path in dict.fromkeys([*parent, *child]))


def largest_gap(parent: Tensor, child: Tensor) -> float:
    """Return the largest absolute difference in float64; equal values, infinite ones too, differ by 0, NaN by inf."""
    return float(gap_of(parent, child).max()) if parent.numel() else 0.0


def gap_of(parent: Tensor, child: Tensor) -> Tensor:
    """Return the absolute differences in float64 on the CPU, counted as `largest_gap` does."""
    a, b = _real(parent), _real(child)
    gap = torch.where(a == b, torch.zeros_like(a), (a - b).abs())
    return gap.nan_to_num(nan=torch.inf, posinf=torch.inf)


def largest(values: Tensor) -> float:
    """Return the largest absolute finite value; 0 where there is none."""
    real = _real(values)
    finite = real[real.isfinite()]
    return float(finite.abs().max()) if finite.numel() else 0.0


def _compare(path: str, parent: Tensor | None, child: Tensor | None) -> OutputParity:
    if parent is None or child is None:
        return OutputParity(
            path, torch.inf, torch.inf, f"only the {'child' if parent is None else 'parent'} returns it"
        )
    if parent.shape != child.shape:
        return OutputParity(path, torch.inf, torch.inf, f"shapes {tuple(parent.shape)} and {tuple(child.shape)}")
    if _real(parent).isnan().any():
        raise ParityError(
            f"the parent's own output {path!r} is NaN: nothing can be compared with it",
            shapes=f"output {tuple(parent.shape)}",
            remedies=["check for NaN or inf in the example inputs and in the parent's weights and running statistics"],
        )
    gap, scale = largest_gap(parent, child), largest(parent) or 1.0
    note = "the child's is NaN" if _real(child).isnan().any() else ""
    return OutputParity(path, gap, gap / scale, note)


def _walk(value: Any, path: str) -> Iterator[tuple[str, Tensor]]:
    if isinstance(value, Tensor):
        yield path, value
    elif isinstance(value, bool | int | float):
        yield path, torch.tensor(value, dtype=torch.float64)
    elif isinstance(value, Mapping):
        for key, item in value.items():
            yield from _walk(item, f"{path}.{key}".lstrip("."))
    elif is_dataclass(value) and not isinstance(value, type):
        for field in fields(value):
            yield from _walk(getattr(value, field.name, None), f"{path}.{field.name}".lstrip("."))
    elif isinstance(value, list | tuple):
        names = getattr(value, "_fields", None)
        for index, item in enumerate(value):
            yield from _walk(item, f"{path}.{names[index]}".lstrip(".") if names else f"{path}[{index}]")


def _settled(value: Tensor) -> Tensor:
    value = value.detach()
    if value.is_nested:
        value = torch.nested.to_padded_tensor(value, 0.0)
    return value.to_dense() if value.layout != torch.strided else value.clone()


def _real(value: Tensor) -> Tensor:
    value = value.detach().cpu()
    return (torch.view_as_real(value) if value.is_complex() else value).double()
