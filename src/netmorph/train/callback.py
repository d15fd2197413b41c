"""Growing a network inside one's own Lightning ``Trainer`` (beyond the paper)."""

from __future__ import annotations

import gc
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.strategies import DDPStrategy, SingleDeviceStrategy
from lightning.pytorch.utilities import rank_zero_info
from torch import nn
from torch.optim import Optimizer

from netmorph.errors import NetmorphError
from netmorph.graph.spec import ModuleGraph
from netmorph.graph.symmetry import check_birth
from netmorph.surgery.edit.lineage import Descent
from netmorph.surgery.morphing.morph import morph
from netmorph.surgery.morphing.result import Result
from netmorph.surgery.optim.groups import group_of
from netmorph.surgery.optim.rebuild_optimizer import check_factor, check_optimizer, rebuild_optimizer
from netmorph.surgery.running.wrappers import check_unwrapped
from netmorph.train.averages import averages_in, averages_of, check_neighbours, follow, load_averages, without_averages
from netmorph.train.regrowth import Regrowth, Repeated, repeat, shapes

__all__ = ["Grow", "GrowCallback", "grow_as_saved"]

_GROWTHS = "netmorph_growths"  # key in a checkpoint: all growths of what wrote it, in order; weights-only ones have it
Grow = Callable[[nn.Module], Result]


