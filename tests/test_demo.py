"""The model that is part of the package: its size, what it was trained on, and its held-out figures."""

import json

import pytest
import torch
from families import tiny_model

from pydisp.demo.train import Muon, lr_share, orthogonalised, train_tokenizer, windows
from pydisp.evaluation import evaluate_text
from pydisp.loading import DEMO_FOLDER, load_config, load_model, load_tokenizer
from pydisp.pythondoc import documents, python_version
from pydisp.spec import family_of
from pydisp.text import Text, tokenize


@pytest.fixture(scope="module")
def log():
    return json.loads((DEMO_FOLDER / "training.json").read_text())


def test_it_is_small_enough_to_ship():
    assert sum(p.stat().st_size for p in DEMO_FOLDER.iterdir()) <= 8_000_000
    assert family_of(load_config("demo")).model_type == "llama"


def test_the_log_says_how_it_was_made(log):
    assert log["command"].startswith("python -m pydisp.demo.train --steps ") and log["curve"][-1]["step"] == int(log["command"].split()[4])
    assert set(log["sha256"]) == {"peps", "docstrings train", "docstrings heldout", "pydoc topics", "peps heldout"}
    assert log["curve"][0]["train_nats_per_token"] > log["curve"][-1]["train_nats_per_token"]


def test_its_heldout_figure_is_the_logs(log):
    if log["python"] != python_version():
        pytest.skip(f"the figures are of the docstrings of Python {log['python']}, this is {python_version()}")
    text = Text("docstrings heldout", tuple(d.text for d in documents("docstrings", "heldout")))
    model = load_model("demo", device=torch.device("cpu"), dtype=torch.float32)
    loss = evaluate_text(model, tokenize(text, load_tokenizer("demo")), 256)
    want = log["heldout"]["docstrings heldout"][0]
    assert want["context_tokens"] == 256 and loss.bits_per_byte == pytest.approx(want["bits_per_byte"], rel=1e-5)


def test_training_parts():
    ids = torch.arange(1000)
    first = [next(stream)[0].item() for stream in [windows(ids, 16, torch.Generator().manual_seed(3))] for _ in range(5)]
    again = [next(stream)[0].item() for stream in [windows(ids, 16, torch.Generator().manual_seed(3))] for _ in range(5)]
    assert first == again and len(set(first)) == 5
    assert lr_share(0, 100) < lr_share(29, 100) == 1.0 > lr_share(99, 100) > 0
    tokenizer = train_tokenizer(["some words and some more words " * 50])
    assert tokenizer.decode(tokenizer.encode("some words, ünd more").ids) == "some words, ünd more"


def test_muon_steps_along_an_orthogonal_matrix(generator):
    update = orthogonalised(torch.randn(6, 9, generator=generator))
    singular = torch.linalg.svdvals(update)
    assert singular.min() > 0.5 and singular.max() < 1.3
    model = tiny_model("llama", dtype=torch.float32)
    weight = model.model.layers[0].mlp.up_proj.weight
    weight.grad = torch.randn(weight.shape, generator=generator)
    before = weight.detach().clone()
    Muon([weight]).step(0.1)
    assert weight.grad is None and 0 < (weight - before).abs().max() < 1
