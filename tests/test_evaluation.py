import math
import re

import pytest
import torch
from tiny_text import tiny_tokenizer, write_model, write_text
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, LlamaConfig, LlamaForCausalLM

import pydisp
from pydisp import evaluation, progress
from pydisp.evaluation import evaluate_text
from pydisp.text import Tokens, read_text, tokenize
from pydisp.token_nll import token_nll_by_logits

VOCABULARY = 50


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=VOCABULARY,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=64,
        initializer_range=0.5,
    )
    return LlamaForCausalLM(config).eval()


@pytest.fixture(scope="module")
def tokens():
    ids = torch.randint(0, VOCABULARY, (16 * 7 + 5,), generator=torch.Generator().manual_seed(1))
    return Tokens("notes", ids, text_bytes=300, has_bos=True)


def test_loss_is_the_mean_over_targets_of_every_window(model, tokens):
    rows = tokens.ids[: 7 * 16].view(7, 16)
    with torch.no_grad():
        losses = torch.stack([model(input_ids=row[None], labels=row[None]).loss for row in rows]).double()
    figures = evaluate_text(model, tokens, 16)
    assert figures.nats_per_token == pytest.approx(losses.mean().item(), rel=1e-6)
    assert figures.standard_error == pytest.approx((losses.var() / 7).sqrt().item(), rel=1e-4)
    assert figures.window_nats == pytest.approx(losses.tolist(), rel=1e-5) and "window_nats" not in repr(figures)
    assert figures.tokens == 7 * 15 and figures.context_tokens == 16
    assert figures.perplexity == pytest.approx(math.exp(losses.mean()), rel=1e-6)
    assert figures.bits_per_byte == pytest.approx(losses.mean().item() * (16 * 7 + 5 - 1) / 300 / math.log(2), rel=1e-6)


def test_a_limit_scores_fewer_windows_and_says_how_many(model, tokens):
    loss = evaluate_text(model, tokens, 16, most_tokens=70)
    assert loss.tokens == 4 * 15
    picked = Tokens(tokens.name, tokens.windows(16, 70).flatten(), tokens.text_bytes, tokens.has_bos)
    assert loss.nats_per_token == evaluate_text(model, picked, 16).nats_per_token
    with pytest.raises(ValueError, match="most_tokens is 15, one window has 16"):
        evaluate_text(model, tokens, 16, most_tokens=15)


@pytest.mark.parametrize("batch_size", [1, 2, 3, 7, 50])
def test_batch_size_changes_rounding_only(model, tokens, batch_size):
    assert evaluate_text(model, tokens, 16, batch_size=batch_size).nats_per_token == pytest.approx(
        evaluate_text(model, tokens, 16).nats_per_token, rel=1e-6
    )


def test_float64_model_is_scored_in_float64(model, tokens):
    exact = LlamaForCausalLM(model.config).double()
    exact.load_state_dict(model.state_dict())
    rows = tokens.ids[: 7 * 16].view(7, 16)
    with torch.no_grad():
        expected = torch.nn.functional.cross_entropy(exact(input_ids=rows).logits[:, :-1].flatten(0, 1), rows[:, 1:].flatten())
    for batch_size in (1, 7):
        assert evaluate_text(exact, tokens, 16, batch_size=batch_size).nats_per_token == pytest.approx(expected.item(), rel=1e-13)


def test_one_window_has_no_standard_error(model, tokens):
    assert evaluate_text(model, tokens, 60).standard_error is None


def test_modes_and_gradients_are_left_as_they_were(model, tokens):
    model.train()
    model.model.layers[1].eval()
    evaluate_text(model, tokens, 16)
    assert model.training and model.model.layers[0].training and not model.model.layers[1].training
    assert all(p.requires_grad and p.grad is None for p in model.parameters())
    with pytest.raises(ValueError):
        evaluate_text(_with_nan(model), tokens, 16)
    model.eval()


def _with_nan(model):
    broken = LlamaForCausalLM(model.config)
    broken.load_state_dict(model.state_dict())
    with torch.no_grad():
        broken.model.embed_tokens.weight[3] = math.nan
    return broken


