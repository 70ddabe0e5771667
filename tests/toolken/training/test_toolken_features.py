"""Features: one pass gives what a forward of each text alone gives, and the cached loss is the uncached one."""

import pytest
import torch
import transformers
from families import tiny_model
from tiny_text import PARTLY_ON_DISK
from toolken_training import TOOLS, labelled, tiny

from pydisp.toolken.head import HeadInput, ToolkenHead
from pydisp.toolken.problems.labels import Labelled
from pydisp.toolken.training import features as module
from pydisp.toolken.training.features import cached_features
from pydisp.toolken.training.logit_form import logit_form
from pydisp.toolken.training.positions import choose_positions
from pydisp.toolken.training.rows import full_losses
from pydisp.toolken.training.uncached import uncached_losses

SHORT = [
    Labelled((1, 5, 9, 10, 11, 12, 13), 3, (-1, -1, 1, -2, -2)),
    Labelled((1, 7, 3, 20, 21, 22), 3, (-1, -1, -1, -2)),
    Labelled((1, 2, 3), 3, (-2,)),
    Labelled((1, 60, 4, 8, 2, 44, 30, 31, 9), 8, (0, -2)),
]


def of(model, texts, folder, vocabulary, **changes):
    positions = choose_positions(texts, most_words=None, seed=0)
    return cached_features(model, texts, positions, folder, vocabulary=vocabulary, **changes)


@pytest.mark.parametrize("batch_tokens", [1, 14, 2048])
def test_each_position_is_that_of_its_text_alone(tmp_path, batch_tokens):
    model = tiny()
    texts = labelled(8)
    features = of(model, texts, tmp_path, 257, batch_tokens=batch_tokens)
    positions = features.positions
    assert len(features) == len(positions) == len(features.hidden)
    for row in range(len(features)):
        ids = torch.tensor([texts[positions.problem[row]].ids[: positions.place[row]]])
        with torch.no_grad(), HeadInput(model) as head:
            logits = model(ids).logits[0, -1]
            torch.testing.assert_close(features.hidden[row], head.hidden[0, -1], rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(features.lse[row], logits.logsumexp(0), rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(features.best_logit[row], logits.max(), rtol=1e-4, atol=1e-4)
        word = positions.word[row]
        torch.testing.assert_close(features.word_logit[row], logits[word] if word >= 0 else logits.logsumexp(0), rtol=1e-4, atol=1e-4)


def test_padding_of_the_head_is_no_word(tmp_path):
    model = tiny(head_rows=300)
    with torch.no_grad():
        model.lm_head.weight[257:] *= 50
    features = of(model, labelled(4), tmp_path, 257)
    with torch.no_grad():
        words = features.hidden @ model.lm_head.weight[:257].T
    torch.testing.assert_close(features.lse, words.logsumexp(1), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(features.best_logit, words.amax(1), rtol=1e-4, atol=1e-4)


def scaled(prefix: str, **changes):
    torch.manual_seed(0)
    config = getattr(transformers, f"{prefix}Config")(
        vocab_size=97, hidden_size=32, intermediate_size=48, num_hidden_layers=1, num_attention_heads=4, pad_token_id=0, **changes
    )
    return getattr(transformers, f"{prefix}ForCausalLM")(config).eval()


CASES = {
    "plain": lambda: tiny_model("llama", dtype=torch.float32),
    "head of another width": lambda: tiny_model("opt-350m", dtype=torch.float32),
    "float64": lambda: tiny_model("qwen3"),
    "bias": lambda: tiny_model("phi", dtype=torch.float32),
    "softcap": lambda: tiny_model("gemma2", dtype=torch.float32),
    "scale": lambda: scaled("Cohere", logit_scale=0.25),
    "small scale": lambda: scaled("Granite", logits_scaling=8.0),
}


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("vocabulary", [97, 70])
def test_the_cached_loss_is_the_uncached_one(tmp_path, name, vocabulary):
    """Padded heads are those with a vocabulary below 97 rows."""
    model = CASES[name]()
    features = of(model, SHORT, tmp_path, vocabulary)
    rows = torch.randn(2, features.hidden.shape[1], generator=torch.Generator().manual_seed(1)) * 0.3
    form = logit_form(model, torch.tensor([SHORT[0].ids]))
    cached = full_losses(rows, features, form)
    uncached = uncached_losses(model, SHORT, features.positions, rows, vocabulary)
    assert abs(cached.mean() - uncached.mean()) < 1e-5  # the loss that is trained
    torch.testing.assert_close(cached, uncached, rtol=1e-5, atol=1e-5)
    with ToolkenHead(model, rows, vocabulary), torch.no_grad():  # and that is cross-entropy over words and tools
        logits = model(torch.tensor([SHORT[0].ids])).logits[0, :, : vocabulary + 2].float()
    expected = torch.nn.functional.cross_entropy(logits[2:5], torch.tensor([10, 11, vocabulary + 1]), reduction="none")
    torch.testing.assert_close(uncached[:3], expected, rtol=1e-4, atol=1e-4)


def test_a_bias_of_the_head_counts(tmp_path):
    assert CASES["bias"]().lm_head.bias.abs().max() > 0.1


def test_a_model_in_half_precision_gives_its_own_logits(tmp_path):
    model = tiny(dtype=torch.bfloat16)
    features = of(model, labelled(3), tmp_path, 257)
    assert features.hidden.dtype == features.lse.dtype == torch.float32
    products = (features.hidden.bfloat16() @ model.lm_head.weight.T).float()
    torch.testing.assert_close(features.best_logit, products.amax(1).detach(), rtol=0.02, atol=0.02)


def test_a_model_that_takes_no_logits_to_keep_is_read_too(tmp_path, monkeypatch):
    model = tiny()
    expected = of(model, labelled(4), tmp_path / "one", 257)
    plain = model.forward
    monkeypatch.setattr(model, "forward", lambda input_ids, use_cache: plain(input_ids=input_ids, use_cache=use_cache))
    found = of(model, labelled(4), tmp_path / "two", 257)
    torch.testing.assert_close(found.hidden, expected.hidden, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(found.word_logit, expected.word_logit, rtol=1e-5, atol=1e-5)


def test_a_second_run_reads_nothing_and_another_model_or_text_does(tmp_path, monkeypatch):
    texts, read = labelled(4), module.read_texts
    calls = []

    def counted(*given):
        calls.append(1)
        return read(*given)

    monkeypatch.setattr(module, "read_texts", counted)
    first = of(tiny(), texts, tmp_path, 257)
    assert len(calls) == 1
    again = of(tiny(), texts, tmp_path, 257)
    assert len(calls) == 1 and torch.equal(first.hidden, again.hidden)
    of(tiny(seed=1), texts, tmp_path, 257)
    of(tiny(seed=1), labelled(5)[1:], tmp_path, 257)
    of(tiny(seed=1), labelled(5)[1:], tmp_path, 250)
    assert len(calls) == 4


def test_a_model_partly_on_disk_is_read(tmp_path):
    pytest.importorskip("accelerate")
    tiny().save_pretrained(tmp_path / "model")
    model = transformers.AutoModelForCausalLM.from_pretrained(
        tmp_path / "model", device_map=PARTLY_ON_DISK, offload_folder=tmp_path / "disk", dtype=torch.float32
    ).eval()
    here, there = of(tiny(), labelled(3), tmp_path / "one", 257), of(model, labelled(3), tmp_path / "two", 257)
    torch.testing.assert_close(here.hidden, there.hidden)


def test_rows_learn_from_problems_of_all_tools():
    assert {target for one in labelled() for target in one.targets if target >= 0} == set(range(len(TOOLS)))
