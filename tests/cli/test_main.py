import os
import subprocess
import sys
from io import BytesIO, TextIOWrapper

import pytest

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
    "reproduce",
    "explore",
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
    assert "error:" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (NetmorphError("a clear message"), 2, "netmorph: a clear message.\n"),
        (PermissionError(13, "Permission denied", "/x"), 2, "netmorph: Permission denied: /x\n"),
        (OSError("odd"), 2, "netmorph: odd\n"),
        (UnicodeDecodeError("utf-8", b"\xff", 0, 1, "odd"), 2, "netmorph: a file that is given is not text in UTF-8"),
        (KeyboardInterrupt(), 130, "netmorph: interrupted; nothing was left half-written\n"),
        (ModuleNotFoundError("no rich", name="rich"), 2, "netmorph: rich is not installed. Remedy: pip install"),
        (ModuleNotFoundError("a typo", name="netmorph.typo"), 1, "netmorph: ModuleNotFoundError: a typo"),
        (RuntimeError("a fault"), 1, "netmorph: RuntimeError: a fault\nthis is a fault of netmorph's own"),
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
    assert "jsonargparse is not installed. Remedy: pip install 'netmorph[" in capsys.readouterr().err


def test_a_reader_that_goes_away_is_no_traceback():
    code = "from netmorph.cli.main import main; import sys; sys.exit(main(['show', 'id', '--kernel', '1']))"
    read, write = os.pipe()
    os.close(read)
    ran = subprocess.run([sys.executable, "-c", code], stdout=write, stderr=subprocess.PIPE, text=True, check=False)
    os.close(write)
    assert ran.stderr == ""
    assert ran.returncode == 2


def test_the_shell_completes_commands_and_options():
    """The script that is printed does its work in a real bash."""
    code = "from netmorph.cli.main import main; main(['--print_completion', 'shtab-bash'])"
    script = run(code).stdout
    assert script
    ask = (
        'COMP_WORDS=(netmorph {words}); COMP_CWORD={last}; COMP_LINE="netmorph {words}"; COMP_POINT=${{#COMP_LINE}}; '
        "_shtab_netmorph; echo ${{COMPREPLY[@]}}"
    )
    for words, found in (("re", {"report", "reproduce"}), ("plan --js", {"--json"})):
        last = len(words.split())
        told = subprocess.run(
            ["bash", "-c", script + "\n" + ask.format(words=words, last=last)],
            capture_output=True,
            text=True,
            check=False,
        )
        assert set(told.stdout.split()) == found, told.stderr
