"""A GGUF file with any head gives a config and a model of its weights, or one sentence."""

import os

import pytest
import torch
from fuzzing import changed_bytes, fuzz
from gguf import GGUFReader
from hypothesis import strategies as st
from tiny_gguf import gguf_llama, write_gguf

from pydisp.loading import load_config, load_model, load_tokenizer

pytestmark = pytest.mark.usefixtures("quiet_transformers")

CPU = torch.device("cpu")


@st.composite
def flipped(draw, data: bytes) -> bytes:
    """One to three bits changed, which leaves most lengths as they are."""
    changed = bytearray(data)
    for _ in range(draw(st.integers(1, 3))):
        changed[draw(st.integers(0, len(data) - 1))] ^= 1 << draw(st.integers(0, 7))
    return bytes(changed)


def test_heads(tmp_path):
    path = write_gguf(tmp_path / "model.gguf")
    data = path.read_bytes()
    begins = GGUFReader(path).data_offset
    head, weights = data[:begins], data[begins:]
    parameters = {name: one.shape for name, one in gguf_llama().named_parameters()}
    number = iter(range(10**9))

    def outcome(content):
        file = tmp_path / f"{next(number) % 10}.gguf"  # files of another name are read anew
        file.unlink(missing_ok=True)
        os.mkfifo(file) if content == "pipe" else file.write_bytes(content)
        load_config(str(file))
        load_tokenizer(str(file))
        model = load_model(str(file), device=CPU, dtype=torch.float32)
        assert {name: one.shape for name, one in model.named_parameters()} == parameters or content != data

    changed = st.one_of(flipped(head), flipped(head), changed_bytes(head)).map(lambda content: content + weights)
    fuzz("GGUF head", st.one_of(changed, changed, changed, changed_bytes(data), st.just(data), st.just("pipe")), outcome, share=0.4)
