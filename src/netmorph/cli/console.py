"""Where the command line prints: coloured and boxed for people, plain for pipes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

__all__ = ["console", "table"]

_PIPE_WIDTH = 160


def console(*, stderr: bool = False) -> Any:
    """Make a console that leaves colour to rich: none in a pipe, under ``NO_COLOR`` or on a dumb terminal."""
    from rich.console import Console as RichConsole

    class Console(RichConsole):
        def on_broken_pipe(self) -> None:  # rich would end the process with code 1
            raise BrokenPipeError

    plain: dict[str, Any] = {"highlight": False, "markup": False}  # brackets of paths and sites are no styles
    made = Console(stderr=stderr, soft_wrap=False, **plain)
    return made if made.is_terminal else Console(stderr=stderr, width=_PIPE_WIDTH, **plain)


def table(heads: Sequence[str], rows: Iterable[Sequence[str]], *, title: str | None = None, left: int = 1) -> Any:
    """Make a table whose first ``left`` columns are text and whose others are numbers.

    Args:
        heads: the columns' names.
        rows: the cells, as plain text.
        title: the line above.
        left: number of left-aligned columns.
    """
    from rich import box
    from rich.table import Table
    from rich.text import Text

    made = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
    for index, head in enumerate(heads):
        made.add_column(head, justify="left" if index < left else "right", overflow="fold")
    for row in rows:
        made.add_row(*map(Text, row))
    return made
