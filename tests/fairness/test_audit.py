"""An audit's figures are those of a loop over the model's own losses, and of `pydisp eval`."""

import copy
import json

import numpy as np
import pytest
import torch
from browser_page import needs_chromium, require_readable
from tiny_text import TEXT, tiny_llama, tiny_tokenizer

from pydisp import evaluation
from pydisp.fairness import Counts, TokenStats, audit, comparison
from pydisp.fairness.measures import average, calibration_error
from pydisp.intervals import Resamples
from pydisp.loading import load_tokenizer
from pydisp.text import read_text
from pydisp.token_nll import token_nll_by_logits

QUIET = {"context_tokens": 32}


@pytest.fixture(scope="module")
def documents(tmp_path_factory):
    """60 short documents as JSONL."""
    path = tmp_path_factory.mktemp("text") / "documents.jsonl"
    words = TEXT.split()
    rng = np.random.default_rng(0)
    lines = [" ".join(rng.choice(words, size=int(n))) for n in rng.integers(8, 40, 60)]
    path.write_text("".join(json.dumps({"text": line}) + "\n" for line in lines))
    return str(path)


@pytest.fixture(scope="module")
def models():
    return tiny_llama(0), tiny_llama(1), tiny_tokenizer()


def shifted(model, seed=0, by=0.02):
    """The model with a little noise on its weights."""
    other = copy.deepcopy(model)
    torch.manual_seed(seed)
    with torch.no_grad():
        for parameter in other.parameters():
            parameter.add_(by * torch.randn_like(parameter))
    return other


@pytest.mark.parametrize("mode", ["id", "word"])
def test_the_average_is_that_of_eval(models, documents, mode):
    model, _, tokenizer = models
    found = audit(model, tokenizer, documents, mode=mode, **QUIET)
    loss = evaluation.evaluate(model, tokenizer, text=documents, context_tokens=32)
    assert found.average.value == pytest.approx(loss.nats_per_token, abs=1e-6)
    assert found.as_dict()["tokens"] == loss.tokens


