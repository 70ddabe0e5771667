"""The card's metadata as the hub reads them: huggingface_hub parses and writes them again without a loss."""

from dataclasses import replace

import pytest
import yaml
from huggingface_hub import ModelCard
from pruned_outcome import LOSSES, loss, tiny_outcome

from pydisp.origin import Origin
from pydisp.pruning.model_card import model_card
from pydisp.pruning.outcome import HELDOUT, OTHER, Losses

STATED = Origin("lab/dense", "other", ("en", "no"), "our licence", "https://x.org/licence")


@pytest.fixture(scope="module")
def outcome():
    return tiny_outcome()


def metadata(text: str) -> dict:
    return yaml.safe_load(text.split("---\n")[1])


def test_the_hubs_library_reads_all_of_it(outcome):
    text = model_card(outcome, STATED)
    card = ModelCard(text)  # raises for metadata or a model-index that it cannot parse
    data = card.data
    assert (data.base_model, data.license, data.language) == ("lab/dense", "other", ["en", "no"])
    assert (data.license_name, data.license_link) == ("our licence", "https://x.org/licence")
    assert (data.library_name, data.pipeline_tag, data.tags) == ("transformers", "text-generation", ["pydisp", "pruned"])
    assert metadata(card.content) == metadata(text) and card.text.lstrip().startswith(f"# {data.model_name}\n")


def test_the_model_index_has_the_measured_perplexities(outcome):
    results = ModelCard(model_card(outcome, Origin())).data.eval_results
    assert [(r.dataset_name, r.dataset_config, r.metric_type, r.task_type) for r in results] == [
        (f"text {kind}", kind, "perplexity", "text-generation") for kind in (HELDOUT, OTHER)
    ]
    for result, kind in zip(results, (HELDOUT, OTHER), strict=True):
        assert result.metric_value == pytest.approx(LOSSES[kind].pruned.perplexity, rel=1e-5)
        assert result.metric_name == "perplexity of 62 tokens at a context of 32"


def test_what_the_source_does_not_state_is_not_there(outcome):
    assert set(metadata(model_card(outcome, Origin()))) == {"library_name", "pipeline_tag", "tags", "model-index"}
    assert metadata(model_card(outcome, Origin(language=("en",))))["language"] == "en"


def test_a_perplexity_without_end_is_no_result(outcome):
    endless = Losses("text", loss(2.0), loss(1000.0))
    assert endless.pruned.perplexity == float("inf")
    two = replace(outcome, losses=outcome.losses | {HELDOUT: endless})
    assert len(ModelCard(model_card(two, Origin())).data.eval_results) == 1
    none = replace(outcome, losses=outcome.losses | {HELDOUT: endless, OTHER: endless})
    assert "model-index" not in metadata(model_card(none, Origin()))


def test_it_names_what_to_install(outcome):
    words = model_card(outcome, Origin())
    assert "install **pydisp-llm**: pip install . in a checkout of pydisp-llm" in words
    assert words.index("pydisp-llm") < words.index("import pydisp") and "`pydisp` on PyPI is another one" in words


def test_a_name_cannot_break_the_metadata(outcome):
    named = replace(outcome, model_name='a: "b" # c\n---')
    assert metadata(model_card(named, Origin()))["model-index"][0]["name"].startswith('a: "b" # c\n---, ')
