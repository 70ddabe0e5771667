"""What a probe costs, and how often its p-values are right: python bench/bench_legal_probe.py [--out bench/results]

- time: one text through a small random model, recorded by key, against the same model with eager attention that hands out its matrices
  (`output_attentions=True`) and their column sums, and against a forward that records nothing, in interleaved rounds;
- memory: the peak of a fresh process that reads one text of 1,024 to 16,384 tokens, and what the reading alone adds;
- null_spans: a whole probe of the demo model with 1,000 null spans of each span against one with 1;
- whole_set: the shipped passages on the demo model;
- chance: on random attention, p-values of spans that are drawn like null spans, heads that are found where there is nothing, what null spans
  that do not overlap the span would do to p, and the power of ranks against that of means of the enrichment, where one head gives the concept
  e times the weight;
- shuffled_words: the same on the demo model where the words of the shipped passages stand in random order;
- differences: p-values and heads found between equal models with independent noise.

Under pytest-benchmark (`pytest bench/bench_legal_probe.py`) the three forwards are timed side by side.
"""

import argparse
import json
import re
import statistics
import subprocess
import sys
import time
from pathlib import Path

import machine
import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))  # random attention, which the tests draw too

ROUNDS = 5
FORWARDS = ("nothing recorded", "recorded by key", "eager matrices")
TIMED_TOKENS, MEASURED_TOKENS = (1024, 4096), (1024, 2048, 4096, 8192, 16384)


def small_model(tokens: int, window: int | None = None):
    """A random Llama of 4 layers, 8 heads, 4 key heads, head dimension 64; with a window a Mistral of the same sizes."""
    import torch
    import transformers

    torch.manual_seed(0)
    sizes = dict(
        vocab_size=1024, hidden_size=512, intermediate_size=1024, num_hidden_layers=4, num_attention_heads=8, num_key_value_heads=4,
        max_position_embeddings=tokens,
    )  # fmt: skip
    if window is None:
        model = transformers.LlamaForCausalLM(transformers.LlamaConfig(**sizes))
    else:
        model = transformers.MistralForCausalLM(transformers.MistralConfig(**sizes, sliding_window=window))
    return model.eval(), np.random.default_rng(0).integers(0, 1024, size=tokens)


def forwards(tokens: int) -> dict:
    """(G, T) mass by key from each way to get it; None from the forward alone."""
    import torch

    from pydisp.legal_probe.received import receive

    model, ids = small_model(tokens)
    eager, _ = small_model(tokens)
    eager.set_attn_implementation("eager")
    row = torch.as_tensor(ids)[None]

    @torch.no_grad()
    def matrices():
        return torch.cat([one[0].sum(1) for one in eager.model(row, use_cache=False, output_attentions=True).attentions]).numpy()

    @torch.no_grad()
    def plain():
        model.model(row, use_cache=False)

    def recorded():
        ((_, received),) = receive(model, [ids])
        return received.mass

    return dict(zip(FORWARDS, (plain, recorded, matrices), strict=True))


def time_ratios() -> dict:
    """For each length: medians in seconds and ratios of interleaved rounds."""
    found = {}
    for tokens in TIMED_TOKENS:
        calls = forwards(tokens)
        first = {name: call() for name, call in calls.items()}  # also warms up
        assert np.abs(first[FORWARDS[1]] - first[FORWARDS[2]]).max() < 1e-3, "the two ways disagree"
        medians = _medians(calls, ROUNDS)
        found[tokens] = {
            "seconds": medians,
            "recorded/eager": medians[FORWARDS[1]] / medians[FORWARDS[2]],
            "recorded/nothing": medians[FORWARDS[1]] / medians[FORWARDS[0]],
        }
        print(tokens, found[tokens], flush=True)
    return found


def _medians(calls: dict, rounds: int) -> dict[str, float]:
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(rounds):
        for name, call in calls.items():
            start = time.perf_counter()
            call()
            seconds[name].append(time.perf_counter() - start)
    return {name: statistics.median(values) for name, values in seconds.items()}


def memory(threads: int) -> dict:
    """Peak MiB of a fresh process that reads a text of so many tokens, and what reading adds to what it had."""
    found: dict[str, dict] = {}
    for name, window in (("full", 0), ("window of 256", 256)):
        for tokens in MEASURED_TOKENS:
            command = [sys.executable, __file__, "--memory-child", str(tokens), str(window), "--threads", str(threads)]
            printed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
            found.setdefault(name, {})[tokens] = json.loads(printed.splitlines()[-1])
            print(name, tokens, found[name][tokens], flush=True)
    return found


