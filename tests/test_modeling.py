"""The pruned classes as transformers' users meet them: caches, padding, compile, save and load, damage, training."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from families import MODELS, random_plan, tiny_model
from safetensors.torch import load_file, save_file
from tiny_text import tiny_tokenizer
from transformers import AutoConfig, AutoModel, AutoModelForCausalLM, StaticCache

from pydisp.modeling import classes_of
from pydisp.modeling.feature_index import FeatureIndex
from pydisp.modeling.kv_cache import cache_slots, kept_layer_types
from pydisp.spec import ModelSpec
from pydisp.surgery import prune_model

IDS = torch.randint(3, 97, (2, 14), generator=torch.Generator().manual_seed(0))


def pruned_model(name, dtype=torch.float64, removed=((0,), (2,))):
    dense = tiny_model(name, dtype=dtype)
    return prune_model(dense, random_plan(ModelSpec.from_model(dense), 1, *removed))


@pytest.fixture(params=MODELS)
def pruned(request):
    return pruned_model(request.param)


@torch.no_grad()
def one_by_one(model, ids, cache=None, mask=None, prefill=3):
    """Logits by a prefill of some tokens and then token by token from the cache."""
    steps = [slice(0, prefill), *(slice(t, t + 1) for t in range(prefill, ids.shape[1]))]
    out = []
    for step in steps:
        extra = {} if mask is None else {"attention_mask": mask[:, : step.stop]}
        if mask is not None:
            extra["position_ids"] = (mask.cumsum(-1) - 1).clamp_min(0)[:, step]
        result = model(input_ids=ids[:, step], past_key_values=cache, use_cache=True, **extra)
        cache = result.past_key_values
        out.append(result.logits)
    return torch.cat(out, 1)


# transformers takes RMSNorm in float32, so equal positions may differ by its rounding.
TOLERANCE = 2e-5


@pytest.mark.parametrize(
    "removed", [((), ()), ((0,), (2,)), ((0, 2), ()), ((1, 3), (0,))], ids=["none", "first", "first-kind", "second-kind"]
)
@pytest.mark.parametrize("name", MODELS)
def test_cached_logits_equal_uncached(name, removed):
    model = pruned_model(name, removed=removed)
    with torch.no_grad():
        want = model(input_ids=IDS, use_cache=False).logits
    assert (one_by_one(model, IDS) - want).abs().max() < TOLERANCE


@pytest.mark.parametrize("name", MODELS)
def test_left_padded_batch_equals_its_rows_alone(name):
    # float32: transformers fills masks with the dtype's minimum, which is -inf in the float32 softmax of a float64 model.
    pruned = pruned_model(name, torch.float32)
    mask = torch.ones_like(IDS)
    mask[0, :4] = 0
    with torch.no_grad():
        alone = pruned(input_ids=IDS[:1, 4:], use_cache=False).logits
        whole = pruned(input_ids=IDS[1:], use_cache=False).logits
    got = one_by_one(pruned, IDS, mask=mask, prefill=6)
    assert (got[:1, 4:] - alone).abs().max() < 1e-3
    assert (got[1:] - whole).abs().max() < 1e-3


def test_static_cache_equals_no_cache(pruned):
    with torch.no_grad():
        want = pruned(input_ids=IDS, use_cache=False).logits
    cache = StaticCache(config=pruned.config, max_cache_len=32)
    assert (one_by_one(pruned, IDS, cache) - want).abs().max() < TOLERANCE


def test_generate_with_and_without_cache_agree(pruned):
    kwargs = dict(max_new_tokens=8, do_sample=False, attention_mask=torch.ones_like(IDS))
    cached = pruned.generate(IDS, use_cache=True, **kwargs)
    assert torch.equal(cached, pruned.generate(IDS, use_cache=False, **kwargs))


@pytest.mark.parametrize("name", MODELS)
def test_compiled_with_a_static_cache_equals_no_cache(name):
    model = pruned_model(name, torch.float32)
    with torch.no_grad():
        want = model(input_ids=IDS, use_cache=False).logits
        torch._dynamo.reset()
        compiled = torch.compile(model, backend="eager", fullgraph=True)  # graph capture; code generation is torch's own business
        # Stock OPT reckons positions from the cache's length, which no graph can hold; given positions, as generate() gives them, it can.
        mask = torch.ones_like(IDS) if name.startswith("opt") else None
        got = one_by_one(compiled, IDS, StaticCache(config=model.config, max_cache_len=32), mask, prefill=11)
    assert (got - want).abs().max() < 1e-3


@pytest.mark.parametrize("name", ["llama", "gemma2", "opt-350m", "phi"])  # one of each kind of layer; each compiles for seconds
def test_compiled_gradients_equal_eager(name):
    model = pruned_model(name, torch.float32)
    losses = []
    for run in (model, torch.compile(model, backend="aot_eager", fullgraph=True)):
        torch._dynamo.reset()
        model.zero_grad()
        run(input_ids=IDS, labels=IDS, use_cache=False).loss.backward()
        losses.append(torch.cat([p.grad.flatten() for p in model.parameters()]))
    assert torch.allclose(losses[0], losses[1], atol=1e-4, rtol=1e-3)


def test_cache_slots_keep_the_types():
    types = ["s", "f", "s", "f"]
    assert cache_slots(None, [False, True, True]) == [2, 0, 1]
    assert cache_slots(types, [True] * 4) == [0, 1, 2, 3]
    assert cache_slots(types, [False, True, True, True]) == [2, 1, 0, 3]
    kept = kept_layer_types(types, [False, True, False, True])
    assert kept == ["f"] * 4 and cache_slots(kept, [False, True, False, True]) == [2, 0, 3, 1]


@pytest.mark.skipif(not Path("/proc/self/maps").is_file(), reason="only Linux lists the files in memory")
def test_a_model_in_another_dtype_than_its_file_does_not_hold_the_file(tmp_path):
    pruned_model("llama", torch.bfloat16).save_pretrained(tmp_path)
    loaded = AutoModelForCausalLM.from_pretrained(tmp_path, dtype=torch.float32)
    assert str(tmp_path / "model.safetensors") not in Path("/proc/self/maps").read_text()
    assert all(module.mask is not None for module in loaded.modules() if isinstance(module, FeatureIndex))


@pytest.mark.parametrize("name", MODELS)
def test_save_and_load_is_exact(name, tmp_path):
    pruned = pruned_model(name, torch.float32)
    pruned.save_pretrained(tmp_path)
    loaded = AutoModelForCausalLM.from_pretrained(tmp_path)
    assert type(loaded) is type(pruned) and loaded.dtype == pruned.dtype
    with torch.no_grad():
        assert torch.equal(loaded(input_ids=IDS).logits, pruned(input_ids=IDS).logits)
    base = AutoModel.from_pretrained(tmp_path)
    assert isinstance(base, classes_of(pruned.config.model_type)[1])
    with torch.no_grad():
        hidden = pruned.base_model(input_ids=IDS).last_hidden_state
        assert torch.equal(base(input_ids=IDS).last_hidden_state, hidden)


def test_saving_twice_gives_the_same_bytes(tmp_path):
    model = pruned_model("llama")
    for folder in ("a", "b"):
        model.save_pretrained(tmp_path / folder)
    for file in (tmp_path / "a").iterdir():
        assert file.read_bytes() == (tmp_path / "b" / file.name).read_bytes(), file.name


def test_sharded_checkpoint_loads(tmp_path):
    model = pruned_model("llama")
    model.save_pretrained(tmp_path, max_shard_size="40KB")
    assert len(list(tmp_path.glob("*.safetensors"))) > 1
    with torch.no_grad():
        assert torch.equal(AutoModelForCausalLM.from_pretrained(tmp_path)(input_ids=IDS).logits, model(input_ids=IDS).logits)


def test_hidden_states_and_attentions_are_recorded():
    model = pruned_model("llama")
    model.set_attn_implementation("eager")
    with torch.no_grad():
        out = model(input_ids=IDS, output_hidden_states=True, output_attentions=True)
    assert len(out.hidden_states) == 5 and len(out.attentions) == 3  # one attention is removed


@pytest.mark.parametrize("family", ["llama", "gemma2", "opt-125m"])
def test_a_fresh_process_records_hidden_states(family, tmp_path):
    """In this one another test may have made the base model's class known to transformers."""
    pruned_model(family).save_pretrained(tmp_path)
    program = (
        "import sys, torch, pydisp\nfrom transformers import AutoModelForCausalLM\n"
        "model = AutoModelForCausalLM.from_pretrained(sys.argv[1], attn_implementation='eager')\n"
        "out = model(input_ids=torch.arange(6)[None], output_hidden_states=True, output_attentions=True)\n"
        "print(len(out.hidden_states), len(out.attentions))\n"
    )
    ran = subprocess.run([sys.executable, "-c", program, str(tmp_path)], capture_output=True, text=True)
    assert ran.stdout.split() == ["5", "3"], ran.stderr


