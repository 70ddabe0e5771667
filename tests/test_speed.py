"""What is counted is right, what is timed takes turns, and the dense model of the same shapes has the same linears and no index."""

import copy
import errno
import json
import os
import re
import subprocess
import sys
from dataclasses import replace
from itertools import pairwise, permutations
from pathlib import Path

import pytest
import torch
from families import MODELS, random_plan, tiny_model
from test_cli import call, one_sentence
from tiny_text import TEXT, write_model, write_text
from torch import nn

from pydisp import shapes, speed
from pydisp.cost import Cost, cost_of
from pydisp.indices import IndexSet
from pydisp.modeling.config import stock_config
from pydisp.modeling.layers import FeatureIndex
from pydisp.modeling.plain import plain_model
from pydisp.plan import AttentionPlan, LayerPlan, MLPPlan, PruningPlan
from pydisp.pruning import journey
from pydisp.report.words import number
from pydisp.spec import ModelSpec
from pydisp.speed import NAMES, PRUNED, SAME, UNPRUNED, Source, Workload, compared, time_models
from pydisp.surgery import prune_model
from pydisp.text import Text

TINY = ("llama", dict(
    vocab_size=61, hidden_size=96, intermediate_size=160, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2,
    max_position_embeddings=64, tie_word_embeddings=True,
))  # fmt: skip


@pytest.fixture
def tiny_shape(monkeypatch):
    monkeypatch.setitem(shapes.SHAPES, "tiny", TINY)
    return "tiny"


def made(name, plan=None, **removed):
    dense = tiny_model(name)
    spec = ModelSpec.from_model(dense)
    return dense, prune_model(dense, plan(spec) if plan else random_plan(spec, **removed), spec)


def prefixes(written: int | None = None):
    """A plan that reads everything and writes the first `written` features (all, unless told); half of the middle stays."""

    def plan(spec: ModelSpec) -> PruningPlan:
        full = IndexSet.full(spec.hidden_size)
        write = IndexSet(torch.arange(written or spec.hidden_size, dtype=torch.int32), spec.hidden_size)
        middle = IndexSet(torch.arange(0, spec.middle_size, 2, dtype=torch.int32), spec.middle_size)
        layer = LayerPlan(AttentionPlan(full, write), MLPPlan(full, middle, write))
        return PruningPlan(spec.family.model_type, spec.hidden_size, spec.middle_size, (layer,) * len(spec.costs), spec.digest)

    return plan


@torch.no_grad()
def logits(model, ids):
    return model(ids, use_cache=False).logits


IDS = torch.arange(1, 13)[None]


