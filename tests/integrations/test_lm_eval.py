"""A pruned folder on a small local task of lm-eval, offline, three ways with one result."""

import copy
import json
import math
import os
import pickle
import re
import subprocess
import sys

import pytest
import torch
from command_line import refused
from tiny_text import tiny_llama, tiny_tokenizer, write_model

from pydisp.indices import IndexSet
from pydisp.plan import AttentionPlan, LayerPlan, MLPPlan, PruningPlan
from pydisp.progress import silence
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
    handed_over = evaluate_tasks(str(pruned), ["arithmetic_choice"], include_paths=[tasks])
    assert handed_over["results"]["arithmetic_choice"]["acc,none"] == accuracy == registered["results"]["arithmetic_choice"]["acc,none"]
    assert handed_over["n_samples"]["arithmetic_choice"]["effective"] == 12


def test_its_bars_are_ours_and_nothing_else_is_shown(pruned, tasks, tmp_path, monkeypatch, many_lines, capfd):
    import tqdm
    from lm_eval import evaluator
    from lm_eval.api import task

    from pydisp.integrations.lm_eval import evaluate_tasks

    monkeypatch.chdir(tmp_path)  # git would say that it is no repository
    before = [evaluator.get_git_commit_hash, task.tqdm, tqdm.tqdm]
    results, said = [], []
    for say in (said.append, silence):
        capfd.readouterr()
        results.append(evaluate_tasks(str(pruned), ["arithmetic_choice"], include_paths=[tasks], say=say))
        shown = capfd.readouterr()
        assert shown.out == "" and not any(words in shown.err for words in ("it/s", "\r", "git", "Running"))
        assert [evaluator.get_git_commit_hash, task.tqdm, tqdm.tqdm] == before
    assert results[0] == results[1]
    phases = list(dict.fromkeys(line.partition(":")[0] for line in said))
    assert phases == ["loading pruned", "lm-eval", "tokenizing inputs", "log-likelihoods"]
    assert re.match(r"log-likelihoods: request \d+ of 36, about \d+ s left", next(line for line in said if line.startswith("log")))


def test_what_lm_eval_prints_and_bars_that_it_imports_on_its_way_do_not_appear(capfd, monkeypatch):
    from lm_eval.api import metrics

    from pydisp.integrations.lm_eval_bars import lm_eval_as_ours

    monkeypatch.setenv("DISABLE_MULTIPROC", "1")
    with lm_eval_as_ours(silence):
        metrics.bootstrap_stderr(lambda values: sum(values) / len(values), [1.0, 2.0, 3.0], iters=1000)
    assert capfd.readouterr() == ("", "")


def test_unknown_tasks_and_folders_are_refused(pruned, tasks, tmp_path, monkeypatch):
    from lm_eval import tasks as lm_tasks

    from pydisp.integrations.lm_eval import evaluate_tasks

    with pytest.raises(FileNotFoundError, match="there is no folder"):
        evaluate_tasks(str(pruned), ["arithmetic_choice"], include_paths=[tasks, tmp_path / "none"])
    real = lm_tasks.TaskManager
    # lm-eval's own tasks take half a minute to read
    monkeypatch.setattr(lm_tasks, "TaskManager", lambda **kwargs: real(**{**kwargs, "include_defaults": False}))
    with pytest.raises(ValueError, match="lm-eval knows no task 'nonsense'"):
        evaluate_tasks(str(pruned), ["nonsense"], include_paths=[tasks])


# A metric that no sum of log-probabilities could give: each loss weighted by its place and its token.
LATE_LOSSES = """
task: late_losses_{kind}
custom_dataset: !function functions.documents
output_type: {kind}
test_split: test
doc_to_text: "{context}"
doc_to_target: "{{{{target}}}}"
process_results: !function functions.process_results
metric_list:
  - metric: late_losses
    aggregation: mean
    higher_is_better: false
metadata:
  texts: ["a", "b"]
"""
FUNCTIONS = """
from datasets import Dataset

def documents(texts=(), **metadata):
    return {"test": Dataset.from_list([{"context": "The fox", "target": f" {text}"} for text in texts])}

def process_results(doc, results):
    score = results[0][0] if isinstance(results[0], tuple) else results[0]
    return {"late_losses": sum(place * nll * token for place, (nll, token) in enumerate(zip(score.token_nll, score.tokens)))}
"""
TEXTS = ["jumps over the dog", "a", "walks home to count them all again and again", "runs"]


