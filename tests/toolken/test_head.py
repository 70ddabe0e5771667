"""ToolkenHead: more logits beside the head, and a model that does not notice."""

import pytest
import torch
import transformers
from families import MODELS, random_plan, tiny_model
from tiny_text import PARTLY_ON_DISK, tiny_llama, tiny_tokenizer
from torch import nn

from pydisp.spec import ModelSpec
from pydisp.surgery import prune_model
from pydisp.toolken.head import HeadInput, ToolkenHead, head_of, real_vocabulary

IDS = torch.tensor([[5, 9, 17, 3, 60], [8, 8, 2, 40, 11]])
TOOLS = 3


def rows_for(model, seed: int = 0) -> torch.Tensor:
    return torch.randn(TOOLS, width_of(model), generator=torch.Generator().manual_seed(seed))


def width_of(model) -> int:
    with HeadInput(model) as head, torch.no_grad():
        model(IDS)
        return head.hidden.shape[-1]


def plain_and_tools(logits: torch.Tensor, vocabulary: int) -> tuple[torch.Tensor, torch.Tensor]:
    return torch.cat([logits[..., :vocabulary], logits[..., vocabulary + TOOLS :]], -1), logits[..., vocabulary : vocabulary + TOOLS]


def logits_of(model) -> torch.Tensor:
    with torch.no_grad():
        return model(IDS).logits


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("is_pruned", [False, True])
def test_plain_logits_are_left_between_the_tool_columns_which_are_products(name, is_pruned):
    model = tiny_model(name)
    if is_pruned:
        model = prune_model(model, random_plan(ModelSpec.from_model(model)))
    plain, rows, vocabulary = logits_of(model), rows_for(model), 90  # of 97: a padded head
    with ToolkenHead(model, rows, vocabulary) as head:
        logits = logits_of(model)
        hidden = head.last_input
    others, tools = plain_and_tools(logits, vocabulary)
    assert torch.equal(others, plain)
    expected = hidden @ rows.to(hidden.dtype).T
    cap = getattr(model.config, "final_logit_softcapping", None)
    torch.testing.assert_close(tools, cap * torch.tanh(expected / cap) if cap else expected, rtol=1e-12, atol=1e-12)
    assert torch.equal(logits_of(model), plain)


def test_a_scale_after_the_head_scales_the_tools_too():
    config = transformers.CohereConfig(
        vocab_size=97, hidden_size=32, intermediate_size=48, num_hidden_layers=1, num_attention_heads=4, logit_scale=0.25, pad_token_id=0
    )
    model = transformers.CohereForCausalLM(config).eval()
    rows = rows_for(model)
    with ToolkenHead(model, rows, 97) as head:
        tools = logits_of(model)[..., 97:]
    torch.testing.assert_close(tools, 0.25 * torch.nn.functional.linear(head_input(model), rows))
    assert head.rows is rows


def head_input(model) -> torch.Tensor:
    with HeadInput(model) as head:
        logits_of(model)
        return head.hidden


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_logits_stay_in_their_dtype_and_tools_are_rounded_once(dtype):
    model = tiny_llama(dtype=dtype)
    rows, plain = rows_for(model), logits_of(model)
    with ToolkenHead(model, rows, 257) as head:
        logits = logits_of(model)
        expected = (head.last_input.float() @ rows.T).to(dtype)
    assert logits.dtype == dtype
    assert torch.equal(logits[..., :257], plain)
    assert torch.equal(logits[..., 257:], expected)


def test_weights_tying_saving_and_hooks_do_not_notice_it(tmp_path):
    model = tiny_llama()
    keys, weight = list(model.state_dict()), model.lm_head.weight
    model.save_pretrained(tmp_path / "before")
    with ToolkenHead(model, rows_for(model), 257):
        assert list(model.state_dict()) == keys
        assert model.lm_head.weight is weight and model.get_input_embeddings().weight is weight
        assert len(list(model.parameters())) == len(set(model.parameters()))
        model.save_pretrained(tmp_path / "while")
    assert not model.lm_head._forward_hooks
    for file in sorted((tmp_path / "before").iterdir()):
        assert file.read_bytes() == (tmp_path / "while" / file.name).read_bytes()


def test_it_is_taken_off_after_an_error():
    model = tiny_llama()
    with pytest.raises(KeyError), ToolkenHead(model, rows_for(model), 257):
        raise KeyError
    assert not model.lm_head._forward_hooks


def test_attach_and_detach_may_be_repeated():
    model = tiny_llama()
    head = ToolkenHead(model, rows_for(model), 257)
    assert head.attach() is head.attach()
    assert logits_of(model).shape[-1] == 260
    head.detach()
    head.detach()
    assert logits_of(model).shape[-1] == 257
    with head:
        assert logits_of(model).shape[-1] == 260


