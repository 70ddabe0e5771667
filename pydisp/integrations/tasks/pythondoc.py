"""What the task pydisp_pythondoc is made of; lm-eval reads the names from its YAML."""

import re

from pydisp.pythondoc import documents


def heldout(**_metadata) -> dict:
    """The documents, as the only split."""
    from datasets import Dataset

    return {"test": Dataset.from_list([{"name": d.name, "text": d.text} for d in documents("docstrings", "heldout")])}


def process_results(doc: dict, results: list[float]) -> dict:
    """Per document what lm-eval's rolling metrics are made of, and the loss of each token where the model tells it (`pydisp` does)."""
    (log_likelihood,) = results
    words, size = len(re.split(r"\s+", doc["text"])), len(doc["text"].encode())
    values = {
        "word_perplexity": (log_likelihood, words),
        "byte_perplexity": (log_likelihood, size),
        "bits_per_byte": (log_likelihood, size),
    }
    if hasattr(log_likelihood, "token_nll"):
        values["nats_per_token"] = log_likelihood.token_nll
    return values


def mean_over_tokens(losses: list[tuple[float, ...]]) -> float:
    """The mean over the tokens of all documents."""
    return sum(map(sum, losses)) / sum(map(len, losses))
