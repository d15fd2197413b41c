"""What a program of ours must stand: odd values for its options, and very long ones."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest

Main = Callable[[Sequence[str]], int]
LONG = "a" * 100_000  # a shell passes on little more
VALUES = ["", " ", "-1", "1e400", "nan", "[1", "*a", "&a", "null", "9" * 20, "/dev/null", "a" * 3000, "\n"]


def code_of(main: Main, arguments: Sequence[str]) -> int | str | None:
    """Return the exit code, whether a program returns it or exits with it."""
    try:
        return main(arguments)
    except SystemExit as exit_:
        return exit_.code


def assert_quoted_briefly(main: Main, arguments: Sequence[str], capsys: pytest.CaptureFixture[str]) -> None:
    """Assert that a very long argument is refused in a short message."""
    assert code_of(main, arguments) == 2
    told = capsys.readouterr().err
    assert "a" * 50 in told or "too long" in told
    assert len(told) < 4000


def assert_no_value_is_our_fault(main: Main, line: Sequence[str], capsys: pytest.CaptureFixture[str]) -> None:
    """Assert that the last option of a line takes any value, or refuses it in a short message."""
    for value in VALUES:
        code = code_of(main, [*line[:-1], f"{line[-1]}={value}"])
        told = capsys.readouterr().err
        assert code in (0, 2, 75), (value, told)
        assert "Traceback" not in told
        assert len(told) < 4000
