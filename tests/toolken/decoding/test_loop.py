"""Without a call, ids and the state of the random generator are those of `model.generate`, whatever the model and the settings."""

import string

import pytest
import torch
import transformers
from families import MODELS, random_plan, tiny_model
from holobench_items import model_with_states
from toolken_writing import letters_tokenizer, scripted_model, toolkens_of
from transformers import GenerationConfig, LogitsProcessorList, MinLengthLogitsProcessor, StoppingCriteriaList

from pydisp.spec import ModelSpec
from pydisp.surgery import prune_model
from pydisp.toolken.decoding.generating import generate

SETTINGS = {
    "greedy": {},
    "sampled": dict(do_sample=True, temperature=1.3, top_k=20),
    "penalised": dict(do_sample=True, repetition_penalty=1.4, min_new_tokens=4, top_p=0.9),
    "several": dict(do_sample=True, num_return_sequences=2),
    "no repeats": dict(no_repeat_ngram_size=2, bad_words_ids=[[5]]),
    "without an end": dict(eos_token_id=None, stop_strings=list(string.ascii_letters)),
    "stop strings": dict(do_sample=True, stop_strings=["e", "f", *string.ascii_uppercase, "gh"]),
}
MODES = ("none", "toolkengpt", "calibrated")


@pytest.fixture(scope="module")
def prompts():
    generator = torch.Generator().manual_seed(5)
    ids = torch.randint(3, 97, (3, 9), generator=generator)
    ids[0, :4], ids[2, :1] = 0, 0
    return ids, (ids != 0).long()


def model_of(name: str):
    if name == "padded head":
        return tiny_model("llama", vocab_size=128)
    family, _, change = name.partition(" ")
    dtype = torch.float32 if family == "gemma2" else torch.float64  # stock gemma2 in float64 gives NaN where a text is padded
    model = tiny_model(family, dtype=dtype, max_position_embeddings=512)
    return prune_model(model, random_plan(ModelSpec.from_model(model), 1, (0,), (2,))) if change else model


def both(model, toolkens, ids, mask, mode, **settings):
    """Sequences and the state of the generator: of the plain model, and of ours."""
    found = []
    for ours in (False, True):
        torch.manual_seed(3)
        if ours:
            sequences = generate(model, letters_tokenizer(), toolkens, ids, mode=mode, attention_mask=mask, **settings).sequences
        else:
            tokenizer = {"tokenizer": letters_tokenizer()} if settings.get("stop_strings") else {}
            sequences = model.generate(ids, attention_mask=mask, **settings, **tokenizer)
        found.append((sequences, torch.get_rng_state()))
    return found


@pytest.mark.parametrize("name", [*MODELS, "llama pruned", "gemma3_text pruned", "opt-350m pruned", "padded head"])
def test_without_a_call_every_model_writes_as_it_does_plainly(name, prompts):
    model, tokenizer = model_of(name), letters_tokenizer()
    width = model.get_output_embeddings().in_features
    toolkens = toolkens_of(model, tokenizer, torch.zeros(3, width))  # logits of 0 never are the largest
    for settings, mode in zip((SETTINGS["greedy"], SETTINGS["sampled"], SETTINGS["penalised"]), MODES, strict=True):
        (plain, state), (ours, our_state) = both(model, toolkens, *prompts, mode, max_new_tokens=8, **settings)
        assert torch.equal(plain, ours) and torch.equal(state, our_state)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("settings", SETTINGS.values(), ids=SETTINGS)
def test_without_a_call_every_setting_writes_as_it_does_plainly(settings, mode, prompts):
    model = tiny_model("llama", max_position_embeddings=512)
    toolkens = toolkens_of(model, letters_tokenizer(), torch.zeros(3, 48))
    (plain, state), (ours, our_state) = both(model, toolkens, *prompts, mode, max_new_tokens=25, **settings)
    assert torch.equal(plain, ours) and torch.equal(state, our_state)
    if settings.get("stop_strings"):
        assert plain.shape[1] < 9 + 25


def test_a_tool_that_fires_and_is_always_rejected_changes_nothing(prompts):
    model = tiny_model("mistral", max_position_embeddings=512)  # windows slide
    rows = torch.randn(3, 48, generator=torch.Generator().manual_seed(1)) * 3
    toolkens = toolkens_of(model, letters_tokenizer(), rows, threshold=1.1)
    for settings in ({}, SETTINGS["penalised"]):
        torch.manual_seed(3)
        plain = model.generate(prompts[0], attention_mask=prompts[1], max_new_tokens=25, **settings)
        state = torch.get_rng_state()
        torch.manual_seed(3)
        found = generate(model, letters_tokenizer(), toolkens, prompts[0], attention_mask=prompts[1], max_new_tokens=25, **settings)
        assert torch.equal(plain, found.sequences) and torch.equal(state, torch.get_rng_state())
        assert sum(trace.counts["rejected"] for trace in found.traces) > 10
        assert sum(trace.counts["called"] for trace in found.traces) == 0


