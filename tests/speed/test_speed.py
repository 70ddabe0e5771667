"""`pydisp speed` from end to end, of a folder and of a shape, and what it refuses."""

import json
import re

import pytest
import torch
from command_line import call, one_sentence

from pydisp import speed
from pydisp.speed import NAMES, SAME, UNPRUNED, Source, Workload, memory, models

QUICK = ["--prompt-tokens", "12", "--decode-tokens", "2", "--rounds", "2"]


def test_speed_of_a_folder(folder):
    status, out, err = call("speed", folder[0], *QUICK, "--json")
    comparison = json.loads(out)
    assert status == 0 and set(comparison["models"]) == set(NAMES)
    plan, *told = [line for line in err.splitlines() if not line.startswith("loading")]
    lines = [
        re.fullmatch(r"speed and memory: measurement (\d) of 7, (about .* left|in .*)", line) for line in told
    ]  # 3 peaks, building, 1 + 2 rounds
    assert all(lines) and lines[0][1] == "1" and "left" in lines[0][2] and lines[-1][1] == "7" and "in " in lines[-1][2]
    assert (
        " on cpu in float32, " in plan
        and ": peak memory of 3 models, " in plan
        and "then 2 rounds of 3 models, prompts of 12 tokens and 2 one" in plan
    )
    assert (
        comparison["rounds"] == 2
        and comparison["prompt_tokens"] == 12
        and comparison["threads"] == torch.get_num_threads()
        and comparison["dtype"] == "float32"
    )
    for values in comparison["models"].values():
        assert values["prefill_tokens_per_second"] > 0 and values["decode_tokens_per_second"] > 0
        assert 50 < values["peak_mib"] < 4000
    assert comparison["times"][UNPRUNED]["bytes_per_token"] < 1 and comparison["times"][SAME]["products_per_prompt"] == 1
    assert comparison["kept_block"] == pytest.approx(folder[1]["kept"]["block"])
    status, out, _ = call("speed", folder[0], *QUICK, "--no-memory", "--against", folder[2])
    assert status == 0 and "against tiny" in out and "pruned / same shapes: " in out and "peak" not in out


def test_speed_of_a_shape(tiny_shape):
    status, out, err = call("speed", "--shape", "tiny", "--keep-ratio", "0.4", "--dtype", "bfloat16", "--no-memory", *QUICK, "--json")
    comparison = json.loads(out)
    assert (
        status == 0
        and comparison["dtype"] == "bfloat16"
        and 0.3 < comparison["kept_block"] <= 0.4
        and "random weights" in comparison["source"]
    )
    assert err.startswith("tiny, random weights on ") and ": 2 rounds of 3 models, " in err.splitlines()[0] and " in bfloat16, " in err


def test_bad_input_is_told_in_one_sentence(folder, tiny_shape, tmp_path, monkeypatch):
    pruned, _, dense, _ = folder
    cases = [
        (["speed", "--shape", "llama-9"], "unknown shape 'llama-9'; known: llama-3.2-1b"),
        (["speed", dense, *QUICK], "that is not pruned; give a folder that `pydisp prune` wrote"),
        (["speed", tmp_path / "none", *QUICK], f"there is no folder {tmp_path / 'none'}; give a folder that `pydisp prune` wrote"),
        (["speed", pruned, "--against", tmp_path / "none", *QUICK, "--no-memory"], "there is no model folder"),
        (["speed", "--shape", "tiny", "--keep-ratio", "1"], "between 0 and 1"),
        (["speed", pruned, "--rounds", "0"], "rounds is 0"),
        (["speed", pruned, "--prompt-tokens", "-1"], "prompt_tokens is -1"),
        (["speed", pruned, "--threads", "0"], "--threads is 0"),
        (["speed", pruned, "--dtype", "int8"], "unknown dtype 'int8'"),
        (["speed", pruned, "--device", "cuda:7"], "cannot be used here"),
        (["speed", pruned, "--prompt-tokens", "4000", "--no-memory"], "positions of the model"),
    ]
    for args, message in cases:
        status, printed, err = call(*args, "--json")
        assert (status, printed) == (1, "") and message in one_sentence(err), (args, err)
    misused = [
        (["speed"], "give a folder"),
        (["speed", pruned, "--shape", "tiny"], "one of them"),
        (["speed", "--shape", "tiny", "--against", dense], "--shape and --against exclude each other"),
        (["speed", pruned, "--keep-ratio", "0.5"], "goes with --shape"),
    ]
    for args, message in misused:
        status, printed, err = call(*args, "--json")
        assert (status, printed) == (2, "") and message in one_sentence(err), (args, err)
    monkeypatch.setattr(models, "free_bytes", lambda _device: 1 << 29)
    for args in (["speed", pruned], ["speed", "--shape", "llama-2-7b"]):
        status, printed, err = call(*args)
        assert (status, printed) == (1, "") and "unpruned and pruned side by side" in one_sentence(err) and "round" not in err
    monkeypatch.undo()
    monkeypatch.setattr(memory.sys, "executable", "/bin/false")
    status, _, err = call("speed", pruned, *QUICK)
    assert status == 1 and "measures the memory of unpruned failed" in one_sentence(err)


def test_too_many_tokens_are_refused_before_anything_is_built(folder, tiny_shape, monkeypatch):
    def fail(*_args, **_kwargs):
        raise AssertionError("built or measured")

    for module, name in ((speed, "build"), (memory, "peak_mib"), (speed, "time_models")):
        monkeypatch.setattr(module, name, fail)
    for source in (Source(shape="tiny"), Source(folder=str(folder[0])), Source(folder=str(folder[0]), against=str(folder[2]))):
        with pytest.raises(ValueError, match="100000 and 2 tokens are more than the .* positions of the model"):
            speed.compare(source, Workload(100_000, 2))
