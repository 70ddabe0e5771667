"""The command line that makes a folder again, without a machine's paths."""

import pytest

from pydisp.pruning.request import FolderRequest, without_folder
from pydisp.pruning.settings import PruneSettings

RESOLVED = PruneSettings(
    keep_ratio=0.5, steps=600, batch_size=4, context_tokens=256, learning_rate=0.02, round_to=8, seed=3, bfloat16=False
)


@pytest.mark.parametrize(
    ("changes", "is_usual", "words"),
    [
        (
            {},
            True,
            "pydisp prune demo --out DIR --keep-ratio 0.5 --ratio-of total --method disp --steps 600 --start gradient --batch-size 4 --seed 3 --round-to 8 "
            "--no-bfloat16 --context 256",
        ),
        (
            {"device": "cpu", "dtype": "float64", "revision": "v 1", "trust_remote_code": True},
            False,
            "pydisp prune demo --out DIR --config pydisp.yaml --keep-ratio 0.5 --ratio-of total --method disp --steps 600 --start gradient --batch-size 4 "
            "--seed 3 --round-to 8 --no-bfloat16 --context 256 --device cpu --dtype float64 --revision 'v 1' --trust-remote-code",
        ),
        ({"plan_file": "/home/me/plan.safetensors"}, True, "pydisp prune demo --out DIR --plan plan.safetensors --context 256"),
    ],
)
def test_command(changes, is_usual, words):
    request = FolderRequest("demo", "/home/me/out", RESOLVED, **changes)
    assert request.command(RESOLVED, is_usual=is_usual) == words


def test_texts_are_named_without_their_folders(tmp_path):
    (tmp_path / "notes.jsonl").write_text("")
    assert without_folder(f"{tmp_path}/notes.jsonl#body") == "notes.jsonl#body"
    assert without_folder("hub:wikitext:raw") == "hub:wikitext:raw" and without_folder("pythondoc") == "pythondoc"
