"""The lm-eval task: the problems and rules of our own evaluation, with and without tools."""

import pytest

pytest.importorskip("lm_eval")
pytest.importorskip("datasets")

from pydisp.integrations.lm_eval import evaluate_tasks  # noqa: E402
from pydisp.toolken import train_to_folder  # noqa: E402
from pydisp.toolken.problems.generator import generate  # noqa: E402
from pydisp.toolken.tasks.toolken_task import documents, process_results  # noqa: E402


@pytest.fixture(scope="module")
def toolkens(tmp_path_factory):
    out = tmp_path_factory.mktemp("toolken") / "toolkens"
    train_to_folder("demo", out, count=90)
    return out


def test_every_gold_solution_scores_one():
    for family in "ab":
        rows = list(documents(family=family, count=80, problem_seed=3)["test"])
        assert [row["prompt"] for row in rows] == [one.prompt for one in generate(family, 80, 3)]
        assert all(process_results(row, [row["target"]]) == {"exact": 1, "within": 1} for row in rows)
        assert sum(process_results(row, [""])["exact"] for row in rows) == 0


def test_it_runs_without_and_with_tools(toolkens):
    found = {}
    for name, arguments in (
        ("without", {}),
        ("none", {"toolkens": str(toolkens), "toolken_mode": "none"}),
        ("with", {"toolkens": str(toolkens)}),
    ):
        metadata = {"count": 6}
        found[name] = evaluate_tasks("demo", ["pydisp_toolken"], metadata=metadata, model_args=arguments, batch_size=3)["results"][
            "pydisp_toolken"
        ]
    assert all(0 <= one["exact,none"] <= one["within,none"] <= 1 for one in found.values())
    assert found["none"] == found["without"]


@pytest.mark.parametrize(
    ("metadata", "arguments", "words"),
    [
        ({"family": "c"}, {}, "family 'c'"),
        ({"count": 0}, {}, "count in the metadata of the task is 0"),
        ({"problem_seed": "x"}, {}, "problem_seed in the metadata of the task is 'x'"),
        ({"count": 2}, {"toolkens": "gone"}, "gone"),
        ({"count": 2}, {"toolken_mode": "often", "toolkens": "HERE"}, "'often'"),
    ],
)
def test_what_is_wrong_is_refused(toolkens, metadata, arguments, words):
    arguments = {name: str(toolkens) if value == "HERE" else value for name, value in arguments.items()}
    with pytest.raises((ValueError, FileNotFoundError), match=words):
        evaluate_tasks("demo", ["pydisp_toolken"], metadata=metadata, model_args=arguments)


def test_the_beginning_of_text_is_that_of_training(toolkens):
    import torch

    from pydisp.integrations.toolken_generation import ToolkenGeneration
    from pydisp.loading import load_model, load_tokenizer

    model, tokenizer = load_model("demo", device=torch.device("cpu"), dtype=torch.float32), load_tokenizer("demo")
    tools = ToolkenGeneration(model, tokenizer, str(toolkens))
    bos = tokenizer.bos_token_id
    ids, mask, added = tools._with_bos(torch.tensor([[0, 0, 5, 6], [7, 8, 9, 5]]), torch.tensor([[0, 0, 1, 1], [1, 1, 1, 1]]))
    assert added == 1 and ids[0].tolist()[2:] == [bos, 5, 6] and ids[1].tolist() == [bos, 7, 8, 9, 5]
    assert mask.tolist() == [[0, 0, 1, 1, 1], [1, 1, 1, 1, 1]]
    had = torch.tensor([[bos, 5, 6]])
    ids, mask, added = tools._with_bos(had, torch.ones_like(had))
    assert added == 0 and torch.equal(ids, had)
