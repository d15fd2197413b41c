"""The three commands that work on a network, on one small enough to be morphed within a moment."""

import json

import pytest
import torch
from safetensors.torch import save_file

from netmorph.cli.main import main
from netmorph.models.opening import load
from netmorph.models.registry import build

MODEL = ["--model", "netmorph:resnet8", "--model-args.width=4", "--model-args.in_channels=1"]
INPUT = ["--input-shape", "2,1,12,12"]
SITES = ["--at", "layer1.*.conv1", "--to", "3x3 > 1x1 | 1x1", "--at", "layer3.0.conv2", "--to", "module_d"]


def call(capsys, *arguments, code=0):
    assert main(list(arguments)) == code
    streams = capsys.readouterr()
    assert "Traceback" not in streams.err
    return streams.err if code else streams.out


@pytest.fixture
def child(capsys, tmp_path):
    call(capsys, "morph", *MODEL, *INPUT, *SITES, "--out", "child")
    return tmp_path / "child"


def test_plan_says_what_morph_would_do(capsys):
    out = call(capsys, "plan", *MODEL, *INPUT, *SITES)
    assert "layer1.0.conv1\n" in out
    assert "complex (irreducible core of 7 edges), 4 paths" in out
    assert "2 sites: parameters" in out


def test_plan_as_json(capsys):
    found = json.loads(call(capsys, "plan", *MODEL, *INPUT, *SITES, "--json"))
    assert found["feasible"] is True
    assert [site["name"] for site in found["sites"]] == ["layer1.0.conv1", "layer3.0.conv2"]


def test_plan_exits_with_2_where_a_site_cannot_be_morphed(capsys):
    narrow = ["--at", "layer3.0.conv1", "--to", "3x3:2 > 1x1"]
    assert main(["plan", *MODEL, *INPUT, *narrow]) == 2
    assert "exact     no" in capsys.readouterr().out


def test_plan_of_torchvision(capsys):
    sites = ["--at", "layer1.*.conv1", "--to", "3x3 > 1x1"]
    out = call(capsys, "plan", "--model", "torchvision:resnet18", *sites, "--input-shape", "1,3,32,32")
    assert "layer1.1.conv1" in out


def test_morph_prints_the_parity_of_each_site_and_saves(capsys):
    out = call(capsys, "morph", *MODEL, *INPUT, *SITES, "--out", "child")
    assert "layer1.0.conv1" in out
    assert "module_d" in out
    assert "Written to child" in out
    x = torch.randn(3, 1, 12, 12, generator=torch.Generator().manual_seed(5))
    parent, loaded = build("netmorph:resnet8", width=4, in_channels=1).eval(), load("child").eval()
    torch.testing.assert_close(loaded(x), parent(x), rtol=1e-4, atol=1e-5)
    assert sum(p.numel() for p in loaded.parameters()) > sum(p.numel() for p in parent.parameters())


def test_brackets_of_a_folder_are_printed_as_they_are(capsys):
    sites = ["--at", "layer1.*.conv1", "--to", "3x3 > 1x1"]
    assert call(capsys, "morph", *MODEL, *INPUT, *sites, "--out", "a[bold]b").endswith("Written to a[bold]b\n")


def test_morph_as_json(capsys):
    found = json.loads(call(capsys, "morph", *MODEL, *INPUT, *SITES, "--out", "child", "--json"))
    assert found["folder"] == "child"
    assert all(site["interior"] <= site["tolerance"] for site in found["parity"]["sites"])
    assert found["cost"]["after"]["params"] > found["cost"]["before"]["params"]


def test_a_child_is_a_model_like_any_other(capsys, child):
    call(capsys, "morph", "--model", "child", *INPUT, "--at", "layer2.0.conv2", "--to", "1x1 > 3x3", "--out", "again")
    assert "the same" in call(capsys, "verify", "child", "again", *INPUT)
    assert load("again").layer1[0].conv1 is not None


