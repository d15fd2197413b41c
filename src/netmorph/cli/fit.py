"""Train a network on a data set, and morph it during training.

The network is a model built by name or the folder of a checkpoint; the number of classes and channels of the data set
is passed to its constructor. Morphs take place between phases, as given by --at, --to and --grow-at, or by `phases` in
a config file. The run's folder contains config.json, metrics.csv, results.json and model, a checkpoint for the other
commands. If a run was stopped, repeat the command to continue it. Exit code 75: the run was ended by --time-limit. With
--devices, or under torchrun, several processes train one network, each with its share of every batch.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from netmorph.cli.options import Text, add_birth, check_arguments, check_seed
from netmorph.cli.training import (
    AGAIN,
    TrainingPrinter,
    add_data,
    add_machine,
    add_time_limit,
    data_loader,
    deadline,
    machine_of,
    require,
)
from netmorph.errors import NetmorphError

if TYPE_CHECKING:
    from netmorph.lab.fit_phases import FitPhase
    from netmorph.lab.fit_setting import RunSetting
    from netmorph.lab.team import Team
    from netmorph.surgery.morphing.result import Result
    from netmorph.train.machine import Machine

__all__ = ["add_arguments", "run"]


def add_arguments(parser: Any) -> None:
    """Add the command's options."""
    _add_network(parser)
    add_data(parser, "fashion-mnist-subset", "fashion-mnist-subset, which is part of netmorph")
    for split in ("train", "test"):
        parser.add_argument(
            f"--{split}-limit", type=int | None, default=None, help=f"use only the first {split} images"
        )
    parser.add_argument("--recipe", type=str, default="short", help="short, smoke, paper-cifar, ... or a YAML file")
    parser.add_argument(
        "--epochs",
        type=int | None,
        default=None,
        help="number of epochs, in total or of each phase (default: as in the recipe)",
    )
    parser.add_argument("--lr", type=float | None, default=None, help="peak learning rate (default: as in the recipe)")
    parser.add_argument("--batch-size", type=int | None, default=None, help="batch size (default: as in the recipe)")
    _add_growth(parser)
    parser.add_argument("--out", type=str, required=True, help="folder of the run; a run that was stopped is continued")
    add_machine(parser)
    parser.add_argument(
        "--devices",
        type=int | None,
        default=None,
        help="number of devices of this computer, one process for each (DDP); under torchrun its processes are used",
    )
    add_time_limit(parser)
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(options: Any) -> int:
    """Train, print what came out, and say by the exit code whether it is through."""
    from netmorph.lab.fit_setting import RunSetting
    from netmorph.lab.team import ElsewhereError, Team

    require("lightning")
    if options.seed < 0:
        raise NetmorphError(f"--seed must be non-negative, got {options.seed}")
    check_seed(options.seed)
    check_arguments(options.model_args)
    setting = RunSetting(
        options.model,
        _phases(options),
        dict(options.model_args),
        options.weights,
        options.seed,
        None if options.act == "none" else options.act,
        None if options.norm == "none" else options.norm,
        options.keep_parent,
        options.birth,
    )
    machine = _machine(options)
    team = Team(machine)
    try:
        return _train(options, setting, machine, team)
    except ElsewhereError:
        return 0  # the first process tells, and its exit code counts
    except (NetmorphError, RuntimeError) as error:  # the latter where the first process has ended
        if not team.first:
            raise NetmorphError(f"in one of the further processes: {error}") from error
        raise
    except KeyboardInterrupt:
        if team.first:
            raise
        return 130


def _train(options: Any, setting: RunSetting, machine: Machine, team: Team) -> int:
    """Train in this process and print in the first one."""
    from netmorph.lab.training_run import training_run
    from netmorph.train.loop import Paused

    out, stop = Path(options.out), deadline(options.time_limit)
    load = data_loader(options.data_name, options, train_limit=options.train_limit, test_limit=options.test_limit)
    printer = _Printer(quiet=options.json)
    try:
        data = team.in_turn(load)
        results = training_run(setting, data, out, printer, machine=machine, team=team, stop=stop)
    except Paused as paused:
        team.leave()
        said = {"done": False, "folder": str(out)}
        if not team.first:
            return 0
        _tell(options.json, said, f"Time limit reached: {paused}. Repeat the command to continue.")
        return AGAIN
    team.leave()
    if not team.first:
        return 0
    summary = (
        f"Test error {results['error']:.2f} % on {results['data']} after {results['epochs']} epochs; "
        f"{results['params']:,} parameters, {results['macs']:,} MACs an image. Written to {out}"
    )
    _tell(options.json, {"done": True, "folder": str(out), **results}, summary)
    return 0


