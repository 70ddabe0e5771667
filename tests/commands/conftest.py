"""For the tests of commands: a tiny model and a text in folders, and a pruned folder of it."""

import json

import pytest
from command_line import FAST, call
from tiny_text import TEXT, write_model, write_text

from pydisp.pruning import corpora
from pydisp.speed import memory
from pydisp.text import Text


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return write_model(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture(scope="module")
def text(tmp_path_factory):
    return write_text(tmp_path_factory.mktemp("texts") / "notes.txt")


@pytest.fixture(scope="module", autouse=True)
def short_journeys():
    """The help topics of Python are 380,000 tokens for a tokenizer of bytes, and peaks take three processes; nothing here waits for them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(corpora, "other_text", lambda: Text("other", (TEXT[:2000].upper(),)))
        patch.setattr(memory, "peak_mib", lambda *_args: 100.0)
        yield


@pytest.fixture
def run():
    return call


@pytest.fixture
def prune(run, model, text):
    """`pydisp prune` of the tiny model, by default to 60 % of its block parameters."""

    def prune(out, *args, ratio="0.6", name=None, source=None):
        return run(
            "prune", name or model, "--keep-ratio", ratio, "--ratio-of", "block", "--text", source or text, "--out", out, *FAST, *args
        )

    return prune


@pytest.fixture(scope="module")
def pruned(model, text, tmp_path_factory):
    """A pruned folder and the JSON of the command that made it."""
    out = tmp_path_factory.mktemp("out") / "pruned"
    status, printed, err = call("prune", model, "--keep-ratio", "0.6", "--ratio-of", "block", "--text", text, "--out", out, *FAST, "--json")
    assert status == 0, err
    return out, json.loads(printed), err
