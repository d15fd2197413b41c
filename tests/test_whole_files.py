"""Files are there whole or not at all, and nothing is left beside them."""

import pytest

from netmorph.whole_files import written_aside


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt, SystemExit])
def test_what_was_being_written_is_removed(tmp_path, error):
    path = tmp_path / "a.txt"
    path.write_text("old")

    def fail():
        with written_aside(path) as aside:
            aside.write_text("half")
            raise error

    with pytest.raises(error):
        fail()
    assert [each.name for each in tmp_path.iterdir()] == ["a.txt"]
    assert path.read_text() == "old"
    with written_aside(path) as aside:
        aside.write_text("new")
    assert [(each.name, each.read_text()) for each in tmp_path.iterdir()] == [("a.txt", "new")]
