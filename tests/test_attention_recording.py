"""record_attention: against the weights of eager attention, for every family, stock and pruned, and the model afterwards."""

import copy
import pickle
import threading

import pytest
import torch
import transformers
from families import MODELS, random_plan, tiny_model
from transformers import AttentionInterface, AttentionMaskInterface, DynamicCache, StaticCache

from pydisp.attention_recording import record_attention
from pydisp.spec import ModelSpec
from pydisp.surgery import prune_model

COUNT, TOKENS = 3, 19
IDS = torch.randint(3, 97, (2, TOKENS), generator=torch.Generator().manual_seed(0))
GROUPS = torch.randint(0, 2**COUNT, (2, TOKENS), generator=torch.Generator().manual_seed(1))
MASKS = {
    "whole": torch.ones(2, TOKENS, dtype=torch.long),
    "left": (torch.arange(TOKENS) >= torch.tensor([[5], [0]])).long(),
    "right": (torch.arange(TOKENS) < torch.tensor([[TOKENS], [TOKENS - 4]])).long(),
}
TOLERANCE = 3e-6  # two float32 forwards, one of them through another attention
_TINY = dict(vocab_size=97, hidden_size=48, num_hidden_layers=3, num_attention_heads=4, pad_token_id=0, bos_token_id=1, eos_token_id=2)
_GATED = dict(_TINY, intermediate_size=80, num_key_value_heads=2)
OTHERS = {  # stock models that pydisp does not prune
    "gpt2": ("GPT2", dict(vocab_size=97, n_embd=48, n_layer=3, n_head=4, n_positions=64, bos_token_id=1, eos_token_id=2)),
    "granite": ("Granite", dict(_GATED, attention_multiplier=0.3)),
    "smollm3": ("SmolLM3", dict(_GATED)),
    "gpt_oss": (
        "GptOss",
        dict(
            _GATED,
            head_dim=16,
            num_local_experts=2,
            num_experts_per_tok=1,
            sliding_window=6,
            layer_types=["sliding_attention", "full_attention", "sliding_attention"],
        ),
    ),
}
SDPA_REFUSED = {"gemma2", "gpt_oss"}  # by transformers: softcap and sinks


def a_model(name, kind="stock", implementation="eager"):
    """A tiny float32 model; pruned: its layer 0 has no attention."""
    if name in OTHERS:
        prefix, values = OTHERS[name]
        torch.manual_seed(0)
        config = getattr(transformers, f"{prefix}Config")(**values)
        model = getattr(transformers, f"{prefix}LMHeadModel" if name == "gpt2" else f"{prefix}ForCausalLM")(config).eval()
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.add_(torch.randn_like(parameter) * 0.15)
    else:
        model = tiny_model(name, dtype=torch.float32)
    if kind == "pruned":
        model = prune_model(model, random_plan(ModelSpec.from_model(model), 1, (0,), (2,)))
    model.set_attn_implementation(implementation)
    return model


@torch.no_grad()
def eager_weights(model, **inputs):
    """{layer: (B, H, T, T)} float64: what output_attentions collects, from the attention modules themselves (a pruned model has gaps)."""
    weights, before = {}, model.config._attn_implementation
    handles = [
        module.register_forward_hook(lambda _, __, output, number=number: weights.update({number: output[1].double()}))
        for number, module in attention_modules(model).items()
    ]
    model.set_attn_implementation("eager")
    model(use_cache=False, **inputs)
    model.set_attn_implementation(before)
    for handle in handles:
        handle.remove()
    return weights


def attention_modules(model):
    """{layer: module}, by their names in all families here."""
    named = ((name.split("."), module) for name, module in model.named_modules() if module is not None)
    return {int(next(part for part in name if part.isdigit())): module for name, module in named if name[-1] in ("self_attn", "attn")}


