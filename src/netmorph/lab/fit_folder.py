"""The folder of a training run: its files, each written aside and renamed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from netmorph.bounded import read_json
from netmorph.errors import NetmorphError
from netmorph.lab.run_folder import environment, write_csv, write_json
from netmorph.train.rows import EpochRow
from netmorph.whole_files import written_aside

__all__ = ["MODEL", "PhaseFolder", "RunFolder", "rows_of"]

CONFIG, RESULTS, METRICS, MODEL = "config.json", "results.json", "metrics.csv", "model"
_DONE, _PARITY = "phase.json", "parity.json"

Phase = dict[str, Any]


@dataclass(frozen=True)
class PhaseFolder:
    """What a phase leaves.

    Attributes:
        path: the folder.
    """

    path: Path

    @property
    def born(self) -> Path:
        """The network as its morph made it."""
        return self.path / "born"

    @property
    def model(self) -> Path:
        """The network as the phase left it."""
        return self.path / MODEL

    @property
    def training(self) -> Path:
        """Checkpoints and logs of the training."""
        return self.path / "training"

    def parity(self) -> Phase | None:
        """Return what its morph was found to be; None before that is written, which is after `born`."""
        return read(self.path / _PARITY)

    def write_parity(self, parity: Mapping[str, Any]) -> None:
        """Write that down."""
        write(self.path / _PARITY, parity)

    def done(self) -> Phase | None:
        """Return what the phase came to; None before it is through."""
        return read(self.path / _DONE)

    def write_done(self, done: Mapping[str, Any]) -> None:
        """Write down that the phase is through, and drop its checkpoints."""
        write(self.path / _DONE, done)
        for leftover in self.training.glob("*.ckpt"):
            leftover.unlink()


@dataclass(frozen=True)
class RunFolder:
    """What a run leaves.

    Attributes:
        path: the folder.
    """

    path: Path

    @property
    def model(self) -> Path:
        """The network that came out."""
        return self.path / MODEL

    def phase(self, number: int) -> PhaseFolder:
        """Return the folder of a phase, counted from 1."""
        return PhaseFolder(self.path / f"phase-{number}")

    def is_new(self) -> bool:
        """Whether no run has claimed it yet."""
        return not (self.path / CONFIG).exists()

    def lock(self) -> FileLock:
        """Return the lock that `hold` takes; the system takes it back from a dead process."""
        return FileLock(self.path / ".lock")

    def hold(self, lock: FileLock) -> None:
        """Keep other processes off the folder until the lock is released; the folder is made if need be.

        Raises:
            NetmorphError: if another process uses the folder, or it cannot be written.
        """
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            lock.acquire(timeout=0)
        except Timeout:
            raise NetmorphError(
                f"another netmorph fit is using {self.path}",
                remedies=["wait until it has finished", "choose another folder with --out"],
            ) from None
        except OSError as error:
            raise self._unwritable(error) from error

    def claim(self, mine: Mapping[str, Any]) -> None:
        """Write what the folder is for, or check that it is for this.

        Args:
            mine: what is to be done; a folder of which any of it differs is another run's.

        Raises:
            NetmorphError: if the folder holds another run, something else, or cannot be written.
        """
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            known = read(self.path / CONFIG)
            if known is None:
                if any(each for each in self.path.iterdir() if not each.name.startswith(".")):
                    raise NetmorphError(
                        f"{self.path} exists and is not empty", remedies=["choose another folder with --out"]
                    )
                write(self.path / CONFIG, {**mine, **environment()})
                return
        except OSError as error:
            raise self._unwritable(error) from error
        differing = [key for key, value in mine.items() if known.get(key) != value]
        if differing:
            raise NetmorphError(
                f"{self.path} holds another run",
                shapes=f"its {' and '.join(differing)} differ",
                remedies=["repeat the original command", "choose another folder with --out"],
            )

    def finished(self, phases: int) -> list[Phase]:
        """Return what the first of so many phases came to, up to the one that is not through."""
        done = (self.phase(number).done() for number in range(1, phases + 1))
        return list(takewhile(lambda phase: phase is not None, done))  # type: ignore[arg-type]

    def results(self) -> dict[str, Any] | None:
        """Return what the run came to; None before it is through."""
        return read(self.path / RESULTS)

    def _unwritable(self, error: OSError) -> NetmorphError:
        return NetmorphError(
            f"cannot write into {self.path}: {error.strerror}", remedies=["choose another folder with --out"]
        )

    def write_results(self, phases: Sequence[Phase], results: Mapping[str, Any]) -> None:
        """Write the metrics of all phases, and last of all what the run came to."""
        with written_aside(self.path / METRICS) as aside:
            write_csv(aside, list(_metrics(phases)))
        write(self.path / RESULTS, results)


def rows_of(phases: Sequence[Phase]) -> list[EpochRow]:
    """Return the epochs of phases that are through."""
    return [EpochRow(**row) for phase in phases for row in phase["rows"]]


def read(path: Path) -> dict[str, Any] | None:
    """Read a file of the run; None if it is not there.

    Raises:
        NetmorphError: if the file is damaged.
    """
    try:
        content = read_json(path)
        if not isinstance(content, dict) or not content:
            raise ValueError("it is not a JSON object with entries")
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise NetmorphError(f"{path} cannot be read: {error}", remedies=["choose another folder with --out"]) from error
    return content


def write(path: Path, content: Mapping[str, Any]) -> None:
    """Write a file of the run aside and rename it."""
    with written_aside(path) as aside:
        write_json(aside, content)


def _metrics(phases: Sequence[Phase]) -> Iterator[dict[str, Any]]:
    """Yield one row an epoch."""
    for number, phase in enumerate(phases, 1):
        yield from ({"phase": number, **row} for row in phase["rows"])
