"""The processes that train one network together: what one of them does, and what all must agree on."""

from __future__ import annotations

import ctypes
import hashlib
from collections.abc import Callable
from typing import TypeVar

import torch
from torch import nn

from netmorph.errors import NetmorphError
from netmorph.train.machine import Machine, quiet_lightning

__all__ = ["ElsewhereError", "Team"]

T = TypeVar("T")


class ElsewhereError(NetmorphError):
    """Something failed, and the first process tells what: all end, this one without a word."""


class Team:
    """The processes of a run, of which each runs the same program; often it is one.

    Lightning starts the further ones when the team is made, by running the command line of this process again, or takes
    those that ``torchrun`` started. What fails in one of them, within a method of the team, fails in all.

    Args:
        machine: of the training; ``machine.devices`` is how many processes there are.

    Attributes:
        size: how many there are.
        first: whether this is the one that writes files and speaks.
    """

    def __init__(self, machine: Machine) -> None:
        self.size, self.first = machine.devices, True
        self._fabric = machine.fabric()  # raises now where there is no such device
        if self.size > 1:
            with quiet_lightning():
                self._fabric.launch()
            self.first = self._fabric.is_global_zero

    def everyone(self, make: Callable[[], T]) -> T:
        """Do something in every process.

        Returns:
            What came out in this one.

        Raises:
            ElsewhereError: if it failed in any process, and this is not the first one.
            NetmorphError: if it failed in another process, and this is the first one.
        """
        if self.size == 1:
            return make()
        outcome: list[T] = []
        failed: Exception | None = None
        try:
            outcome.append(make())
        except Exception as error:  # the others must hear of whatever it is
            failed = error
        said = self._gathered(None if failed is None else str(failed))
        if self.first and failed is not None:
            raise failed
        for rank, message in enumerate(said):
            if message is not None:
                raise NetmorphError(f"process {rank}: {message}") if self.first else ElsewhereError(message)
        return outcome[0]

    def told(self, make: Callable[[], T]) -> T:
        """Do something in the first process only; all return what came out there, once it is done."""
        left = self.everyone(lambda: [make()] if self.first else [])
        if self.size > 1:
            left = self._fabric.broadcast(left)
        return left[0]

    def in_turn(self, make: Callable[[], T]) -> T:
        """Do something in the first process, then in the others, which find the files that it left."""
        left = self.everyone(lambda: [make()] if self.first else [])
        return self.everyone(lambda: left[0] if left else make())

    def same(self, model: nn.Module, what: str) -> None:
        """Assert that the processes hold the same network, bit for bit.

        Args:
            model: this process's.
            what: what to call it.

        Raises:
            NetmorphError: if the networks differ.
        """
        if self.size == 1:
            return
        marks = self._gathered(_checksum(model))
        odd = [str(rank) for rank, mark in enumerate(marks) if mark != marks[0]]
        if odd:
            error = NetmorphError if self.first else ElsewhereError
            raise error(
                f"the processes do not hold the same {what}: {', '.join(odd)} differ from the first",
                remedies=["give all of them the same versions of netmorph and torch, and as many threads"],
            )

    def leave(self) -> None:
        """End together: a process that ends before the others would take them down."""
        if self.size > 1:
            self._fabric.barrier()
            torch.distributed.destroy_process_group()

    def _gathered(self, mine: str | None) -> list[str | None]:
        """Return what each process holds."""
        theirs: list[str | None] = [None] * self.size
        torch.distributed.all_gather_object(theirs, mine)
        return theirs


def _checksum(model: nn.Module) -> str:
    """Return a digest of all that a network's state dict holds."""
    digest = hashlib.sha256()
    for name, value in model.state_dict().items():
        tensor = value.detach().cpu().contiguous()
        digest.update(f"{name} {tuple(tensor.shape)} {tensor.dtype} ".encode())
        digest.update(ctypes.string_at(tensor.data_ptr(), tensor.nbytes))
    return digest.hexdigest()
