"""The examples run."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parent.parent / "examples"


@pytest.mark.parametrize("arguments", [["train_then_collapse.py", "--quick", "--seeds", "0", "1"]], ids=lambda a: a[0])
def test_it_runs(arguments: list[str], tmp_path: Path) -> None:
    script, *options = arguments
    ran = subprocess.run(
        [sys.executable, str(EXAMPLES / script), *options],
        cwd=tmp_path,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    assert "better in" in ran.stdout
