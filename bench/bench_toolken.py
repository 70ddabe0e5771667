"""What Toolken+ costs: python bench/bench_toolken.py [--model MODEL] [--out bench/results]

- training: the loss of the rows from cached hidden states against that of the model in the loop, at the same positions, and the time of an epoch of
  each, in interleaved rounds;
- decoding: the time of texts with toolkens of which none fires, over `model.generate` alone, in interleaved rounds;
- calls: milliseconds of one call of a tool in its worker process.
"""

import argparse
import json
import statistics
import tempfile
import time
from pathlib import Path

import machine

PROBLEMS, ROUNDS, CALLS = 60, 5, 200


def training(model, tokenizer) -> dict:
    """Losses in nats, seconds an epoch."""
    import torch

    from pydisp.toolken import BUILTIN
    from pydisp.toolken.head import real_vocabulary
    from pydisp.toolken.problems.generator import generate
    from pydisp.toolken.problems.labels import label
    from pydisp.toolken.training.features import cached_features
    from pydisp.toolken.training.fitting import one_epoch
    from pydisp.toolken.training.logit_form import logit_form
    from pydisp.toolken.training.positions import choose_positions
    from pydisp.toolken.training.rows import choice_losses, full_losses
    from pydisp.toolken.training.uncached import uncached_epoch, uncached_losses

    labelled = [label(problem, tokenizer, BUILTIN) for problem in generate("a", PROBLEMS, 0)]
    positions, vocabulary = choose_positions(labelled, most_words=None, seed=0), real_vocabulary(tokenizer, model)
    start = torch.randn(len(BUILTIN), model.get_output_embeddings().weight.shape[1], generator=torch.Generator().manual_seed(0)) * 0.02
    form = logit_form(model, torch.tensor([labelled[0].ids]))
    with tempfile.TemporaryDirectory() as folder:
        began = time.perf_counter()
        features = cached_features(model, labelled, positions, Path(folder), vocabulary=vocabulary)
        caching = time.perf_counter() - began
        apart = (
            full_losses(start, features, form).double() - uncached_losses(model, labelled, positions, start, vocabulary).double()
        ).abs()
        seconds: dict[str, list[float]] = {"cached": [], "uncached": []}
        for number in range(ROUNDS):
            for name in seconds:
                rows = start.clone().requires_grad_()
                optimizer = torch.optim.AdamW([rows], lr=1e-3)
                batches = torch.randperm(len(positions), generator=torch.Generator().manual_seed(number)).split(256)
                began = time.perf_counter()
                if name == "cached":
                    one_epoch(
                        rows,
                        lambda rows, batch: choice_losses(rows, features.hidden[batch], features.lse[batch], positions.target[batch], form),
                        optimizer,
                        batches,
                    )
                else:
                    uncached_epoch(model, labelled, positions, rows, vocabulary, optimizer)
                seconds[name].append(time.perf_counter() - began)
    median = {name: statistics.median(values) for name, values in seconds.items()}
    return {
        "problems": PROBLEMS, "positions": len(positions), "largest_difference_of_losses": float(apart.max()), "caching_seconds": caching,
        "epoch_seconds": median, "ratio": median["uncached"] / median["cached"],
    }  # fmt: skip


def decoding(model, tokenizer) -> dict:
    """Seconds of 8 texts of 24 tokens."""
    import torch

    from pydisp.toolken import BUILTIN, Toolkens, generate
    from pydisp.toolken.head import real_vocabulary
    from pydisp.toolken.model_digest import model_digest
    from pydisp.toolken.problems.generator import generate as problems

    width = model.get_output_embeddings().weight.shape[1]
    base = {"name": "model", "digest": model_digest(model), "hidden_size": width}
    never = Toolkens(
        BUILTIN, torch.zeros(len(BUILTIN), width), torch.zeros(len(BUILTIN) + 1, width), real_vocabulary(tokenizer, model), base, ""
    )
    tokenizer.padding_side = "left"
    inputs = tokenizer([problem.prompt for problem in problems("a", 8, 0)], return_tensors="pt", padding=True)
    settings = {"max_new_tokens": 24, "min_new_tokens": 24, "do_sample": False}
    seconds: dict[str, list[float]] = {"plain": [], "with toolkens": []}
    found = {}
    for _ in range(ROUNDS):
        began = time.perf_counter()
        found["plain"] = model.generate(**inputs, **settings)
        seconds["plain"].append(time.perf_counter() - began)
        began = time.perf_counter()
        made = generate(model, tokenizer, never, dict(inputs), mode="calibrated", is_checked=True, **settings)
        seconds["with toolkens"].append(time.perf_counter() - began)
    assert torch.equal(found["plain"], made.sequences), "texts without a call are those of the plain model"
    median = {name: statistics.median(values) for name, values in seconds.items()}
    return {"seconds": median, "ratio": median["with toolkens"] / median["plain"]}


def calls() -> dict:
    """Milliseconds a call, and of the first one, which starts the worker."""
    from pydisp.toolken import BUILTIN, Caller

    with Caller(BUILTIN) as caller:
        spent = []
        for number in range(CALLS):
            began = time.perf_counter()
            assert caller.call("multiply", f"{number}, 7").text == str(number * 7)
            spent.append(1000 * (time.perf_counter() - began))
    return {"first_ms": spent[0], "median_ms": statistics.median(spent[1:]), "calls": CALLS}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="demo")
    parser.add_argument("--out", type=Path, help="folder for toolken-MACHINE.json")
    args = parser.parse_args()
    machine.pin(threads=1)
    import torch

    from pydisp.loading import load_model, load_tokenizer

    model, tokenizer = load_model(args.model, device=torch.device("cpu"), dtype=torch.float32), load_tokenizer(args.model)
    record = {"machine": machine.describe("cpu"), "command": f"python bench/bench_toolken.py --model {Path(args.model).name}"}
    for part, measure in (
        ("calls", calls),
        ("training", lambda: training(model, tokenizer)),
        ("decoding", lambda: decoding(model, tokenizer)),
    ):
        record[part] = measure()
        print(part, json.dumps(record[part]), flush=True)
    if args.out:
        (args.out / f"toolken-{machine.file_stem(record['machine'])}.json").write_text(
            json.dumps(record, indent=1) + "\n", encoding="utf-8"
        )


def bench_calls(benchmark):
    """One call of a built-in tool in its worker process."""
    from pydisp.toolken import BUILTIN, Caller

    with Caller(BUILTIN) as caller:
        assert benchmark(lambda: caller.call("add", "1, 2").text) == "3"


if __name__ == "__main__":
    main()
