"""What an audit costs and how often its intervals hold: python bench/bench_fairness.py [--out bench/results]

- time: `token_values` (loss, rank, entropy, first choice, confidence of each token) against a pass that only sums the mean loss through the
  same op, in interleaved rounds; and the whole audit of a text, with units, groups and intervals, against `pydisp.evaluate`;
- memory: what a pass needs beyond the loaded model, at a vocabulary of 128,256 words, in a process of its own;
- training: the share of a training run that FrequencyLossCallback takes at its default interval;
- coverage: 2,000 simulated texts of skewed, correlated documents: how many of the 95 % intervals hold the truth, and whether p-values of
  equal models are uniform.

Under pytest-benchmark (`pytest bench/bench_fairness.py`) the two passes are timed side by side.
"""

import argparse
import json
import statistics
import subprocess
import sys
import time
from pathlib import Path

import machine
import numpy as np
import pytest

VOCABULARY = 128_256
ROUNDS = 7
PASSES = ("mean loss only", "every value")
SHAPES = {  # a model and the tokens of one pass
    "demo, 2,048 ids": {"name": "demo", "windows": 48, "context": 256},
    "random, 128,256 ids": {"hidden_size": 512, "layers": 4, "windows": 4, "context": 256},
}


def model_and_windows(shape: dict):
    """A model in float32 and (N, T) random ids."""
    import torch

    if "name" in shape:
        from pydisp.loading import load_model

        model = load_model(shape["name"], device=torch.device("cpu"), dtype=torch.float32)
    else:
        from transformers import LlamaConfig, LlamaForCausalLM

        torch.manual_seed(0)
        width = shape["hidden_size"]
        config = LlamaConfig(
            vocab_size=VOCABULARY, hidden_size=width, intermediate_size=3 * width, num_hidden_layers=shape["layers"],
            num_attention_heads=width // 64, max_position_embeddings=4096, tie_word_embeddings=True,
        )  # fmt: skip
        model = LlamaForCausalLM(config).eval()
    generator = torch.Generator().manual_seed(1)
    words = model.get_input_embeddings().weight.shape[0]
    return model, torch.randint(0, words, (shape["windows"], shape["context"]), generator=generator)


def mean_loss(model, windows) -> float:
    """The pass that only sums the loss."""
    import torch

    from pydisp.evaluation import windows_per_forward
    from pydisp.ops import linear_cross_entropy
    from pydisp.token_nll import before_the_head

    size = windows_per_forward(model, windows.shape[1], has_logits=False)
    total = 0.0
    with torch.no_grad():
        for batch in windows.split(size):
            hidden, weight, bias, softcap = before_the_head(model, batch)
            loss = linear_cross_entropy(
                hidden[:, :-1].flatten(0, 1), weight, batch[:, 1:].flatten(), bias, softcap=softcap, reduction="sum"
            )
            total += float(loss)
    return total / windows[:, 1:].numel()


def passes(model, windows) -> dict:
    from pydisp.fairness.token_values import token_values

    return dict(zip(PASSES, (lambda: mean_loss(model, windows), lambda: float(token_values(model, windows).nats.mean())), strict=True))


def time_ratios() -> dict:
    """For each shape: medians in seconds and the ratio of interleaved rounds."""
    found = {}
    for name, shape in SHAPES.items():
        model, windows = model_and_windows(shape)
        calls = passes(model, windows)
        first = {key: call() for key, call in calls.items()}  # also warms up
        assert abs(first[PASSES[0]] - first[PASSES[1]]) < 1e-5, first
        seconds: dict[str, list[float]] = {key: [] for key in calls}
        for _ in range(ROUNDS):
            for key, call in calls.items():
                start = time.perf_counter()
                call()
                seconds[key].append(time.perf_counter() - start)
        medians = {key: statistics.median(values) for key, values in seconds.items()}
        found[name] = {"seconds": medians, "ratio": medians[PASSES[1]] / medians[PASSES[0]], "tokens": windows.numel()}
        print(f"{name}: every value takes {found[name]['ratio']:.3f} of the mean loss alone", flush=True)
    return found