class GrowCallback(Callback):
    """Grows a network at the beginning of an epoch, inside your own ``Trainer``.

    The state of optimizers and schedulers is transferred as by `netmorph.rebuild_optimizer`. To resume from a
    checkpoint that was saved afterwards, call ``trainer.fit(..., ckpt_path=...)`` with the network in its original
    structure and the same callback: the growth is repeated without solving, then weights and optimizer states are
    loaded. ``load_from_checkpoint`` does not run callbacks; call `grow_as_saved` in ``on_load_checkpoint`` of the
    ``LightningModule``.

    Weight averages grow with the network, as by `netmorph.rebuild_ema`: those of Lightning's ``WeightAveraging``,
    ``EMAWeightAveraging`` and ``StochasticWeightAveraging``, and every ``AveragedModel`` or timm ``ModelEma`` in the
    ``LightningModule``. ``BackboneFinetuning`` and similar callbacks, ``ModelPruning``, and optimizers that cannot be
    rebuilt (`netmorph.check_optimizer`) are refused when training starts.

    Each growth is reported in one line. The number of parameters is logged to the trainer's loggers as ``parameters``,
    at the start and after each growth.

    Under DDP every process grows its own copy, and DDP is then set up again around the copies with the weights of the
    first process. If one process cannot grow, all stop. Strategies that shard the network (FSDP, DeepSpeed) are refused
    when training starts. New BatchNorms are not converted to ``SyncBatchNorm``.

    To grow several times, use several callbacks.

    Args:
        grow: the ``mapping`` of `netmorph.morph`, or a function that takes the network and returns the result of
            `morph`, `widen`, `deepen`, `grow_kernel` or `regrow`.
        at_epoch: the epoch at whose beginning to grow, counted from 0 as ``trainer.current_epoch``. If training has
            passed it already, the network grows at the next epoch.
        attribute: attribute of the ``LightningModule`` that holds the network; may be dotted.
        example_inputs: as in `morph`, on any device. None: the ``LightningModule``'s ``example_input_array``.
        calibration: batches, as in `morph`, or a function that takes the trainer and returns them.
        seed: random seed, the same in every process.
        newborn_lr_factor: as in `netmorph.rebuild_optimizer`.
        options: further arguments of `morph`, such as ``birth``.

    Attributes:
        result: the result of the growth in this process; None before it, and if the growth was repeated on resuming.

    Example:
        >>> callback = GrowCallback({"layer*.conv1": "3x3 > 1x1 | 1x1"}, at_epoch=10, attribute="net")
        >>> callback.grown, callback.result
        (False, None)
    """

    def __init__(
        self,
        grow: Mapping[str, ModuleGraph | str] | Grow,
        *,
        at_epoch: int,
        attribute: str = "model",
        example_inputs: Any = None,
        calibration: Any = None,
        seed: int = 0,
        newborn_lr_factor: float = 1.0,
        **options: Any,
    ) -> None:
        if callable(grow) and (options or calibration is not None or example_inputs is not None):
            raise NetmorphError(
                "with a function as grow=, pass example_inputs, calibration and other options inside the function"
            )
        if "inplace" in options:
            raise NetmorphError("GrowCallback morphs in place: leave out inplace=")
        if type(at_epoch) is not int:
            raise NetmorphError(f"at_epoch must be the index of an epoch (counted from 0), got {at_epoch!r}")
        check_factor(newborn_lr_factor)
        check_birth(options.get("birth", "slope"))
        self.grow, self.at_epoch, self.attribute = grow, at_epoch, attribute
        self.example_inputs, self.calibration, self.seed, self.options = example_inputs, calibration, seed, options
        self.newborn_lr_factor = newborn_lr_factor
        self.result: Result | None = None
        self._regrowth = Regrowth()
        self._held: dict[str, Any] | None = None

    @property
    def grown(self) -> bool:
        """Whether the network has grown."""
        return bool(self._regrowth.records)

    @property
    def state_key(self) -> str:
        """The name of this callback's state in a checkpoint."""
        what = sorted((key, str(graph)) for key, graph in self.grow.items()) if isinstance(self.grow, Mapping) else None
        return self._generate_state_key(at_epoch=self.at_epoch, attribute=self.attribute, grow=what)

    def state_dict(self) -> dict[str, Any]:
        """Return what a checkpoint must hold for the growth to be repeated."""
        return self._regrowth.state_dict()

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Note the growths for `grow_as_saved`."""
        grown = [each for each in _family(trainer) if each.grown]
        checkpoint[_GROWTHS] = [each._regrowth.state_dict() | {"attribute": each.attribute} for each in grown]

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take what `state_dict` returned."""
        self._regrowth = Regrowth.of(state_dict)

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Refuse early what cannot work, and be asked before a checkpoint's weights are loaded."""
        check_unwrapped(self._network(pl_module))
        check_neighbours(trainer)
        if stage == "fit" and not isinstance(trainer.strategy, SingleDeviceStrategy | DDPStrategy):
            raise NetmorphError(
                f"GrowCallback cannot change a network under {type(trainer.strategy).__name__}",
                remedies=["use one device or strategy='ddp'", "morph between two trainings, before the Trainer wraps"],
            )
        if _family(trainer)[0] is self:
            # Lightning loads weights before it calls the callbacks' hooks; only the module's hook runs earlier.
            theirs = type(pl_module).on_load_checkpoint.__get__(pl_module)

            def on_load_checkpoint(checkpoint: dict[str, Any]) -> None:
                self._before_loading(trainer, pl_module, checkpoint)
                theirs(checkpoint)

            pl_module.on_load_checkpoint = on_load_checkpoint  # type: ignore[method-assign]
            # Only this hook also runs for a checkpoint of weights only.
            theirs_too = type(pl_module).on_save_checkpoint.__get__(pl_module)

            def on_save_checkpoint(checkpoint: dict[str, Any]) -> None:
                self.on_save_checkpoint(trainer, pl_module, checkpoint)
                theirs_too(checkpoint)

            pl_module.on_save_checkpoint = on_save_checkpoint  # type: ignore[method-assign]

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Leave the module as it was."""
        vars(pl_module).pop("on_load_checkpoint", None)
        vars(pl_module).pop("on_save_checkpoint", None)

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Refuse optimizers that could not follow."""
        network = self._network(pl_module)
        for optimizer in _training(trainer, {id(each) for each in network.parameters()}):
            check_optimizer(network, optimizer, _driving(trainer, optimizer))

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Repeat the growths of a checkpoint, now that there are optimizers, then load it."""
        held, self._held = self._held, None
        if held is not None:
            self._restore(trainer, pl_module, held)
        if _family(trainer)[0] is self:
            _log_size(trainer, pl_module)

    def _restore(self, trainer: Trainer, pl_module: LightningModule, held: dict[str, Any]) -> None:
        """Repeat the growths of a checkpoint and load it."""
        for callback in _family(trainer):
            if callback.grown:
                callback._repeat(trainer, pl_module)
        trainer.strategy.load_model_state_dict(held, strict=pl_module.strict_loading)
        trainer.strategy.load_optimizer_state_dict(held)
        # As Lightning does: StochasticWeightAveraging restores its own scheduler.
        for config, state in zip(trainer.lr_scheduler_configs, held["lr_schedulers"], strict=False):
            config.scheduler.load_state_dict(state)
        load_averages(trainer, pl_module, held)
        _wrap_anew(trainer)

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Load a checkpoint of a training that was through, in which there was nothing left to start."""
        held, self._held = self._held, None
        if held is not None:
            for callback in _family(trainer):
                if callback.grown:
                    callback._repeat_all(trainer, pl_module)
            pl_module.load_state_dict(held["state_dict"], strict=pl_module.strict_loading)
            load_averages(trainer, pl_module, held)

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Grow, if it is time."""
        if self.grown or trainer.current_epoch < self.at_epoch:
            return
        network = self._network(pl_module)
        parameters = {id(each) for each in network.parameters()}
        for optimizer in trainer.optimizers:
            optimizer.zero_grad()
        before = sum(each.numel() for each in network.parameters())
        averages = averages_of(trainer, pl_module, self.attribute)
        result = self._grow_everywhere(trainer, pl_module, network, averages)
        if result.model is not network:
            pl_module.set_submodule(self.attribute, result.model)
        self._rebuild(trainer, result, parameters)
        self.result = result
        self._regrowth = Regrowth.after(result, pl_module, trainer.optimizers)
        _wrap_anew(trainer)
        if trainer.world_size > 1:
            for average in averages:  # like the network itself, which DDP sees to: calibration differs
                average.module.load_state_dict(trainer.strategy.broadcast(average.module.state_dict()))
        after, count = sum(each.numel() for each in result.model.parameters()), len(result.sites)
        rank_zero_info(
            f"GrowCallback: {self.attribute!r} grew at {count} site{'s' * (count != 1)} before epoch "
            f"{trainer.current_epoch}, {before:,} -> {after:,} parameters, parity {result.parity.max_rel:.2g}"
        )
        _log_size(trainer, pl_module)

    def _network(self, pl_module: LightningModule) -> nn.Module:
        try:
            return pl_module.get_submodule(self.attribute)
        except AttributeError as error:
            names = ", ".join(repr(name) for name, _ in pl_module.named_children())
            raise NetmorphError(
                f"{type(pl_module).__name__} has no network {self.attribute!r} to grow",
                remedies=[f"pass attribute=, one of {names}"],
            ) from error

    def _grow_everywhere(
        self, trainer: Trainer, pl_module: LightningModule, network: nn.Module, averages: Sequence[Any]
    ) -> Result:
        """Grow in every process, or in none."""
        error: Exception | None = None
        result: Result | None = None
        try:
            result = self._grow(trainer, pl_module, network)
            for average in averages:
                follow(result, average)
        except Exception as raised:  # the others must hear of whatever it is
            error = raised
        if trainer.world_size > 1:
            well = trainer.strategy.reduce_boolean_decision(error is None, all=True)
            if not well and error is None:
                raise NetmorphError("another process could not grow the network; see its message")
        if error is not None:
            raise error
        assert result is not None
        return result

    def _grow(self, trainer: Trainer, pl_module: LightningModule, network: nn.Module) -> Result:
        if not isinstance(self.grow, Mapping):
            result = self.grow(network)
            if not isinstance(result, Result):
                raise NetmorphError(
                    f"grow= returned a {type(result).__name__}, with which training cannot continue",
                    remedies=["return the result of morph, widen, deepen, grow_kernel or regrow"],
                )
            return result
        example = pl_module.example_input_array if self.example_inputs is None else self.example_inputs
        if example is None:
            raise NetmorphError(
                "GrowCallback has no example to run the network on",
                remedies=["pass example_inputs=", f"set example_input_array in {type(pl_module).__name__}"],
            )
        return morph(
            network,
            self.grow,
            example_inputs=pl_module.transfer_batch_to_device(example, pl_module.device, 0),
            calibration=self.calibration(trainer) if callable(self.calibration) else self.calibration,
            seed=self.seed,
            inplace=True,
            **self.options,
        )

    def _rebuild(self, trainer: Trainer, result: Descent, parameters: set[int]) -> None:
        """Bring the optimizers that train the network, and their schedulers, up to date."""
        for optimizer in _training(trainer, parameters):
            driving = _driving(trainer, optimizer)
            rebuild_optimizer(result, optimizer, driving, newborn_lr_factor=self.newborn_lr_factor)

    def _repeat(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Repeat the growth without solving; weights and states are loaded afterwards."""
        network = self._network(pl_module)
        parameters = {id(each) for each in network.parameters()}
        self._rebuild(trainer, self._repeat_all(trainer, pl_module), parameters)
        self._regrowth.check(pl_module, trainer.optimizers)

    def _repeat_all(self, trainer: Trainer, pl_module: LightningModule) -> Repeated:
        """Repeat the growth in the network and its averages."""
        return _repeat(self._network(pl_module), averages_of(trainer, pl_module, self.attribute), self._regrowth)

    def _before_loading(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Keep back what a checkpoint holds of the grown network until the network is that; called in the first one."""
        states = checkpoint.get("callbacks", {})
        family = {each: states.get(each.state_key) for each in _family(trainer)}
        fits = shapes(pl_module) == shapes(checkpoint["state_dict"])
        if not fits and any(
            each.grown and not (state and Regrowth.of(state).records) for each, state in family.items()
        ):
            raise NetmorphError(
                "the network has grown, and the checkpoint is from before the growth",
                remedies=["load it into a new module, with a new GrowCallback"],
            )
        for callback, state in family.items():
            if state is not None:
                callback.load_state_dict(state)
        grown = [callback for callback in family if callback.grown]
        known = len(grown) == len(_growths(checkpoint) or grown)  # older checkpoints have no list of growths
        if fits or (known and not grown):
            return
        if trainer.state.fn != "fit":  # there are no optimizers
            for callback in grown if known else ():
                callback._repeat_all(trainer, pl_module)
            grow_as_saved(pl_module, checkpoint)
            return
        if not known:
            raise NetmorphError(
                "the checkpoint was written with other GrowCallbacks than those of this trainer",
                remedies=["give the trainer the same ones: of that class, with that at_epoch=, attribute= and grow="],
            )
        self._held = dict(checkpoint)
        checkpoint.update(state_dict=pl_module.state_dict(), optimizer_states=[], lr_schedulers=[])
        checkpoint.update(without_averages(trainer, pl_module, checkpoint))


def grow_as_saved(module: LightningModule, checkpoint: Mapping[str, Any]) -> None:
    """Grow a newly built ``LightningModule`` to the structure of a checkpoint, so that its weights can be loaded.

    Call it in the module's ``on_load_checkpoint``, which ``load_from_checkpoint`` runs. Nothing is solved for, and the
    weights are loaded afterwards. If the structures agree already, nothing happens.

    Args:
        module: the module.
        checkpoint: the checkpoint that Lightning has loaded, also with ``weights_only=True``.

    Raises:
        NetmorphError: if the module was not built like the one in the checkpoint, or the record of its growth is
            invalid.

    Example:
        >>> class Classifier(LightningModule):
        ...     def on_load_checkpoint(self, checkpoint):
        ...         grow_as_saved(self, checkpoint)
    """
    if shapes(module) == shapes(checkpoint["state_dict"]):
        return
    for growth in _growths(checkpoint):
        attribute = growth.get("attribute") if isinstance(growth, dict) else None
        try:
            network = module.get_submodule(attribute if isinstance(attribute, str) else "?")
        except AttributeError as error:
            raise NetmorphError(
                f"{type(module).__name__} has no network {attribute!r}, which had grown in the checkpoint",
                remedies=["build the module as it was built for that training"],
            ) from error
        _repeat(network, averages_in(module, str(attribute)), Regrowth.of(growth))


def _growths(checkpoint: Mapping[str, Any]) -> list[Any]:
    """Return the growths that a checkpoint tells of."""
    growths = checkpoint.get(_GROWTHS, [])
    if not isinstance(growths, list):
        raise NetmorphError(f"the checkpoint's record of its growths is a {type(growths).__name__}, not a list")
    return growths


def _repeat(network: nn.Module, averages: Sequence[Any], regrowth: Regrowth) -> Repeated:
    """Repeat a growth in a network and in averages of it, which were found before."""
    for average in averages:
        repeat(average.module, regrowth)
    return repeat(network, regrowth)


def _family(trainer: Trainer) -> list[GrowCallback]:
    """Return all callbacks that grow, in the order in which they do."""
    callbacks: Sequence[Any] = trainer.callbacks  # type: ignore[attr-defined]
    return sorted((each for each in callbacks if isinstance(each, GrowCallback)), key=lambda each: each.at_epoch)


def _training(trainer: Trainer, parameters: set[int]) -> list[Optimizer]:
    """Return the optimizers that hold any of the parameters of these ids."""
    return [each for each in trainer.optimizers if not parameters.isdisjoint(group_of(each))]


def _driving(trainer: Trainer, optimizer: Optimizer) -> list[Any]:
    """Return the schedulers that drive an optimizer."""
    schedulers: Sequence[Any] = [config.scheduler for config in trainer.lr_scheduler_configs]
    return [each for each in schedulers if each.optimizer is optimizer]


def _log_size(trainer: Trainer, pl_module: LightningModule) -> None:
    """Tell the trainer's loggers how many parameters there are now."""
    size = float(sum(each.numel() for each in pl_module.parameters()))
    for logger in trainer.loggers:
        logger.log_metrics({"parameters": size}, step=trainer.fit_loop.epoch_loop._batches_that_stepped)


def _wrap_anew(trainer: Trainer) -> None:
    """Let DDP know the new parameters: the old wrapper goes, and its hooks with it, before there is a new one."""
    strategy = trainer.strategy
    if isinstance(strategy, DDPStrategy) and isinstance(strategy.model, nn.parallel.DistributedDataParallel):
        strategy.model = strategy.lightning_module
        gc.collect()
        if strategy.root_device.type == "cuda":
            torch.cuda.synchronize(strategy.root_device)
        strategy.configure_ddp()
