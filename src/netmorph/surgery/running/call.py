"""One call of a model on example inputs, which leaves the model as it was."""

from __future__ import annotations

import copy
import random
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import wraps
from typing import Any, ParamSpec, TypeVar

import torch
from torch import Tensor, nn
from torch.nn.modules.lazy import LazyModuleMixin

from netmorph.errors import SiteError
from netmorph.surgery.running.precision import full_precision
from netmorph.surgery.running.restore import kept

_P = ParamSpec("_P")
_R = TypeVar("_R")
_AUTOCAST = ("cpu", "cuda", "mps", "xpu")


@dataclass(frozen=True)
class Call:
    """The arguments of one forward call.

    Attributes:
        args: positional arguments.
        kwargs: keyword arguments.
    """

    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]

    @classmethod
    def of(cls, example_inputs: Any) -> Call:
        """Read example inputs: a tuple holds positional arguments, a dictionary keyword arguments, all else is one.

        So `({...},)` is one dictionary.
        """
        if isinstance(example_inputs, Call):
            return example_inputs
        if isinstance(example_inputs, tuple) and not hasattr(example_inputs, "_fields"):
            return cls(example_inputs, {})
        if isinstance(example_inputs, Mapping) and all(isinstance(key, str) for key in example_inputs):
            return cls((), dict(example_inputs))
        return cls((example_inputs,), {})

    def run(self, model: nn.Module, what: str = "example_inputs") -> Any:
        """Return the model's output; the inputs are cloned, so that a model may write on them.

        Args:
            model: the model.
            what: what the arguments are to the user.

        Raises:
            SiteError: if the model raised an exception; the message contains it.
        """
        own = self.map(lambda tensor: tensor.detach().clone())
        try:
            return model(*own.args, **own.kwargs)
        except Exception as error:
            one = [] if self.args or not self.kwargs else ["pass ({...},) if its forward takes one dictionary"]
            raise SiteError(
                f"the model raised on {what}: {reason(error)}",
                shapes=f"{what} {describe(self)}",
                remedies=[
                    *one,
                    f"pass {what} in the form that its forward accepts: a tensor, a tuple of arguments or a dictionary",
                    "move them to the model's device and dtype",
                ],
            ) from error

    def map(self, change: Callable[[Tensor], Tensor]) -> Call:
        """Return the call with every tensor replaced by `change` of it."""
        kwargs = {key: _mapped(value, change) for key, value in self.kwargs.items()}
        return Call(tuple(_mapped(value, change) for value in self.args), kwargs)


def in_mode(model: nn.Module, training: bool) -> nn.Module:
    """Put a model in train or eval mode, by its own `train` and `eval`, and return it.

    Overrides of `train` often return nothing. What `torch.export` made refuses both: it computes the same in each.

    Raises:
        SiteError: if the model cannot be put in train mode.
    """
    try:
        model.train() if training else model.eval()
    except NotImplementedError as error:
        if training:
            raise SiteError(f"the model cannot be put in train mode: {reason(error)}") from error
        for module in model.modules():
            module.training = False
    return model


def reason(error: BaseException) -> str:
    """Return an exception as one short line."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    text = f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__
    return text if len(text) <= 300 else text[:297] + "..."


def describe(call: Call) -> str:
    """Return the shapes of a call's arguments as text."""
    parts = [_shape(value) for value in call.args]
    parts += [f"{key}={_shape(value)}" for key, value in call.kwargs.items()]
    return "(" + ", ".join(parts) + ")"


@contextmanager
def undisturbed(*models: nn.Module, training: bool = False) -> Iterator[None]:
    """Run a block without a trace in the models: modes, attributes, buffers and random generators are put back.

    Of attributes, lists, dictionaries, sets, deques and random generators get back what they held. Inside, gradients
    and autocast are off, so that what is measured is measured in the model's own dtype, and the random generators start
    from the same seed every time.

    Args:
        models: the models.
        training: they run in train mode, where code may write to parameters: put these back as well.

    Raises:
        SiteError: if a model holds lazily initialised layers.
    """
    modules = list({id(m): m for model in models for m in model.modules()}.values())
    check_initialised(*models)
    with ExitStack() as stack:
        stack.enter_context(torch.no_grad())
        for device in sorted(_devices(models)):
            stack.enter_context(torch.autocast(device, enabled=False))
        stack.enter_context(fixed_rng())
        stack.enter_context(full_precision())
        stack.enter_context(kept(modules, parameters=training))
        yield


def trainable(verb: Callable[_P, _R]) -> Callable[_P, _R]:
    """Make a verb leave `torch.inference_mode`, in which it would make parameters that can never learn."""

    @wraps(verb)
    def outside(*args: _P.args, **kwargs: _P.kwargs) -> _R:
        if not torch.is_inference_mode_enabled():
            return verb(*args, **kwargs)
        with torch.inference_mode(False):
            return verb(*args, **kwargs)

    return outside


@contextmanager
def fixed_rng(seed: int = 0) -> Iterator[None]:
    """Seed every global random generator (torch's, Python's, numpy's) for a block, then put it back where it was."""
    numpy = sys.modules.get("numpy")
    python_state = random.getstate()
    numpy_state = numpy.random.get_state() if numpy is not None else None
    devices = list(range(torch.cuda.device_count())) if torch.cuda.is_initialized() else []  # type: ignore[no-untyped-call]
    try:
        with torch.random.fork_rng(devices):
            torch.default_generator.manual_seed(seed)
            if devices:
                torch.cuda.manual_seed_all(seed)
            random.seed(seed)
            if numpy is not None:
                numpy.random.seed(seed)
            yield
    finally:
        random.setstate(python_state)
        if numpy is not None:
            numpy.random.set_state(numpy_state)


def is_lazy(module: nn.Module) -> bool:
    """Return whether a module's parameters wait for the first input."""
    return isinstance(module, LazyModuleMixin) and module.has_uninitialized_params()


def check_initialised(*models: nn.Module) -> None:
    """Refuse lazy layers: their first run makes their parameters, and cannot be undone.

    Raises:
        SiteError: if a model has a lazily initialised layer that has not run yet.
    """
    for module in (module for model in models for module in model.modules()):
        if is_lazy(module):
            raise SiteError(
                f"the model holds lazily initialised layers: {type(module).__name__} has no shape yet",
                remedies=["run the model once on data first"],
            )


def _devices(models: tuple[nn.Module, ...]) -> set[str]:
    found = {tensor.device.type for model in models for tensor in (*model.parameters(), *model.buffers())}
    return (found | {"cpu"}) & set(_AUTOCAST)


def _mapped(value: Any, change: Callable[[Tensor], Tensor]) -> Any:
    if isinstance(value, Tensor):
        return change(value)
    if isinstance(value, dict):
        made = copy.copy(value)
        for key, item in value.items():
            made[key] = _mapped(item, change)
        return made
    if type(value) in (list, tuple):
        return type(value)(_mapped(item, change) for item in value)
    return value


def _shape(value: Any) -> str:
    if isinstance(value, Tensor):
        return f"{tuple(value.shape)} {str(value.dtype).removeprefix('torch.')}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(_shape, value)) + "]"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key!r}: {_shape(item)}" for key, item in value.items()) + "}"
    return type(value).__name__
