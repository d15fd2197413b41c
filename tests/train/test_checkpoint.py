import errno
import os

import pytest
import torch

from netmorph.errors import NetmorphError
from netmorph.train.checkpoint import CHECKPOINT, write_checkpoint

FULL = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_a_full_disk_is_told_and_nothing_is_left(tmp_path, monkeypatch):
    """torch's writer asks the file, which says what is wrong, and then complains of a position itself."""
    write_checkpoint(tmp_path, {}, {"epoch": 1})
    whole = (tmp_path / CHECKPOINT).read_bytes()

    class Full:
        def __init__(self, file):
            self.file, self.room = file, 1000

        def write(self, content):
            self.room -= len(content)
            if self.room < 0:
                raise FULL
            return self.file.write(content)

        def __getattr__(self, name):
            return getattr(self.file, name)

    save = torch.save
    monkeypatch.setattr(torch, "save", lambda content, file: save(content, Full(file)))
    with pytest.raises(NetmorphError, match=f"cannot be written to .*{CHECKPOINT}: No space left on device") as caught:
        write_checkpoint(tmp_path, {}, {"weights": torch.zeros(10_000)})
    assert "unexpected pos" not in str(caught.value)
    assert [each.name for each in tmp_path.iterdir()] == [CHECKPOINT]
    assert (tmp_path / CHECKPOINT).read_bytes() == whole


def test_an_interruption_leaves_nothing(tmp_path, monkeypatch):
    def stopped(_content, file):
        file.write(b"half")
        raise KeyboardInterrupt

    monkeypatch.setattr(torch, "save", stopped)
    with pytest.raises(KeyboardInterrupt):
        write_checkpoint(tmp_path, {}, {})
    assert list(tmp_path.iterdir()) == []