def test_settings_of_the_model_and_of_a_config_count_as_they_do_plainly(prompts):
    model = tiny_model("llama")
    model.generation_config = own = GenerationConfig(
        max_new_tokens=20, do_sample=True, top_k=5, eos_token_id=2, pad_token_id=0, stop_strings=["a", "Z"]
    )
    torch.manual_seed(1)
    plain = model.generate(prompts[0], attention_mask=prompts[1], tokenizer=letters_tokenizer())
    torch.manual_seed(1)
    ours = generate(model, letters_tokenizer(), None, prompts[0], mode="none", attention_mask=prompts[1])
    assert torch.equal(plain, ours.sequences) and model.generation_config is own and own.stop_strings == ["a", "Z"]
    config = GenerationConfig(max_new_tokens=7, do_sample=False, eos_token_id=2, pad_token_id=0, stop_strings=["b"])
    plain = model.generate(prompts[0], attention_mask=prompts[1], generation_config=config, tokenizer=letters_tokenizer())
    ours = generate(model, letters_tokenizer(), None, prompts[0], mode="none", attention_mask=prompts[1], generation_config=config)
    assert torch.equal(plain, ours.sequences) and config.stop_strings == ["b"]


def test_processors_of_the_user_are_used(prompts):
    model = tiny_model("llama")
    processors = LogitsProcessorList([MinLengthLogitsProcessor(20, 2)])
    seen = []
    processors.append(lambda ids, scores: seen.append(ids.shape) or scores)
    generate(
        model, letters_tokenizer(), None, prompts[0], mode="none", attention_mask=prompts[1], logits_processor=processors, max_new_tokens=4
    )
    assert seen == [(3, 9), (3, 10), (3, 11), (3, 12)]


def test_criteria_of_the_user_are_used_beside_stop_strings():
    model = scripted_model({"a": "b", "b": "a"})
    criteria = StoppingCriteriaList([lambda ids, _: ids[:, -1] == ids[:, -3]])
    found = generate(model, letters_tokenizer(), None, "a", mode="none", stop_strings=["zz"], stopping_criteria=criteria, max_new_tokens=9)
    assert found.texts == ("ba",)


def test_a_text_alone_without_padding_and_without_a_mask():
    model, ids = tiny_model("llama"), torch.tensor([[5, 6, 7]])
    for settings in ({}, {"do_sample": True}):
        torch.manual_seed(0)
        plain = model.generate(ids, max_new_tokens=6, **settings)
        torch.manual_seed(0)
        assert torch.equal(plain, generate(model, letters_tokenizer(), None, ids, mode="none", max_new_tokens=6, **settings).sequences)


def test_a_model_with_states_is_given_one_text_at_a_time():
    from tiny_text import tiny_tokenizer

    model, ids = model_with_states(), torch.randint(3, 200, (1, 7), generator=torch.Generator().manual_seed(0))
    plain = model.generate(ids, max_new_tokens=6)
    assert torch.equal(plain, generate(model, tiny_tokenizer(), None, ids, mode="none", max_new_tokens=6).sequences)
    with pytest.raises(ValueError, match="lfm2 model keeps states.*one text at a time"):
        generate(model, tiny_tokenizer(), None, ids.repeat(2, 1), mode="none", max_new_tokens=6)


REFUSED = [
    (dict(num_beams=2), "num_beams is 2"),
    (dict(use_cache=False), "use_cache is False"),
    (dict(return_dict_in_generate=True), "return_dict_in_generate is True"),
    (dict(guidance_scale=2.0), "guidance_scale is 2.0"),
    (dict(prefill_chunk_size=2), "prefill_chunk_size is 2"),
    (dict(prompt_lookup_num_tokens=2), "prompt_lookup_num_tokens is 2"),
    (dict(cache_implementation="static"), "cache is a StaticCache"),
    (dict(cache_implementation="offloaded"), "cache is a DynamicCache that is offloaded"),
    (dict(streamer=transformers.TextStreamer(letters_tokenizer())), "streamer was given"),
    (dict(past_key_values=transformers.DynamicCache()), "past_key_values was given"),
    (dict(attention_mask=torch.tensor([[1, 1, 0]])), "zeros behind ones"),
    (dict(attention_mask=torch.tensor([[0, 0, 0]])), "with a one in each row"),
]


@pytest.mark.parametrize(("settings", "message"), REFUSED, ids=[message for _, message in REFUSED])
def test_what_the_loop_does_not_do_is_refused_in_one_sentence(settings, message):
    model = scripted_model({"a": "b"})
    with pytest.raises(ValueError, match=message) as caught:
        generate(model, letters_tokenizer(), None, torch.tensor([[5, 6, 7]]), mode="none", max_new_tokens=3, **settings)
    assert str(caught.value).endswith(".")
