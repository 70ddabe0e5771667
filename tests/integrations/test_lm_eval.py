"""A pruned folder on a small local task of lm-eval, offline, three ways with one result."""

import json
import os
import subprocess
import sys

import pytest
from tiny_text import tiny_llama, tiny_tokenizer, write_model

from pydisp.indices import IndexSet
from pydisp.plan import AttentionPlan, LayerPlan, MLPPlan, PruningPlan
from pydisp.spec import ModelSpec
from pydisp.surgery import prune_model

pytest.importorskip("lm_eval")

TASK = """
task: arithmetic_choice
dataset_path: json
dataset_kwargs: {{data_files: {{test: {data}}}}}
test_split: test
output_type: multiple_choice
doc_to_text: "{{{{q}}}}"
doc_to_choice: "{{{{choices}}}}"
doc_to_target: label
metric_list:
  - {{metric: acc}}
  - {{metric: acc_norm}}
"""

STOCK = """
import json, sys
from lm_eval import simple_evaluate
from lm_eval.tasks import TaskManager
answers = simple_evaluate(model="hf", model_args=f"pretrained={sys.argv[1]},trust_remote_code=True,dtype=float32", device="cpu", tasks=["arithmetic_choice"],
                        task_manager=TaskManager(include_path=sys.argv[2], include_defaults=False), log_samples=True)
assert not any(name.startswith("pydisp.integrations") for name in sys.modules)
print("RESULT", json.dumps([s["resps"] for s in answers["samples"]["arithmetic_choice"]]))
print("RESULT", json.dumps(answers["results"]["arithmetic_choice"]["acc,none"]))
"""


@pytest.fixture(scope="module")
def tasks(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tasks")
    lines = [{"q": f"{n} plus {n} is", "choices": [f" {n * 2}", f" {n * 2 + 1}", " many"], "label": n % 3} for n in range(12)]
    (folder / "data.jsonl").write_text("\n".join(map(json.dumps, lines)))
    (folder / "arithmetic_choice.yaml").write_text(TASK.format(data=folder / "data.jsonl"))
    return folder


@pytest.fixture(scope="module")
def pruned(tmp_path_factory):
    folder = write_model(tmp_path_factory.mktemp("model") / "pruned")  # the tokenizer; the weights are replaced
    model = tiny_llama()
    spec = ModelSpec.from_model(model)
    some, middle = IndexSet.from_mask((1 + 7 * IndexSet.full(32).indices) % 3 > 0), IndexSet.full(48)
    layer = LayerPlan(AttentionPlan(some, some), MLPPlan(some, middle, some))
    plan = PruningPlan("llama", 32, 48, (LayerPlan(None, layer.mlp), layer, layer), spec.digest)
    prune_model(model, plan, spec).save_pretrained(folder)
    tiny_tokenizer().save_pretrained(folder)
    return folder


def test_three_ways_one_result(pruned, tasks):
    from lm_eval import simple_evaluate
    from lm_eval.tasks import TaskManager

    from pydisp.integrations.lm_eval import evaluate_tasks

    environment = {**os.environ, "HF_HUB_OFFLINE": "1"}
    stock = subprocess.run([sys.executable, "-c", STOCK, str(pruned), str(tasks)], capture_output=True, text=True, env=environment)
    assert stock.returncode == 0, stock.stderr[-2000:]
    responses, accuracy = (json.loads(line.removeprefix("RESULT ")) for line in stock.stdout.splitlines() if line.startswith("RESULT "))

    registered = simple_evaluate(
        model="pydisp", model_args=f"pretrained={pruned}", device="cpu", tasks=["arithmetic_choice"],
        task_manager=TaskManager(include_path=str(tasks), include_defaults=False), log_samples=True,
    )  # fmt: skip
    ours = [s["resps"] for s in registered["samples"]["arithmetic_choice"]]
    for a, b in zip(responses, ours, strict=True):
        for (x,), (y,) in zip(a, b, strict=True):
            assert float(x[0]) == pytest.approx(float(y[0]), abs=1e-4)
    handed_over = evaluate_tasks(str(pruned), ["arithmetic_choice"], include_path=tasks)
    assert handed_over["results"]["arithmetic_choice"]["acc,none"] == accuracy == registered["results"]["arithmetic_choice"]["acc,none"]
    assert handed_over["n_samples"]["arithmetic_choice"]["effective"] == 12


def test_unknown_tasks_and_folders_are_refused(pruned, tasks, tmp_path, monkeypatch):
    from lm_eval import tasks as lm_tasks

    from pydisp.integrations.lm_eval import evaluate_tasks

    with pytest.raises(FileNotFoundError, match="there is no folder"):
        evaluate_tasks(str(pruned), ["arithmetic_choice"], include_path=tmp_path / "none")
    real = lm_tasks.TaskManager
    # lm-eval's own tasks take half a minute to read
    monkeypatch.setattr(lm_tasks, "TaskManager", lambda **kwargs: real(**{**kwargs, "include_defaults": False}))
    with pytest.raises(ValueError, match="lm-eval knows no task 'nonsense'"):
        evaluate_tasks(str(pruned), ["nonsense"], include_path=tasks)
