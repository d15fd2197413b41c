"""Reports on real runs, each as small as can be: what they say is what the runs measured."""

import csv
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from tests.lab.report.pages import Page, check_it_needs_nothing_else, check_it_shows_the_sites, write

from netmorph.cli.main import main
from netmorph.errors import NetmorphError
from netmorph.lab.report.read import read_run
from netmorph.lab.report.write import write_report

KINDS = ("saved", "morphed", "quick", "fitted")


def report(folder: Path, tmp_path: Path) -> tuple[str, Page]:
    return write(read_run(folder), tmp_path)


@pytest.mark.parametrize("kind", KINDS)
def test_a_report_needs_nothing_but_itself(kind, request, tmp_path):
    check_it_needs_nothing_else(*report(request.getfixturevalue(kind), tmp_path))


@pytest.mark.parametrize("kind", KINDS)
def test_drawings_are_xml_and_show_the_sites(kind, request, tmp_path):
    folder = request.getfixturevalue(kind)
    check_it_shows_the_sites(*report(folder, tmp_path), read_run(folder))


def test_a_morphs_report_says_what_was_measured(morphed, tmp_path):
    _, page = report(morphed, tmp_path)
    known = json.loads((morphed / "morph.json").read_text())
    (site,) = known["parity"]["sites"]
    for figure in ("interior", "border", "train_mode"):
        assert f"{site[figure]:.1e}" in page.cells
    assert "the same function" in page.cells
    assert f"{known['cost']['before']['params']:,}" in page.cells
    assert f"{known['cost']['after']['macs']:,}" in page.cells
    assert "The function was kept" in page.words
    assert "All are 1" in page.words
    assert known["notices"][0] in page.words
    assert f'child = nm.load("{morphed}")' in page.words
    assert "'layer1.*.conv1': '3x3 > 1x1 | id'" in page.words
    assert known["environment"]["versions"]["torch"] in page.words


def test_the_code_of_a_report_does_it_again(morphed, tmp_path):
    does_it_again(morphed, tmp_path)


def test_the_code_names_a_birth_and_an_activation(tmp_path):
    out = tmp_path / "child"
    given = ["--model", "netmorph:resnet8", "--model-args.width=4", "--input-shape", "1,3,16,16", "--out", str(out)]
    sites = ["--at", "layer1.*.conv1", "--to", "3x3:2x > 3x3", "--birth", "pair", "--act", "gelu"]
    assert main(["morph", *given, *sites]) == 0
    code = does_it_again(out, tmp_path)
    assert "act='gelu'" in code
    assert "birth='pair'" in code


def does_it_again(morphed, tmp_path):
    import torch

    text, _ = report(morphed, tmp_path)
    blocks = [re.sub(r"&#x27;", "'", block) for block in re.findall(r"<pre>(.*?)</pre>", text, re.DOTALL)]
    code = next(block for block in blocks if "import netmorph" in block)
    code = code.replace("&quot;", '"').replace("&gt;", ">").replace("&lt;", "<").replace("&amp;", "&")
    known = {"x": torch.zeros(1, 3, 16, 16)}
    exec(code, known)
    assert str(known["network"]) == str(known["child"])
    return code


def test_a_checkpoint_without_parity_says_so(saved, tmp_path):
    _, page = report(saved, tmp_path)
    assert "netmorph verify PARENT CHILD" in page.words
    assert "kept" not in page.words
    assert "Is the function the same?" not in page.headings


def test_a_quickstarts_report_has_curves_and_controls(quick, tmp_path):
    text, page = report(quick, tmp_path)
    results = json.loads((quick / "results.json").read_text())
    assert len(results["readings"]) == 4
    for reading in results["readings"]:
        assert reading in page.words
    for row in results["networks"]:
        assert row["name"] in page.cells
        assert f"{row['error']:.1f}" in page.cells
    run = read_run(quick)
    assert [(curve.name, curve.control) for curve in run.curves] == [
        ("parent", False),
        ("child", False),
        ("parent, trained on", True),
        ("from scratch", True),
        ("from scratch, longer", True),
    ]
    with (quick / "metrics.csv").open() as file:
        errors = [float(row["test_error"]) for row in csv.DictReader(file) if row["network"] == "child"]
    parent, child, on, scratch, longer = (curve.points for curve in run.curves)
    assert [error for _, error in child[1:]] == errors
    assert child[0] == on[0] == parent[-1]
    assert run.births == (parent[-1][0],) == (8.0,)
    assert child[-1][0] == scratch[-1][0]
    assert scratch[0][0] > 8 > longer[0][0]
    assert run.across in page.words
    assert text.count('class="chart"') == 1
    assert not run.slopes.now


def test_the_report_on_a_module_with_slopes_has_them(saved, tmp_path):
    _, page = report(saved, tmp_path)
    assert "Slopes of the new activations" in page.headings
    names = {row.name for row in read_run(saved).slopes.now}
    assert names
    assert names <= set(page.cells)
    assert "All are 1: the activations have not changed since the morph." in page.words


