"""Models take turns, each follows each, and neither phase records a graph."""

from itertools import pairwise, permutations

import pytest
import torch
from families import tiny_model
from torch import nn

from pydisp.speed import timing
from pydisp.speed.timing import Workload, time_models


def test_neither_phase_records_a_graph():
    model = tiny_model("llama")
    ids = torch.arange(1, 13)[None]
    modes = []
    model.register_forward_pre_hook(lambda *_: modes.append(torch.is_inference_mode_enabled()))
    _, cache = timing._prefill(model, ids)
    timing._decode(model, ids, cache, range(2))
    assert modes == [True] * 3 and not cache.layers[0].keys.requires_grad
    assert any(p.requires_grad for p in model.parameters())  # there would have been one


def test_models_take_turns_and_each_follows_each(monkeypatch):
    asked = []

    def prefill(model, prompt):
        asked.append(model.name)
        return 1.0, model.name

    def decode(model, prompt, cache, positions):
        assert cache == model.name
        asked.append(model.name.upper())
        return 0.5 / len(positions)

    def stand_in(name):
        model = nn.Module()
        model.name, model.device = name, torch.device("cpu")
        model.config = type("Config", (), {"vocab_size": 5, "max_position_embeddings": 40})()
        return model

    monkeypatch.setattr(timing, "_prefill", prefill)
    monkeypatch.setattr(timing, "_decode", decode)
    models = {name: stand_in(name) for name in "abc"}
    workload = Workload(8, 6)
    times = time_models(models, workload)
    assert times == {name: {"prefill": [1.0] * workload.rounds, "decode": [0.125, 0.25] * workload.rounds} for name in "abc"}  # 4 tokens, 2
    first, asked[:] = "".join(asked), []
    time_models(models, workload)
    assert "".join(asked) == first and first[:6] == "aAbBcC"  # the first ones warm up
    turns = [first[start : start + 3] for start in range(6, len(first), 3)]
    assert len(turns) == 3 * workload.rounds and all(sorted(turn.lower()) == list("abc") for turn in turns)
    for phase in (turns[::3], turns[1::3] + turns[2::3]):
        assert {pair for turn in phase for pair in pairwise(turn.lower())} == set(permutations("abc", 2))
    assert all(turn.islower() for turn in turns[::3]) and all(turn.isupper() for turn in turns[1::3] + turns[2::3])
    assert len(time_models(models, Workload(8, 2, rounds=9), at_most_seconds=0.0)["a"]["prefill"]) == 1
    with pytest.raises(ValueError, match="38 and 3 tokens are more than the 40 positions"):
        time_models(models, Workload(38, 3))