def _memory_child(tokens: int, window: int) -> None:
    import memory as memory_file

    from pydisp.legal_probe.received import receive

    model, ids = small_model(tokens, window or None)
    list(receive(model, [ids[:16]]))  # loads code and starts libraries
    start = time.perf_counter()
    extra = memory_file.extra_bytes(lambda: list(receive(model, [ids])))
    seconds = time.perf_counter() - start
    peak = int(re.search(r"^VmHWM:\s*(\d+) kB", Path("/proc/self/status").read_text(), re.M)[1]) / 1024
    print(json.dumps({"peak_mib": peak, "extra_mib": extra / 2**20, "seconds": seconds}))


def _demo():
    import torch

    from pydisp.loading import load_model, load_tokenizer

    return load_model("demo", device=torch.device("cpu"), dtype=torch.float32), load_tokenizer("demo")


def null_spans() -> dict:
    """A probe of one concept of the demo model, from passages to figures."""
    from pydisp.legal_probe import probe

    model, tokenizer = _demo()
    calls = {count: lambda count=count: probe(model, tokenizer, concepts=["role"], null_spans=count) for count in (1, 1000)}
    for call in calls.values():
        call()
    medians = _medians(calls, ROUNDS)
    return {"seconds": {str(count): value for count, value in medians.items()}, "ratio": medians[1000] / medians[1]}


def whole_set() -> dict:
    from pydisp.legal_probe import probe

    start = time.perf_counter()
    found = probe("demo")
    return {"seconds": time.perf_counter() - start, "passages": len(found.concepts.passages), "concepts": len(found.figures)}


def chance(sets: int) -> dict:
    """Of `sets` random sets of 12 passages each."""
    from attention_cases import random_passages, windows_of
    from scipy import stats

    from pydisp.legal_probe.chance import chance as of
    from pydisp.legal_probe.figures import adjusted
    from pydisp.legal_probe.reading import ranked

    def drawn(boost: float, heads: int):
        for seed in range(sets):
            passages = random_passages(np.random.default_rng([seed, heads]), 12, boost, heads)
            windows, trend = windows_of(passages, seed=seed)
            yield windows, of(ranked("random", passages[0][1].layers, windows, trend), "c", seed=seed)

    nothing = [(next(iter(windows.values())), found) for windows, found in drawn(0.0, 16)]
    everything, heads = np.array([one.p_all for _, one in nothing]), np.array([one.p for _, one in nothing])
    something = [(_p_of_means(windows), found.p) for windows, found in drawn(1.0, 4)]
    return {
        "sets": sets,
        "passages": 12,
        "nothing": {
            "heads": 16,
            "p_all": {**_shares(everything), "kolmogorov_p": float(stats.kstest(everything, "uniform").pvalue)},
            "p_head": {**_shares(heads.ravel()), "kolmogorov_p_of_one_head": float(stats.kstest(heads[:, 0], "uniform").pvalue)},
            "sets_with_a_head_found": float(np.mean([(adjusted(row) <= 0.05).any() for row in heads])),
        },
        "one_span": _one_span([window for window, _ in nothing]),
        "head_0_gives_e_times_the_weight": {
            "found_by_ranks": float(np.mean([p[0] <= 0.05 for _, p in something])),
            "found_by_means_of_the_enrichment": float(np.mean([p[0] <= 0.05 for p, _ in something])),
        },
    }


def _enrichment(window, span) -> np.ndarray:
    """(N, G) of a span and its null spans, over the window's level."""
    layer_of = np.repeat(np.arange(len(window.heads)), [one.stop - one.start for one in window.heads])
    return span.mass / span.uniform[:, layer_of]


def _one_span(windows: list) -> dict:
    """p-values of one span of one passage, by its rank among all null spans and among those that do not overlap it."""
    found = {"all_null_spans": [], "without_overlapping_ones": []}
    for window in windows:
        span = window.spans["c"][0]
        enrichment = _enrichment(window, span)
        is_apart = (span.first >= span.stop[0]) | (span.stop <= span.first[0])
        for name, kept in (("all_null_spans", np.ones(len(is_apart), dtype=bool)), ("without_overlapping_ones", is_apart)):
            others = enrichment[1:][kept[1:]]
            if len(others) < 10:
                continue
            smaller = np.minimum((others >= enrichment[0]).sum(0), (others <= enrichment[0]).sum(0)) + 1
            found[name].append(np.minimum(1, 2 * smaller / (len(others) + 1)))
    return {name: _shares(np.concatenate(p)) for name, p in found.items()}


def _p_of_means(windows: dict, draws: int = 1999) -> np.ndarray:
    """(G,) two-sided p-values by means of the enrichment over passages, the statistic that was not taken."""
    generator = np.random.default_rng(0)
    total = 0
    for window in windows.values():
        for span in window.spans["c"]:
            rows = np.append(0, generator.integers(0, len(span.first), draws))
            total = total + _enrichment(window, span)[rows] / len(window.spans["c"])
    return np.minimum(1, 2 * np.minimum((total >= total[0] - 1e-9).mean(0), (total <= total[0] + 1e-9).mean(0)))