def assert_is_eager(recording, weights, groups, counted, per_query=True):
    indicator = (groups[..., None] >> torch.arange(COUNT) & 1).double()
    assert list(recording.layers) == list(weights)
    for number, layer in recording.layers.items():
        weight = weights[number]
        mass = torch.einsum("bhqk,bkc->bhqc", weight, indicator)
        real = counted.bool()[:, None, :]
        near = dict(rtol=TOLERANCE, atol=TOLERANCE)
        mass_sum = torch.where(real[..., None], mass, 0).sum(2)
        torch.testing.assert_close(layer.mass_sum.double(), mass_sum, **near)
        torch.testing.assert_close(layer.mass_mean.double(), mass_sum / counted.sum(1)[:, None, None], **near)
        assert torch.equal(layer.queries, counted.sum(1))
        sink = (1 - weight.sum(-1, keepdim=True)).clamp_min(0)  # what is left of a row went to the layer's sink, if it has one
        entropy = torch.special.entr(torch.cat([weight, torch.where(sink > 1e-5, sink, 0)], -1)).sum(-1)
        torch.testing.assert_close(layer.entropy_sum.double(), torch.where(real, entropy, 0).sum(2), rtol=1e-5, atol=1e-5)
        if layer.key_mass is not None:
            received = torch.where(real[..., None], weight, 0)
            torch.testing.assert_close(layer.key_mass.double(), received.sum(2), **near)
            torch.testing.assert_close(layer.self_mass.double(), received.diagonal(dim1=2, dim2=3), **near)
        if per_query:
            assert layer.mass.shape == mass.shape
            torch.testing.assert_close(torch.where(real[..., None], layer.mass.double(), 0), torch.where(real[..., None], mass, 0), **near)


CASES = [
    (name, kind, implementation)
    for name in (*MODELS, *OTHERS)
    for kind in ("stock", "pruned")
    for implementation in ("eager", "sdpa")
    if not (name in SDPA_REFUSED and implementation == "sdpa") and not (name in OTHERS and kind == "pruned")
]


@pytest.mark.parametrize(("name", "kind", "implementation"), CASES, ids=["-".join(case) for case in CASES])
def test_is_eager_attention_and_leaves_the_output_alone(name, kind, implementation):
    model = a_model(name, kind, implementation)
    for mask in MASKS.values():
        inputs = dict(input_ids=IDS, attention_mask=mask)
        with torch.no_grad():
            want = model(use_cache=False, **inputs).logits
            with record_attention(model, GROUPS, COUNT, per_query=True, per_key=True) as recording:
                logits = model(use_cache=False, **inputs).logits
        assert torch.equal(logits, want)
        assert model.config._attn_implementation == implementation
        weights = eager_weights(model, **inputs)
        assert len(weights) == model.config.num_hidden_layers - (kind == "pruned")
        assert_is_eager(recording, weights, GROUPS, mask)
    if kind == "stock" and implementation == "eager":
        with torch.no_grad():
            official = model(use_cache=False, output_attentions=True, **inputs).attentions
        assert all(torch.equal(weights[number], one.double()) for number, one in enumerate(official))


@pytest.mark.parametrize("padding", ["left", "whole"])
@pytest.mark.parametrize("cache", ["dynamic", "static"])
@pytest.mark.parametrize("kind", ["stock", "pruned"])
@pytest.mark.parametrize("name", ["llama", "mistral", "gemma2", "gemma3_text", "opt-125m"])
def test_generate_gives_the_sums_of_one_forward(name, kind, cache, padding):
    """The window (6) is full before the prompt ends and moves on with each token."""
    model = a_model(name, kind, "eager" if name in SDPA_REFUSED else "sdpa")
    inputs = dict(input_ids=IDS, attention_mask=MASKS[padding])
    how = dict(max_new_tokens=7, min_new_tokens=7, do_sample=False, cache_implementation=None if cache == "dynamic" else "static")
    want = model.generate(**inputs, **how)
    with record_attention(model, GROUPS, COUNT, per_query=True, per_key=True) as recording:
        generated = model.generate(**inputs, **how)
    assert torch.equal(generated, want)
    seen = generated.shape[1] - 1  # the last token was not read
    groups = torch.cat([GROUPS, torch.zeros(2, seen - TOKENS, dtype=torch.int64)], 1)
    mask = torch.cat([MASKS[padding], torch.ones(2, seen - TOKENS, dtype=torch.int64)], 1)
    position_ids = (mask.cumsum(1) - 1).clamp_min(0)
    assert_is_eager(
        recording, eager_weights(model, input_ids=generated[:, :-1], attention_mask=mask, position_ids=position_ids), groups, mask
    )


