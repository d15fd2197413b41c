import hashlib

import pytest

from netmorph.errors import NetmorphError
from netmorph.train.download import fetch

CONTENT = b"some data" * 1000


@pytest.fixture
def source(tmp_path):
    (tmp_path / "source").write_bytes(CONTENT)
    return (tmp_path / "source").as_uri()


def test_a_file_is_fetched_and_nothing_else_is_left(tmp_path, source):
    target = tmp_path / "deep" / "er" / "target"
    assert fetch(source, target, hashlib.md5(CONTENT).hexdigest()) == target
    assert target.read_bytes() == CONTENT
    assert list(target.parent.iterdir()) == [target]


def test_what_is_not_what_it_should_be_does_not_stay(tmp_path, source):
    target = tmp_path / "new" / "target"
    with pytest.raises(NetmorphError, match="cannot be downloaded to .*checksum.*instead of 0123.*by hand"):
        fetch(source, target, "0123")
    assert list(target.parent.iterdir()) == []


def test_what_is_not_there_is_told(tmp_path, source):
    with pytest.raises(NetmorphError, match="nothing cannot be downloaded to"):
        fetch(source.replace("source", "nothing"), tmp_path / "target", "")
    assert not (tmp_path / "target").exists()
