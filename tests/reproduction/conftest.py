import pytest


@pytest.fixture(autouse=True)
def _plain(monkeypatch, tmp_path):
    """Run every command in an empty folder, without colour, and with full tracebacks out of the way."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.delenv("NETMORPH_TRACEBACK", raising=False)