@pytest.mark.parametrize("name", ["llama", "mistral", "gemma3_text", "gpt2"])
def test_chunks_with_a_cache_add_up(name):
    model = a_model(name, implementation="sdpa")
    with torch.no_grad(), record_attention(model, GROUPS, COUNT, per_query=True, per_key=True) as recording:
        cache = DynamicCache(config=model.config)
        for start, stop in ((0, 8), (8, 9), (9, 15), (15, TOKENS)):
            model(input_ids=IDS[:, start:stop], past_key_values=cache, use_cache=True)
    assert_is_eager(recording, eager_weights(model, input_ids=IDS), GROUPS, MASKS["whole"])


def test_chunks_with_a_static_cache_add_up():
    model = a_model("llama", implementation="sdpa")
    with torch.no_grad(), record_attention(model, GROUPS, COUNT, per_key=True) as recording:
        cache = StaticCache(config=model.config, max_cache_len=40)
        for start, stop in ((0, 8), (8, 9), (9, TOKENS)):
            model(input_ids=IDS[:, start:stop], past_key_values=cache, use_cache=True)
    assert_is_eager(recording, eager_weights(model, input_ids=IDS), GROUPS, MASKS["whole"], per_query=False)


def test_beams_share_their_prompt_s_groups():
    model = a_model("llama", implementation="sdpa")
    with record_attention(model, GROUPS, COUNT) as recording:
        model.generate(input_ids=IDS, max_new_tokens=1, num_beams=3, num_return_sequences=3, do_sample=False, pad_token_id=0)
    with torch.no_grad(), record_attention(model, GROUPS, COUNT) as plain:
        model(input_ids=IDS)
    for number, layer in recording.layers.items():
        torch.testing.assert_close(layer.mass_sum, plain.layers[number].mass_sum.repeat_interleave(3, 0))


def test_one_row_of_groups_serves_the_batch():
    model = a_model("llama")
    with torch.no_grad(), record_attention(model, GROUPS[:1], COUNT) as recording:
        model(input_ids=IDS)
    assert_is_eager(recording, eager_weights(model, input_ids=IDS), GROUPS[:1].expand(2, -1), MASKS["whole"], per_query=False)


def test_query_mask_counts_only_its_positions():
    model = a_model("mistral", implementation="sdpa")
    chosen = torch.zeros(2, 12, dtype=torch.bool)
    chosen[0, 3:9] = chosen[1, 10] = chosen[0, 0] = True
    with torch.no_grad(), record_attention(model, GROUPS, COUNT, query_mask=chosen, per_key=True) as recording:
        model(input_ids=IDS, attention_mask=MASKS["left"])
    counted = torch.nn.functional.pad(chosen, (0, TOKENS - 12)) & MASKS["left"].bool()
    assert counted.sum().item() == 5
    weights = eager_weights(model, input_ids=IDS, attention_mask=MASKS["left"])
    assert_is_eager(recording, weights, GROUPS, counted.long(), per_query=False)
    assert recording.layers[0].mass is None
    assert recording.layers[0].key_mass.shape == recording.layers[0].self_mass.shape == (2, 4, TOKENS)


