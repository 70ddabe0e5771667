"""PEFT trainable tokens: what peft loads gives the logits of ToolkenHead, and comes back as it went."""

import json

import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file
from tiny_text import tiny_llama, tiny_tokenizer
from toolken_training import TOOLS

from pydisp.subject import tokenizer_digest
from pydisp.toolken.head import ToolkenHead
from pydisp.toolken.model_digest import model_digest
from pydisp.toolken.peft_tokens import ADAPTER_FILE, CONFIG_FILE, export_peft, import_peft, token_names
from pydisp.toolken.toolkens import FACTS_FILE, Toolkens, ToolkensError

peft = pytest.importorskip("peft")
IDS = torch.tensor([[5, 9, 17, 3, 60]])


def model_of(is_tied: bool, head_rows: int):
    config = tiny_llama().config
    config.tie_word_embeddings, config.vocab_size = is_tied, head_rows
    torch.manual_seed(0)
    return transformers.LlamaForCausalLM(config).eval()


def toolkens_for(model, tokenizer) -> Toolkens:
    rows = torch.randn(7, 32, generator=torch.Generator().manual_seed(0))
    base = {"name": "tiny", "digest": model_digest(model), "hidden_size": 32}
    return Toolkens(TOOLS, rows[:3], rows[3:], 257, base, tokenizer_digest(tokenizer))


@pytest.mark.parametrize("is_tied", [False, True])
@pytest.mark.parametrize("head_rows", [257, 259, 300])
def test_peft_gives_the_logits_of_the_toolken_head(tmp_path, is_tied, head_rows):
    model, tokenizer = model_of(is_tied, head_rows), tiny_tokenizer()
    toolkens = toolkens_for(model, tokenizer)
    with ToolkenHead(model, toolkens.rows, 257), torch.no_grad():
        expected = model(IDS).logits[..., :260]
    export_peft(toolkens, model, tokenizer, tmp_path)
    assert len(tokenizer) == 257 and not hasattr(model, "peft_config")
    loaded = transformers.AutoTokenizer.from_pretrained(tmp_path)
    assert loaded.convert_tokens_to_ids(token_names(toolkens)) == [257, 258, 259]
    base = model_of(is_tied, head_rows)
    base.resize_token_embeddings(max(base.get_output_embeddings().out_features, len(loaded)))
    adapted = peft.PeftModel.from_pretrained(base, tmp_path).eval()
    with torch.no_grad():
        torch.testing.assert_close(adapted(IDS).logits[..., :260], expected, rtol=1e-6, atol=1e-6)


def test_the_same_toolkens_come_back(tmp_path):
    model, tokenizer = model_of(True, 257), tiny_tokenizer()
    toolkens = toolkens_for(model, tokenizer)
    export_peft(toolkens, model, tokenizer, tmp_path)
    back = import_peft(tmp_path)
    assert torch.equal(back.rows, toolkens.rows) and torch.equal(back.rerank_rows, toolkens.rerank_rows)
    assert back.tools == toolkens.tools and back.training == toolkens.training
    back.check(model, tokenizer)


def test_rows_that_peft_trained_further_come_back_and_say_so(tmp_path):
    model, tokenizer = model_of(False, 257), tiny_tokenizer()
    export_peft(toolkens_for(model, tokenizer), model, tokenizer, tmp_path)
    ((name, rows),) = load_file(tmp_path / ADAPTER_FILE).items()
    save_file({name: rows + 1}, tmp_path / ADAPTER_FILE)
    back = import_peft(tmp_path)
    assert torch.equal(back.rows, rows + 1)
    assert "trained further by PEFT" in back.training["note"]


def test_what_peft_saves_itself_has_the_same_names(tmp_path):
    model, tokenizer = model_of(False, 300), tiny_tokenizer()
    export_peft(toolkens_for(model, tokenizer), model, tokenizer, tmp_path / "ours")
    peft.PeftModel.from_pretrained(model, tmp_path / "ours").save_pretrained(tmp_path / "theirs")
    ours, theirs = (load_file(tmp_path / folder / ADAPTER_FILE) for folder in ("ours", "theirs"))
    assert ours.keys() == theirs.keys() and all(torch.equal(ours[name], theirs[name]) for name in ours)


