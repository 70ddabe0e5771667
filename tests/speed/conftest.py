"""A folder that `pydisp prune` made of a tiny model, with its speed measured."""

import json

import pytest
from command_line import call
from tiny_text import TEXT, write_model, write_text

from pydisp import speed
from pydisp.pruning import corpora
from pydisp.text import Text


@pytest.fixture(scope="session")
def folder(tmp_path_factory):
    """A pruned folder, what the command that made it printed, and the model and text that it had."""
    root = tmp_path_factory.mktemp("speed")
    model, text = write_model(root / "tiny"), write_text(root / "notes.txt")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(corpora, "other_text", lambda: Text("other", (TEXT[:2000].upper(),)))
        patch.setitem(speed.quick.__kwdefaults__, "at_most_seconds", 900.0)  # where much else runs, three processes take more than a minute
        args = ["--ratio-of", "block", "--method", "random", "--round-to", "4", "--context", "32", "--text", text]
        status, out, err = call("prune", model, "--keep-ratio", "0.6", *args, "--out", root / "pruned", "--json")
    assert status == 0, err
    return root / "pruned", json.loads(out), model, text