def test_forwards_add_up_and_another_batch_size_is_refused():
    model = a_model("llama")
    with torch.no_grad(), record_attention(model, GROUPS[:1], COUNT, per_query=True) as recording:
        model(input_ids=IDS)
        once = recording.layers[2].mass_sum.clone()
        model(input_ids=IDS[:, :7])
        assert recording.layers[2].mass.shape[2] == recording.layers[2].lse.shape[2] == TOKENS + 7
        with pytest.raises(ValueError, match="batch size 1, an earlier one had 2"):
            model(input_ids=IDS[:1])
    with torch.no_grad(), record_attention(model, GROUPS[:1], COUNT) as short:
        model(input_ids=IDS[:, :7])
    torch.testing.assert_close(recording.layers[2].mass_sum, once + short.layers[2].mass_sum)


@pytest.mark.parametrize(
    "modes", [(torch.inference_mode, torch.no_grad), (torch.no_grad, torch.inference_mode)], ids=["inference-first", "inference-last"]
)
def test_forwards_in_and_out_of_inference_mode_add_up(modes):
    model = a_model("llama", implementation="sdpa")
    with record_attention(model, GROUPS, COUNT, per_query=True) as recording:
        for mode in modes:
            with mode():
                model(input_ids=IDS)
    with torch.no_grad(), record_attention(model, GROUPS, COUNT) as once:
        model(input_ids=IDS)
    for number, layer in recording.layers.items():
        assert torch.equal(layer.mass_sum, 2 * once.layers[number].mass_sum)
        assert layer.queries.tolist() == [2 * TOKENS] * 2 and layer.mass.shape[2] == 2 * TOKENS


def test_training_keeps_its_gradients():
    model = a_model("llama", implementation="sdpa").train()
    model(input_ids=IDS, labels=IDS).loss.backward()
    want = [parameter.grad.clone() for parameter in model.parameters()]
    model.zero_grad()
    with record_attention(model, GROUPS, COUNT, per_query=True) as recording:
        model(input_ids=IDS, labels=IDS).loss.backward()
    assert all(torch.equal(parameter.grad, one) for parameter, one in zip(model.parameters(), want, strict=True))
    assert not recording.layers[0].mass.requires_grad


def test_bfloat16_and_float64_models():
    for dtype, wide in ((torch.bfloat16, torch.float32), (torch.float64, torch.float64)):
        model = tiny_model("qwen3", dtype=dtype)
        with torch.no_grad(), record_attention(model, torch.ones(1, TOKENS, dtype=torch.int64), 1) as recording:
            model(input_ids=IDS)
        assert recording.layers[1].mass_sum.dtype == wide
        torch.testing.assert_close(recording.layers[1].mass_sum, torch.full((2, 4, 1), TOKENS, dtype=wide), rtol=1e-6, atol=0)


def test_layers_say_what_they_are():
    found = {}
    for name in ("gemma2", "gemma3_text", "gpt_oss", "opt-125m"):
        model = a_model(name)
        with torch.no_grad(), record_attention(model, GROUPS, COUNT) as recording:
            model(input_ids=IDS)
        found[name] = {(layer.kind, layer.window, layer.key_heads, layer.softcap, layer.has_sinks) for layer in recording.layers.values()}
        assert recording.layers[0].key_mass is None is recording.layers[0].self_mass
    sliding, full = "sliding window", "full"
    softcap = a_model("gemma2").config.attn_logit_softcapping
    assert found["gemma2"] == {(sliding, 6, 2, softcap, False), (full, None, 2, softcap, False)}
    assert found["gemma3_text"] == {(sliding, 6, 2, None, False), (full, None, 2, None, False)}
    assert found["gpt_oss"] == {(sliding, 6, 2, None, True), (full, None, 2, None, True)}
    assert found["opt-125m"] == {(full, None, 4, None, False)}


def test_one_forward_by_key_gives_every_group():
    """The mass of any group is a sum of columns: as many groups as one likes cost one recording."""
    model = a_model("mistral", implementation="sdpa")
    with torch.no_grad(), record_attention(model, GROUPS, COUNT, per_key=True) as recording:
        model(input_ids=IDS, attention_mask=MASKS["left"])
    indicator = (GROUPS[..., None] >> torch.arange(COUNT) & 1).float()
    for layer in recording.layers.values():
        torch.testing.assert_close(torch.einsum("bhk,bkc->bhc", layer.key_mass, indicator), layer.mass_sum, rtol=1e-6, atol=1e-6)


