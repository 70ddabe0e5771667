"""The command line as a whole: wrong options, help, version, quiet, completion."""

import os
import re
import subprocess
import sys

import pytest
from command_line import call, one_sentence


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["prune"], "'MODEL'"),
        (["prune", "demo"], "'--out'"),
        (["prune", "demo", "--no-such-option"], "--no-such-option"),
        (["prune", "demo", "--out"], "'--out' requires an argument"),
        (["prune", "demo", "--keep-ratio", "abc"], "'--keep-ratio': .*'abc'"),
        (["prune", "demo", "--steps", "1.5"], "'--steps': .*'1.5'"),
        (["speed", "--rounds", "many"], "'--rounds': .*'many'"),
        (["delete"], "'delete'"),
        (["--quiet"], "missing command"),
    ],
)
def test_wrong_options_are_told_in_one_sentence_with_status_2(args, words):
    status, out, err = call(*args)
    assert (status, out, err.count("\n")) == (2, "", 1) and re.search(f"{words}.*; add --help to see what there is", one_sentence(err)), err


@pytest.mark.parametrize(
    ("command", "default"), [("speed", "0.5"), ("prune", "600 below 50 M"), ("eval", "256 below"), ("export", "DIR-FORM")]
)
def test_help_shows_defaults_that_depend(monkeypatch, command, default):
    monkeypatch.setenv("COLUMNS", "200")
    assert f"[default: ({default}" in call(command, "--help")[1]


def test_help_and_version():
    assert call() == call("--help") and "Usage: pydisp" in call()[1]
    assert call("--version") == (0, "pydisp 0.1.0\n", "")


def test_completion_completes_commands_and_options():
    for words, wanted in (("pydisp pru", "prune"), ("pydisp eval --inc", "--include-path")):
        asked = {"_PYDISP_COMPLETE": "complete_bash", "COMP_WORDS": words, "COMP_CWORD": str(words.count(" "))}
        code = "import sys; sys.argv = ['pydisp']; from pydisp import cli; cli.main()"
        done = subprocess.run([sys.executable, "-c", code], env=os.environ | asked, capture_output=True, text=True)
        assert done.stdout.split() == [wanted] and not done.stderr, done


def test_help_is_short_and_names_every_command(monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    lines = call("--help")[1].splitlines()
    assert len(lines) < 42 and all(len(line) <= 80 for line in lines)
    assert all(
        re.search(rf"^│ {command} +\w", "\n".join(lines), re.MULTILINE)
        for command in ("prune", "eval", "info", "export", "speed", "env", "fairness", "probe")
    )
