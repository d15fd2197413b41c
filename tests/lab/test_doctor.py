import json
import subprocess
import sys
from collections import namedtuple
from pathlib import Path

import pytest

from netmorph.lab import doctor
from netmorph.lab.doctor import Check, bfloat16, compiler, disk, extras, lightning_release, packages, summary
from netmorph.lab.probes import Probe, finish

WORKS = Probe({"finite": True})
NONSENSE = Probe({"finite": False})
DEAD = Probe(None, "killed by SIGILL")


def process(code: str) -> subprocess.Popen[str]:
    return subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_a_crash_is_told_and_not_suffered() -> None:
    assert finish(process("import os, signal; os.kill(os.getpid(), signal.SIGILL)")) == DEAD


@pytest.mark.parametrize(
    ("code", "why"),
    [
        ("raise OSError('libcudart is missing')", "OSError: libcudart is missing"),
        ("import sys; sys.exit(3)", "exit code 3"),
        ("print('no json')", "exit code 0"),
        ("print('[1]')", "exit code 0"),
    ],
)
def test_other_ends(code: str, why: str) -> None:
    assert finish(process(code)) == Probe(None, why)


def test_a_probe_that_hangs_is_ended() -> None:
    assert finish(process("import time; time.sleep(60)"), seconds=0.3) == Probe(None, "no answer within 0.3 s")


def test_the_last_line_counts() -> None:
    assert finish(process("print('noise'); print('{\"a\": 1}')")).found == {"a": 1}


def test_bfloat16_that_works() -> None:
    check = bfloat16(WORKS, lambda given: pytest.fail("not needed"))
    assert (check.verdict, check.remedy) == ("ok", "")


@pytest.mark.parametrize(("probe", "said"), [(DEAD, "killed by SIGILL"), (NONSENSE, "not finite")])
def test_the_remedy_is_tried_before_it_is_told(probe: Probe, said: str) -> None:
    asked = []

    def again(given):
        asked.append(given)
        return WORKS

    check = bfloat16(probe, again)
    assert asked == [{"ONEDNN_MAX_CPU_ISA": "AVX512_CORE_BF16"}]
    assert check.verdict == "note"
    assert said in check.said
    assert "export ONEDNN_MAX_CPU_ISA=AVX512_CORE_BF16 (tried: it helps)" in check.remedy


def test_a_remedy_that_does_not_help_is_not_praised() -> None:
    check = bfloat16(DEAD, lambda given: DEAD)
    assert "does not help" in check.remedy
    assert "use float32" in check.remedy


def test_packages_too_old_or_missing(monkeypatch) -> None:
    wanted = ["torch>=2.6", "networkx>=3.2", "safetensors>=0.4", 'rich>=13.7; extra == "cli"', 'x>=1; extra == "zoo"']
    found = {"torch": "2.10.0+cpu", "networkx": "3.1", "rich": "13.7.1"}
    monkeypatch.setattr(doctor, "requires", lambda name: wanted)
    monkeypatch.setattr(doctor, "_version", found.get)
    checks = {check.what: check for check in (*packages(), *extras())}
    assert checks["torch"].verdict == "ok"
    assert checks["networkx"] == Check(
        "networkx", "bad", "networkx 3.1 is older than 3.2", "pip install --upgrade 'networkx>=3.2'"
    )
    assert checks["safetensors"].verdict == "bad"
    assert checks["extra cli"].verdict == "ok"
    assert checks["extra zoo"] == Check(
        "extra zoo", "note", "x is not installed", "pip install -e '.[zoo]' in the clone of netmorph"
    )
    assert "extra search" not in checks


@pytest.mark.parametrize(("number", "verdict"), [("2.6.2", "bad"), ("2.6.3", "bad"), ("2.6.4", "ok"), (None, "ok")])
def test_releases_of_lightning_that_must_not_be_used(monkeypatch, number: str | None, verdict: str) -> None:
    monkeypatch.setattr(doctor, "_version", {"pytorch-lightning": number}.get)
    assert lightning_release().verdict == verdict


def test_little_disk(monkeypatch, tmp_path: Path) -> None:
    usage = namedtuple("usage", "free")
    monkeypatch.setattr(doctor.shutil, "disk_usage", lambda folder: usage(2**30))
    assert disk(tmp_path).verdict == "note"
    monkeypatch.setattr(doctor.shutil, "disk_usage", lambda folder: usage(2**40))
    assert disk(tmp_path) == Check("disk", "ok", f"1024.0 GiB free for {tmp_path}")


def test_what_compiling_lacks(monkeypatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CXX", raising=False)
    monkeypatch.setattr(doctor, "_version", lambda name: None)
    said = compiler(gpu=True).said
    assert "no C++ compiler" in said
    assert "triton is not installed" in said
    assert "triton" not in compiler(gpu=False).said


def test_a_torch_that_cannot_be_imported_is_bad_and_ends_the_rest(monkeypatch) -> None:
    asked = []

    def start(name: str, **given: str):
        asked.append(name)
        return name

    monkeypatch.setattr(doctor, "start", start)
    monkeypatch.setattr(doctor, "finish", lambda name: Probe(None, "OSError: libtorch.so"))
    checks = doctor.diagnose()
    assert [(c.said, c.verdict) for c in checks if c.what == "torch works"] == [
        ("import torch: OSError: libtorch.so", "bad")
    ]
    assert "morph" not in asked
    assert summary(checks)["works"] is False


def test_an_inexact_morph_is_bad(monkeypatch) -> None:
    found = {
        "torch": {"version": "2.9", "threads": 1, "cpu": "AVX2", "cuda": None, "accelerator": None, "gpus": []},
        "bfloat16": {"finite": True},
        "morph": {"exact": False, "max_rel": 0.5, "tolerance": 1e-5},
    }
    monkeypatch.setattr(doctor, "start", lambda name, **given: name)
    monkeypatch.setattr(doctor, "finish", lambda name: Probe(found[name]))
    checks = {check.what: check for check in doctor.diagnose()}
    assert checks["morph works"].verdict == "bad"
    assert "5.0e-01" in checks["morph works"].said
    assert checks["torch works"].verdict == "ok"


@pytest.mark.slow
def test_this_machine() -> None:
    command = [sys.executable, "-m", "netmorph.cli.main", "doctor", "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    found = {check["what"]: check["verdict"] for check in json.loads(done.stdout)["checks"]}
    assert found["morph works"] == found["torch works"] == "ok"