def _machine(options: Any) -> Machine:
    """Return what the training runs on, and on how many devices.

    Raises:
        NetmorphError: if --devices contradicts torchrun, or torchrun spans several computers.
    """
    given: int | None = options.devices
    if given is not None and given < 1:
        raise NetmorphError(f"--devices must be at least 1, got {given}")
    if "TORCHELASTIC_RUN_ID" in os.environ:
        started, here = int(os.environ["WORLD_SIZE"]), int(os.environ["LOCAL_WORLD_SIZE"])
        if started != here:
            raise NetmorphError(
                f"torchrun started {started} processes, {here} of them here; netmorph fit takes those of one computer",
                remedies=["leave --nnodes out", "use netmorph.train.callback.GrowCallback in your own Trainer"],
            )
        if given not in (None, started):
            raise NetmorphError(
                f"torchrun started {started} processes, not {given}", remedies=["leave --devices out under torchrun"]
            )
        given = started
    devices = given or 1
    return replace(machine_of(options), devices=devices, strategy="auto" if devices == 1 else "ddp")


def _add_network(parser: Any) -> None:
    """Add what is trained."""
    parser.add_argument(
        "--model",
        type=str,
        required=True,
        help="netmorph:resnet20, torchvision:resnet18, timm:resnet50, or the folder of a checkpoint",
    )
    parser.add_argument(
        "--model-args",
        type=dict[str, bool | int | float | str | None],
        default={},
        help="additional arguments of the model's constructor: --model-args.width=8",
    )
    parser.add_argument("--weights", type=str | None, default=None, help="safetensors file with the model's weights")
    parser.add_argument("--seed", type=int, default=0, help="random seed")


def _add_growth(parser: Any) -> None:
    """Add what is morphed when."""
    parser.add_argument(
        "--at", type=Text(), action="append", default=[], help="layers to morph, by name or pattern; repeatable"
    )
    parser.add_argument("--to", type=Text(), action="append", default=[], help="module for the corresponding --at")
    parser.add_argument(
        "--grow-at",
        type=_Epoch(),
        action="append",
        default=[],
        metavar="EPOCH",
        help="number of epochs after which to morph, for all --at or for each of them; 0 is before the first epoch",
    )
    parser.add_argument(
        "--phases",
        type=list[dict[str, Any]] | None,
        default=None,
        help="list of phases, best given in a config file, instead of --at, --to and --grow-at; each has at and to, "
        "or grow (such as morph20_1c1), and optionally recipe and keys of a recipe such as epochs and lr",
    )
    parser.add_argument(
        "--act", type=str, default="auto", help="activation in morphed modules: auto (as in the network), none, ..."
    )
    parser.add_argument(
        "--norm", type=str, default="auto", help="norm in morphed modules: auto (as in the network), none, ..."
    )
    parser.add_argument(
        "--keep-parent",
        action="store_true",
        help="if a graph cannot represent the filter, add a parallel edge with the layer's kernel",
    )
    add_birth(parser)


class _Epoch:
    """The type of --grow-at: one number on the command line, one or a list of them in a config file."""

    def __call__(self, value: object) -> object:
        """Read a number."""
        if isinstance(value, list):
            return [self(item) for item in value]
        if isinstance(value, bool) or not isinstance(value, int | str):
            raise ValueError(f"expected a number of epochs, got {value!r:.80}")
        return int(value)

    def __repr__(self) -> str:
        return "number of epochs"


def _phases(options: Any) -> tuple[FitPhase, ...]:
    """Read what is done one after the other."""
    from netmorph.lab.fit_phases import cut_phases, read_phases
    from netmorph.train.recipe import load_recipe

    given = {"epochs": options.epochs, "lr": options.lr, "batch_size": options.batch_size}
    overrides = {key: value for key, value in given.items() if value is not None}
    at, to, when = (_flat(each) for each in (options.at, options.to, options.grow_at))
    if options.phases is None:
        return cut_phases(load_recipe(options.recipe, **overrides), at, to, when)
    if at or to or when:
        raise NetmorphError("--phases and --at, --to or --grow-at exclude each other", remedies=["use one of them"])
    return read_phases(options.phases, options.recipe, overrides)


def _flat(given: Any) -> list[Any]:
    """Return a repeatable option as one list, however a config file writes it."""
    if not isinstance(given, list):
        return [given]
    return [item for each in given for item in (each if isinstance(each, list) else [each])]


def _tell(as_json: bool, content: Mapping[str, Any], text: str) -> None:
    """Print what came out, for programs or for people."""
    print(json.dumps(content, indent=2) if as_json else text)


class _Printer(TrainingPrinter):
    """Prints as the run goes on: each phase, and the morphs between."""

    def morphed(self, result: Result) -> None:
        """Print the parity of every site."""
        from netmorph.cli.print_morph import print_morph

        if not self.quiet:
            print_morph(self.console, result)
