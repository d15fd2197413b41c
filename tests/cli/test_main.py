import os
import signal
import subprocess
import sys
from io import BytesIO, TextIOWrapper

import pytest
import torch
from tests.cli.odd_values import LONG, assert_quoted_briefly

from netmorph._version import __version__
from netmorph.cli import show
from netmorph.cli.main import main
from netmorph.errors import NetmorphError

COMMANDS = (
    "quickstart",
    "plan",
    "morph",
    "verify",
    "show",
    "collapse",
    "fit",
    "report",
    "doctor",
)
HEAVY = ("torch", "lightning", "torchvision", "networkx", "matplotlib", "rich.progress")


def run(*code):
    return subprocess.run([sys.executable, "-c", *code], capture_output=True, text=True, check=False)


@pytest.mark.parametrize("arguments", [["--help"], *([command, "--help"] for command in COMMANDS)])
def test_help_loads_nothing_heavy(arguments):
    code = (
        "import sys\nfrom netmorph.cli.main import main\n"
        f"try:\n    main({arguments})\nexcept SystemExit as error:\n    assert error.code == 0\n"
        f"print('HEAVY', sorted(set({HEAVY}) & set(sys.modules)))"
    )
    ran = run(code)
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.startswith("usage: netmorph")
    assert ran.stdout.endswith("HEAVY []\n")


def test_importing_netmorph_loads_nothing_heavy():
    ran = run(f"import netmorph, sys; print(sorted(set({HEAVY}) & set(sys.modules)))")
    assert ran.stdout == "[]\n", ran.stderr


def test_the_version_is_the_packages(capsys):
    with pytest.raises(SystemExit) as exit_:
        main(["--version"])
    assert exit_.value.code == 0
    assert capsys.readouterr().out == f"netmorph {__version__}\n"


@pytest.mark.parametrize("arguments", [[], ["nope"], ["show"], ["show", "id", "--nope"], ["plan", "--seed", "x"]])
def test_wrong_arguments_exit_with_2_and_a_message(arguments, capsys):
    with pytest.raises(SystemExit) as exit_:
        main(arguments)
    assert exit_.value.code == 2
    said = capsys.readouterr().err
    assert said.startswith("netmorph: ")
    assert said.count("\n") == 1
    assert "--help" in said


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (
            ["fit", "--model", "a", "--out", "b", "--lr=nan"],
            "netmorph: --lr: expected a number, got 'nan'. Remedy: see",
        ),
        (["plan", "--seed", "1.5"], "netmorph: --seed: expected a whole number, got '1.5'. Remedy: see netmorph plan"),
        (
            ["fit", "--precision", "x"],
            "netmorph: --precision: expected one of '32-true', 'bf16-mixed', '16-mixed', got",
        ),
        (["plan", "--model-args", "x"], "netmorph: --model-args: expected names and values"),
        (["verify", "a", "b", "--tolerance", "nan"], "netmorph: --tolerance: expected a number, got 'nan'."),
        (["fit", "--phases", "x"], "netmorph: --phases: expected a list, got 'x'."),
        (["fit", "--grow-at", "x"], "netmorph: argument --grow-at: invalid number of epochs value: 'x'."),
        (["show"], "netmorph: the following arguments are required: graph."),
        (["show", "id", "--config", "nowhere.yaml"], "netmorph: --config: File does not exist: "),
    ],
)
def test_what_the_parser_refuses_is_one_line_in_words(arguments, said, capsys):
    with pytest.raises(SystemExit) as exit_:
        main(arguments)
    assert exit_.value.code == 2
    told = capsys.readouterr().err
    assert told.startswith(said)
    assert told.count("\n") == 1
    assert "class '" not in told


@pytest.mark.parametrize(
    ("arguments", "now"), [(["reproduce", "table1", "--seeds", "3"], "table1"), (["explore"], "explore")]
)
def test_what_has_moved_out_says_where_it_is(arguments, now, capsys):
    assert main(arguments) == 2
    told = capsys.readouterr().err
    assert f"python -m reproduction {now}, in a clone" in told
    assert told.count("\n") == 1


