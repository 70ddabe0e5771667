"""While weights are read or written, the bar is ours, and transformers' own stay as the user has them."""

import re
import subprocess
import sys

import pytest
import torch
from tiny_text import tiny_llama
from transformers.utils import logging

from pydisp.loading import load_model
from pydisp.progress import silence
from pydisp.transformers_bars import as_ours


@pytest.fixture(autouse=True)
def bars_on():
    was = logging.is_progress_bar_enabled()
    logging.enable_progress_bar()
    yield
    if not was:
        logging.disable_progress_bar()


def test_loading_is_told_by_tensors_in_our_words(many_lines, capsys):
    said = []
    load_model("demo", device=torch.device("cpu"), dtype=torch.float32, say=said.append)
    told = [re.fullmatch(r"loading demo: tensor (\d+) of (\d+), (about \d+ s left|in \d+ s)", line) for line in said]
    assert len(told) > 1 and all(told) and told[-1][1] == told[-1][2] and told[-1][3].startswith("in ")
    count = len(said)
    load_model("demo", device=torch.device("cpu"), dtype=torch.float32)
    assert capsys.readouterr() == ("", "") and len(said) == count


def test_unpacking_a_gguf_file_is_told_alike(many_lines, tmp_path, capsys):
    pytest.importorskip("gguf")
    from tiny_gguf import write_gguf

    said, file = [], str(write_gguf(tmp_path / "tiny.gguf"))
    capsys.readouterr()
    load_model(file, device=torch.device("cpu"), dtype=torch.float32, say=said.append)
    assert said and all(line.startswith("loading tiny.gguf: tensor ") for line in said) and capsys.readouterr() == ("", "")


def test_writing_is_told_by_files(many_lines, tmp_path, capsys):
    said = []
    with as_ours(said.append, title="writing the weights", unit="file"):
        tiny_llama().save_pretrained(tmp_path / "one", max_shard_size="20KB")
    count = len(list((tmp_path / "one").glob("*.safetensors")))
    assert count > 1 and said[-1].startswith(f"writing the weights: file {count} of {count}, in ")
    assert capsys.readouterr() == ("", "")


def test_afterwards_transformers_draws_again(tmp_path, capsys):
    with pytest.raises(KeyError), as_ours(silence, title="t", unit="u"):
        raise KeyError
    tiny_llama().save_pretrained(tmp_path)
    assert "Writing model shards" in capsys.readouterr().err


def test_a_version_without_hooks_draws_nothing(monkeypatch, tmp_path, capsys):
    monkeypatch.delattr(logging, "set_tqdm_hook")
    with as_ours(silence, title="t", unit="u"):
        tiny_llama().save_pretrained(tmp_path)
    assert capsys.readouterr().err == "" and logging.is_progress_bar_enabled()


def test_a_python_call_in_a_pipe_shows_its_own_progress_alone(tmp_path):
    code = (
        "import pydisp, pydisp.progress as p\np.FIRST_LINE_SECONDS = 0.0\n{silent}pydisp.evaluate('demo', text=__file__, context_tokens=16)"
    )
    for silent in ("", "import logging; logging.getLogger('pydisp').setLevel('WARNING')\n"):
        script = tmp_path / "script.py"
        script.write_text(code.format(silent=silent) + "\n# " + "a few words to score " * 40)
        done = subprocess.run([sys.executable, script], capture_output=True, text=True)
        assert done.returncode == 0 and done.stdout == "", done.stderr
        assert not any(words in done.stderr for words in ("it/s", "Loading", "\r")), done.stderr  # transformers' bars
        ours = [line for line in done.stderr.splitlines() if line.startswith(("loading demo: tensor ", "evaluation: window "))]
        assert bool(ours) is not bool(silent)  # torchao, which transformers imports, may say more