def test_a_gradient_reaches_the_rows_and_is_that_of_the_whole_softmax():
    model = tiny_llama()
    for parameter in model.parameters():
        parameter.requires_grad_(False)
    rows = rows_for(model).requires_grad_()
    with ToolkenHead(model, rows, 257):
        torch.nn.functional.cross_entropy(model(IDS).logits.flatten(0, 1), torch.full((10,), 258)).backward()
    again = rows.detach().clone().requires_grad_()
    hidden = head_input(model).flatten(0, 1)
    logits = hidden @ torch.cat([model.lm_head.weight, again]).T
    torch.nn.functional.cross_entropy(logits, torch.full((10,), 258)).backward()
    torch.testing.assert_close(rows.grad, again.grad)


def test_the_input_of_the_last_forward_is_kept_and_asked_for_too_early_refused():
    model = tiny_llama()
    head = ToolkenHead(model, rows_for(model), 257)
    with pytest.raises(RuntimeError, match="has read nothing"):
        _ = head.last_input
    with head:
        logits_of(model)
        assert head.last_input.shape == (2, 5, 32)
        with torch.no_grad():
            model(IDS[:1], logits_to_keep=1)
        assert head.last_input.shape == (1, 1, 32)
        model(IDS)
        assert not head.last_input.requires_grad  # else the whole graph of the forward would be kept
    with pytest.raises(RuntimeError, match="has read nothing"):
        _ = head.last_input


def test_rows_of_another_width_are_refused_with_both_widths():
    with pytest.raises(ValueError, match=r"rows are 31 wide, the model's head reads 32 values"):
        ToolkenHead(tiny_llama(), torch.zeros(2, 31), 257)


class HeadWithoutSizes(nn.Module):
    def __init__(self, weight):
        super().__init__()
        self.matrix = weight

    def forward(self, hidden):
        return hidden @ self.matrix.T


def test_a_head_that_tells_no_sizes_is_checked_at_its_first_input():
    model = tiny_llama()
    model.lm_head = HeadWithoutSizes(model.lm_head.weight)
    with ToolkenHead(model, torch.zeros(2, 31), 257), pytest.raises(ValueError, match="31 wide, the model's head reads 32"):
        logits_of(model)
    with ToolkenHead(model, torch.zeros(2, 32), 258), pytest.raises(ValueError, match="vocabulary is 258, the model's head has 257 rows"):
        logits_of(model)
    with ToolkenHead(model, torch.zeros(2, 32), 257):
        assert logits_of(model).shape[-1] == 259


@pytest.mark.parametrize("vocabulary", [258, 1000])
def test_a_vocabulary_that_the_head_does_not_have_is_refused(vocabulary):
    with pytest.raises(ValueError, match=f"vocabulary is {vocabulary}, the model's head has 257 rows"):
        ToolkenHead(tiny_llama(), torch.zeros(2, 32), vocabulary)


@pytest.mark.parametrize("rows", [torch.zeros(32), torch.zeros(2, 32, dtype=torch.int64)])
def test_rows_that_are_no_matrix_of_floats_are_refused(rows):
    with pytest.raises(ValueError, match="must be floats of shape"):
        ToolkenHead(tiny_llama(), rows, 257)


def test_a_second_head_on_one_model_is_refused():
    model = tiny_llama()
    with ToolkenHead(model, rows_for(model), 257), pytest.raises(RuntimeError, match="has a ToolkenHead already"):
        ToolkenHead(model, rows_for(model), 257).attach()
    with ToolkenHead(model, rows_for(model), 257):
        pass


def test_a_model_without_output_embeddings_is_refused():
    with pytest.raises(ValueError, match="LlamaModel has no output embeddings"):
        ToolkenHead(tiny_llama().model, torch.zeros(2, 32), 257)
    with pytest.raises(ValueError, match="Linear has no output embeddings"):
        head_of(nn.Linear(2, 2))


def test_an_adapter_on_the_head_keeps_working():
    peft = pytest.importorskip("peft")
    model = tiny_llama()
    config = peft.LoraConfig(target_modules=["lm_head", "q_proj"], init_lora_weights=False)
    adapted = peft.get_peft_model(model, config).eval()
    plain, rows = logits_of(adapted), rows_for(adapted)
    with ToolkenHead(adapted, rows, 257) as head:
        logits = logits_of(adapted)
        torch.testing.assert_close(logits[..., 257:], head.last_input @ rows.T)
    assert torch.equal(logits[..., :257], plain)
    assert torch.equal(logits_of(adapted), plain)


