"""How an experiment is shown as it goes on: live bars for people, a line now and then for pipes."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from reproduction.finished import done_path

if TYPE_CHECKING:
    from reproduction.experiment import Experiment
    from reproduction.runner import Listener

__all__ = ["showing"]

_SILENCE = 10.0  # seconds between lines about epochs


@contextmanager
def showing(experiment: Experiment, out: Path, *, quiet: bool = False) -> Iterator[Listener | None]:
    """Show an experiment within the block.

    Args:
        experiment: what is run.
        out: its folder.
        quiet: show nothing.

    Yields:
        What `reproduce` tells of its progress.
    """
    from netmorph.cli.console import console

    screen = console()
    done = sum(done_path(out, key).exists() for key in experiment.jobs)
    if quiet:
        yield None
    elif not screen.is_terminal:
        yield _Lines(done, len(experiment.jobs))
    else:
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

        columns = (
            TextColumn("{task.description:<44}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[note]}"),
            TimeElapsedColumn(),
        )
        with Progress(*columns, console=screen) as progress:
            yield _Bars(progress, done, len(experiment.jobs))


class _Bars:
    """A bar for all jobs, and one for each that runs."""

    def __init__(self, progress: Any, done: int, total: int) -> None:
        self.progress = progress
        self.all = progress.add_task("trainings done", completed=done, total=total, note="")
        self.running: dict[str, Any] = {}

    def started(self, key: str) -> None:
        """Show another bar."""
        self.running[key] = self.progress.add_task(key, total=None, note="")

    def epoch(self, key: str, done: int, total: int, test_error: float) -> None:
        """Move a job's bar on."""
        self.progress.update(self.running[key], completed=done, total=total, note=f"test error {test_error:.2f} %")

    def finished(self, key: str, error: float) -> None:
        """Take a job's bar away, and move that of all on."""
        self._leave(key, f"{key}: test error {error:.2f} %")
        self.progress.advance(self.all)

    def paused(self, key: str) -> None:
        """Take a job's bar away."""
        self._leave(key, f"{key}: the time is up")

    def failed(self, key: str, message: str) -> None:
        """Say what went wrong."""
        self._leave(key, f"{key} failed: {message}")

    def _leave(self, key: str, said: str) -> None:
        self.progress.remove_task(self.running.pop(key))
        self.progress.console.print(said, markup=False, soft_wrap=True)


class _Lines:
    """A line where a job begins and ends, and one now and then between."""

    def __init__(self, done: int, total: int) -> None:
        self.done, self.total, self.spoke = done, total, time.monotonic()

    def started(self, key: str) -> None:
        """Say so."""
        self._say(f"{key}: started")

    def epoch(self, key: str, done: int, total: int, test_error: float) -> None:
        """Say so, unless something was said just now."""
        if time.monotonic() - self.spoke >= _SILENCE:
            self._say(f"{key}: epoch {done}/{total}, test error {test_error:.2f} %")

    def finished(self, key: str, error: float) -> None:
        """Say so, and how far all has come."""
        self.done += 1
        self._say(f"{key}: done, test error {error:.2f} % ({self.done} of {self.total})")

    def paused(self, key: str) -> None:
        """Say so."""
        self._say(f"{key}: the time is up")

    def failed(self, key: str, message: str) -> None:
        """Say what went wrong."""
        self._say(f"{key}: failed: {message}")

    def _say(self, text: str) -> None:
        print(text, flush=True)
        self.spoke = time.monotonic()