def test_two_threads_record_two_models():
    """Each recording has names of its own in transformers' registries; a third model runs beside them unrecorded."""
    before = registered()
    models = [a_model("llama", implementation="sdpa"), a_model("mistral", implementation="sdpa")]
    bystander = a_model("qwen3", implementation="sdpa")
    with torch.no_grad():
        want = bystander(input_ids=IDS).logits
    weights = [eager_weights(model, input_ids=IDS) for model in models]
    inside, found = threading.Barrier(3, timeout=60), [None, None]

    def record(number):
        with torch.no_grad(), record_attention(models[number], GROUPS, COUNT, per_key=True) as recording:
            inside.wait()
            models[number](input_ids=IDS)
            inside.wait()
        found[number] = recording

    threads = [threading.Thread(target=record, args=(number,)) for number in range(2)]
    for thread in threads:
        thread.start()
    inside.wait()
    with torch.no_grad():
        assert torch.equal(bystander(input_ids=IDS).logits, want)
    inside.wait()
    for thread in threads:
        thread.join(60)
    for recording, weight in zip(found, weights, strict=True):
        assert_is_eager(recording, weight, GROUPS, MASKS["whole"], per_query=False)
    assert registered() == before


def registered():
    return set(AttentionInterface._global_mapping), set(AttentionMaskInterface._global_mapping)


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
@pytest.mark.parametrize("implementation", ["eager", "sdpa"])
def test_the_model_is_as_it_was_after_an_exception(implementation, error):
    model, before = a_model("gemma3_text", implementation=implementation), registered()
    with torch.no_grad():
        want = model(input_ids=IDS).logits

    def fail(*_):
        assert registered() != before
        raise error

    handle = model.model.layers[1].register_forward_hook(fail)
    with pytest.raises(error), record_attention(model, GROUPS, COUNT):
        model(input_ids=IDS)
    handle.remove()
    assert model.config._attn_implementation == implementation and registered() == before
    with torch.no_grad():
        assert torch.equal(model(input_ids=IDS).logits, want)


def test_nested_recordings_of_one_model_are_refused_of_two_they_work():
    model, other, before = a_model("llama", implementation="sdpa"), a_model("opt-125m"), registered()
    with record_attention(model, GROUPS, COUNT) as first, record_attention(other, GROUPS, COUNT) as second, torch.no_grad():
        with pytest.raises(ValueError, match="being recorded already"), record_attention(model, GROUPS, COUNT):
            pass
        other(input_ids=IDS)
        model(input_ids=IDS)
    assert_is_eager(first, eager_weights(model, input_ids=IDS), GROUPS, MASKS["whole"], per_query=False)
    assert_is_eager(second, eager_weights(other, input_ids=IDS), GROUPS, MASKS["whole"], per_query=False)
    assert (model.config._attn_implementation, other.config._attn_implementation) == ("sdpa", "eager") and registered() == before


def test_another_model_with_the_same_config_runs_undisturbed_and_is_not_recorded():
    model = a_model("llama", implementation="sdpa")
    torch.manual_seed(1)
    other = type(model)(model.config).eval()
    assert other.config is model.config
    inputs = dict(input_ids=IDS, attention_mask=MASKS["left"])
    with torch.no_grad():
        want = other(**inputs).logits
        with record_attention(model, GROUPS, COUNT) as recording:
            assert torch.equal(other(**inputs).logits, want)
            model(**inputs)
            assert torch.equal(other(**inputs).logits, want)
            with pytest.raises(ValueError, match="shares its config with a model that is"), record_attention(other, GROUPS, COUNT):
                pass
        assert torch.equal(other(**inputs).logits, want)
    assert_is_eager(recording, eager_weights(model, **inputs), GROUPS, MASKS["left"], per_query=False)


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda model: pickle.loads(pickle.dumps(model))], ids=["deepcopy", "pickle"])
def test_a_copy_made_inside_is_not_recorded_and_runs_in_and_after_it(copied):
    model = a_model("llama", implementation="sdpa")
    with torch.no_grad(), record_attention(model, GROUPS, COUNT) as recording:
        want, twin = model(input_ids=IDS).logits, copied(model)
        assert torch.equal(twin(input_ids=IDS).logits, want) and recording.layers[0].queries.tolist() == [TOKENS, TOKENS]
    with torch.no_grad():
        assert torch.equal(twin(input_ids=IDS).logits, want) and type(twin.config._attn_implementation) is str


