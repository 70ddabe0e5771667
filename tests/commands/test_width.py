"""What commands print fits a terminal of 80 columns, and no word or number of it is broken."""

import contextlib
import io
import json
import math
import re
import sys

import pytest
from command_line import call, every_command

from pydisp import progress
from pydisp.commands.output import print_table, print_words
from pydisp.commands.prune import show


@pytest.fixture(autouse=True)
def eighty_columns(monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("TERMINAL_WIDTH", "80")


@pytest.mark.parametrize("path", list(every_command()), ids=lambda path: " ".join(path) or "pydisp")
def test_help_fits(path):
    status, printed, err = call(*path, "--help")
    assert status == 0 and not err and max(map(len, printed.splitlines())) <= 80


def test_the_table_of_a_pruning_fits_and_breaks_no_number():
    perplexity = {"dense": 98765.43, "pruned": 1.5e12}
    damage = {"nats": 16.537, "standard_error": 0.123, "tokens": 120_000}
    result = {"out": "a/b", "kept": {"total": 0.5, "block": 0.4}, "context_tokens": 2048, "speed": {"absent": "not asked for"}}
    result |= {
        f"{name}{key}": value for key in ("", "_other", "_calibration") for name, value in (("perplexity", perplexity), ("damage", damage))
    }
    result["recovery"] = {
        f"{name}{key}_before": value for key in ("", "_other") for name, value in (("perplexity", perplexity), ("damage", damage))
    }
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        show(result)
    lines = printed.getvalue().splitlines()
    assert max(map(len, lines)) <= 80
    rows = [line for line in lines if "98765.43" in line]
    assert len(rows) == 5 and all("1.50e+12" in row and "16.537 ± 0.123" in row and "120,000" in row for row in rows)


def test_the_widths_of_a_folder_fit(pruned):
    printed = call("info", pruned[0])[1]
    assert max(map(len, printed.splitlines()[:-1])) <= 80 and "all indices are valid" in printed


def test_the_table_of_speeds_fits(tiny_shape, monkeypatch):
    status, printed, err = call(
        "speed", "--shape", tiny_shape, "--keep-ratio", "0.5", "--prompt-tokens", "8", "--decode-tokens", "2", "--rounds", "1"
    )
    assert status == 0, err
    table = [line for line in printed.splitlines() if re.match("[┏┃┡│└]", line)]
    assert len(table) > 5 and max(map(len, table)) <= 80 and "…" not in "".join(table)


@pytest.mark.parametrize("columns", [30, 40, 58, 80])
def test_a_table_that_is_too_wide_becomes_blocks(columns, monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", str(columns))
    figures = [["0", "11,008", "4.158 ± 0.034"], ["1", "removed", "12"]]
    print_table("[b]: 1,413,312 parameters", ["layer", "attention\ninput", "a rather long name\nof a column of figures"], figures)
    printed = capsys.readouterr().out
    assert max(map(len, printed.splitlines())) <= columns and "…" not in printed and "[b]: 1,413,312" in printed
    words = (
        ("attention input: 11,008", "layer 1\n  attention input: removed") if columns < 58 else ("┃ attention ┃", "│     0 │    11,008 │")
    )
    assert all(one in printed for one in words)


def test_the_widths_of_a_folder_are_whole_on_a_narrow_terminal(pruned, monkeypatch):
    monkeypatch.setenv("COLUMNS", "40")
    printed = call("info", pruned[0])[1]
    description = json.loads(call("info", pruned[0], "--json")[1])
    assert printed.count("attention input: ") == len(description["layers"]) and "…" not in printed
    assert f"layer 1\n  attention input: {description['layers'][1]['attention_input']}\n" in printed


def test_long_lines_break_at_spaces_on_a_terminal_alone(monkeypatch, capsys):
    words = "report: /" + "long/" * 20 + "name\n" + "some words and numbers 1,234.5 " * 10
    print_words(words)
    assert capsys.readouterr().out == words + "\n"
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    print_words(words)
    progress.write_line(words)
    told = capsys.readouterr()
    assert told.out == told.err and told.out.split() == words.split()
    path, *lines = [line for line in told.out.splitlines() if line != "report:"]
    assert len(path) > 80 and len(lines) == math.ceil(len(words.splitlines()[1]) / 80) and max(map(len, lines)) <= 80