def _damage(folder, change):
    path = folder / "model.safetensors"
    tensors = load_file(path)
    change(tensors)
    save_file(tensors, path, metadata={"format": "pt"})


INDEX = "model.layers.1.attention_input.index"


def _repeat(tensors):
    tensors[INDEX][1] = tensors[INDEX][0]


def _unsort(tensors):
    tensors[INDEX] = tensors[INDEX].flip(0).contiguous()


def _out_of_range(tensors):
    tensors[INDEX][-1] = 48


def _shorten(tensors):
    tensors[INDEX] = tensors[INDEX][:-1].clone()


def _unexpected(tensors):
    tensors["model.layers.0.attention_input.index"] = tensors[INDEX].clone()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.pop(INDEX), "attention_input.index are missing from the checkpoint"),
        (_repeat, "index: index .* is repeated"),
        (_unsort, "not sorted"),
        (_out_of_range, "index 48 is outside a space of size 48"),
        (_shorten, "do not have the widths"),
        (_unexpected, "not of this model"),
    ],
    ids=["missing", "repeated", "unsorted", "out-of-range", "wrong-length", "unexpected"],
)
def test_damaged_indices_are_refused(tmp_path, change, message):
    pruned_model("llama").save_pretrained(tmp_path)
    _damage(tmp_path, change)
    with pytest.raises(ValueError, match=message):
        AutoModelForCausalLM.from_pretrained(tmp_path)


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda p: p["layers"].pop(), "widths for 3 layers"),
        (lambda p: p["layers"][1]["attention"].update(input=0), "attention.input of layer 1 is 0"),
        (lambda p: p["layers"][1]["mlp"].update(middle=999), "mlp.middle of layer 1 is 999"),
        (lambda p: p.update(version=7), "format is version 7"),
    ],
)
def test_wrong_widths_are_refused(tmp_path, edit, message):
    pruned_model("llama").save_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    edit(config["pydisp"])
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(ValueError, match=message):
        AutoModelForCausalLM.from_pretrained(tmp_path)