@pytest.mark.parametrize(
    "arguments",
    [
        [LONG],
        ["show", LONG],
        ["show", f"{LONG}.json"],
        ["show", "id", "--kernel", LONG],
        ["show", "id", f"--{LONG}"],
        ["show", "id", "--out", f"{LONG}.svg"],
        ["show", "id", "--groups", LONG],
        ["show", "id", "--config", LONG],
        ["plan", "--model", LONG, "--at", "fc", "--to", "id"],
        ["plan", "--model", f"netmorph:{LONG}", "--at", "fc", "--to", "id"],
        ["plan", "--model", "netmorph:resnet8", "--at", LONG, "--to", "id", "--input-shape", "1,3,8,8"],
        ["plan", "--model", "netmorph:resnet8", "--at", "fc", "--to", "id", "--input-shape", LONG],
        ["plan", "--model", "netmorph:resnet8", "--at", "fc", "--to", "id", "--weights", LONG],
        ["plan", "--model", "netmorph:resnet8", "--at", "fc", "--to", "id", f"--model-args.{LONG}=1"],
        ["verify", LONG, LONG],
        ["report", LONG],
        ["fit", "--model", "netmorph:resnet8", "--out", "run", "--recipe", LONG],
        ["fit", "--model", "netmorph:resnet8", "--out", "run", "--data-name", LONG],
    ],
    ids=lambda arguments: " ".join(arguments).replace(LONG, "LONG"),
)
def test_what_a_user_gave_is_quoted_briefly(arguments, capsys):
    assert_quoted_briefly(main, arguments, capsys)


def test_a_models_argument_called_name_is_refused(capsys):
    model = ["--model", "netmorph:resnet8", "--model-args.name=x"]
    for command in (["plan", *model, "--at", "fc", "--to", "id"], ["fit", *model, "--out", "run"]):
        assert main(command) == 2
        assert "netmorph: --model-args.name is not a model argument. Remedy: name" in capsys.readouterr().err


@pytest.mark.parametrize(
    "command",
    [
        ["fit", "--model", "netmorph:resnet8", "--out", "run", "--recipe", "bomb.yaml"],
        ["fit", "--model", "netmorph:resnet8", "--out", "run", "--config", "bomb.yaml"],
    ],
)
def test_yaml_that_stands_for_a_billion_values_is_refused(command, tmp_path, capsys):
    lines = ["a0: &a0 [1]", *(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 10))]
    (tmp_path / "bomb.yaml").write_text("\n".join([*lines, "lr: *a9"]))
    assert main(command) == 2
    assert "uses YAML aliases (*name). Remedy: write out what they stand for." in capsys.readouterr().err
    (tmp_path / "bomb.yaml").write_text("lr: " + "[" * 50_000)
    try:
        assert main(command) == 2
    except SystemExit as exit_:
        assert exit_.code == 2  # noqa: PT017 - the parser's own way out
    told = capsys.readouterr().err
    assert "depth" in told
    assert told.count("\n") == 1


def test_sigterm_ends_as_ctrl_c_does(monkeypatch):
    left = []

    def work(_options):
        try:
            os.kill(os.getpid(), signal.SIGTERM)
        finally:
            left.append("removed")

    monkeypatch.setattr(show, "run", work)
    with pytest.raises(SystemExit) as exit_:
        main(["show", "id"])
    assert (exit_.value.code, left) == (143, ["removed"])
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