@pytest.fixture(scope="module")
def late_losses(tmp_path_factory):
    folder = tmp_path_factory.mktemp("late_losses")
    (folder / "functions.py").write_text(FUNCTIONS)
    for kind, context in (("loglikelihood", "{{context}}"), ("loglikelihood_rolling", "")):
        (folder / f"{kind}.yaml").write_text(LATE_LOSSES.format(kind=kind, context=context))
    return folder


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--limit", "0"], "limit is 0; it must be 1 or more."),
        (["--limit", "-2"], "limit is -2; it must be 1 or more."),
        (["--batch-size", "0"], "batch_size is 0; it must be 1 or more."),
        (["--batch-size", "-3"], "batch_size is -3; it must be 1 or more."),
        (["--tasks", ","], "the name of a task is empty"),
        (["--tasks", "arithmetic_choice,"], "the name of a task is empty"),
        (["--model-args", "pretrained=x"], "have pretrained=x, but the model is named already; leave it out."),
    ],
)
def test_options_that_cannot_hold_are_refused_before_the_model_is_loaded(pruned, tasks, tmp_path, monkeypatch, options, words):
    from pydisp.integrations import lm_eval

    monkeypatch.setattr(lm_eval.HFLM, "__init__", lambda *_args, **_kwargs: pytest.fail("the model was loaded"))
    given = ["eval", pruned, "--tasks", "arithmetic_choice", "--include-path", tasks, "--out", tmp_path / "out", *options]
    refused([(given, words)], tmp_path)


@pytest.mark.parametrize(
    ("layers", "words"),
    [
        (2, "no place for: model.layers.2.input_layernorm.weight (9 weights in all)"),
        (4, "config describes 39,232, among them model.layers.3."),
    ],
)
def test_a_folder_whose_weights_are_not_of_its_config_is_refused(tmp_path, tasks, layers, words):
    folder = write_model(tmp_path / "model")
    (folder / "config.json").write_text(json.dumps(json.loads((folder / "config.json").read_text()) | {"num_hidden_layers": layers}))
    refused([(["eval", folder, "--tasks", "arithmetic_choice", "--include-path", tasks, "--out", tmp_path / "out"], words)], tmp_path)


def test_a_missing_weight_is_refused_by_the_class_that_loads_for_lm_eval(tmp_path):
    from safetensors.torch import load_file, save_file

    from pydisp.integrations.lm_eval import PydispLM

    path = write_model(tmp_path / "model") / "model.safetensors"
    weights = {key: tensor for key, tensor in load_file(path).items() if key != "model.norm.weight"}
    save_file(weights | {"score.weight": torch.ones(99)}, path, {"format": "pt"})
    with pytest.raises(ValueError, match=r"lacks model.norm.weight \(1 weight in all\)"):
        PydispLM(str(tmp_path / "model"), device="cpu")


@torch.no_grad()
def expected_losses(folder, context: str, text: str) -> tuple[list[int], list[float]]:
    """Tokens and losses of a text after a context, each byte a token; after <|endoftext|> if there is no context."""
    from pydisp.loading import load_model, load_tokenizer

    tokenizer, model = load_tokenizer(str(folder)), load_model(str(folder), device=torch.device("cpu"), dtype=torch.float32)
    before, tokens = tokenizer(context)["input_ids"] or [0], tokenizer(text)["input_ids"]
    logits = model(torch.tensor([before + tokens])).logits[0, len(before) - 1 : -1]
    return tokens, torch.nn.functional.cross_entropy(logits.double(), torch.tensor(tokens), reduction="none").tolist()


def late(tokens, losses):
    return sum(place * nll * token for place, (nll, token) in enumerate(zip(losses, tokens, strict=True)))