class Int8Linear(nn.Module):
    """A quantized head as libraries make them: packed weights, of no float dtype, and sizes of its own."""

    def __init__(self, linear: nn.Linear):
        super().__init__()
        self.in_features, self.out_features = linear.in_features, linear.out_features
        self.scale = linear.weight.detach().abs().amax(1, keepdim=True) / 127
        self.weight = nn.Parameter((linear.weight.detach() / self.scale).round().to(torch.int8).flatten(), requires_grad=False)

    def forward(self, hidden):
        return hidden @ (self.weight.view(self.out_features, -1) * self.scale).T


def test_a_quantized_head_keeps_working():
    model = tiny_llama()
    model.lm_head = Int8Linear(model.lm_head)
    plain, rows = logits_of(model), rows_for(model)
    with ToolkenHead(model, rows, real_vocabulary(tiny_tokenizer(), model)) as head:
        logits = logits_of(model)
        torch.testing.assert_close(logits[..., 257:], head.last_input @ rows.T)
    assert torch.equal(logits[..., :257], plain)


@pytest.mark.filterwarnings("ignore")
def test_a_head_that_torch_quantized_keeps_working(monkeypatch):
    if not hasattr(torch.ao.quantization, "quantize_dynamic"):
        pytest.skip("this torch has no eager quantization")
    monkeypatch.setattr(torch.backends.quantized, "engine", torch.backends.quantized.supported_engines[-1])
    model = torch.ao.quantization.quantize_dynamic(tiny_llama(), {nn.Linear}, dtype=torch.qint8)
    assert type(model.lm_head) is not nn.Linear
    plain, rows = logits_of(model), rows_for(model)
    with ToolkenHead(model, rows, 257) as head:
        logits = logits_of(model)
        torch.testing.assert_close(logits[..., 257:], head.last_input @ rows.T)
    assert torch.equal(logits[..., :257], plain)


@pytest.mark.parametrize("place", ["cpu", "disk"])
def test_an_offloaded_head_keeps_working(tmp_path, place):
    pytest.importorskip("accelerate")
    tiny_llama_untied(tmp_path / "model")
    device_map = {**PARTLY_ON_DISK, "lm_head": place}
    model = transformers.AutoModelForCausalLM.from_pretrained(
        tmp_path / "model", device_map=device_map, offload_folder=tmp_path / "disk", dtype=torch.float32
    )
    assert model.lm_head.weight.is_meta == (place == "disk")
    plain, rows = logits_of(model), rows_for(model)
    with ToolkenHead(model, rows, 257) as head:
        logits = logits_of(model)
        torch.testing.assert_close(logits[..., 257:], head.last_input @ rows.T)
    assert torch.equal(logits[..., :257], plain)
    assert model.lm_head.weight.is_meta == (place == "disk")


def tiny_llama_untied(folder) -> None:
    config = tiny_llama().config
    config.tie_word_embeddings = False
    transformers.LlamaForCausalLM(config).save_pretrained(folder)


@pytest.mark.parametrize(("head_rows", "expected"), [(257, 257), (320, 257), (200, 200)])
def test_the_real_vocabulary_is_the_tokenizers_within_the_head(head_rows, expected):
    model = tiny_llama()
    model.resize_token_embeddings(head_rows)
    assert real_vocabulary(tiny_tokenizer(), model) == expected
    model.lm_head = HeadWithoutSizes(model.lm_head.weight)
    assert real_vocabulary(tiny_tokenizer(), model) == 257  # nothing is known of its rows


def test_added_tokens_belong_to_the_real_vocabulary():
    tokenizer, model = tiny_tokenizer(), tiny_llama()
    tokenizer.add_tokens(["<one>", "<two>"])
    model.resize_token_embeddings(272)
    assert real_vocabulary(tokenizer, model) == 259


def test_generate_reads_the_added_columns_and_no_more():
    model = tiny_llama()
    plain = model.generate(IDS, max_new_tokens=4, do_sample=False, pad_token_id=0)
    with ToolkenHead(model, torch.zeros(TOOLS, 32), 257), torch.no_grad():
        assert torch.equal(model.generate(IDS, max_new_tokens=4, do_sample=False, pad_token_id=0), plain)


def test_head_input_records_the_last_forward_and_lets_it_go():
    model = tiny_llama()
    with HeadInput(model) as head:
        assert head.hidden is None
        logits = logits_of(model)
        assert torch.equal(head.output, logits) and head.hidden.shape == (2, 5, 32)
        assert torch.equal(head.hidden @ model.lm_head.weight.T, logits)
    assert head.hidden is None and not model.lm_head._forward_hooks
