import json
import sys

import pytest

from netmorph.cli.main import main
from netmorph.graph.codec import to_json
from netmorph.graph.notation import parse


def shown(capsys, *arguments):
    assert main(["show", *arguments]) == 0
    return capsys.readouterr().out


def test_a_simple_graph(capsys):
    out = shown(capsys, "1x1 > 3x3 | id", "--channels", "64", "--kernel", "3")
    for said in (
        "s_a   s -> a  1x1",
        "simple; 2 paths from s to t",
        "Type II  m2 -> s_t (id) | m1 (3x3)",
        "Type I   m1 -> s_a (1x1) > a_t (3x3), a new blob a",
        "G = a_t s_a + id",
        "64->64 kernel 3x3 padding 1x1",
        "exact     yes",
    ):
        assert said in out


def test_the_graph_is_drawn_with_characters(capsys):
    out = shown(capsys, "3x3:16 > 1x1 | avg3x3", "--channels", "64")
    assert "[3x3]" in out
    assert "a:16!" in out
    assert "[ ] carries the layer's filter, ! is too narrow" in out


def test_files_are_drawn(capsys, tmp_path):
    out = shown(capsys, "3x3 > 1x1 | id", "--out", "a.svg", "--out", "a.png", "--out", "a.dot", "--out", "a.mmd")
    assert out.count("Drawn to ") == 4
    assert (tmp_path / "a.svg").read_text(encoding="utf-8").startswith("<svg")
    assert (tmp_path / "a.png").read_bytes()[:4] == b"\x89PNG"
    assert (tmp_path / "a.dot").read_text(encoding="utf-8").startswith("digraph")
    assert (tmp_path / "a.mmd").read_text(encoding="utf-8").startswith("flowchart")


def test_the_morphing_sequence_is_drawn_as_a_strip(capsys, tmp_path):
    found = json.loads(shown(capsys, "3x3 > 1x1 | id", "--out", "strip.svg", "--strip", "--json"))
    assert found["drawings"] == ["strip.svg"]
    assert "Type I: in series" in (tmp_path / "strip.svg").read_text(encoding="utf-8")


def test_the_papers_module_d_by_name(capsys):
    out = shown(capsys, "module_d")
    assert "complex: an irreducible core of 7 edges; 4 paths" in out
    assert "G = F5 F1 + F6 (F3 F1 + F4 F2) + F7 F2" in out
    assert "none: no step of Algorithm 1 applies" in out


def test_an_infeasible_graph_names_what_is_missing(capsys):
    out = shown(capsys, "3x3:16 > 1x1", "--channels", "64")
    assert "exact     no" in out
    assert "keep_parent" in out


def test_a_graph_of_very_many_paths_is_not_written_out(capsys):
    rungs = " > ".join(["(1x1 | 1x1)"] * 40)
    out = shown(capsys, f"3x3 > {rungs}")
    assert f"{2**40} paths" in out
    assert f"a sum over {2**40} paths" in out
    assert "and 40 more" in out


def test_a_json_file(capsys, tmp_path):
    (tmp_path / "graph.json").write_text(to_json(parse("3x3 > 1x1")))
    assert "3x3 > 1x1" in shown(capsys, "graph.json")


def test_json(capsys):
    found = json.loads(shown(capsys, "1x1 > 3x3 | id", "--json"))
    assert found["feasible"] is True
    assert found["equation"] == "G = a_t s_a + id"
    assert len(found["morphing_sequence"]) == 2


@pytest.mark.parametrize(("kernel", "said"), [("1x3", "kernel 1x3"), ("3x3x3", "kernel 3x3x3"), ("5", "kernel 5x5")])
def test_the_sites_kernel(capsys, kernel, said):
    assert said in shown(capsys, "3 > 1" if kernel.count("x") == 2 else "5x5 > 1x1", "--kernel", kernel)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["3x3 >> 1x1"], "  3x3 >> 1x1\n       ^"),
        (["s-a:3, a-s:3"], "s"),
        (["modul_d"], "module_d"),
        (["id", "--kernel", "3y3"], "is not a kernel"),
        (["id", "--kernel", "99999999999999999999"], "--kernel 99999999999999999999 is too large"),
        (["id", "--kernel", "999"], "--kernel 999 is too large: the site has at most 10,000 taps"),
        (["id", "--kernel", "3x99999999999999999999"], "is too large"),
        (["3x3", "--channels", "0"], "at least 1"),
        (["3x3:0 > 1x1"], "width"),
        (["3x3*7 > 1x1", "--channels", "64"], "7"),
        (["missing.json"], "No such file or directory: missing.json"),
        (["3x3", "--out", "drawing.pdf"], "end it in .svg, .png"),
        (["3x3", "--out", "drawing.dot", "--strip"], "cannot be written as .dot"),
        (["3x3", "--strip"], "--out morphing.svg"),
    ],
)
def test_wrong_input_is_one_message(arguments, said, capsys):
    assert main(["show", *arguments]) == 2
    error = capsys.readouterr().err
    assert said in error
    assert "Traceback" not in error


def test_a_graph_that_is_no_text_is_told(capsys, tmp_path):
    (tmp_path / "bad.json").write_bytes(b"\xff{}")
    assert main(["show", "bad.json"]) == 2
    assert "bad.json is not text in UTF-8" in capsys.readouterr().err


def test_a_closed_output_is_no_error(monkeypatch):
    monkeypatch.setattr(sys, "stdout", None)
    assert main(["show", "3x3 > 1x1"]) == 0
