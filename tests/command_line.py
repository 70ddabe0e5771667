"""A command run in this process, and what tests ask of what it said and wrote."""

import contextlib
import hashlib
import io
import re
import sys

import pytest
import typer

from pydisp import cli

FAST = ["--steps", "6", "--context", "32", "--batch-size", "2", "--round-to", "4"]


def call(*args):
    """Status, standard output and standard error of a command, run in this process."""
    out, err = io.StringIO(), io.StringIO()
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        patch.setattr(sys, "argv", ["pydisp", *map(str, args)])
        try:
            cli.main()
            status = 0
        except SystemExit as stop:
            status = stop.code or 0
    return status, out.getvalue(), err.getvalue()


def every_command(command=None, path=()):
    """The names of every command and of every group of them, as they are typed after `pydisp`."""
    command = command or typer.main.get_command(cli.app)
    yield path
    for name, one in getattr(command, "commands", {}).items():
        yield from every_command(one, (*path, name))


def digests(folder):
    """Of every file but what holds times, which no two runs have in common: speed.json, and what shows it on the page (and how wide it is)."""
    contents = {path.name: path.read_bytes() for path in sorted(folder.iterdir()) if path.name != "speed.json"}
    if "report.html" in contents:
        assert contents["report.html"].count(b' class="measured"><h2>') == 1
        measured = rb'<(section|div)[^>]* class="measured">.*?</\1>|\n\.w\d[^\n]*'
        contents["report.html"] = re.sub(measured, b"", contents["report.html"], flags=re.DOTALL)
    return {name: hashlib.sha256(content).hexdigest() for name, content in contents.items()}


def one_sentence(err):
    lines = [line for line in err.splitlines() if line.startswith("pydisp: ")]
    assert len(lines) == 1 and "Traceback" not in err, err
    return lines[0]


def refused(cases, folder, status=1):
    """Each command of `cases`, pairs of arguments and words, ends in one sentence with those words and writes nothing into the folder."""
    before = sorted(path.name for path in folder.iterdir())
    for args, words in cases:
        ended, printed, err = call(*args, "--json")
        assert (ended, printed) == (status, ""), (args, ended, printed, err)
        assert words in one_sentence(err), (args, err)
        assert sorted(path.name for path in folder.iterdir()) == before, args
