"""The lm-eval task pydisp_fairness: its metrics are the audit's functions on the losses that lm-eval hands on."""

import json

import numpy as np
import pytest
from tiny_text import TEXT, tiny_tokenizer, write_model

pytest.importorskip("lm_eval")
pytest.importorskip("datasets")

from pydisp.fairness.counts import Counts  # noqa: E402
from pydisp.integrations.lm_eval import evaluate_tasks  # noqa: E402


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("task")
    write_model(folder / "model")
    documents = [part for part in TEXT.split("\n\n")]
    (folder / "text.jsonl").write_text("".join(json.dumps({"text": one}) + "\n" for one in documents))
    ids = tiny_tokenizer()("\n\n".join(documents) * 2, add_special_tokens=False)["input_ids"]
    Counts("c", "token", {one: ids.count(one) for one in set(ids)}).write(folder / "counts.json")
    return folder, documents


def test_metrics_are_those_of_the_rolling_losses(files):
    import torch

    from pydisp.loading import load_model
    from pydisp.token_nll import token_nll

    folder, documents = files
    metadata = {"text": str(folder / "text.jsonl"), "counts": str(folder / "counts.json")}
    found = evaluate_tasks(str(folder / "model"), ["pydisp_fairness"], metadata=metadata, batch_size=4)["results"]["pydisp_fairness"]
    model, tokenizer = load_model(str(folder / "model"), device=torch.device("cpu"), dtype=torch.float32), tiny_tokenizer()
    nats, types = [], []
    for text in documents:  # each is shorter than the model's 128 positions
        ids = tokenizer(text, add_special_tokens=False)["input_ids"]
        nats += token_nll(model, torch.tensor([[0, *ids]]))[0].tolist()
        types += ids
    nats, types = np.array(nats), np.array(types)
    named = {name.partition(",")[0]: value for name, value in found.items()}
    assert named["average_nats"] == pytest.approx(nats.mean(), rel=1e-5)
    assert named["balanced_nats"] == pytest.approx(np.mean([nats[types == one].mean() for one in set(types.tolist())]), rel=1e-5)
    from pydisp.fairness.frequency import PARTS, parts_of

    counts = Counts.read(folder / "counts.json", "token")
    places = parts_of(counts.of(types), np.array(list(counts.by_type.values())))
    for number, part in enumerate(PARTS):
        assert named[f"{part}_nats"] == pytest.approx(nats[places == number].mean(), rel=1e-5)


def test_a_part_without_a_token_is_none(files, tmp_path):
    folder, documents = files
    (tmp_path / "text.jsonl").write_text(json.dumps({"text": documents[0]}) + "\n")
    Counts("c", "token", {one: 10**6 for one in range(1, 257)} | {0: 1}).write(tmp_path / "counts.json")
    metadata = {"text": str(tmp_path / "text.jsonl"), "counts": str(tmp_path / "counts.json")}
    found = evaluate_tasks(str(folder / "model"), ["pydisp_fairness"], metadata=metadata)["results"]["pydisp_fairness"]
    assert found["tail_nats,none"] is None and found["head_nats,none"] > 0


def test_a_task_without_text_or_with_wrong_counts_is_refused(files, tmp_path):
    folder, _ = files
    with pytest.raises(ValueError, match="needs a text"):
        evaluate_tasks(str(folder / "model"), ["pydisp_fairness"])
    (tmp_path / "counts.json").write_text("[]")
    metadata = {"text": str(folder / "text.jsonl"), "counts": str(tmp_path / "counts.json")}
    with pytest.raises(ValueError, match="must hold an object"):
        evaluate_tasks(str(folder / "model"), ["pydisp_fairness"], metadata=metadata)
