import os

import pytest

from netmorph.errors import NetmorphError
from netmorph.train.yaml_file import LARGEST, read_yaml


def test_yaml_is_read(tmp_path):
    (tmp_path / "a.yaml").write_text("a: [1, 2.5]  # 3 * 4 & 5")
    assert read_yaml(tmp_path / "a.yaml") == {"a": [1, 2.5]}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a: &b [1]\nc: *b", "uses YAML aliases"),
        ("a: [", "cannot be read: while parsing"),
        ("a: " + "[" * 20_000, "cannot be read: maximum recursion depth"),
        ("a" * (LARGEST + 1), "too large for such a file.*262,144 bytes at most"),
    ],
)
def test_what_is_refused(text, said, tmp_path):
    (tmp_path / "a.yaml").write_text(text)
    with pytest.raises(NetmorphError, match=said):
        read_yaml(tmp_path / "a.yaml")


def test_only_regular_files_are_read(tmp_path):
    os.mkfifo(tmp_path / "pipe.yaml")
    (tmp_path / "zero.yaml").symlink_to("/dev/zero")
    for name in ("pipe.yaml", "zero.yaml", "missing.yaml"):
        with pytest.raises(NetmorphError, match=f"{name} is not a file"):
            read_yaml(tmp_path / name)
