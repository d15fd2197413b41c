import hashlib
import http.client
import os

import pytest

from netmorph.data.download import fetch
from netmorph.errors import NetmorphError

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


@pytest.mark.parametrize(("mask", "mode"), [(0o022, 0o644), (0o077, 0o600)])
def test_others_may_read_it_as_any_new_file(tmp_path, source, mask, mode):
    before = os.umask(mask)
    try:
        fetch(source, tmp_path / "target", hashlib.md5(CONTENT).hexdigest())
        assert os.umask(mask) == mask
    finally:
        os.umask(before)
    assert (tmp_path / "target").stat().st_mode & 0o777 == mode


def test_a_broken_answer_is_told(tmp_path, monkeypatch):
    def urlopen(url, timeout):
        raise http.client.IncompleteRead(b"")

    monkeypatch.setattr("urllib.request.urlopen", urlopen)
    with pytest.raises(NetmorphError, match="cannot be downloaded to .*IncompleteRead.*by hand"):
        fetch("http://nowhere/file", tmp_path / "target", "")
    assert list(tmp_path.iterdir()) == []


def test_what_is_not_what_it_should_be_does_not_stay(tmp_path, source):
    target = tmp_path / "new" / "target"
    with pytest.raises(NetmorphError, match="cannot be downloaded to .*checksum.*instead of 0123.*by hand"):
        fetch(source, target, "0123")
    assert list(target.parent.iterdir()) == []


def test_what_is_not_there_is_told(tmp_path, source):
    with pytest.raises(NetmorphError, match="nothing cannot be downloaded to"):
        fetch(source.replace("source", "nothing"), tmp_path / "target", "")
    assert not (tmp_path / "target").exists()