def test_the_text_part_of_a_model_with_pictures():
    """Its config is a part of the model's; the vision tower keeps its own attention."""
    text = dict(_GATED, head_dim=16, sliding_window=6, layer_types=["sliding_attention", "full_attention", "sliding_attention"])
    vision = dict(hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2, image_size=28, patch_size=14)
    torch.manual_seed(0)
    config = transformers.Gemma3Config(text_config=text, vision_config=vision, mm_tokens_per_image=4, image_token_index=96, boi_token_index=95, eoi_token_index=94)  # fmt: skip
    model = transformers.Gemma3ForConditionalGeneration(config).eval()
    ids = IDS.clamp_max(90)
    before = {name: part._attn_implementation for name, part in (("all", model.config), ("vision", model.config.vision_config))}
    with torch.no_grad(), record_attention(model, GROUPS, COUNT) as recording:
        assert model.config.vision_config._attn_implementation == before["vision"]
        model(input_ids=ids)
    assert model.config.text_config._attn_implementation == before["all"] == model.config._attn_implementation
    assert_is_eager(recording, eager_weights(model.model.language_model, input_ids=ids), GROUPS, MASKS["whole"], per_query=False)


def test_a_copy_of_the_mask_is_recognised():
    """Offloading hands a layer its inputs on another device."""
    model = a_model("gemma3_text", implementation="sdpa")
    for layer in model.model.layers[1:]:
        layer.register_forward_pre_hook(
            lambda _, args, kwargs: (args, kwargs | dict(attention_mask=kwargs["attention_mask"].clone())), with_kwargs=True
        )
    inputs = dict(input_ids=IDS, attention_mask=MASKS["left"])
    with torch.no_grad(), record_attention(model, GROUPS, COUNT) as recording:
        model(**inputs)
    assert_is_eager(recording, eager_weights(model, **inputs), GROUPS, MASKS["left"], per_query=False)


def test_masks_that_are_not_understood_are_refused():
    model = a_model("llama", implementation="sdpa")
    pattern = torch.ones(TOKENS, TOKENS, dtype=torch.bool).tril()[None, None].expand(2, 1, -1, -1)
    packed = torch.cat([torch.arange(9), torch.arange(TOKENS - 9)])[None].expand(2, -1)
    for inputs in (dict(attention_mask=pattern), dict(position_ids=packed)):
        with torch.no_grad(), record_attention(model, GROUPS, COUNT), pytest.raises(ValueError, match="none of causal, sliding window"):
            model(input_ids=IDS, use_cache=False, **inputs)
    assert model.config._attn_implementation == "sdpa"
    model.config.is_causal = False
    with torch.no_grad(), record_attention(model, GROUPS, COUNT), pytest.raises(ValueError, match="attention in both directions"):
        model(input_ids=IDS, use_cache=False)


@pytest.fixture
def without_masks():
    """The name of an implementation that needs no masks, as those do that take the window from the layer."""
    name = "attention_that_makes_no_masks"
    AttentionInterface.register(name, AttentionInterface._global_mapping["sdpa"])
    AttentionMaskInterface.register(name, lambda **_: None)
    yield name
    AttentionInterface._global_mapping.pop(name)
    AttentionMaskInterface._global_mapping.pop(name)