def audit_ratio() -> dict:
    """The audit of a text by the demo model against `pydisp.evaluate`, which only sums the loss; both read and tokenize the text."""
    import torch

    from pydisp import evaluate
    from pydisp.fairness import Counts, audit
    from pydisp.loading import load_model, load_tokenizer

    model, tokenizer = load_model("demo", device=torch.device("cpu"), dtype=torch.float32), load_tokenizer("demo")
    given = {"text": ["pythondoc:heldout"], "context_tokens": 256}
    counts = Counts.of_demo("token")
    calls = {
        "evaluate": lambda: evaluate(model, tokenizer, **given),
        "audit": lambda: audit(model, tokenizer, mode="id", counts=counts, **given),
    }
    seconds: dict[str, list[float]] = {key: [] for key in calls}
    for _ in range(3):
        for key, call in calls.items():
            start = time.perf_counter()
            call()
            seconds[key].append(time.perf_counter() - start)
    medians = {key: statistics.median(values) for key, values in seconds.items()}
    return {"seconds": medians, "ratio": medians["audit"] / medians["evaluate"]}


def memory_mib(threads: int) -> float:
    """Extra MiB of a pass at VOCABULARY words, measured in a fresh process."""
    command = [sys.executable, __file__, "--memory-child", "--threads", str(threads)]
    return json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()[-1])["extra_mib"]


def _memory_child() -> None:
    import memory

    from pydisp.fairness.token_values import token_values

    model, windows = model_and_windows(SHAPES["random, 128,256 ids"] | {"windows": 8})
    token_values(model, windows[:1, :16])  # loads code and starts libraries
    model.get_output_embeddings().weight.sum()
    print(json.dumps({"extra_mib": memory.extra_bytes(lambda: token_values(model, windows), (windows,)) / 2**20}))


def training_share(steps: int) -> dict:
    """The share of a training run (demo's shape, 8 windows of 128 tokens a step) that the callback takes at its default interval."""
    import torch

    from pydisp.fairness.callback import FrequencyLossCallback
    from pydisp.fairness.frequency_probe import FrequencyProbe
    from pydisp.loading import load_model, load_tokenizer
    from pydisp.token_nll import token_nll

    class State:
        global_step, is_world_process_zero, log_history = 0, True, []

    model = load_model("demo", device=torch.device("cpu"), dtype=torch.float32)
    callback = FrequencyLossCallback(FrequencyProbe(load_tokenizer("demo"), ["pythondoc:heldout"]))
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-5)
    generator = torch.Generator().manual_seed(0)
    start, spent, state = time.perf_counter(), 0.0, State()
    callback.on_train_begin(None, state, None, model=model)
    spent += time.perf_counter() - start
    for step in range(1, steps + 1):
        token_nll(model, torch.randint(0, 2048, (8, 128), generator=generator)).mean().backward()
        optimizer.step()
        optimizer.zero_grad()
        state.global_step = step
        before = time.perf_counter()
        callback.on_step_end(None, state, None, model=model)
        spent += time.perf_counter() - before
    whole = time.perf_counter() - start
    return {"steps": steps, "every": callback.every, "measurements": len(callback.history), "share": spent / whole, "seconds": whole}


