"""Models and tokenizers by name: what is missing is named."""

import json
import sys

import pytest
import torch
from tiny_text import tiny_llama, write_model

from pydisp import sentencepiece_file
from pydisp.loading import LoadingError, empty_model, load_config, load_model, load_tokenizer

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
    monkeypatch.setattr(sentencepiece_file, "_is_installed", names.__contains__)
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


def test_the_model_of_a_config_has_its_shapes_and_no_values(tmp_path):
    config = load_config(str(write_model(tmp_path / "model")))
    model = empty_model(config, "model")
    assert all(parameter.is_meta for parameter in model.parameters())
    assert sum(parameter.numel() for parameter in model.parameters()) == sum(p.numel() for p in tiny_llama().parameters())


@pytest.mark.parametrize(
    ("changed", "why"),
    [
        ({"num_attention_heads": -1}, "RuntimeError"),
        ({"num_key_value_heads": 0}, "ZeroDivisionError"),
        ({"hidden_act": "none"}, "KeyError"),
        ({"pad_token_id": 10**6}, "AssertionError"),
        ({"rope_parameters": {"rope_type": "none"}}, "KeyError: 'none'"),
        ({"model_type": "t5"}, "Unrecognized configuration class"),
    ],
)
def test_a_config_of_no_model_is_told_whatever_transformers_raises(tmp_path, changed, why):
    folder = write_model(tmp_path / "model")
    (folder / "config.json").write_text(json.dumps(json.loads((folder / "config.json").read_text()) | changed))
    config = load_config(str(folder))
    for call in (lambda: empty_model(config, "small"), lambda: load_model(str(folder), device=torch.device("cpu"), dtype=torch.float32)):
        with pytest.raises(LoadingError) as error:
            call()
        words = str(error.value)
        assert " describes no causal language model (" in words and why in words and "\n" not in words, words
        assert words.endswith("; give another one, or copy it again.")
