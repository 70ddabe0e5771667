"""The estimate: a trial that is short, times that scale as the work does, and a model and a search that it leaves alone."""

from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from tiny_text import TEXT, tiny_llama, tiny_tokenizer
from torch.optim.optimizer import register_optimizer_step_pre_hook

from pydisp.pruning import estimate
from pydisp.pruning.adapters import adapter_parameters
from pydisp.pruning.recovery_settings import RecoverySettings
from pydisp.pruning.search import Search
from pydisp.pruning.settings import PruneSettings
from pydisp.spec import ModelSpec
from pydisp.text import Text, tokenize


def estimate_search(model, spec, windows, settings):
    return estimate.try_search(model, spec, windows, settings).estimate(model, spec, settings)


def settings(**changes):
    values = dict(keep_ratio=0.5, ratio_of="block", steps=6, batch_size=2, context_tokens=128, learning_rate=0.05, round_to=4)
    return PruneSettings(**{**values, **changes})


@pytest.fixture(scope="module")
def windows():
    return tokenize(Text("text", (TEXT,)), tiny_tokenizer()).windows(128)


class Clock:
    """Time that passes in a forward alone, by its number of tokens: 10 ms each, and 5 ms a step of the search's own work."""

    def __init__(self, monkeypatch):
        self.now, self.tried, self.delays = 100.0, [], {}  # seconds more, by the number of the forward
        monkeypatch.setattr(estimate, "_now", lambda _model: self.now)
        token_nll, draw_gates = estimate.token_nll, estimate.draw_gates

        def forward(model, ids):
            self.tried.append(ids.numel())
            self.now += 0.01 * ids.numel() if len(self.tried) > 1 else 1000.0  # the first one warms up
            self.now += self.delays.get(len(self.tried), 0.0)
            return token_nll(model, ids)

        def draw(*args):
            self.now += 0.005
            return draw_gates(*args)

        monkeypatch.setattr(estimate, "token_nll", forward)
        monkeypatch.setattr(estimate, "draw_gates", draw)


def test_the_trial_grows_until_it_is_long_enough(windows, monkeypatch):
    clock = Clock(monkeypatch)
    monkeypatch.setattr(estimate, "LONG_ENOUGH_SECONDS", 0.6)
    model = tiny_llama()
    spec = ModelSpec.from_model(model)
    whole = estimate._products(model, 128)
    expected = estimate_search(model, spec, windows, settings(accumulate=3))
    assert clock.tried == [32, 64, 64] and expected.trial_tokens == 64
    window = 0.64 * whole / estimate._products(model, 64)
    assert window > 1.28  # attention grows with the square
    assert expected.seconds == pytest.approx(6 * (2 * 3 * window + 0.005))


def test_a_fast_model_is_tried_on_a_whole_batch(windows, monkeypatch):
    clock = Clock(monkeypatch)
    monkeypatch.setattr(estimate, "LONG_ENOUGH_SECONDS", 100.0)
    model = tiny_llama()
    spec = ModelSpec.from_model(model)
    expected = estimate_search(model, spec, windows, settings(batch_size=3))
    assert clock.tried == [32, 64, 128, 256, 384, 384] and expected.trial_tokens == 384
    assert expected.seconds == pytest.approx(6 * (3 * 1.28 + 0.005))
    clock.tried.clear()
    assert estimate_search(model, spec, windows, settings(batch_size=8)).trial_tokens == 256  # 512 would take more than 4 seconds
    assert clock.tried == [32, 64, 128, 256, 256]
    clock.tried.clear()
    short = estimate_search(model, spec, windows[:, :20], settings(context_tokens=20, batch_size=1))
    assert clock.tried == [20, 20, 20] and short.trial_tokens == 20


def test_a_trial_that_another_process_delayed_does_not_count(windows, monkeypatch):
    clock = Clock(monkeypatch)
    monkeypatch.setattr(estimate, "LONG_ENOUGH_SECONDS", 1.0)
    clock.delays = {2: 5.0, 5: 50.0}  # the first of 64 tokens, which then turns out too short, and the second of 128
    model = tiny_llama()
    expected = estimate_search(model, ModelSpec.from_model(model), windows, settings(batch_size=2))
    assert clock.tried == [32, 64, 64, 128, 256, 256]
    assert expected.seconds == pytest.approx(6 * (2 * 1.28 + 0.005))


def test_evaluation_is_so_many_windows_forward(windows, monkeypatch):
    clock = Clock(monkeypatch)
    model = tiny_llama().train()
    assert estimate.estimate_evaluation(model, windows, 50) == pytest.approx(50 * 1.28)
    assert clock.tried == [32, 64, 128, 128] and model.training
    clock.tried.clear()
    monkeypatch.setattr(estimate, "LONG_ENOUGH_SECONDS", 0.6)
    in_part = 0.64 * estimate._products(model, 128) / estimate._products(model, 64)
    assert estimate.estimate_evaluation(model, windows, 50) == pytest.approx(50 * in_part)
    assert clock.tried == [32, 64, 64]