def shuffled_words(times: int) -> dict:
    """The shipped spans on the demo model with the words of every passage in random order, so that no concept is left: p-values of all seven
    concepts, by what spans received over what their places receive, and over uniform attention alone.
    """
    from attention_cases import shuffled

    from pydisp.legal_probe import Exclusion, shipped
    from pydisp.legal_probe.chance import chance as of
    from pydisp.legal_probe.fields import ConceptsError
    from pydisp.legal_probe.figures import adjusted
    from pydisp.legal_probe.passage_tokens import tokenize_passage
    from pydisp.legal_probe.place import Trend
    from pydisp.legal_probe.reading import ranked
    from pydisp.legal_probe.received import receive
    from pydisp.legal_probe.window_mass import read_window

    model, tokenizer = _demo()
    found: dict[str, list] = {"over_places": [], "over_uniform": []}
    for seed in range(times):
        generator, texts = np.random.default_rng(seed), []
        for passage in shipped().passages:
            try:
                texts.append(tokenize_passage(shuffled(passage, generator), tokenizer, Exclusion()))
            except ConceptsError:  # a span of punctuation only
                continue
        trend, windows, layers = None, {}, ()
        for number, received in receive(model, [one.ids for one in texts]):
            trend, layers = trend or Trend(len(received.entropy)), received.layers
            windows[number, 0] = read_window(texts[number], received, trend, {}, False, 200, (seed, 0))
        for name, fitted in (("over_places", trend), ("over_uniform", Trend(len(received.entropy)))):  # an empty trend is none
            reading = ranked("demo", layers, windows, fitted)
            found[name] += [of(reading, concept, seed=seed) for concept in reading.passages]
    return {
        "times": times,
        **{
            name: {
                "p_all": _shares(np.array([one.p_all for one in all_of])),
                "heads_found": float(np.mean([(adjusted(one.p) <= 0.05).mean() for one in all_of])),
                "concepts_with_a_head_found": float(np.mean([(adjusted(one.p) <= 0.05).any() for one in all_of])),
            }
            for name, all_of in found.items()
        },
    }


def _shares(p: np.ndarray) -> dict[str, float]:
    return {f"at_most_{level}": float((p <= level).mean()) for level in (0.01, 0.05, 0.1, 0.2, 0.5)}


def differences(sets: int) -> dict:
    """Of `sets` pairs of equal models on 16 passages, whose 120 heads differ by heavy-tailed noise."""
    from pydisp.intervals import Resamples
    from pydisp.legal_probe.comparison import sign_flips, standing_out
    from pydisp.legal_probe.figures import adjusted

    generator = np.random.default_rng(7)
    p, found, held = [], [], []
    for seed in range(sets):
        values = generator.standard_t(3, size=(16, 120)) * generator.uniform(0.5, 2, size=(16, 1))
        p.append(sign_flips(values, Resamples(16, seed)))
        found.append(bool((adjusted(p[-1]) <= 0.05).any()))
        held.append(any(head.holds for head in standing_out(values, [(0, n) for n in range(120)], seed)))
    return {
        "sets": sets, "p_head": _shares(np.concatenate(p)), "sets_with_a_head_found": float(np.mean(found)),
        "sets_where_a_head_found_by_one_half_holds": float(np.mean(held)),
    }  # fmt: skip


@pytest.mark.parametrize("which", FORWARDS)
def bench_a_forward(benchmark, which):
    benchmark.group = "1,024 tokens through 4 layers of 8 heads"
    benchmark.pedantic(forwards(1024)[which], rounds=3, warmup_rounds=1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=machine.ROOT / "bench" / "results")
    parser.add_argument("--sets", type=int, default=1000, help="random sets of passages")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--memory-child", type=int, nargs=2, help=argparse.SUPPRESS)
    args = parser.parse_args()
    machine.pin(args.threads)
    if args.memory_child:
        return _memory_child(*args.memory_child)
    import results

    from pydisp.workspace import write_whole

    results.check_folder("--out", args.out)
    args.out.mkdir(parents=True, exist_ok=True)
    record = machine.describe("cpu")
    result = {"command": f"python bench/bench_legal_probe.py --sets {args.sets} --threads {args.threads}"}
    for name, work in {
        "time": time_ratios, "memory": lambda: memory(args.threads), "null_spans": null_spans, "whole_set": whole_set,
        "chance": lambda: chance(args.sets), "shuffled_words": lambda: shuffled_words(args.sets // 50), "differences": lambda: differences(args.sets),
    }.items():  # fmt: skip
        result[name] = work()
        print(name, json.dumps(result[name]), flush=True)
    file = args.out / f"legal-probe-{machine.file_stem(record)}.json"
    write_whole(file, json.dumps({"machine": record, **result}, indent=1) + "\n")
    print(file)


if __name__ == "__main__":
    main()
