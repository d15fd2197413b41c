import json

import pytest

from netmorph.cli.main import main
from netmorph.lab import doctor
from netmorph.lab.doctor import Check

FINE = Check("torch works", "ok", "2.9")
NOTE = Check("bfloat16 on the CPU", "note", "killed by SIGILL", "export ONEDNN_MAX_CPU_ISA=AVX512_CORE_BF16")
BAD = Check("networkx", "bad", "networkx is not installed", "pip install networkx")


@pytest.mark.parametrize(
    ("checks", "code", "said"),
    [
        ([FINE], 0, "netmorph works here\n"),
        ([FINE, NOTE], 0, "netmorph works here; 1 note\n"),
        ([FINE, BAD, NOTE, NOTE], 2, "netmorph does NOT work here; 2 notes\n"),
    ],
)
def test_what_is_said_and_the_exit_code(monkeypatch, capsys, checks, code, said):
    monkeypatch.setattr(doctor, "diagnose", lambda: checks)
    assert main(["doctor"]) == code
    out = capsys.readouterr().out
    assert out.endswith(said)
    for check in checks:
        assert check.said in out
        assert check.remedy in out


@pytest.mark.parametrize(("checks", "code"), [([FINE, NOTE], 0), ([BAD], 2)])
def test_json(monkeypatch, capsys, checks, code):
    monkeypatch.setattr(doctor, "diagnose", lambda: checks)
    assert main(["doctor", "--json"]) == code
    found = json.loads(capsys.readouterr().out)
    assert found == {"works": code == 0, "checks": [check.to_dict() for check in checks]}