def test_memory_counts_what_the_process_holds_on_a_cpu(windows, monkeypatch):
    model = tiny_llama()
    spec, peaks = ModelSpec.from_model(model), {}
    for held in (0, 2**30, None):
        monkeypatch.setattr(estimate, "resident_bytes", lambda held=held: held)
        peaks[held] = estimate_search(model, spec, windows, settings()).peak_mib
    assert peaks[None] == peaks[0] < 20 + estimate._LIBRARY_BYTES / 2**20 and peaks[2**30] - peaks[0] == pytest.approx(
        1024, abs=1
    )  # the weights are under 1 MiB


def test_products_of_a_window_written_out():
    model = tiny_llama()  # hidden 32, middle 48, 3 layers, 4 heads of 8, 2 key heads, 257 tokens
    linears = 32 * 32 * 2 + 32 * 16 * 2 + 3 * 32 * 48
    assert estimate._products(model, 10) == 10 * 3 * linears + 10 * 257 * 32 + 10 * 11 * 3 * 32


def test_model_and_search_are_left_alone(windows):
    model = tiny_llama()
    spec = ModelSpec.from_model(model)
    plan = Search(model, spec, windows, settings()).run()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    estimate_search(model, spec, windows, settings())
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())
    assert all(p.grad is None and p.requires_grad for p in model.parameters())
    assert Search(model, spec, windows, settings()).run() == plan


# What `VmHWM` of /proc/self/status said of a process after 2 to 4 steps with two threads on a Zen 5, in MiB, and what it held before them.
SMOLLM2 = dict(layers=30, hidden=576, middle=1536, heads=9, words=49_152, network=14_898_688)
DEMO = dict(layers=6, hidden=192, middle=512, heads=6, words=2048, network=170_000)
MEASURED = [
    (SMOLLM2, 4, 256, torch.float32, False, False, 974, 3024),
    (SMOLLM2, 1, 1024, torch.float32, False, False, 974, 3121),
    (SMOLLM2, 4, 256, torch.bfloat16, False, False, 668, 2083),
    (SMOLLM2, 4, 256, torch.float32, False, True, 2021, 3191),  # a whole run, which holds a text of 10 MB
    (SMOLLM2, 4, 256, torch.float32, True, False, 974, 1877),
    (SMOLLM2, 1, 1024, torch.float32, True, False, 975, 1886),
    (DEMO, 4, 256, torch.float32, False, False, 469, 629),
]


@pytest.mark.parametrize(("shape", "batch", "context", "dtype", "checkpointing", "bfloat16", "held", "peak"), MEASURED)
def test_memory_is_that_measured(shape, batch, context, dtype, checkpointing, bfloat16, held, peak):
    config = SimpleNamespace(num_attention_heads=shape["heads"], vocab_size=shape["words"])
    weights = [torch.empty(1, dtype=dtype)]
    model = SimpleNamespace(config=config, device=torch.device("cpu"), parameters=lambda: iter(weights))
    spec = SimpleNamespace(costs=[None] * shape["layers"], hidden_size=shape["hidden"], middle_size=shape["middle"])
    changes = dict(batch_size=batch, context_tokens=context, gradient_checkpointing=checkpointing, bfloat16=bfloat16)
    expected = held + estimate.search_bytes(model, spec, settings(**changes), shape["network"]) / 2**20
    assert expected == pytest.approx(peak, rel=0.1)


# What `VmHWM` said of a process after it scored one forward of 4,096 tokens with one thread (float32), less what it held before, in MiB.
SCORED = [(256, 1024, 8192, 256, 121), (512, 1024, 8192, 256, 148), (256, 2048, 8192, 256, 120), (256, 1024, 8192, 2048, 93)]


@pytest.mark.parametrize(("hidden", "middle", "words", "context", "extra"), SCORED)
def test_memory_of_an_evaluation_is_about_that_measured(hidden, middle, words, context, extra):
    weights = [torch.empty(1)]
    embeddings = SimpleNamespace(weight=torch.empty(words, 1))
    model = SimpleNamespace(
        config=SimpleNamespace(vocab_size=words),
        device=torch.device("cpu"),
        parameters=lambda: iter(weights),
        get_input_embeddings=lambda: embeddings,
    )
    spec = SimpleNamespace(hidden_size=hidden, middle_size=middle)
    expected = estimate.evaluation_bytes(model, spec, 0, context, torch.bfloat16) / 2**20
    assert extra * 0.9 < expected < extra * 1.4
    with_weights = estimate.evaluation_bytes(model, spec, 2**20, context, torch.bfloat16) / 2**20
    assert with_weights - expected == pytest.approx(4 + 2, abs=0.01)  # computed in float32, and held in bfloat16