def test_nan_names_the_window_and_keeps_the_mode(model):
    ids = torch.full((16 * 4,), 5)
    ids[16 * 2 + 4] = 3
    broken = _with_nan(model).train()
    with pytest.raises(ValueError, match="notes: the loss of window 3 of 4 is nan; check the weights") as error:
        evaluate_text(broken, Tokens("notes", ids, 100, has_bos=False), 16, batch_size=2)
    assert broken.training and error.value is not None


def test_bad_input_is_refused(model, tokens):
    with pytest.raises(ValueError, match="notes: found 117 tokens, one window needs 118"):
        evaluate_text(model, tokens, 118)
    with pytest.raises(ValueError, match="a context of 65 tokens was asked for, the model has 64 positions"):
        evaluate_text(model, tokens, 65)
    with pytest.raises(ValueError, match="batch_size is 0; it must be a whole number of at least 1"):
        evaluate_text(model, tokens, 16, batch_size=0)
    with pytest.raises(ValueError, match="token id 50 is outside the model's vocabulary of 50"):
        evaluate_text(model, Tokens("notes", torch.full((32,), 50), 10, has_bos=False), 16)


def test_progress_is_lines_in_a_pipe_a_bar_on_a_terminal_and_nothing_unasked(model, tokens, capsys, monkeypatch):
    lines = []
    evaluate_text(model, tokens, 16, say=lines.append)
    assert not lines and capsys.readouterr().err == ""  # done before the first line is due
    for name in ("FIRST_LINE_SECONDS", "LINE_SECONDS"):
        monkeypatch.setattr(progress, name, 0.0)
    evaluate_text(model, tokens, 16, batch_size=2, say=lines.append)
    assert [line.partition(",")[0] for line in lines] == [f"evaluation: window {n} of 7" for n in (2, 4, 6, 7)]
    assert all(re.fullmatch(r"evaluation: window \d of 7, (about \d+ s left|in \d+ s)", line) for line in lines)
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    evaluate_text(model, tokens, 16)
    assert capsys.readouterr().err == ""
    evaluate_text(model, tokens, 16, batch_size=2, say=lines.append)
    assert "evaluation: 100%" in capsys.readouterr().err and len(lines) == 4


@pytest.mark.parametrize(("model_type", "changes"), [("cohere", {"logit_scale": 0.3}), ("gpt_neox", {})])
def test_a_model_of_another_family_is_scored_by_its_own_loss(tokens, caplog, model_type, changes):
    torch.manual_seed(0)
    values = dict(vocab_size=VOCABULARY, hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4)
    config = AutoConfig.for_model(model_type, **values, initializer_range=0.5, pad_token_id=0, bos_token_id=1, eos_token_id=2, **changes)
    other = AutoModelForCausalLM.from_config(config).eval()
    rows = tokens.ids[: 7 * 16].view(7, 16)
    with torch.no_grad():
        loss = torch.nn.functional.cross_entropy(other(input_ids=rows).logits[:, :-1].flatten(0, 1).double(), rows[:, 1:].flatten())
    assert evaluate_text(other, tokens, 16).nats_per_token == pytest.approx(loss.item(), rel=1e-6)
    assert len(caplog.records) == bool(changes)


def test_windows_of_a_forward_are_bounded(model, tokens, monkeypatch):
    """By their tokens, and by their logits where these are made."""
    counts = []
    forward = type(model.model).forward

    def count(self, input_ids, **kwargs):
        counts.append(len(input_ids))
        return forward(self, input_ids, **kwargs)

    monkeypatch.setattr(type(model.model), "forward", count)
    monkeypatch.setattr(evaluation, "_TOKENS_PER_FORWARD", 50)
    evaluate_text(model, tokens, 16)
    assert counts == [3, 3, 1]
    monkeypatch.setattr(evaluation, "scorer", lambda *_: token_nll_by_logits)
    monkeypatch.setattr(evaluation, "_MOST_LOGITS", 2 * 16 * VOCABULARY)
    counts.clear()
    evaluate_text(model, tokens, 16)
    assert counts == [2, 2, 2, 1]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_model(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture(scope="module")
def text(tmp_path_factory):
    return str(write_text(tmp_path_factory.mktemp("texts") / "notes.txt"))


def test_by_name_and_in_memory_give_one_result(folder, text):
    by_name = pydisp.evaluate(folder, text=text, context_tokens=32)
    loaded, tokenizer = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32), AutoTokenizer.from_pretrained(folder)
    in_memory = pydisp.evaluate(loaded, tokenizer, text=[text], context_tokens=32)
    tokens = tokenize(read_text([text]), tokenizer)
    assert by_name == in_memory and (by_name.model, by_name.text) == ("tiny", "notes.txt")
    loss = evaluate_text(loaded, tokens, 32)
    assert all(getattr(by_name, name) == value for name, value in vars(loss).items()) and by_name.perplexity == loss.perplexity
    assert pydisp.evaluate(loaded, tokenizer, text=text).context_tokens == 128  # 256, but no more than the model has positions