@pytest.mark.parametrize(("kind", "context"), [("loglikelihood", "The fox"), ("loglikelihood_rolling", "")])
@pytest.mark.parametrize("batch_size", [1, 3])
def test_a_metric_reads_the_loss_of_each_token(pruned, tasks, late_losses, kind, context, batch_size):
    from pydisp.integrations.lm_eval import evaluate_tasks

    scores = evaluate_tasks(
        str(pruned), [f"late_losses_{kind}"], include_paths=[tasks, late_losses], metadata={"texts": TEXTS}, batch_size=batch_size
    )
    expected = [late(*expected_losses(pruned, context, f" {text}")) for text in TEXTS]
    assert scores["results"][f"late_losses_{kind}"]["late_losses,none"] == pytest.approx(sum(expected) / len(TEXTS), rel=1e-5)
    assert scores["n_samples"][f"late_losses_{kind}"]["effective"] == len(TEXTS)


def test_token_losses_come_back_from_the_cache(pruned, late_losses, tmp_path, monkeypatch):
    from lm_eval import simple_evaluate
    from lm_eval.tasks import TaskManager

    from pydisp.integrations.lm_eval import PydispLM

    def score():
        names = ["late_losses_loglikelihood", "late_losses_loglikelihood_rolling"]
        manager = TaskManager(include_path=str(late_losses), include_defaults=False, metadata={"texts": TEXTS})
        model = PydispLM(str(pruned), device="cpu")
        results = simple_evaluate(model=model, tasks=names, task_manager=manager, use_cache=str(tmp_path / "cache"))["results"]
        return [results[name]["late_losses,none"] for name in names]

    first = score()
    monkeypatch.setattr(PydispLM, "_model_call", lambda self, inputs: pytest.fail("asked the model again"))
    assert score() == first


def test_a_long_text_is_scored_in_windows_once(pruned):
    from lm_eval.api.instance import Instance

    from pydisp.integrations.lm_eval import PydispLM

    text = " ".join(TEXTS)
    model = PydispLM(str(pruned), device="cpu", max_length=16)
    requests = [Instance("loglikelihood_rolling", {}, (t,), n) for n, t in enumerate(("", text, "a"))]
    empty, score, _ = model.loglikelihood_rolling(requests)
    assert model.tokenizer.decode(score.tokens) == text
    assert (float(empty), empty.tokens) == (0.0, ()) and score == pytest.approx(-math.fsum(score.token_nll), rel=1e-6)
    tokens, losses = expected_losses(pruned, "", text)
    assert score.tokens == tuple(tokens) and score.token_nll[:16] == pytest.approx(losses[:16], rel=1e-4)
    assert score.token_nll[16:] != pytest.approx(losses[16:], rel=1e-4)  # the later windows do not see the text before them


def test_choices_of_one_token_share_a_row(pruned, monkeypatch):
    from lm_eval.api.instance import Instance

    from pydisp.integrations.lm_eval import PydispLM

    model, rows = PydispLM(str(pruned), device="cpu", batch_size=4), []
    call = PydispLM._model_call
    monkeypatch.setattr(PydispLM, "_model_call", lambda self, inputs: rows.append(len(inputs)) or call(self, inputs))
    requests = [Instance("loglikelihood", {}, args, 0) for args in (("Is", "a"), ("Was it", "no"), ("Is", "b"), ("Is", "c"))]
    answers = model.loglikelihood(requests)
    assert rows == [2]
    for (score, _), (context, text) in zip(answers, [r.args for r in requests], strict=True):
        assert score.token_nll == pytest.approx(expected_losses(pruned, context, text)[1], rel=1e-5)


def test_token_log_likelihood_is_a_float_that_is_copied_whole():
    from pydisp.integrations.token_log_likelihood import TokenLogLikelihood

    score = TokenLogLikelihood(-1.5, [0.5, 1.0], [7, 9])
    for same in (copy.deepcopy(score), pickle.loads(pickle.dumps(score)), TokenLogLikelihood.joined([score])):
        assert (same, same.token_nll, same.tokens) == (-1.5, (0.5, 1.0), (7, 9))
    assert json.dumps([score]) == "[-1.5]" and max(score, -2.0) is score
    with pytest.raises(ValueError, match="1 losses were given for 2 tokens"):
        TokenLogLikelihood(-1.0, [1.0], [7, 9])