def test_a_fits_report_marks_the_morph(fitted, tmp_path):
    text, page = report(fitted, tmp_path)
    assert read_run(fitted).births == (1.0,)
    assert 'class="birth"' in text
    assert "no control in this run" in page.words
    results = json.loads((fitted / "results.json").read_text())
    assert f"{results['error']:.2f}" in page.cells


def test_every_section_has_its_heading(quick, tmp_path):
    _, page = report(quick, tmp_path)
    assert page.headings == [
        "What was morphed",
        "Is the function the same?",
        "Cost",
        "What came out",
        "Training",
        "How to repeat the run",
        "Command and environment",
    ]


def test_a_site_that_differs_is_told(morphed, tmp_path, capsys):
    folder = tmp_path / "child"
    shutil.copytree(morphed, folder)
    known = json.loads((folder / "morph.json").read_text())
    known["parity"]["sites"][0]["border"] = 0.25
    (folder / "morph.json").write_text(json.dumps(known))
    assert main(["report", str(folder)]) == 2
    assert "NOT preserved at layer1.0.conv1" in capsys.readouterr().out
    page = Page((folder / "report.html").read_text(encoding="utf-8"))
    assert "differs" in page.cells
    assert "not kept" in page.words


def test_what_a_run_says_is_text_not_markup(morphed, tmp_path):
    folder = tmp_path / "<b>child"
    shutil.copytree(morphed, folder)
    known = json.loads((folder / "morph.json").read_text())
    known["notices"] = ["<script>alert(1)</script>"]
    known["environment"]["command"] = ["<img src=x>"]
    (folder / "morph.json").write_text(json.dumps(known))
    text, page = report(folder, tmp_path)
    assert "<script>alert(1)</script>" in page.words
    assert "<script" not in text
    assert "<img" not in text


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda folder: (folder / "morph.json").write_text("{}"), "was not written by netmorph: KeyError"),
        (lambda folder: (folder / "morph.json").write_text("["), "was not written by netmorph: JSONDecodeError"),
        (lambda folder: (folder / "model.safetensors").write_bytes(b"x"), "model.safetensors cannot be read"),
        (lambda folder: (folder / "config.json").write_text("{}"), "is not the config"),
        (lambda folder: (folder / "config.json").unlink(), "contains no run or checkpoint"),
    ],
)
def test_a_damaged_folder_is_one_message(morphed, tmp_path, damage, said, capsys):
    folder = tmp_path / "child"
    shutil.copytree(morphed, folder)
    damage(folder)
    assert main(["report", str(folder)]) == 2
    error = capsys.readouterr().err
    assert said in error
    assert "Traceback" not in error
    assert not (folder / "report.html").exists()


def test_folders_that_are_none(tmp_path):
    for folder in (tmp_path, tmp_path / "missing"):
        with pytest.raises(NetmorphError, match="contains no run or checkpoint"):
            read_run(folder)


def test_a_report_that_cannot_be_written(morphed, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(NetmorphError, match="--out"):
        write_report(read_run(morphed), tmp_path / "file" / "report.html")


def test_json_and_the_default_file(morphed, tmp_path, capsys):
    folder = tmp_path / "child"
    shutil.copytree(morphed, folder)
    assert main(["report", str(folder), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found == {
        "report": str(folder / "report.html"),
        "kind": "Morph",
        "sites_measured": 1,
        "sites_that_differ": [],
    }
    again = (folder / "report.html").read_bytes()
    assert main(["report", str(folder)]) == 0  # the report itself disturbs nothing
    assert (folder / "report.html").read_bytes() == again


@pytest.mark.slow
@pytest.mark.parametrize(("width", "scheme"), [(1100, "light"), (390, "dark")])
def test_a_browser_shows_it(quick, tmp_path, width, scheme):
    """In headless Chromium, offline: nothing is fetched, nothing sticks out, the picture is not empty."""
    chromium = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if chromium is None:
        pytest.skip("there is no Chromium")
    path = write_report(read_run(quick), tmp_path / "report.html")
    picture = tmp_path / "page.png"
    command = [chromium, "--headless", "--no-sandbox", "--disable-gpu", f"--window-size={width},2400"]
    dark = ["--blink-settings=preferredColorScheme=0"] if scheme == "dark" else []
    out = [f"--user-data-dir={tmp_path / 'profile'}", f"--screenshot={picture}"]
    done = subprocess.run([*command, *dark, *out, path.as_uri()], capture_output=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    from matplotlib.image import imread

    pixels = imread(picture)[..., :3]
    assert pixels.shape[0] == 2400
    assert pixels.shape[1] >= width
    assert picture.stat().st_size > 30_000
    ground = pixels[0, 0].mean()
    assert ground < 0.2 if scheme == "dark" else ground > 0.9
    assert (abs(pixels - pixels[0, 0]).max(axis=2) > 0.1).mean() > 0.02


def test_the_command_needs_no_more_than_it_says():
    code = "import sys, netmorph.cli.report; sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