def test_what_peft_cannot_hold_is_refused_before_anything_is_written(tmp_path):
    model, tokenizer = model_of(False, 257), tiny_tokenizer()
    toolkens = toolkens_for(model, tokenizer)
    with pytest.raises(ToolkensError, match="made for tiny"):
        export_peft(toolkens, tiny_llama(seed=3), tokenizer, tmp_path / "out")
    model.lm_head = torch.nn.Linear(32, 257, bias=True)
    with pytest.raises(ToolkensError, match="a Linear with a bias; PEFT's trainable tokens"):
        export_peft(toolkens_for(model, tokenizer), model, tokenizer, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_tokenizer_with_gaps_is_refused(tmp_path):
    model, tokenizer = model_of(False, 300), tiny_tokenizer()
    toolkens = toolkens_for(model, tokenizer)
    gap = Toolkens(TOOLS, toolkens.rows, toolkens.rerank_rows, 257, toolkens.base, toolkens.tokenizer_digest)
    tokenizer.add_tokens(["<tool:add>"])
    gap = Toolkens(TOOLS, toolkens.rows, toolkens.rerank_rows, 258, toolkens.base, tokenizer_digest(tokenizer))
    with pytest.raises(ToolkensError, match="gives new tokens the ids 257 to 259, the toolkens are 258 to 260"):
        export_peft(gap, model, tokenizer, tmp_path / "out")


@pytest.mark.parametrize("name", [ADAPTER_FILE, CONFIG_FILE, FACTS_FILE])
def test_a_missing_file_is_named(tmp_path, name):
    model, tokenizer = model_of(False, 257), tiny_tokenizer()
    export_peft(toolkens_for(model, tokenizer), model, tokenizer, tmp_path)
    (tmp_path / name).unlink()
    with pytest.raises(FileNotFoundError, match=f"there is no {name}"):
        import_peft(tmp_path)


@pytest.mark.parametrize("changes", [{"peft_type": "LORA"}, {"token_indices": [1, 2, 3]}])
def test_another_adapter_is_refused(tmp_path, changes):
    model, tokenizer = model_of(False, 257), tiny_tokenizer()
    export_peft(toolkens_for(model, tokenizer), model, tokenizer, tmp_path)
    config = json.loads((tmp_path / CONFIG_FILE).read_text())
    (tmp_path / CONFIG_FILE).write_text(json.dumps({**config, **changes}))
    with pytest.raises(ToolkensError, match="no set of 3 trainable tokens from 257 on"):
        import_peft(tmp_path)


@pytest.mark.parametrize(
    ("text", "words"),
    [(one, "no set of 3 trainable tokens from 257 on") for one in ("[1]", "null", "5", '"a"', "{}")]
    + [("{", "is no JSON"), ("[" * 5000, "holds lists in lists"), ('{"a": NaN}', "NaN is no value of JSON")],
)
def test_an_adapter_of_another_shape_is_refused(tmp_path, text, words):
    model, tokenizer = model_of(False, 257), tiny_tokenizer()
    export_peft(toolkens_for(model, tokenizer), model, tokenizer, tmp_path)
    (tmp_path / CONFIG_FILE).write_text(text)
    with pytest.raises(ToolkensError, match=words):
        import_peft(tmp_path)


def test_damaged_rows_of_an_adapter_are_refused(tmp_path):
    model, tokenizer = model_of(False, 257), tiny_tokenizer()
    export_peft(toolkens_for(model, tokenizer), model, tokenizer, tmp_path)
    tensors = load_file(tmp_path / ADAPTER_FILE)
    save_file({name: rows.fill_(float("nan")) for name, rows in tensors.items()}, tmp_path / ADAPTER_FILE)
    with pytest.raises(ToolkensError, match="^rows hold numbers that are not finite"):
        import_peft(tmp_path)
    (tmp_path / ADAPTER_FILE).write_bytes(b"\xff" * 100)
    with pytest.raises(ToolkensError, match=r"adapter_model.safetensors in .* is damaged \(.*\); copy the folder again.$"):
        import_peft(tmp_path)
