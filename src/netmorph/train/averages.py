"""What else a Lightning ``Trainer`` holds of a network: averages grow along, what counts by position is refused."""

from __future__ import annotations

from collections.abc import Iterator
from copy import deepcopy
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import BaseFinetuning, ModelPruning, StochasticWeightAveraging, WeightAveraging
from torch import nn
from torch.optim.swa_utils import AveragedModel

from netmorph.errors import NetmorphError
from netmorph.surgery.morphing.result import Result
from netmorph.surgery.optim.rebuild_ema import rebuild_ema
from netmorph.train.regrowth import shapes

__all__ = ["averages_in", "averages_of", "check_neighbours", "follow", "load_averages", "without_averages"]

_TIMMS = ("ModelEma", "ModelEmaV2", "ModelEmaV3")
_CURRENT = "current_model_state"  # where WeightAveraging saves the weights: the average is under "state_dict"
_SWA = "average_model_state"  # where StochasticWeightAveraging keeps the average, in its own state


def check_neighbours(trainer: Trainer) -> None:
    """Raise if another callback knows parameters or groups of an optimizer by their place or name.

    Raises:
        NetmorphError: if there is such a callback.
    """
    for callback in _callbacks(trainer):
        name = type(callback).__name__
        if isinstance(callback, BaseFinetuning):
            raise NetmorphError(
                f"GrowCallback does not support {name}, which refers to parameter groups by index",
                remedies=["freeze and thaw in the LightningModule itself, by requires_grad_ in hooks of its own"],
            )
        if isinstance(callback, ModelPruning):
            raise NetmorphError(
                f"GrowCallback does not support {name}, which would continue to prune the layers that were replaced",
                remedies=["grow in one training, then prune in another"],
            )
        if isinstance(callback, StochasticWeightAveraging) and isinstance(callback._swa_lrs, list):
            raise NetmorphError(
                f"GrowCallback does not support {name}(swa_lrs=[...]): a growth may add a group, without a rate",
                remedies=["pass one number, swa_lrs=0.05"],
            )


def averages_of(trainer: Trainer, pl_module: LightningModule, attribute: str) -> list[Any]:
    """Return the averages of a network, as `rebuild_ema` takes them: what holds the averaged network as ``module``.

    Those of Lightning's `WeightAveraging` and `StochasticWeightAveraging`, and every `AveragedModel` and timm's
    `ModelEma` that the ``LightningModule`` holds, of the network or of what it lies in.

    Args:
        trainer: the trainer.
        pl_module: what holds the network.
        attribute: where.
    """
    wholes = [whole for _, whole in _averaging(trainer)]
    inside = [each for owner in (pl_module, *wholes) for each in averages_in(owner, attribute)]
    return [*(_Part(whole, attribute) for whole in wholes), *inside]


def averages_in(owner: nn.Module, attribute: str) -> list[Any]:
    """Return the averages among an owner's modules of the network that it has there, or of what that lies in."""
    held = (each for each in owner.modules() if isinstance(each, AveragedModel) or type(each).__name__ in _TIMMS)
    return [average for each in held for average in _inside(each, owner, attribute)]


def follow(result: Result, average: Any) -> None:
    """Grow an average as its network was, on the network's device, unless that has been done already.

    Raises:
        NetmorphError: as `rebuild_ema` says.
    """
    network: nn.Module = average.module
    if shapes(network) == shapes(result.model):
        return
    home, away = (next((each.device for each in one.parameters()), None) for one in (network, result.model))
    network.to(away)
    rebuild_ema(result, average)
    average.module.to(home)


def without_averages(trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> dict[str, Any]:
    """Return what averages are to find in a checkpoint until they have grown: what they hold already."""
    kept: dict[str, Any] = {_CURRENT: pl_module.state_dict()} if _CURRENT in checkpoint else {}
    states = dict(checkpoint.get("callbacks", {}))
    for callback, whole in _averaging(trainer):
        state = states.get(callback.state_key)
        if state and _SWA in state:
            states[callback.state_key] = {**state, _SWA: whole.state_dict()}
    return {**kept, "callbacks": states}


def load_averages(trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
    """Load the averages of a checkpoint, and what is averaged, now that both have grown."""
    for callback, _ in _averaging(trainer):
        callback.on_load_checkpoint(trainer, pl_module, checkpoint)
        state = checkpoint.get("callbacks", {}).get(callback.state_key)
        if state:
            callback.load_state_dict(deepcopy(state))


class _Part:
    """The network in the average of what holds it."""

    def __init__(self, owner: nn.Module, attribute: str) -> None:
        self._owner, self._attribute = owner, attribute

    @property
    def module(self) -> nn.Module:
        return self._owner.get_submodule(self._attribute)

    @module.setter
    def module(self, network: nn.Module) -> None:
        if network is not self.module:
            self._owner.set_submodule(self._attribute, network)


def _inside(average: nn.Module, owner: nn.Module, attribute: str) -> Iterator[Any]:
    """Yield an average where it is one of the network, or the network's part of it where it is one of more."""
    averaged = average.get_submodule("module")
    parts = attribute.split(".")
    for depth in range(1, len(parts) + 1):
        original = owner.get_submodule(".".join(parts[:depth]))
        if type(original) is type(averaged) and shapes(original) == shapes(averaged):
            rest = ".".join(parts[depth:])
            yield _Part(averaged, rest) if rest else average
            return


def _averaging(trainer: Trainer) -> Iterator[tuple[Callback, nn.Module]]:
    """Yield Lightning's callbacks that average the whole ``LightningModule``, each with its average."""
    for callback in _callbacks(trainer):
        if isinstance(callback, WeightAveraging | StochasticWeightAveraging) and callback._average_model is not None:
            whole = callback._average_model
            yield callback, whole.module if isinstance(whole, AveragedModel) else whole


def _callbacks(trainer: Trainer) -> list[Callback]:
    callbacks: list[Callback] = trainer.callbacks  # type: ignore[attr-defined]
    return callbacks
