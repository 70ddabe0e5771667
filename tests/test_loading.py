"""Models and tokenizers by name: what is missing is named."""

import json
import sys

import pytest
from tiny_text import write_model

from pydisp import loading
from pydisp.loading import LoadingError, load_tokenizer

SENTENCEPIECE, TIKTOKEN = b"\n\x05\n\x03<s>", b"IQ== 0\nIg== 1\n"


@pytest.fixture
def only_tokenizer_model(tmp_path):
    """A folder as Llama-2 and Vicuna have it: tokenizer.model, and no tokenizer.json."""
    folder = write_model(tmp_path / "model")
    (folder / "tokenizer.json").unlink()
    (folder / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "LlamaTokenizer"}))
    return folder


def without(library, monkeypatch):
    find = loading.importlib.util.find_spec
    monkeypatch.setattr(loading.importlib.util, "find_spec", lambda name, *rest: None if name == library else find(name, *rest))
    monkeypatch.setitem(sys.modules, library, None)


def test_a_missing_sentencepiece_is_named(only_tokenizer_model, monkeypatch):
    without("sentencepiece", monkeypatch)
    (only_tokenizer_model / "tokenizer.model").write_bytes(SENTENCEPIECE)
    with pytest.raises(LoadingError, match="is a SentencePiece file, which needs .* install it with: pip install sentencepiece$"):
        load_tokenizer(str(only_tokenizer_model))


def test_a_file_of_tiktoken_is_not_called_sentencepiece(only_tokenizer_model, monkeypatch):
    without("sentencepiece", monkeypatch)
    without("tiktoken", monkeypatch)
    (only_tokenizer_model / "tokenizer.model").write_bytes(TIKTOKEN)
    with pytest.raises(LoadingError, match="cannot load the tokenizer of ") as error:
        load_tokenizer(str(only_tokenizer_model))
    assert "SentencePiece" not in str(error.value)