def test_from_config_initialises_every_weight():
    values = pruned_model("llama").config.to_dict()
    config = AutoConfig.for_model(values.pop("model_type"), **values)
    with torch.no_grad():
        logits = AutoModelForCausalLM.from_config(config)(input_ids=IDS).logits
    assert torch.isfinite(logits).all()


_FRESH = """
import sys
{imports}
from transformers import AutoModelForCausalLM
model = AutoModelForCausalLM.from_pretrained(sys.argv[1]{kwargs})
print(type(model).__module__, type(model).__name__)
"""


@pytest.mark.parametrize(
    ("imports", "kwargs", "works"),
    [("import pydisp", "", True), ("", ", trust_remote_code=True", True), ("", ", trust_remote_code=False", False)],
    ids=["import", "trust", "neither"],
)
def test_loading_in_a_fresh_process(tmp_path, imports, kwargs, works):
    pruned_model("llama").save_pretrained(tmp_path)
    code = _FRESH.format(imports=imports, kwargs=kwargs)
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True)
    assert (done.returncode == 0) is works, done.stderr
    if works:
        assert "PydispLlamaForCausalLM" in done.stdout
    else:
        assert "trust_remote_code" in done.stderr


def test_a_model_that_came_through_the_shim_saves_a_folder_that_loads(tmp_path):
    pruned_model("llama").save_pretrained(tmp_path / "first")
    again = (
        "import sys\nfrom transformers import AutoModelForCausalLM\n"
        "AutoModelForCausalLM.from_pretrained(sys.argv[1], trust_remote_code=True).save_pretrained(sys.argv[2])"
    )
    for source, target in (("first", "second"), ("second", "third")):
        subprocess.run([sys.executable, "-c", again, str(tmp_path / source), str(tmp_path / target)], check=True, capture_output=True)
    names = [{p.name for p in (tmp_path / folder).iterdir()} for folder in ("first", "third")]
    assert names[0] == names[1]