def test_packaged_tasks_are_found_by_name(pruned, tmp_path, monkeypatch):
    import pydisp
    from pydisp.integrations import lm_eval
    from pydisp.pythondoc import documents

    scores = lm_eval.evaluate_tasks(str(pruned), ["pydisp_pythondoc"], limit=2, batch_size=8)["results"]["pydisp_pythondoc"]
    texts = [d.text for d in documents("docstrings", "heldout")[:2]]
    size, words = sum(len(text.encode()) for text in texts), sum(len(text.split()) for text in texts)
    nats = scores["bits_per_byte,none"] * math.log(2)
    assert scores["nats_per_token,none"] == pytest.approx(nats, rel=1e-5)  # its tokens are bytes
    assert math.log(scores["byte_perplexity,none"]) == pytest.approx(nats) and 4 < nats < 8
    assert math.log(scores["word_perplexity,none"]) == pytest.approx(nats * size / words, rel=0.02)

    # any method's folder, at any depth
    for name in ("fairness/tasks", "holobench/deeper/tasks"):
        (tmp_path / name).mkdir(parents=True)
    monkeypatch.setattr(pydisp, "__file__", str(tmp_path / "__init__.py"))
    assert lm_eval.packaged_task_folders() == [tmp_path / "fairness/tasks", tmp_path / "holobench/deeper/tasks"]


def test_a_task_of_ones_own_goes_before_a_packaged_one(pruned, tmp_path, late_losses):
    from pydisp.integrations.lm_eval import evaluate_tasks

    words = (late_losses / "loglikelihood.yaml").read_text().replace("late_losses_loglikelihood", "pydisp_pythondoc")
    (tmp_path / "mine.yaml").write_text(words)
    (tmp_path / "functions.py").write_text(FUNCTIONS)
    assert "late_losses,none" in evaluate_tasks(str(pruned), ["pydisp_pythondoc"], include_paths=[tmp_path])["results"]["pydisp_pythondoc"]


def test_model_arguments_and_chat_template(pruned, late_losses, tmp_path):
    import shutil

    from pydisp.integrations.lm_eval import evaluate_tasks

    name, options = "late_losses_loglikelihood", dict(include_paths=[late_losses], metadata={"texts": TEXTS})

    def late_losses_of(folder, **more):
        return evaluate_tasks(str(folder), [name], **options, **more)["results"][name]["late_losses,none"]

    plain = late_losses_of(pruned)
    assert late_losses_of(pruned, model_args={"max_length": 46}) != plain  # "The fox" before the longest text is cut
    with pytest.raises(ValueError, match="has no chat template; leave --apply-chat-template out"):
        late_losses_of(pruned, apply_chat_template=True)
    chat = shutil.copytree(pruned, tmp_path / "chat")
    (chat / "chat_template.jinja").write_text("{% for message in messages %}<{{ message['content'] }}>{% endfor %}")
    expected = [late(*expected_losses(pruned, "<The fox>", f" {text}")) for text in TEXTS]
    assert late_losses_of(chat, apply_chat_template=True) == pytest.approx(sum(expected) / len(TEXTS), rel=1e-5)


def test_a_gguf_file_is_scored_as_its_model(tmp_path):
    pytest.importorskip("gguf")
    from lm_eval.api.instance import Instance
    from tiny_gguf import write_gguf

    from pydisp.integrations.lm_eval import PydispLM, evaluate_tasks

    file, text = write_gguf(tmp_path / "tiny.gguf"), "The lazy dog walks home."
    (score,) = PydispLM(str(file), device="cpu").loglikelihood_rolling([Instance("loglikelihood_rolling", {}, (text,), 0)])
    tokens, losses = expected_losses(file, "", text)
    assert score.tokens == tuple(tokens) and score.token_nll == pytest.approx(losses, rel=1e-4)
    assert evaluate_tasks(str(file), ["pydisp_pythondoc"], limit=1, batch_size=8)["model"] == "tiny.gguf"