@pytest.mark.parametrize("name", MODELS)
def test_the_plain_model_is_the_pruned_one_where_indices_change_nothing(name):
    writes = [None] if MODELS[name][0] in ("Gemma2", "Gemma3", "Olmo2") else [None, 20]  # their norms see what a block wrote
    for written in writes:
        dense, pruned = made(name, prefixes(written))
        # the stock norms work in float32 whatever their input
        torch.testing.assert_close(logits(plain_model(pruned, dense.config), IDS), logits(pruned, IDS), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", MODELS)
def test_the_plain_model_has_the_same_linears_and_no_index(name):
    for removed in ({}, dict(no_attention=(0,), no_mlp=(1,)), dict(no_attention=(2,), no_mlp=(2,))):
        dense, pruned = made(name, **removed)
        before = logits(pruned, IDS)
        plain = plain_model(pruned, dense.config)
        linears = [{key: m for key, m in model.named_modules() if isinstance(m, nn.Linear)} for model in (pruned, plain)]
        assert linears[0] == linears[1]  # modules are equal only to themselves
        assert not any(isinstance(m, FeatureIndex) for m in plain.modules())
        seconds, cache = speed._prefill(plain, IDS)
        assert seconds > 0 and speed._decode(plain, IDS, cache, range(3)) > 0 and cache.get_seq_length() == IDS.shape[1] + 3
        assert logits(plain, IDS).isfinite().all()
        assert torch.equal(logits(pruned, IDS), before)


def test_costs_of_a_model_written_out_by_hand():
    dense, pruned = made("llama")  # hidden 48, middle 80, 4 heads of 12 (2 for keys), vocabulary 97, 4 layers; every linear has a bias
    layer = 48 * (48 + 24 + 24) + 48 * 48 + 3 * 48 * 80
    biases = 48 + 24 + 24 + 48 + 80 + 80 + 48
    parameters = 4 * (layer + biases + 2 * 48) + 48 + 97 * 48
    assert cost_of(dense, 5) == Cost(parameters * 8, 5 * 4 * layer + 97 * 48 + 4 * (2 * 15 * 48))
    assert cost_of(dense, 5, itemsize=2).bytes_per_token == parameters * 2
    narrow = cost_of(pruned, 5)
    linears = [m.weight.numel() for n, m in pruned.named_modules() if isinstance(m, nn.Linear) and n != "lm_head"]
    assert narrow.products_per_prompt == 5 * sum(linears) + 97 * 48 + 4 * 2 * 15 * 48
    untied = narrow.bytes_per_token - sum(p.numel() for p in pruned.parameters()) * 8
    assert untied == -97 * 48 * 8  # all but the embedding
    tied = tiny_model("llama-tied")
    assert cost_of(tied, 1).bytes_per_token == sum(p.numel() for p in tied.parameters()) * 8


def test_a_removed_attention_costs_nothing():
    _, whole = made("qwen2")
    _, less = made("qwen2", no_attention=(0,))
    assert cost_of(less, 7).products_per_prompt < cost_of(whole, 7).products_per_prompt - 2 * 28 * 48


def test_a_random_plan_keeps_just_below_its_ratio(tiny_shape):
    dense = shapes.random_model(tiny_shape, torch.float32, torch.device("cpu"))
    spec = ModelSpec.from_model(dense)
    for ratio in (0.3, 0.5, 0.9):
        plan = shapes.random_plan(spec, ratio)
        assert ratio - 0.1 < spec.kept_shares(plan)["block"] <= ratio
        assert all(len(kept) % 16 == 0 for layer in plan.layers for kept in layer.sets().values())
        assert plan.digest() == shapes.random_plan(spec, ratio).digest() != shapes.random_plan(spec, ratio, seed=1).digest()
    first = plan.layers[0]
    assert first.attention.input != first.attention.output != first.mlp.input
    with pytest.raises(ValueError, match="blocks of width 16 alone are more"):
        shapes.random_plan(spec, 0.01)


def test_a_random_model_is_whole(tiny_shape):
    model = shapes.random_model(tiny_shape, torch.bfloat16, torch.device("cpu"))
    assert {p.dtype for p in model.parameters()} == {torch.bfloat16} and not any(t.is_meta for t in (*model.parameters(), *model.buffers()))
    assert model.lm_head.weight is model.model.embed_tokens.weight
    stock = type(model)(model.config).model.rotary_emb.inv_freq
    assert torch.equal(model.model.rotary_emb.inv_freq, stock) and logits(model, IDS).isfinite().all()


@pytest.mark.parametrize("shape", shapes.SHAPES)
def test_named_shapes_have_the_parameters_of_their_models(shape):
    import transformers

    with torch.device("meta"):
        model = transformers.AutoModelForCausalLM.from_config(shapes.config_of(shape))
    known = {"llama-3.2-1b": 1_235_814_400, "llama-2-7b": 6_738_415_616, "qwen2.5-0.5b": 494_032_768}
    assert sum(p.numel() for p in model.parameters()) == known[shape]


def test_neither_phase_records_a_graph():
    _, pruned = made("llama")
    modes = []
    pruned.register_forward_pre_hook(lambda *_: modes.append(torch.is_inference_mode_enabled()))
    _, cache = speed._prefill(pruned, IDS)
    speed._decode(pruned, IDS, cache, range(2))
    assert modes == [True] * 3 and not cache.layers[0].keys.requires_grad
    assert any(p.requires_grad for p in pruned.parameters())  # there would have been one


def test_weights_lie_in_huge_pages_where_the_system_grants_them():
    enabled = Path("/sys/kernel/mm/transparent_hugepage/enabled")
    if not enabled.exists() or "[madvise]" not in enabled.read_text():
        pytest.skip("the system gives huge pages to all or to none")
    code = """
import torch
from pydisp import speed
speed.ask_for_huge_pages()
weight = torch.ones(64 << 20)
print(speed._huge_page_share())
"""
    shares = [
        float(subprocess.run([sys.executable, "-c", code], env={**os.environ, **given}, capture_output=True, text=True, check=True).stdout)
        for given in ({"THP_MEM_ALLOC_ENABLE": "0"}, {})
    ]
    assert shares[0] < 0.1 < 0.3 < shares[1] <= 1  # the libraries' own memory stays small pages; what the user said stands


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

    monkeypatch.setattr(speed, "_prefill", prefill)
    monkeypatch.setattr(speed, "_decode", decode)
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


def test_ratios_are_taken_within_turns():
    drift = (1.0, 5.0, 2.0)  # the machine, not the models
    times = {
        name: {"prefill": [d * own for d in drift], "decode": [d * own / 10 for d in drift]}
        for name, own in ((UNPRUNED, 2.0), (PRUNED, 1.0), (SAME, 0.8))
    }
    found = compared(times, {UNPRUNED: Cost(400, 40), PRUNED: Cost(100, 20), SAME: Cost(100, 20)}, Workload(10, 1, 3))
    assert found["rounds"] == 3 and found["times"][UNPRUNED] == pytest.approx(
        {"prefill": 0.5, "decode": 0.5, "bytes_per_token": 0.25, "products_per_prompt": 0.5}
    )
    assert found["times"][SAME]["prefill"] == pytest.approx(1.25)
    assert found["models"][PRUNED]["prefill_tokens_per_second"] == pytest.approx(5) and found["models"][PRUNED][
        "decode_ms"
    ] == pytest.approx(200)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A pruned folder, what the command that made it printed, and the model and text that it had."""
    root = tmp_path_factory.mktemp("speed")
    model, text = write_model(root / "tiny"), write_text(root / "notes.txt")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(journey, "other_text", lambda: Text("other", (TEXT[:2000].upper(),)))
        patch.setitem(speed.quick.__kwdefaults__, "at_most_seconds", 900.0)  # where much else runs, three processes take more than a minute
        args = ["--ratio-of", "block", "--method", "random", "--round-to", "4", "--context", "32", "--text", text]
        status, out, err = call("prune", model, "--keep-ratio", "0.6", *args, "--out", root / "pruned", "--json")
    assert status == 0, err
    return root / "pruned", json.loads(out), model, text


QUICK = ["--prompt-tokens", "12", "--decode-tokens", "2", "--rounds", "2"]


def test_speed_of_a_folder(folder):
    status, out, err = call("speed", folder[0], *QUICK, "--json")
    found = json.loads(out)
    assert status == 0 and set(found["models"]) == set(NAMES) and "s left" in err
    assert (
        found["rounds"] == 2
        and found["prompt_tokens"] == 12
        and found["threads"] == torch.get_num_threads()
        and found["dtype"] == "float32"
    )
    for values in found["models"].values():
        assert values["prefill_tokens_per_second"] > 0 and values["decode_tokens_per_second"] > 0
        assert 50 < values["peak_mib"] < 4000
    assert found["times"][UNPRUNED]["bytes_per_token"] < 1 and found["times"][SAME]["products_per_prompt"] == 1
    assert found["kept_block"] == pytest.approx(folder[1]["kept"]["block"])
    status, out, _ = call("speed", folder[0], *QUICK, "--no-memory", "--against", folder[2])
    assert status == 0 and "against tiny" in out and "pruned / same shapes: " in out and "peak" not in out


def test_speed_of_a_shape(tiny_shape):
    status, out, err = call("speed", "--shape", "tiny", "--keep-ratio", "0.4", "--dtype", "bfloat16", "--no-memory", *QUICK, "--json")
    found = json.loads(out)
    assert status == 0 and found["dtype"] == "bfloat16" and 0.3 < found["kept_block"] <= 0.4 and "random weights" in found["source"]


def test_the_memory_of_a_process_is_that_of_its_run():
    class Hungry(nn.Module):
        def __init__(self, count):
            super().__init__()
            self.weight = nn.Parameter(torch.zeros(8))
            self.count, self.device = count, torch.device("cpu")
            self.config = type("Config", (), {"vocab_size": 5})()

        def forward(self, _ids, **_kwargs):
            torch.ones(self.count << 18)  # MiB
            return type("Out", (), {"past_key_values": None})()

    before = torch.ones(300 << 18)
    del before  # a peak of the past, which must not count
    small, large = (speed._peak_mib(Hungry(count), Workload(1, 1, 1)) for count in (1, 200))
    assert 150 < large - small < 250


def test_prune_keeps_its_speed_beside_the_report(folder):
    out, result, *_ = folder
    found = json.loads((out / "speed.json").read_text())
    assert found == result["speed"] and set(found["models"]) == set(NAMES)
    assert (found["source"], found["against"]) == ("pruned", "tiny") and found["kept_block"] == pytest.approx(result["kept"]["block"])
    for values in found["models"].values():
        assert values["prefill_tokens_per_second"] > 0 and values["decode_tokens_per_second"] > 0 and 50 < values["peak_mib"] < 4000
    for name in (UNPRUNED, SAME):
        ratios = found["times"][name]
        assert ratios["decode"] > 0 and ratios["peak"] == found["models"][PRUNED]["peak_mib"] / found["models"][name]["peak_mib"]
    section = measured(out)
    assert "Speed on this machine" in section and f"On cpu in float32, {torch.get_num_threads()} thread" in section
    rows = section.split("<tr>")
    assert all(f">{head}</th>" in rows[1] for head in (*NAMES, "÷ unpruned", "÷ same shapes"))
    for words, key in (("prompt, ms", "prefill"), ("decoded token, ms", "decode"), ("peak, MiB", "peak")):
        row = next(line for line in rows if f">{words}<" in line)
        cells = [found["models"][name]["peak_mib" if key == "peak" else f"{key}_ms"] for name in NAMES]
        cells += [found["times"][name][key] for name in (UNPRUNED, SAME)]
        assert re.findall(r">([^<>]+)</td>", row)[-5:] == [number(value) for value in cells]


def measured(out):
    """The section of a report's page that holds what was measured."""
    (section,) = re.findall(r'<section id="measured">.*?</section>', (out / "report.html").read_text(), re.DOTALL)
    return section


def test_the_report_of_prune_counts(folder):
    out, result, *_ = folder
    report = json.loads((out / "report.json").read_text())
    assert report["facts"]["result"]["cost"] == result["cost"] and "speed" not in report["facts"]["result"]
    work = next(t for t in report["tables"] if t["title"].startswith("Computing work"))
    dense, pruned = result["cost"]["dense"], result["cost"]["pruned"]
    assert work["rows"][0][1:] == pytest.approx([dense["bytes_per_token"] / 2**20, pruned["bytes_per_token"] / 2**20, pruned["bytes_per_token"] / dense["bytes_per_token"]])  # fmt: skip
    assert work["rows"][1][3] == pytest.approx(result["speed"]["times"][UNPRUNED]["products_per_prompt"], rel=0.02)


def out_of_memory(*_args, **_kwargs):
    raise OSError(errno.ENOMEM, "Cannot allocate memory")


@pytest.mark.parametrize("case", ["peaks", "last peak", "room", "times", "left out"])
def test_a_prune_that_cannot_measure_succeeds_and_says_so(folder, tmp_path, monkeypatch, case):
    if case == "peaks":
        monkeypatch.setattr(speed.subprocess, "run", out_of_memory)
    if case == "room":
        monkeypatch.setattr(speed, "free_bytes", lambda _device: 1 << 20)
    if case == "times":
        monkeypatch.setattr(speed, "_once", out_of_memory)
    if case == "last peak":
        monkeypatch.setattr(speed, "peak_mib", lambda _source, name, *_args: out_of_memory() if name == SAME else 100.0)
    elif case != "peaks":
        monkeypatch.setattr(speed, "peak_mib", lambda *_args: pytest.fail("measured"))
    status, out, err = call(
        "prune", folder[2], "--plan", folder[0] / "plan.safetensors", "--text", folder[3], "--context", "32", "--out", tmp_path / "out",
        *(["--no-speed"] if case == "left out" else []), "--json",
    )  # fmt: skip
    assert status == 0, err
    found, section = json.loads((tmp_path / "out/speed.json").read_text()), measured(tmp_path / "out")
    assert found == json.loads(out)["speed"]
    key = "peak_absent" if case in ("peaks", "last peak", "room") else "absent"
    why = {"room": "unpruned and pruned side by side take", "left out": "--no-speed was given"}.get(case, "Cannot allocate memory")
    assert why in found[key] and why in section and ("models" in found) == (key == "peak_absent")
    assert case == "left out" or re.search(f"(not measured|left out): {re.escape(found[key])}", err)
    if key == "peak_absent":
        has_peaks = case == "last peak"
        assert [name for name in NAMES if "peak_mib" in found["models"][name]] == [UNPRUNED, PRUNED] * has_peaks
        assert ("peak, MiB" in section) == has_peaks and found["times"][UNPRUNED].get("peak") == (1.0 if has_peaks else None)
    assert call("info", tmp_path / "out")[0] == 0


def test_a_peak_that_takes_too_long_is_given_up(folder):
    with pytest.raises(TimeoutError, match="the memory of pruned was not done after 0 s"):
        speed.peak_mib(Source(str(folder[0])), PRUNED, Workload(4, 1, 1), 1, 0.1)


def test_bad_input_is_told_in_one_sentence(folder, tiny_shape, tmp_path, monkeypatch):
    pruned, _, dense, _ = folder
    cases = [
        (["speed"], "give a folder"),
        (["speed", pruned, "--shape", "tiny"], "one of them"),
        (["speed", "--shape", "llama-9"], "unknown shape 'llama-9'; known: llama-3.2-1b"),
        (["speed", dense, *QUICK], "that is not pruned; give a folder that `pydisp prune` wrote"),
        (["speed", tmp_path / "none", *QUICK], f"there is no folder {tmp_path / 'none'}; give a folder that `pydisp prune` wrote"),
        (["speed", pruned, "--against", tmp_path / "none", *QUICK, "--no-memory"], "there is no model folder"),
        (["speed", "--shape", "tiny", "--against", dense], "--shape and --against exclude each other"),
        (["speed", "--shape", "tiny", "--keep-ratio", "1"], "between 0 and 1"),
        (["speed", pruned, "--keep-ratio", "0.5"], "goes with --shape"),
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
    monkeypatch.setattr(speed, "free_bytes", lambda _device: 1 << 29)
    for args in (["speed", pruned], ["speed", "--shape", "llama-2-7b"]):
        status, printed, err = call(*args)
        assert (status, printed) == (1, "") and "unpruned and pruned side by side" in one_sentence(err) and "round" not in err
    monkeypatch.undo()
    monkeypatch.setattr(speed.sys, "executable", "/bin/false")
    status, _, err = call("speed", pruned, *QUICK)
    assert status == 1 and "measures the memory of unpruned failed" in one_sentence(err)


def test_the_model_to_compare_with_counts(folder, tmp_path, monkeypatch):
    import transformers

    large = transformers.LlamaConfig(hidden_size=1024, intermediate_size=4096, num_hidden_layers=4, vocab_size=1000, num_attention_heads=8)
    large.save_pretrained(tmp_path / "large")
    monkeypatch.setattr(speed, "free_bytes", lambda _device: (1 << 29) + (100 << 20))
    speed.check_memory(Source(folder=str(folder[0])))
    with pytest.raises(ValueError, match="side by side"):
        speed.check_memory(Source(folder=str(folder[0]), against=str(tmp_path / "large")))


def test_too_many_tokens_are_refused_before_anything_is_built(folder, tiny_shape, monkeypatch):
    def fail(*_args, **_kwargs):
        raise AssertionError("built or measured")

    for name in ("build", "peak_mib", "time_models"):
        monkeypatch.setattr(speed, name, fail)
    for source in (Source(shape="tiny"), Source(folder=str(folder[0])), Source(folder=str(folder[0]), against=str(folder[2]))):
        with pytest.raises(ValueError, match="100000 and 2 tokens are more than the .* positions of the model"):
            speed.compare(source, Workload(100_000, 2))


def test_a_source_is_copied_whole_to_a_process():
    source = Source(shape="qwen2.5-0.5b", keep_ratio=0.25, dtype="float16", seed=3)
    assert Source(**json.loads(json.dumps(speed.asdict(source)))) == source == replace(copy.deepcopy(source))


def test_the_stock_config_is_the_dense_one():
    dense, pruned = made("gemma2", no_attention=(0,))
    assert stock_config(pruned.config).layer_types == dense.config.layer_types != pruned.config.layer_types


def test_without_proc_the_peak_of_the_whole_process_serves():
    assert speed._peak_since_start_mib() > 50