def test_a_tokenizer_loads_without_a_question(tmp_path):
    """Without pydisp and without an answer, transformers asks on standard input whether to trust the folder's config, for 15 seconds."""
    pruned_model("llama").save_pretrained(tmp_path)
    tiny_tokenizer().save_pretrained(tmp_path)
    for imports, answer in (("import pydisp", ""), ("", ", trust_remote_code=False"), ("", ", trust_remote_code=True")):
        code = (
            f"{imports}\nimport sys, transformers\nprint(transformers.AutoTokenizer.from_pretrained(sys.argv[1]{answer})('fox').input_ids)"
        )
        with subprocess.Popen(
            [sys.executable, "-c", code, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        ) as asked:
            printed = asked.stdout.read()  # standard input stays open meanwhile
        assert printed == f"{tiny_tokenizer()('fox').input_ids}\n", (imports, answer, printed)


def test_training_reaches_every_weight_and_checkpointing_changes_nothing():
    model = pruned_model("llama")
    grads = []
    for checkpointing in (False, True):
        model.zero_grad()
        if checkpointing:
            model.gradient_checkpointing_enable()
        model.train()
        model(input_ids=IDS, labels=IDS).loss.backward()
        grads.append({n: p.grad.clone() for n, p in model.named_parameters()})
    assert all(torch.isfinite(g).all() and g.abs().sum() > 0 for g in grads[0].values())
    assert all((grads[0][n] - grads[1][n]).abs().max() < 1e-9 for n in grads[0])


def test_defaults_of_adapters_are_those_of_the_stock_family():
    """IA3 looks its modules up in two tables by model type, other adapters in one."""
    peft = pytest.importorskip("peft")
    from peft.utils import constants

    from pydisp.spec import FAMILIES

    tables = {name: table for name, table in vars(constants).items() if name.endswith("_MODULES_MAPPING") and "llama" in (table or {})}
    assert len(tables) > 5 and sum("IA3" in name for name in tables) == 2
    for table in tables.values():
        assert all(table.get(f"pydisp_{family}") == table.get(family) for family in FAMILIES)
    for config in (peft.IA3Config, peft.LoHaConfig, peft.LoraConfig):
        chosen = [peft.get_peft_model(m, config()).peft_config["default"] for m in (tiny_model("llama"), pruned_model("llama"))]
        assert chosen[0].target_modules == chosen[1].target_modules
        assert getattr(chosen[0], "feedforward_modules", None) == getattr(chosen[1], "feedforward_modules", None)


def test_lora_on_all_linears_trains_saves_and_merges(tmp_path):
    peft = pytest.importorskip("peft")
    model = pruned_model("llama", torch.float32)
    assert peft.get_peft_model(pruned_model("llama"), peft.LoraConfig(r=2)).peft_config["default"].target_modules == {"q_proj", "v_proj"}
    adapted = peft.get_peft_model(model, peft.LoraConfig(target_modules="all-linear", r=2, task_type="CAUSAL_LM"))
    optimizer = torch.optim.SGD([p for p in adapted.parameters() if p.requires_grad], lr=0.5)
    losses = []
    for _ in range(3):
        loss = adapted(input_ids=IDS, labels=IDS).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0]
    adapted.eval()
    with torch.no_grad():
        want = adapted(input_ids=IDS).logits
        adapted.save_pretrained(tmp_path)
        again = peft.PeftModel.from_pretrained(pruned_model("llama", torch.float32), tmp_path).eval()
        assert torch.allclose(again(input_ids=IDS).logits, want, atol=1e-5)
        assert torch.allclose(again.merge_and_unload()(input_ids=IDS).logits, want, atol=1e-4)


def test_feature_index_copies_what_a_loader_hands_over():
    module = FeatureIndex(3, 9)
    assert module.load_weights([("index", torch.tensor([1, 4, 7]))]) == {"index"}
    assert module.index.tolist() == [1, 4, 7] and module.index.dtype == torch.int32
    assert module.mask.tolist() == [0b10010010, 0] and module.inverse.tolist() == [-1, 0, -1, -1, 1, -1, -1, 2, -1]


def test_unknown_pruned_family_is_refused():
    with pytest.raises(ValueError, match="unknown pruned family 'pydisp_mamba'"):
        classes_of("pydisp_mamba")