def test_figures_of_ids_are_those_of_a_loop(models, documents):
    model, _, tokenizer = models
    found = audit(model, tokenizer, documents, mode="id", counts=Counts("c", "token", {i: i * i for i in range(257)}), **QUIET)
    ids = [0, *tokenizer(read_text([documents]).joined, add_special_tokens=False)["input_ids"]]
    windows = torch.tensor(ids)[: len(ids) // 32 * 32].view(-1, 32)
    nats = token_nll_by_logits(model, windows).double().flatten().numpy()
    types = windows[:, 1:].flatten().numpy()
    by_type = {t: nats[types == t] for t in np.unique(types)}
    result = found.as_dict()
    assert result["unit"] == "token" and result["unit_nats"] == pytest.approx(nats.mean(), rel=1e-6)
    assert result["balanced_nats"] == pytest.approx(np.mean([v.mean() for v in by_type.values()]), rel=1e-6)
    for one in result["bins"]:
        mine = [t for t in by_type if one["low"] <= t * t <= one["high"]]
        assert one["types"] == len(mine) and one["units"] == sum(len(by_type[t]) for t in mine)
        if mine:
            assert one["nats"] == pytest.approx(np.concatenate([by_type[t] for t in mine]).mean(), rel=1e-6)
    for groups in (result["bins"], result["deciles"], result["parts"].values(), result["classes"].values()):
        assert sum(one["units"] for one in groups) == result["units"]
    stats = found.stats
    assert stats.keys.tolist() == sorted(by_type) and stats.nats == pytest.approx([by_type[t].sum() for t in sorted(by_type)], rel=1e-6)
    assert stats.balanced_nats == result["balanced_nats"]


def test_a_word_has_the_loss_of_its_tokens(models, documents):
    model, _, tokenizer = models
    found = audit(model, tokenizer, documents, **QUIET)
    by_id = audit(model, tokenizer, documents, mode="id", **QUIET)
    assert found.unit == "word" and found.as_dict()["unit"] == "word"  # 257 ids: auto counts words
    units, tokens = found.scores.units, by_id.scores
    for number in np.flatnonzero(found.scores.is_whole)[::17]:
        mine = units.of_token[1:] == number
        assert found.scores.values.nats[number] == pytest.approx(tokens.values.nats[mine].sum(), rel=1e-9)
        assert found.scores.values.is_correct[number] == tokens.values.is_correct[mine].all()
        assert found.scores.values.rank[number] == tokens.values.rank[mine].max()
        assert found.scores.values.confidence[number] == pytest.approx(tokens.values.confidence[mine].prod(), rel=1e-6)
    # a word that a window cuts is not whole
    first_of_window = np.arange(32, len(units.of_token), 32)
    assert not found.scores.is_whole[units.of_token[first_of_window]].any()


def test_documents_add_up_to_the_whole(models, documents):
    model, _, tokenizer = models
    found = audit(model, tokenizer, documents, mode="id", **QUIET)
    parts = [found.scores.stats(found.vocabulary, found.scores.units.document == n) for n in range(len(found.documents))]
    whole = parts[0].merged(*parts[1:])
    assert whole.keys.tolist() == found.stats.keys.tolist() and whole.nats == pytest.approx(found.stats.nats)
    assert isinstance(whole, TokenStats) and whole.count.sum() == found.stats.count.sum()


def test_differences_are_those_of_two_audits(models, documents):
    model, _, tokenizer = models
    other = shifted(model)
    for mode in ("id", "word"):
        both = audit(model, tokenizer, documents, mode=mode, against=other, **QUIET).as_dict()
        one, two = (audit(m, tokenizer, documents, mode=mode, **QUIET).as_dict() for m in (model, other))
        delta = both["delta"]
        assert {name: value for name, value in both.items() if name not in ("delta", "against")} == one
        assert delta["average"]["mean"] == pytest.approx(one["average_nats"] - two["average_nats"], abs=1e-9)
        assert delta["balanced"]["mean"] == pytest.approx(one["balanced_nats"] - two["balanced_nats"], abs=1e-9)
        for name in ("head", "torso", "tail"):
            assert delta["parts"][name]["mean"] == pytest.approx(one["parts"][name]["nats"] - two["parts"][name]["nats"], abs=1e-9)
        for mine, first, second in zip(delta["bins"], one["bins"], two["bins"], strict=True):
            assert mine is None if first["nats"] is None else mine["mean"] == pytest.approx(first["nats"] - second["nats"], abs=1e-9)
        assert delta["excess"]["mean"] == pytest.approx(delta["tail"]["mean"] - delta["whole"]["mean"], abs=1e-9)
        for name in ("rank", "entropy", "confidence", "ece", "nats_per_byte"):
            assert delta["whole"][name] == pytest.approx(one[name] - two[name], abs=1e-9)
        assert delta["tail"] == delta["parts"]["tail"] and 0 < delta["agreement"] < 1
        low, high = delta["average"]["interval"]
        assert low <= delta["average"]["mean"] <= high and 0 < delta["average"]["p"] <= 1


def test_a_model_against_itself_is_zero_everywhere(models, documents):
    model, _, tokenizer = models
    found = audit(model, tokenizer, documents, mode="id", against=model, **QUIET)
    delta = found.as_dict()["delta"]
    figures = [delta["average"], delta["balanced"], delta["excess"], *delta["bins"], *delta["parts"].values(), *delta["classes"].values()]
    assert delta["whole"]["agreement"] == 1 and delta["whole"]["ece"] == delta["whole"]["rank"] == delta["whole"]["nats_per_byte"] == 0
    for one in figures:
        assert one is None or one["mean"] == 0 and one["interval"] in ((0, 0), None) and one["p"] in (1, None)
    assert delta["agreement"] == 1
    assert "the same in every document" in " ".join(found.report.summary)


def test_two_tokenizers_are_compared_by_word(models, documents):
    model, other, tokenizer = models
    second = load_tokenizer("demo")
    torch.manual_seed(0)
    other = copy.deepcopy(other)
    other.resize_token_embeddings(2048)
    found = audit(model, tokenizer, documents, against=other, against_tokenizer=second, context_tokens=64).as_dict()
    assert found["unit"] == "word" and found["delta"]["average"]["unit"] == "word" and found["delta"]["agreement"] is None
    with pytest.raises(ValueError, match="differ, so their ids cannot be compared"):
        audit(model, tokenizer, documents, mode="id", against=other, against_tokenizer=second, context_tokens=64)


def test_two_tokenizers_score_the_same_parts_of_a_text(models, documents):
    model, other, tokenizer = models
    other = copy.deepcopy(other)
    other.resize_token_embeddings(2048)
    found = audit(model, tokenizer, documents, against=other, against_tokenizer=load_tokenizer("demo"), context_tokens=64, most_tokens=1500)
    assert found.as_dict()["tokens"] < 1500 and found.comparison.whole.units > 0.8 * found.scores.is_whole.sum()


def test_a_shift_of_every_unit_is_no_excess_and_more_in_the_tail_is_one():
    rng = np.random.default_rng(0)
    documents, p = 100, {0.0: [], 0.15: []}
    for _ in range(40):
        lengths = rng.integers(20, 80, documents)
        document = np.repeat(np.arange(documents), lengths)
        in_tail = rng.random(len(document)) < rng.beta(2, 8, documents)[document]
        for extra, found in p.items():
            nats = 1.0 + extra * in_tail + rng.normal(0, 0.5, len(document))
            whole = np.ones(len(document), dtype=bool)
            found.append(comparison._excess(nats, document, whole, in_tail, Resamples(documents)).p)
    assert np.median(p[0.15]) < 0.001 and 0.2 < np.mean(p[0.0]) < 0.8 and np.mean(np.array(p[0.0]) < 0.05) <= 0.15


def test_a_few_rare_events_have_no_interval():
    document = np.repeat(np.arange(40), 10)
    for events, has_interval in ((0, True), (3, False), (20, True)):
        values = np.zeros(400)
        values[: events * 10 : 10] = 1
        assert (average(values, document, Resamples(40), is_difference=True).interval is not None) == has_interval


def test_words_that_the_windows_cut_are_told(models, documents):
    model, _, tokenizer = models
    found = audit(model, tokenizer, documents, context_tokens=4)
    assert any("words were scored whole, the windows of 4 tokens cut the others" in line for line in found.report.summary)
    assert not any("scored whole" in line for line in audit(model, tokenizer, documents, context_tokens=128).report.summary)


def test_unknown_tokens_are_told(models, documents):
    from tokenizers import Tokenizer, pre_tokenizers
    from tokenizers import models as kinds
    from transformers import PreTrainedTokenizerFast

    model, _, tokenizer = models
    words = Tokenizer(kinds.WordLevel({"[UNK]": 0, "fox": 1}, unk_token="[UNK]"))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    second = PreTrainedTokenizerFast(tokenizer_object=words, unk_token="[UNK]")
    found = audit(model, tokenizer, documents, against=model, against_tokenizer=second, context_tokens=32)
    assert found.unknown and max(found.unknown.values()) > 0.9
    assert any("unknown to its tokenizer" in line for line in found.report.summary)


def test_counts_may_be_a_mapping(models, documents):
    model, _, tokenizer = models
    found = audit(model, tokenizer, documents, mode="id", counts={i: 5 for i in range(1, 257)}, **QUIET)
    assert found.as_dict()["counts_source"]["name"] == "the given counts"


def test_the_default_context_fits_both_models(models, documents):
    model, _, tokenizer = models
    longer = copy.deepcopy(model)
    longer.config.max_position_embeddings = 512
    assert audit(longer, tokenizer, documents, against=model).context_tokens == 128


def test_counts_of_the_scored_text_are_called_biased(models, documents, tmp_path):
    model, _, tokenizer = models
    biased = audit(model, tokenizer, documents, **QUIET)
    assert biased.as_dict()["counts_source"] == {"name": "the scored text itself", "is_scored_text": True}
    assert any("biased" in line for line in biased.report.summary) and "biased" in biased.report.to_markdown()
    (tmp_path / "other.txt").write_text(TEXT)
    other = audit(model, tokenizer, documents, counts_text=str(tmp_path / "other.txt"), **QUIET)
    assert other.as_dict()["counts_source"] == {"name": "other.txt", "is_scored_text": False}
    assert not any("biased" in line for line in other.report.summary)
    word = max(other.counts.by_type, key=other.counts.by_type.get)
    assert other.counts_of_units[other.scores.units.keys.tolist().index(word)] == other.counts.by_type[word]


def test_few_documents_have_no_interval_and_a_long_text_has_blocks(models, tmp_path):
    model, _, tokenizer = models
    (tmp_path / "short.txt").write_text(TEXT[:600])
    short = audit(model, tokenizer, str(tmp_path / "short.txt"), **QUIET)
    result = short.as_dict()
    assert result["average_interval"] is None and all(one["interval"] is None for one in result["bins"])
    assert any("fewer than 30 documents" in line for line in short.report.summary)
    (tmp_path / "long.txt").write_text(" ".join([TEXT] * 14))
    long = audit(model, tokenizer, str(tmp_path / "long.txt"), against=shifted(model), **QUIET)
    result = long.as_dict()
    assert result["documents"]["are_blocks"] and result["documents"]["count"] >= 30 and result["average_interval"] is not None
    assert any("blocks of about 1,024 tokens" in line for line in long.report.summary)


def test_padding_is_not_scored_and_a_text_of_nothing_else_is_refused(models, tmp_path):
    model, _, _ = models
    tokenizer = tiny_tokenizer()
    tokenizer.pad_token = "q"
    (tmp_path / "pad.jsonl").write_text(json.dumps({"text": "q" * 300}) + "\n")
    with pytest.raises(ValueError, match="holds nothing but padding"):
        audit(model, tokenizer, str(tmp_path / "pad.jsonl"), **QUIET)
    (tmp_path / "some.jsonl").write_text(json.dumps({"text": "abcqqdef " * 40}) + "\n")
    found = audit(model, tokenizer, str(tmp_path / "some.jsonl"), mode="id", **QUIET)
    assert tokenizer.convert_tokens_to_ids("q") not in found.stats.keys.tolist()
    assert found.as_dict()["tokens"] == found.stats.count.sum() < len(found.scores.units)


def test_the_batch_size_does_not_matter(models, documents):
    model, _, tokenizer = models
    one, other = (audit(model, tokenizer, documents, mode="id", batch_size=size, **QUIET).as_dict() for size in (1, 13))
    assert one["balanced_nats"] == pytest.approx(other["balanced_nats"], abs=1e-6)
    assert [b["nats"] for b in one["bins"]] == pytest.approx([b["nats"] for b in other["bins"]], abs=1e-6)


def test_a_seed_gives_the_same_bytes(models, documents, tmp_path):
    model, other, tokenizer = models
    for name in ("one", "two"):
        audit(model, tokenizer, documents, against=other, seed=5, **QUIET).report.write(tmp_path / name)
    for path in (tmp_path / "one").iterdir():
        assert path.read_bytes() == (tmp_path / "two" / path.name).read_bytes(), path.name


def test_report_and_stats_come_as_a_pair_and_the_page_names_the_parts(models, documents):
    model, other, tokenizer = models
    report, stats = audit(model, tokenizer, documents, mode="id", against=other, **QUIET)
    assert isinstance(stats, TokenStats)
    titles = [section.title for section in report.sections]
    assert titles[:2] == ["Loss by frequency", "Difference by frequency"] and {"Calibration", "Classes"} <= set(titles)
    assert json.loads(report.to_json())["facts"]["result"]["unit"] == "token"


def test_the_calibration_error_of_a_sure_and_always_wrong_model_is_its_confidence():
    assert calibration_error(np.full(50, 0.9), np.zeros(50, dtype=bool)) == pytest.approx(0.9)
    rng = np.random.default_rng(0)
    confidence = rng.random(200_000)
    assert calibration_error(confidence, rng.random(200_000) < confidence) < 0.01


def test_a_loss_that_is_not_finite_names_the_document(models, documents):
    model, _, tokenizer = models
    broken = copy.deepcopy(model)
    with torch.no_grad():
        broken.model.norm.weight.fill_(float("nan"))
    with pytest.raises(ValueError, match="the loss of llama at token .* is nan"):
        audit(broken, tokenizer, documents, **QUIET)


@pytest.mark.parametrize(
    "changes, words",
    [({"mode": "byte"}, "mode is 'byte'"), ({"counts": "a.json", "counts_text": "b"}, "exclude each other"), ({"text": None}, "no text to audit"),
     ({"context_tokens": 1}, "of at least 2"), ({"context_tokens": 4096}, "has 128 positions"), ({"counts": "absent.json"}, "is no file"),
     ({"counts": Counts("c", "token", {1: 1})}, "has counts by token, the audit is by word")],
)  # fmt: skip
def test_wrong_arguments_are_refused(changes, words, models, documents):
    model, _, tokenizer = models
    with pytest.raises((ValueError, FileNotFoundError), match=words):
        audit(model, tokenizer, **{"text": documents, "context_tokens": 32, **changes})


@needs_chromium
def test_its_page_is_readable(models, documents):
    model, _, tokenizer = models
    require_readable({"audit": audit(model, tokenizer, documents, against=shifted(model), **QUIET).report.to_html()})
