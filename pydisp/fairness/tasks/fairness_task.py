"""What the task pydisp_fairness is made of; lm-eval reads the names from its YAML."""

import numpy as np

from pydisp.fairness.counts import Counts
from pydisp.fairness.frequency import PARTS, parts_of
from pydisp.fairness.token_stats import TokenStats, UnitValues
from pydisp.text import read_text


def documents(text=None, counts=None, **_metadata) -> dict:
    """The documents of the text that the metadata name, as the only split.

    Raises: ValueError without a text.
    """
    from datasets import Dataset

    if not text:
        raise ValueError('pydisp_fairness needs a text; name it with --metadata \'{"text": "heldout.jsonl"}\'.')
    sources = [text] if isinstance(text, str) else list(text)
    if counts is not None:
        Counts.read(counts, "token")  # a wrong file is refused before the model runs
    return {"test": Dataset.from_list([{"text": d, "counts": counts or ""} for d in read_text(sources).documents])}


def process_results(doc: dict, results: list) -> dict:
    """The ids of a document and their losses, for each metric."""
    (log_likelihood,) = results
    if not hasattr(log_likelihood, "token_nll"):
        raise ValueError("pydisp_fairness needs the loss of each token; run it with the model `pydisp` (lm_eval --model pydisp).")
    found = (doc["counts"], log_likelihood.tokens, log_likelihood.token_nll)
    return dict.fromkeys(("average_nats", "balanced_nats", *(f"{part}_nats" for part in PARTS)), found)


def average_nats(found: list) -> float:
    """Mean over tokens."""
    return _stats(found).average_nats


def balanced_nats(found: list) -> float:
    """Mean over ids of their mean loss."""
    return _stats(found).balanced_nats


def head_nats(found: list) -> float:
    """Mean over the tokens of the head: the most frequent ids that make up 50 % of the occurrences."""
    return _part(found, 0)


def torso_nats(found: list) -> float:
    """Mean over the tokens of the next 45 % of the occurrences."""
    return _part(found, 1)


def tail_nats(found: list) -> float:
    """Mean over the tokens of the last 5 % of the occurrences."""
    return _part(found, 2)


def _stats(found: list) -> TokenStats:
    ids = np.concatenate([np.asarray(tokens, dtype=np.int64) for _, tokens, _ in found])
    nats = np.concatenate([np.asarray(losses, dtype=np.float64) for _, _, losses in found])
    unknown = np.zeros(len(ids))  # lm-eval hands on the losses only
    return TokenStats.of("token", ids, UnitValues(nats, unknown, unknown, unknown, unknown))


def _part(found: list, number: int) -> float:
    """NaN for a part without a token."""
    stats = _stats(found)
    path = found[0][0]
    if path:
        counts = Counts.read(path, "token")
        counts.check(stats.keys)
        of_keys, among = counts.of(stats.keys), np.fromiter(counts.by_type.values(), dtype=np.int64)
    else:
        of_keys = among = stats.count
    chosen = parts_of(of_keys, among) == number
    return float(stats.nats[chosen].sum() / stats.count[chosen].sum()) if chosen.any() else float("nan")