def test_random_weights_are_announced_and_the_same_in_every_command(capsys):
    sites = ["--at", "layer1.0.conv1", "--to", "3x3 > 1x1", "--input-shape", "1,3,32,32"]
    assert main(["morph", "--model", "torchvision:resnet18", *sites, "--out", "child"]) == 0
    assert "torchvision:resnet18 is randomly initialised" in capsys.readouterr().err
    call(capsys, "verify", "torchvision:resnet18", "child", "--input-shape", "1,3,32,32", "--seed", "1")


@pytest.mark.parametrize("json_", [False, True])
def test_verify_tells_same_from_different(capsys, child, json_):
    flags = [*MODEL[2:], *INPUT, *(["--json"] if json_ else [])]
    assert ("the same" if not json_ else '"same": true') in call(capsys, "verify", "child", "child", *INPUT, *flags[4:])
    assert main(["verify", "netmorph:resnet8", "netmorph:resnet14", *flags]) == 2
    out = capsys.readouterr().out
    assert ("NOT the same" if not json_ else '"same": false') in out


def test_weights_come_from_safetensors_only(capsys, tmp_path):
    other = build("netmorph:resnet8", width=4, in_channels=1, seed=7)
    save_file(other.state_dict(), "other.safetensors")
    sites = ["--at", "conv1", "--to", "3x3 > 1x1"]
    call(capsys, "morph", *MODEL, *INPUT, *sites, "--weights", "other.safetensors", "--out", "child")
    x = torch.randn(2, 1, 12, 12, generator=torch.Generator().manual_seed(5))
    torch.testing.assert_close(load("child").eval()(x), other.eval()(x), rtol=1e-4, atol=1e-5)
    torch.save(other.state_dict(), tmp_path / "other.pt")
    error = call(capsys, "plan", *MODEL, *INPUT, *sites, "--weights", "other.pt", code=2)
    assert "cannot be read as safetensors" in error


def test_weights_of_another_network_are_refused(capsys):
    save_file({"x": torch.zeros(1)}, "x.safetensors")
    assert "are not those of this network" in call(
        capsys, "plan", *MODEL, *INPUT, *SITES, "--weights", "x.safetensors", code=2
    )


def test_a_config_file_says_the_same_as_options(capsys, tmp_path):
    with pytest.raises(SystemExit):
        main(["plan", *MODEL, *INPUT, *SITES, "--print_config"])
    (tmp_path / "plan.yaml").write_text(capsys.readouterr().out)
    assert call(capsys, "plan", "--config", "plan.yaml") == call(capsys, "plan", *MODEL, *INPUT, *SITES)


@pytest.mark.parametrize(("at", "code"), [("conv1", 0), (["conv1"], 0), (3, 2), ([3], 2)])
def test_a_config_file_may_name_one_site_or_a_list(capsys, tmp_path, at, code):
    (tmp_path / "plan.json").write_text(json.dumps({"at": at, "to": "3x3 > 1x1"}))
    arguments = ["plan", *MODEL, *INPUT, "--config", "plan.json"]
    if code:
        with pytest.raises(SystemExit):
            main(arguments)
        assert "--at: expected text, got " in capsys.readouterr().err
    else:
        assert "conv1" in call(capsys, *arguments)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([*MODEL, *INPUT, "--at", "conv1", "--at", "fc", "--to", "3x3"], "2 --at but 1 --to"),
        ([*MODEL, *INPUT, *["--at", "conv1", "--to", "3x3"] * 2], "is given twice"),
        ([*MODEL, *INPUT, "--at", "nope*", "--to", "3x3"], "no site matches 'nope*'"),
        ([*MODEL, "--input-shape", "2,3,12,12", *SITES], "1 channels"),
        ([*MODEL, "--input-shape", "x", *SITES], "is not a shape"),
        ([*MODEL, "--input-shape", "0,3", *SITES], "is not a shape"),
        ([*MODEL, "--input-shape", "2,1,,12,12", *SITES], "--input-shape '2,1,,12,12' is not a shape"),
        ([*MODEL, "--input-shape", "99999999999999999999,1", *SITES], "99999999999999999999,1 is too large"),
        ([*MODEL, *INPUT, "--seed", "99999999999999999999", *SITES], "--seed must be at most 2^50"),
        (["--model", "torchvision:resnet81", *INPUT, *SITES], "did you mean"),
        (["--model", "nowhere", *INPUT, *SITES], "no model source"),
        ([*MODEL, "--model-args.depths=3", *INPUT, *SITES], "refuses"),
    ],
)
@pytest.mark.parametrize("command", ["plan", "morph"])
def test_wrong_input_is_one_message(command, arguments, said, capsys, tmp_path):
    out = ["--out", "child"] if command == "morph" else []
    assert said in call(capsys, command, *arguments, *out, code=2)
    assert not (tmp_path / "child").exists()