def test_layers_of_different_windows_without_masks_are_refused(without_masks):
    model = a_model("gemma3_text", implementation=without_masks)
    with torch.no_grad(), record_attention(model, GROUPS, COUNT) as recording:
        model(input_ids=IDS[:, :6], use_cache=False)  # both kinds of layers see all six
        assert list(recording.layers) == [0, 1, 2, 3]
        for _ in range(2):  # the sights of a refused forward do not help the next
            with pytest.raises(ValueError, match="its layers' windows differ"):
                model(input_ids=IDS, use_cache=False)
    assert_is_eager(recording, eager_weights(model, input_ids=IDS[:, :6]), GROUPS[:, :6], MASKS["whole"][:, :6], per_query=False)


@pytest.mark.parametrize("name", ["llama", "mistral"])
def test_layers_of_one_window_without_masks_are_recorded(name, without_masks):
    model = a_model(name, implementation=without_masks)
    with torch.no_grad(), record_attention(model, GROUPS, COUNT) as recording:
        model(input_ids=IDS, use_cache=False)
    weights = eager_weights(model, input_ids=IDS)
    first = recording.layers[0]  # the window of the later ones is another's: sdpa was not told of it
    mass = torch.einsum("bhqk,bkc->bhc", weights[0], (GROUPS[..., None] >> torch.arange(COUNT) & 1).double())
    torch.testing.assert_close(first.mass_sum.double(), mass, rtol=TOLERANCE, atol=TOLERANCE)


@pytest.mark.parametrize("name", ["indices", "block_indices"])
def test_sparse_attention_is_refused(name):
    """It makes its mask of the indices only where the implementation is called sdpa or eager."""
    model = a_model("llama", implementation="sdpa")
    with torch.no_grad(), record_attention(model, GROUPS, COUNT), pytest.raises(ValueError, match=f"LlamaAttention passes {name},"):
        model(input_ids=IDS, **{name: IDS})


@pytest.mark.parametrize("told_by", ["module", "call"])
def test_attention_in_both_directions_without_a_mask_is_refused(told_by):
    """As fine-tunes for embeddings set it: no mask is needed, and the modules tell sdpa that they are not causal."""
    model = a_model("llama", implementation="sdpa")
    with torch.no_grad():
        before = model(input_ids=IDS, use_cache=False).logits
    if told_by == "module":
        for module in attention_modules(model).values():
            module.is_causal = False
    how = dict(is_causal=False) if told_by == "call" else {}
    with torch.no_grad():
        assert not torch.equal(model(input_ids=IDS, use_cache=False, **how).logits, before)
        with record_attention(model, GROUPS, COUNT), pytest.raises(ValueError, match="attention in both directions"):
            model(input_ids=IDS, use_cache=False, **how)
        with record_attention(model, GROUPS, COUNT) as recording:
            model(input_ids=IDS[:, :1], use_cache=False, **how)  # one query alone sees the same either way
    assert recording.layers[0].queries.tolist() == [1, 1]


