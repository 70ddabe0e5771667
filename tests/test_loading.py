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


@pytest.fixture
def installed(monkeypatch):
    """Says which of the libraries that read tokenizers are there; none can be imported."""
    names = set()
    monkeypatch.setattr(loading, "_is_installed", names.__contains__)
    for library in ("sentencepiece", "google.protobuf", "tiktoken"):
        monkeypatch.setitem(sys.modules, library, None)
    return names


@pytest.mark.parametrize(
    ("there", "missing"),
    [((), "sentencepiece protobuf"), (("sentencepiece",), "protobuf"), (("google.protobuf",), "sentencepiece")],
)
def test_what_a_sentencepiece_tokenizer_needs_is_named(only_tokenizer_model, installed, there, missing):
    installed.update(there)
    (only_tokenizer_model / "tokenizer.model").write_bytes(SENTENCEPIECE)
    with pytest.raises(LoadingError, match=rf"is a SentencePiece file, which needs .*; pip install {missing}\.$"):
        load_tokenizer(str(only_tokenizer_model))


def test_a_damaged_sentencepiece_file_is_told(only_tokenizer_model, installed):
    installed.update(("sentencepiece", "google.protobuf"))
    (only_tokenizer_model / "tokenizer.model").write_bytes(SENTENCEPIECE)
    with pytest.raises(LoadingError, match="cannot be read with sentencepiece; is it damaged or cut off"):
        load_tokenizer(str(only_tokenizer_model))


def test_a_file_of_tiktoken_is_not_called_sentencepiece(only_tokenizer_model, installed):
    (only_tokenizer_model / "tokenizer.model").write_bytes(TIKTOKEN)
    with pytest.raises(LoadingError, match="cannot load the tokenizer of ") as error:
        load_tokenizer(str(only_tokenizer_model))
    assert "SentencePiece" not in str(error.value)