def test_a_path_that_is_no_utf8_is_printed_as_it_is(monkeypatch):
    strict = TextIOWrapper(BytesIO(), encoding="utf-8", errors="strict")
    monkeypatch.setattr(show, "run", lambda _options: print(os.fsdecode(b"\xff")) or 0)
    monkeypatch.setattr(sys, "stdout", strict)
    assert main(["show", "id"]) == 0
    assert strict.buffer.getvalue() == b"\xff\n"


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs Linux")
def test_a_full_disk_behind_the_output_is_told():
    code = "from netmorph.cli.main import main; import sys; sys.exit(main(['show', 'id', '--kernel', '1']))"
    with open("/dev/full", "w") as full:
        ran = subprocess.run([sys.executable, "-c", code], stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert (ran.returncode, ran.stderr) == (2, "netmorph: No space left on device\n")


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (NetmorphError("a clear message"), 2, "netmorph: a clear message.\n"),
        (PermissionError(13, "Permission denied", "/x"), 2, "netmorph: Permission denied: /x\n"),
        (OSError("odd"), 2, "netmorph: odd\n"),
        (UnicodeDecodeError("utf-8", b"\xff", 0, 1, "odd"), 2, "netmorph: an input file is not text in UTF-8"),
        (KeyboardInterrupt(), 130, "netmorph: interrupted; no file was left half-written\n"),
        (ModuleNotFoundError("no rich", name="rich"), 2, "netmorph: rich is not installed. Remedy: pip install"),
        (ModuleNotFoundError("a typo", name="netmorph.typo"), 1, "netmorph: ModuleNotFoundError: a typo"),
        (MemoryError(), 2, "netmorph: out of memory. Remedy: try a smaller"),
        (
            RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried"),
            2,
            "netmorph: out of memory",
        ),
        (torch.OutOfMemoryError("CUDA out of memory. Tried"), 2, "netmorph: out of memory"),
        (RuntimeError("a fault"), 1, "netmorph: RuntimeError: a fault\nthis is a bug in netmorph"),
    ],
)
def test_an_error_is_one_message_and_a_code(error, code, said, monkeypatch, capsys):
    def fail(_options):
        raise error

    monkeypatch.setattr(show, "run", fail)
    assert main(["show", "id"]) == code
    streams = capsys.readouterr()
    assert streams.err.startswith(said)
    assert "Traceback" not in streams.err
    assert streams.out == ""


def test_a_config_file_that_is_no_text_is_told(tmp_path, capsys):
    (tmp_path / "bad.yaml").write_bytes(b"\xff: 1")
    assert main(["show", "id", "--config", "bad.yaml"]) == 2
    assert "not text in UTF-8" in capsys.readouterr().err


def test_an_output_without_unicode_gets_question_marks(monkeypatch):
    ascii_only = TextIOWrapper(BytesIO(), encoding="ascii")
    monkeypatch.setattr(show, "run", lambda _options: print("1 ± 2") or 0)
    monkeypatch.setattr(sys, "stdout", ascii_only)
    assert main(["show", "id"]) == 0
    ascii_only.flush()
    assert ascii_only.buffer.getvalue() == b"1 ? 2\n"


def test_a_traceback_can_be_asked_for(monkeypatch):
    def fail(_options):
        raise RuntimeError("a fault")

    monkeypatch.setattr(show, "run", fail)
    monkeypatch.setenv("NETMORPH_TRACEBACK", "1")
    with pytest.raises(RuntimeError, match="a fault"):
        main(["show", "id"])


def test_a_missing_extra_says_how_to_get_it(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "jsonargparse", None)
    assert main(["show", "id"]) == 2
    assert "jsonargparse is not installed. Remedy: pip install -e '.[" in capsys.readouterr().err


def test_a_reader_that_goes_away_is_no_traceback():
    code = "from netmorph.cli.main import main; import sys; sys.exit(main(['show', 'id', '--kernel', '1']))"
    read, write = os.pipe()
    os.close(read)
    ran = subprocess.run([sys.executable, "-c", code], stdout=write, stderr=subprocess.PIPE, text=True, check=False)
    os.close(write)
    assert ran.stderr == ""
    assert ran.returncode == 141


def test_the_shell_completes_commands_and_options():
    """The script that is printed does its work in a real bash."""
    code = "from netmorph.cli.main import main; main(['--print_completion', 'shtab-bash'])"
    script = run(code).stdout
    assert script
    ask = (
        'COMP_WORDS=(netmorph {words}); COMP_CWORD={last}; COMP_LINE="netmorph {words}"; COMP_POINT=${{#COMP_LINE}}; '
        "_shtab_netmorph; echo ${{COMPREPLY[@]}}"
    )
    for words, found in (("re", {"report"}), ("plan --js", {"--json"})):
        last = len(words.split())
        told = subprocess.run(
            ["bash", "-c", script + "\n" + ask.format(words=words, last=last)],
            capture_output=True,
            text=True,
            check=False,
        )
        assert set(told.stdout.split()) == found, told.stderr
