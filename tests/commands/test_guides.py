"""What the guides show is what the commands print: the heads of their tables, and the lines after them."""

import contextlib
import io
import re
from pathlib import Path

import pytest
from command_line import call

from pydisp.commands.prune import show
from pydisp.legal_probe import probe_words

GUIDES = Path(__file__).parents[2] / "docs" / "guides"


@pytest.fixture(autouse=True)
def eighty_columns(monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")


def heads(text: str) -> list[list[str]]:
    """The heads of each table in a text, the lines of each joined, however wide its columns are."""
    tables = re.findall(r"^┏.*?\n((?:┃.*\n)+)┡", text, re.MULTILINE)
    rows = [[[cell.strip() for cell in line.strip("┃").split("┃")] for line in table.splitlines()] for table in tables]
    return [[" ".join(filter(None, column)) for column in zip(*lines, strict=True)] for lines in rows]


def form(line: str) -> str:
    """A sentence without its figures."""
    return re.sub(r"[\d.,]+", "N", line).replace("rounds", "round").replace("threads", "thread")


@pytest.fixture(scope="module")
def shown() -> str:
    loss = {"perplexity": {"dense": 20.0, "pruned": 30.0}, "damage": {"nats": 0.4, "standard_error": 0.1, "tokens": 4080}}
    texts = {f"{name}{key}": value for key in ("", "_other", "_calibration") for name, value in loss.items()}
    before = {f"{name}_before": value for name, value in texts.items() if not name.endswith("_calibration")}
    times = {"prefill": 0.5, "decode": 0.5, "bytes_per_token": 0.5, "products_per_prompt": 0.5}
    machine = {"rounds": 3, "device": "cpu", "dtype": "float32", "threads": 1, "prompt_tokens": 256}
    speed = {"times": {"unpruned": times}, **machine}
    result = {"out": "small", "kept": {"total": 0.5, "block": 0.4}, "context_tokens": 256, **texts, "recovery": before, "speed": speed}
    printed = io.StringIO()
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(printed):
        patch.setenv("COLUMNS", "80")
        show(result)
    return printed.getvalue()


@pytest.mark.parametrize("guide", ["prune", "recover"])
def test_the_table_of_a_pruning(guide, shown):
    page = (GUIDES / f"{guide}.md").read_text()
    assert heads(shown)[0] == ["perplexity at 256 tokens", "dense", "pruned", "pruned ÷ dense", "damage, nats", "tokens"]
    assert heads(page)[0] == heads(shown)[0]
    lines = [[line for line in text.splitlines() if re.match(r"speed: |report: ", line)] for text in (page, shown)]
    assert [form(line) for line in lines[0]] == [
        form(line).replace("small/", f"{'small' if guide == 'prune' else 'better'}/") for line in lines[1]
    ]


def test_the_widths_of_a_folder(pruned):
    printed = call("info", pruned[0])[1]
    assert heads((GUIDES / "prune.md").read_text())[1] == heads(printed)[0] and form("all indices are valid") in form(printed)


def test_the_table_of_speeds(tiny_shape):
    status, printed, err = call(
        "speed", "--shape", tiny_shape, "--keep-ratio", "0.5", "--prompt-tokens", "8", "--decode-tokens", "2", "--rounds", "1"
    )
    assert status == 0, err
    page = (GUIDES / "evaluate.md").read_text()
    assert heads(page) == heads(printed)
    sentences = [[form(line) for line in text.splitlines() if line.startswith("pruned / ")] for text in (page, printed)]
    assert sentences[0] == sentences[1] and len(sentences[0]) == 2


def test_the_table_of_a_probe():
    (head,) = [line for line in (GUIDES / "audit.md").read_text().splitlines() if line.startswith("concept ")]
    assert re.split(" {2,}", head) == probe_words.COLUMNS