def test_the_report_holds_the_figures_and_what_they_stand_on(folder, text, tmp_path):
    result = pydisp.evaluate(str(folder), text=text, context_tokens=32)
    report = result.report
    assert [(m.name, m.value) for m in report.metrics] == [
        ("loss", result.nats_per_token), ("perplexity", result.perplexity), ("bits per byte", result.bits_per_byte),
    ]  # fmt: skip
    assert report.metrics[0].standard_error == result.standard_error and all(m.n == result.tokens for m in report.metrics)
    assert report.facts["result"] == result.as_dict() and report.facts["text"]["sha256"] == read_text([text]).sha256
    assert report.facts["dtype"] == "float32" and report.facts["versions"]["torch"] == torch.__version__
    report.write(tmp_path)
    written = (tmp_path / "report.json").read_text()
    assert str(folder.parent) not in written and str(tmp_path) not in written


def test_a_perplexity_that_is_no_number_is_left_out():
    loss = dict(nats_per_token=1000.0, standard_error=None, tokens=10, context_tokens=2, bits_per_byte=300.0)
    result = evaluation.Evaluation(**loss, model="m", text="t", facts={})
    assert result.as_dict()["perplexity"] is None and [m.name for m in result.report.metrics] == ["loss", "bits per byte"]


def test_what_cannot_be_evaluated_is_refused_before_the_weights_are_read(folder, text, model, monkeypatch, tmp_path):
    tokenizer, short = tiny_tokenizer(), str(tmp_path / "short.txt")
    (tmp_path / "short.txt").write_text("a few words")
    cases = [
        (lambda: pydisp.evaluate(model, text=text), "given without its tokenizer; give both"),
        (lambda: pydisp.evaluate(model, tokenizer, text=text, device="cpu"), "device goes with the name of a model"),
        (lambda: pydisp.evaluate(model, tokenizer, text=text), "is outside the model's vocabulary of 50"),
        (lambda: pydisp.evaluate(7, tokenizer, text=text), "model is 7; give a transformers causal language model"),
        (lambda: pydisp.evaluate(folder, text=text, context_tokens=1), "context_tokens is 1; it must be a whole number of at least 2"),
        (lambda: pydisp.evaluate(folder, text=short, context_tokens=128), "one window needs 128"),
        (lambda: pydisp.evaluate(folder, text=text, context_tokens=129), "the model has 128 positions"),
        (lambda: pydisp.evaluate(folder, text=text, context_tokens=128, batch_size=0), "batch_size is 0"),
        (lambda: pydisp.evaluate(folder, text=text, dtype="int8"), "unknown dtype 'int8'"),
        (lambda: pydisp.evaluate(folder, text=""), "text is ''; give a file"),
        (lambda: pydisp.evaluate(folder, text=None), "text is None; give a file"),
        (lambda: pydisp.evaluate("", text=text), "model is ''; give a transformers causal language model, a folder, a hub name"),
    ]
    monkeypatch.setattr(evaluation, "load_model", lambda *_args, **_kwargs: pytest.fail("the weights were read"))
    for call, words in cases:
        with pytest.raises((ValueError, TypeError), match=words):
            call()


def test_a_token_without_an_embedding_is_named_before_the_weights_are_read(folder, tmp_path, monkeypatch):
    tokenizer = tiny_tokenizer()
    tokenizer.add_tokens(["<user>"])
    (tmp_path / "chat.txt").write_text("<user> Hello. " * 40)
    monkeypatch.setattr(evaluation, "load_model", lambda *_args, **_kwargs: pytest.fail("the weights were read"))
    with pytest.raises(ValueError, match=r"token id 257 \('<user>'\) is outside .* of 257; .*resize_token_embeddings"):
        pydisp.evaluate(folder, tokenizer, text=str(tmp_path / "chat.txt"))