def test_what_cannot_be_recorded_is_refused_before_anything_changes():
    model, before = a_model("llama", implementation="sdpa"), registered()
    tiny_t5 = transformers.T5ForConditionalGeneration(transformers.T5Config(vocab_size=97, d_model=16, d_kv=8, d_ff=16, num_layers=1, num_heads=2, decoder_start_token_id=0))  # fmt: skip
    training = a_model("llama", implementation="sdpa").train()
    training.model.gradient_checkpointing = True
    AttentionInterface.register("attention_without_a_mask", AttentionInterface._global_mapping["sdpa"])
    unmasked = a_model("llama", implementation="attention_without_a_mask")
    flash, kernel, reordered = a_model("llama"), a_model("llama"), a_model("gpt2")
    flash.config._attn_implementation = "flash_attention_2"  # set_attn_implementation asks for its package
    AttentionMaskInterface.register("a_kernel", AttentionMaskInterface._global_mapping["flash_attention_2"])
    kernel.config._attn_implementation = "a_kernel"
    for module in attention_modules(reordered).values():
        module.reorder_and_upcast_attn = True
    try:
        for what, groups, count, options, says in (
            (tiny_t5, GROUPS, COUNT, {}, "encoder-decoder"),
            (training, GROUPS, COUNT, {}, "gradient checkpointing"),
            (unmasked, GROUPS, COUNT, {}, "'attention_without_a_mask' has no mask function"),
            (flash, GROUPS, COUNT, {}, "'flash_attention_2' is a flash attention.* choose another"),
            (kernel, GROUPS, COUNT, {}, "'a_kernel' is a flash attention.* choose another"),
            (reordered, GROUPS, COUNT, {}, "GPT2LMHeadModel has reorder_and_upcast_attn.* choose another"),
            (model, GROUPS, 65, {}, "num_groups is 65"),
            (model, GROUPS.int(), COUNT, {}, "groups has shape .* torch.int32"),
            (model, GROUPS[0], COUNT, {}, r"groups has shape \(19,\)"),
            (model, GROUPS, COUNT, dict(query_mask=GROUPS), "query_mask has shape .* torch.int64"),
        ):
            with pytest.raises(ValueError, match=says), record_attention(what, groups, count, **options):
                pass
    finally:
        AttentionInterface._global_mapping.pop("attention_without_a_mask")
        AttentionMaskInterface._global_mapping.pop("a_kernel")
    assert registered() == before and model.config._attn_implementation == "sdpa"
    with (
        torch.no_grad(),
        record_attention(model, GROUPS[:1].repeat(3, 1), COUNT),
        pytest.raises(ValueError, match="3 rows for a batch of 2"),
    ):
        model(input_ids=IDS)
    with torch.no_grad(), record_attention(model, GROUPS, 1), pytest.raises(ValueError, match="bits set from bit 1 on"):
        model(input_ids=IDS)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        (dict(groups=None), "groups is of type NoneType, it must be a tensor"),
        (dict(groups=[[1, 2]]), "groups is of type list, it must be a tensor"),
        (dict(query_mask=[[True]]), "query_mask is of type list, it must be a tensor"),
        (dict(num_groups="4"), "num_groups is '4', it must be a whole number"),
        (dict(num_groups=2.5), "num_groups is 2.5, it must be a whole number"),
        (dict(num_groups=True), "num_groups is True, it must be a whole number"),
        (dict(per_query="x"), "per_query is 'x', it must be True or False"),
        (dict(per_key=1), "per_key is 1, it must be True or False"),
    ],
)
def test_arguments_of_another_type_are_refused_at_entry(changes, says):
    arguments = dict(groups=GROUPS, num_groups=COUNT) | changes
    with pytest.raises(TypeError, match=says), record_attention(a_model("llama"), **arguments):
        pass


def test_what_is_no_transformers_model_is_refused():
    with (
        pytest.raises(TypeError, match="model is a Linear without a transformers config"),
        record_attention(torch.nn.Linear(2, 2), GROUPS, COUNT),
    ):
        pass


def test_reordered_attention_is_recorded_under_sdpa():
    """GPT-2 goes by reorder_and_upcast_attn in its eager attention only."""
    model = a_model("gpt2", implementation="sdpa")
    for module in attention_modules(model).values():
        module.reorder_and_upcast_attn = True
    with torch.no_grad():
        want = model(input_ids=IDS).logits
        with record_attention(model, GROUPS, COUNT) as recording:
            assert torch.equal(model(input_ids=IDS).logits, want)
    assert_is_eager(recording, eager_weights(model, input_ids=IDS), GROUPS, MASKS["whole"], per_query=False)


def test_a_recording_of_nothing_says_so():
    with record_attention(a_model("llama"), GROUPS, COUNT) as recording:
        pass
    with pytest.raises(RuntimeError, match="recorded nothing"):
        _ = recording.layers