def test_morph_does_not_overwrite(capsys, tmp_path):
    (tmp_path / "child").mkdir()
    (tmp_path / "child" / "precious").write_text("x")
    assert "is not empty" in call(capsys, "morph", *MODEL, *INPUT, *SITES, "--out", "child", code=2)
    assert [path.name for path in (tmp_path / "child").iterdir()] == ["precious"]


def test_a_place_that_cannot_be_written(capsys, tmp_path):
    (tmp_path / "file").write_text("x")
    assert "file/child" in call(capsys, "morph", *MODEL, *INPUT, *SITES, "--out", "file/child", code=2)


def test_an_infeasible_graph_is_refused_and_keep_parent_accepts_it(capsys):
    sites = ["--at", "layer3.0.conv1", "--to", "3x3:2 > 1x1"]
    error = call(capsys, "morph", *MODEL, *INPUT, *sites, "--out", "child", code=2)
    assert "layer3.0.conv1" in error
    assert "Remedy" in error
    call(capsys, "morph", *MODEL, *INPUT, *sites, "--out", "child", "--keep-parent")


def test_a_damaged_checkpoint_is_one_message(capsys, child):
    (child / "model.safetensors").write_bytes(b"x")
    assert "model.safetensors" in call(capsys, "verify", "child", "child", *INPUT, code=2)


def test_births(capsys):
    pair = ["--at", "layer1.0.conv1", "--to", "3x3:2x > 3x3", "--birth", "pair"]
    assert "passes on half of the channels of 'a'" in call(capsys, "plan", *MODEL, *INPUT, *pair)
    call(capsys, "morph", *MODEL, *INPUT, *pair, "--out", "child")
    child = load("child")
    assert type(child.layer1[0].conv1.acts["a"]) is torch.nn.ReLU
    assert child.layer1[0].conv1.layout.graph.activations == {}
    call(capsys, "verify", "child", "child", *INPUT)
    beside = ["--at", "layer1.0.conv1", "--to", "3x3 > 3x3", "--birth", "zero"]
    assert "--keep-parent" in call(capsys, "morph", *MODEL, *INPUT, *beside, "--out", "other", code=2).replace(
        "keep_parent=True", "--keep-parent"
    )
    call(capsys, "morph", *MODEL, *INPUT, *beside, "--out", "other", "--keep-parent")


def test_births_that_cannot_be(capsys):
    narrow = ["--at", "layer1.0.conv1", "--to", "3x3 > 3x3", "--birth", "pair"]
    assert main(["plan", *MODEL, *INPUT, *narrow]) == 2
    assert "give the blobs with an activation twice the channels" in capsys.readouterr().out
    wide = ["--at", "layer1.0.conv1", "--to", "3x3:2x > 3x3", "--birth", "pair"]
    assert "does not support birth='pair'" in call(capsys, "plan", *MODEL, *INPUT, *wide, "--act", "elu", code=2)
    call(capsys, "plan", *MODEL, *INPUT, *wide, "--act", "none")
    for verb, more in (("plan", []), ("morph", ["--out", "child"])):
        error = call(capsys, verb, *MODEL, *INPUT, *wide[:-1], "pears", *more, code=2)
        assert "expected a birth of slope, pair, zero, cancel, got 'pears'" in error