def search_that_needs(share, monkeypatch, windows, **changes):
    """Settings fitted to a memory of which the search without checkpointing needs 1 / share."""
    model = tiny_llama()
    spec, s = ModelSpec.from_model(model), settings(**changes)
    needed = estimate.search_bytes(model, spec, s, estimate._parameters(Search(model, spec, windows, s)))
    monkeypatch.setattr(estimate, "free_bytes_around", lambda _device: share and share * needed)
    return lambda **may: estimate.fitted_to_memory(model, spec, windows, s, **may)


def test_checkpointing_is_chosen_where_memory_asks_for_it(windows, monkeypatch):
    monkeypatch.setattr(estimate, "_LIBRARY_BYTES", 0)
    assert search_that_needs(1.01, monkeypatch, windows)(may_checkpoint=True) == settings()
    assert search_that_needs(None, monkeypatch, windows)(may_checkpoint=True) == settings()  # the platform does not tell
    assert search_that_needs(0.95, monkeypatch, windows)(may_checkpoint=True) == settings(gradient_checkpointing=True)


def test_too_little_memory_is_refused_with_what_helps(windows, monkeypatch):
    fit = search_that_needs(0.01, monkeypatch, windows)
    with pytest.raises(
        ValueError, match=r"needs about .* GiB of memory beside the model on cpu, and .* GiB are free, .* too few; choose"
    ) as refused:
        fit(may_checkpoint=True)
    assert str(refused.value).endswith("choose a shorter --context, a smaller --batch-size or --dtype bfloat16.")
    with pytest.raises(ValueError, match="or --gradient-checkpointing"):
        fit(may_checkpoint=False)


@pytest.mark.parametrize("trains_head", [True, False])
def test_a_recovery_is_its_teacher_its_loss_and_a_share_of_its_student(windows, monkeypatch, trains_head):
    """A token takes 10 ms forward, a row of the loss 30 ms, and a step of the optimizer 1 ms for 100 weights."""
    clock, forward, loss = Clock(monkeypatch), estimate.before_the_head, estimate.distillation_loss
    step, seen = torch.optim.AdamW.step, set()

    def timed_forward(model, ids):
        clock.now += 0.01 * ids.numel()
        return forward(model, ids)

    def timed_loss(hidden, *others):
        clock.now += 0.03 * len(hidden)
        seen.add(len(hidden))
        return loss(hidden, *others)

    def timed_step(optimizer):
        clock.now += 1e-5 * sum(p.numel() for group in optimizer.param_groups for p in group["params"])
        return step(optimizer)

    monkeypatch.setattr(estimate, "before_the_head", timed_forward)
    monkeypatch.setattr(estimate, "distillation_loss", timed_loss)
    monkeypatch.setattr(torch.optim.AdamW, "step", timed_step)
    model = tiny_llama()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    model.lm_head.weight.requires_grad_(False)
    own = model.model.norm.weight.grad = torch.ones(32)
    asked = RecoverySettings(batch_size=2, context_tokens=32, bfloat16=False, trains_head=trains_head)
    tried = estimate.try_recovery(model, windows, asked.resolved(1, 2, 32, model.device), 0.5)
    assert seen == {31, 62}
    assert tried.token_seconds == pytest.approx(0.01 + 0.03 * 31 / 32 + 0.5 * 0.01)
    trained = sum(p.numel() for p in model.parameters()) - (0 if trains_head else model.lm_head.weight.numel())
    assert tried.step_seconds == pytest.approx(0.5 * 1e-5 * trained)
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())
    assert model.model.norm.weight.grad is own and sum(p.grad is not None for p in model.parameters()) == 1
    assert [name for name, p in model.named_parameters() if not p.requires_grad] == ["model.embed_tokens.weight"]  # tied to the head


def test_adapters_are_tried_without_the_gradients_of_weights(windows):
    model, seen = tiny_llama(), []
    hook = register_optimizer_step_pre_hook(lambda optimizer, _args, _kwargs: seen.append(optimizer))
    asked = RecoverySettings(lora_rank=2, bfloat16=False).resolved(1, 2, 32, model.device)
    got = []
    model.model.layers[0].mlp.up_proj.weight.register_hook(got.append)
    tried = estimate.try_recovery(model, windows, asked, 0.5)
    hook.remove()
    assert tried.token_seconds > 0 and not got
    assert {p.numel() for o in seen for group in o.param_groups for p in group["params"]} == {adapter_parameters(model, 2)}


def test_recovery_counts_the_student_its_gradients_and_two_moments():
    model = tiny_llama()
    spec = ModelSpec.from_model(model)
    asked, outside = RecoverySettings(bfloat16=False, trains_head=False), spec.parameters_outside

    def needed(kept: int, **changes) -> int:
        return estimate.recovery_bytes(model, spec, replace(asked.resolved(1, 2, 32, model.device), **changes), outside + kept)

    assert needed(300) - needed(0) == (4 + 12) * 300
    assert needed(0, trains_head=True) - needed(0) == 12 * outside
    assert needed(0, bfloat16=True) < needed(0) and needed(300, lora_rank=1) - needed(0, lora_rank=1) == 4 * 300
