"""Where the three models come from, and that what does not fit is refused."""

import copy
import json
from dataclasses import asdict, replace

import pytest

from pydisp.speed import Source, models


def test_the_model_to_compare_with_counts(folder, tmp_path, monkeypatch):
    import transformers

    large = transformers.LlamaConfig(hidden_size=1024, intermediate_size=4096, num_hidden_layers=4, vocab_size=1000, num_attention_heads=8)
    large.save_pretrained(tmp_path / "large")
    monkeypatch.setattr(models, "free_bytes", lambda _device: (1 << 29) + (100 << 20))
    models.check_memory(Source(folder=str(folder[0])))
    with pytest.raises(ValueError, match="side by side"):
        models.check_memory(Source(folder=str(folder[0]), against=str(tmp_path / "large")))


def test_a_source_is_copied_whole_to_a_process():
    source = Source(shape="qwen2.5-0.5b", keep_ratio=0.25, dtype="float16", seed=3)
    assert Source(**json.loads(json.dumps(asdict(source)))) == source == replace(copy.deepcopy(source))