def coverage(data_sets: int) -> dict:
    """Shares of intervals that hold the truth, on simulated texts of 40 documents whose lengths and levels are skewed."""
    from scipy import stats

    from pydisp.intervals import Ratio, Resamples, balanced_jackknife

    rng = np.random.default_rng(0)
    documents, types = 40, 300
    level_of_type = rng.gamma(4.0, 0.75, types)
    share = 1 / np.arange(1, types + 1)
    share /= share.sum()
    average, tail_excess, balanced, p_average, p_balanced = [], [], [], [], []
    in_tail = np.arange(types) >= 100
    truth = float((share * level_of_type).sum())
    tail_truth = float((share * level_of_type)[in_tail].sum() / share[in_tail].sum()) - truth
    for seed in range(data_sets):
        lengths = np.maximum(rng.lognormal(4, 0.8, documents).astype(int), 2)
        document = np.repeat(np.arange(documents), lengths)
        type_ = rng.choice(types, len(document), p=share)
        factor = rng.gamma(8.0, 1 / 8, documents)  # how hard the document is: mean 1, skewed
        values = level_of_type[type_] * factor[document] * rng.gamma(1.5, 1 / 1.5, len(document))
        resamples = Resamples(documents, seed)

        def ratio(chosen, sign=1.0, document=document, values=values):
            sums = np.bincount(document[chosen], weights=values[chosen], minlength=documents)
            return Ratio(sums, np.bincount(document[chosen], minlength=documents), sign)

        everything = np.ones(len(document), dtype=bool)
        low, high = resamples.interval([ratio(everything)])[1]
        average.append(low <= truth <= high)
        low, high = resamples.interval([ratio(in_tail[type_]), ratio(everything, -1.0)])[1]
        tail_excess.append(low <= tail_truth <= high)
        low, high = balanced_jackknife(document, type_, values)[1]
        balanced.append(low <= level_of_type[np.unique(type_)].mean() <= high)
        noise = rng.normal(0, 1, len(document)) + rng.normal(0, 0.5, documents)[document]
        counts = np.bincount(type_, minlength=types)
        columns = (
            np.bincount(document, weights=noise) / len(document),
            np.bincount(document, weights=noise / counts[type_]) / np.count_nonzero(counts),
        )
        p = resamples.sign_flip_p(np.column_stack(columns))
        p_average.append(p[0])
        p_balanced.append(p[1])
    found = {
        "data_sets": data_sets, "documents": documents, "average": np.mean(average), "tail_excess": np.mean(tail_excess),
        "balanced": np.mean(balanced),
        "p_below_0.05": {"average": np.mean(np.array(p_average) < 0.05), "balanced": np.mean(np.array(p_balanced) < 0.05)},
        "p_uniform_kolmogorov_smirnov": {
            "average": stats.kstest(p_average, "uniform").pvalue, "balanced": stats.kstest(p_balanced, "uniform").pvalue,
        },
    }  # fmt: skip
    return json.loads(json.dumps(found, default=float))


@pytest.mark.parametrize("which", PASSES)
def bench_a_pass(benchmark, which):
    model, windows = model_and_windows(SHAPES["demo, 2,048 ids"])
    benchmark.group = "a pass over 12,288 tokens by the demo model"
    benchmark.pedantic(passes(model, windows)[which], rounds=3, warmup_rounds=1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=machine.ROOT / "bench" / "results")
    parser.add_argument("--data-sets", type=int, default=2000)
    parser.add_argument("--steps", type=int, default=1000, help="of the training run")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--memory-child", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    machine.pin(args.threads)
    if args.memory_child:
        return _memory_child()
    import results

    from pydisp.workspace import write_whole

    results.check_folder("--out", args.out)
    args.out.mkdir(parents=True, exist_ok=True)
    record = machine.describe("cpu")
    result = {"command": f"python bench/bench_fairness.py --data-sets {args.data_sets} --steps {args.steps} --threads {args.threads}"}
    for name, work in {
        "time": time_ratios, "audit": audit_ratio, "extra_mib_at_128256_ids": lambda: memory_mib(args.threads), "training": lambda: training_share(args.steps),
        "coverage": lambda: coverage(args.data_sets),
    }.items():  # fmt: skip
        result[name] = work()
        print(name, json.dumps(result[name]), flush=True)
    file = args.out / f"fairness-{machine.file_stem(record)}.json"
    write_whole(file, json.dumps({"machine": record, **result}, indent=1) + "\n")
    print(file)


if __name__ == "__main__":
    main()
