"""What an experiment has come to so far: the finished jobs in its folder."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from reproduction.experiment import Experiment, Job, TableRow
from reproduction.job import DONE, read_done
from reproduction.spread import Spread

__all__ = ["Finished", "done_path", "phases_of", "read_finished", "title_of"]

TEST_ERROR = 4  # place in a point of a curve: cumulative epoch, train loss, train error, test loss, test error


@dataclass(frozen=True)
class Finished:
    """The finished jobs of an experiment.

    Attributes:
        experiment: all that is to be done.
        done: by key, what each finished job wrote.
    """

    experiment: Experiment
    done: dict[str, dict[str, Any]]

    def values(self, keys: Iterable[str], figure: str) -> list[float | None]:
        """Return a figure of each job; None where the job is not finished or has none.

        Args:
            keys: the jobs.
            figure: what the job wrote under that name; or ``macs_m``, ``macs_g``, in millions and billions; or
                ``compute``: MACs of one image times epochs, over its own training and all that it continues.
        """
        return [self._value(key, figure) for key in keys]

    def spread(self, keys: Iterable[str], figure: str) -> Spread | None:
        """Return mean and deviation of a figure over the finished jobs; None if there are none."""
        values = tuple(value for value in self.values(keys, figure) if value is not None)
        return Spread(values) if values else None

    def chain(self, key: str) -> list[Job]:
        """Return a job and those that it continues, the first one first."""
        job = self.experiment.jobs[key]
        return [job] if job.start is None else [*self.chain(job.start), job]

    def roots(self, keys: Iterable[str]) -> tuple[str, ...]:
        """Return the first job of each job's chain: its parent."""
        return tuple(self.chain(key)[0].key for key in keys)

    def curve(self, key: str) -> list[tuple[int, float]]:
        """Return the test errors in percent of one job's own epochs, by cumulative epoch.

        Where the job continues another, that one's last point comes first, so that lines join.
        """
        found = self.done.get(key)
        own = [(int(point[0]), float(point[TEST_ERROR])) for point in found["curve"]] if found else []
        start = self.experiment.jobs[key].start
        before = self.curve(start)[-1:] if own and start is not None else []
        return before + own

    def births(self, key: str) -> list[tuple[int, str]]:
        """Return the cumulative epoch and the name of every network grown on the way to a job, itself included."""
        return [
            (int(self.done[job.start]["epochs"]), job.net)
            for job in self.chain(key)
            if job.kind in ("morph", "net2net") and job.start in self.done
        ]

    def named(self, *path: str) -> list[str]:
        """Return the different entries under a path such as ``"environment", "accelerator"``, as text, in order."""
        texts = []
        for found in self.done.values():
            entry: Any = found
            for name in path:
                entry = (entry or {}).get(name)
            texts.append(_text(entry))
        return list(dict.fromkeys(text for text in texts if text))

    def _value(self, key: str, figure: str) -> float | None:
        found = self.done.get(key)
        if found is None:
            return None
        match figure:
            case "macs_m":
                return float(found["macs"]) / 1e6
            case "macs_g":
                return float(found["macs"]) / 1e9
            case "compute":
                return self._compute(key)
        value = found.get(figure)
        return None if value is None else float(value)

    def _compute(self, key: str) -> float | None:
        chain = [job.key for job in self.chain(key)]
        if any(each not in self.done for each in chain):
            return None
        return float(sum(self.done[each]["macs"] * self.done[each]["own_epochs"] for each in chain))


def title_of(row: TableRow) -> str:
    """Return what a row is called: by its name, or where one network is grown in several ways by the way."""
    return str(row.figure.get("variant", row.name))


def phases_of(row: TableRow) -> str:
    """Write what a row's network grew through, without the depth that all names share; "" for nothing."""
    return ", ".join(phase.partition("_")[2] for phase in row.phases)


def done_path(out: Path, key: str) -> Path:
    """Return where a finished job says what it came to."""
    return out / "jobs" / key / DONE


def read_finished(experiment: Experiment, out: Path) -> Finished:
    """Read what is finished.

    Args:
        experiment: all that is to be done; other jobs in the folder are left alone.
        out: the experiment's folder.

    Raises:
        NetmorphError: if a file is damaged.
    """
    found = ((key, read_done(done_path(out, key).parent)) for key in experiment.jobs)
    return Finished(experiment, {key: done for key, done in found if done is not None})


def _text(entry: Any) -> str:
    """Write an entry of an environment: a text, or versions by name."""
    if isinstance(entry, dict):
        return ", ".join(f"{name} {value}" for name, value in entry.items() if value is not None)
    return "" if entry is None else str(entry)
