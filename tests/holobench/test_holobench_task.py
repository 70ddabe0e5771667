"""The lm-eval tasks: the same items and scores as pydisp's own run, and lengths beyond the model refused."""

import pytest

pytest.importorskip("lm_eval")
pytest.importorskip("datasets")
pytest.importorskip("duckdb")

from pydisp.holobench import build, run  # noqa: E402
from pydisp.holobench.figures.results import results  # noqa: E402
from pydisp.integrations.lm_eval import evaluate_tasks  # noqa: E402

METADATA = {"lengths": [448], "density": 0.75, "per_length": 9, "seed": 3, "database": "generated:shop", "room": 64}


@pytest.fixture(scope="module")
def ours():
    built = build(lengths=[448], densities=[0.75], per_length=9, seed=3, database="generated:shop", room=64)
    found = run("demo", (built.items, built.manifest), form="both")
    return results(built.items, found.predictions, built.manifest, found.manifest)


def test_the_likelihood_task_has_our_accuracy(ours):
    found = evaluate_tasks("demo", ["pydisp_holobench_mc"], metadata=METADATA)
    assert found["n_samples"]["pydisp_holobench_mc"]["original"] == 9
    assert found["results"]["pydisp_holobench_mc"]["acc,none"] == pytest.approx(ours.as_dict()["likelihood"]["accuracy"])


def test_the_generation_task_has_our_scores(ours):
    found = evaluate_tasks("demo", ["pydisp_holobench"], metadata=METADATA, limit=9)["results"]["pydisp_holobench"]
    expected = ours.as_dict()
    for name in ("f1", "recall", "strict", "exact"):
        assert found[f"{name},none"] == pytest.approx(expected[name])
    assert found["unparsable,none"] * 9 == pytest.approx(expected["unparsable"])


@pytest.mark.parametrize("task", ["pydisp_holobench", "pydisp_holobench_mc"])
def test_lengths_beyond_the_model_are_refused(task):
    with pytest.raises(ValueError, match=r"demo reads 512; give shorter lengths"):
        evaluate_tasks("demo", [task], metadata={**METADATA, "lengths": [700]})
    with pytest.raises(ValueError, match=r"reads 300"):
        evaluate_tasks("demo", [task], metadata=METADATA, model_args={"max_length": 300})


@pytest.mark.parametrize(
    ("metadata", "words"),
    [
        ({"lenghts": [448]}, "did you mean 'lengths'"),
        ({"lengths": [[448]]}, "a text or a number"),
        ({"database": ["a"]}, "a text or a number"),
        ({"seed": {"a": 1}}, "a text or a number"),
        ({"room": 100}, "room 100; it must be at most 64"),
        ({"database": "nowhere"}, "there is no database 'nowhere'"),
    ],
)
def test_metadata_that_are_wrong_are_refused(metadata, words):
    with pytest.raises(ValueError, match=words):
        evaluate_tasks("demo", ["pydisp_holobench_mc"], metadata=metadata)


def test_the_defaults_fit_the_demo_model():
    assert evaluate_tasks("demo", ["pydisp_holobench_mc"], metadata={}, limit=2)["results"]["pydisp_holobench_mc"]["acc,none"] >= 0


def test_another_models_tokenizer_is_refused(tmp_path):
    from tiny_text import write_model

    model = write_model(tmp_path / "model", 0)
    with pytest.raises(ValueError, match="is another than that of demo"):
        evaluate_tasks("demo", ["pydisp_holobench_mc"], metadata={**METADATA, "tokenizer": str(model)})
