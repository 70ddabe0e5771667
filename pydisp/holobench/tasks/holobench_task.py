"""What the tasks pydisp_holobench and pydisp_holobench_mc are made of; lm-eval reads the names from their YAML."""

import difflib
import json
from functools import cache

from pydisp.evaluation import positions
from pydisp.holobench.answers.decoding import cut
from pydisp.holobench.contexts.building import build
from pydisp.holobench.items import Gold, Item
from pydisp.holobench.prompts import ROOM, Prompts, Style
from pydisp.holobench.scorer.scoring import score, write_gold
from pydisp.loading import load_config, load_tokenizer

_KEYS = (
    "lengths", "amount", "density", "placement", "database", "questions", "seed", "per_length", "questions_per_context", "template", "tokenizer",
)  # fmt: skip

_LISTS = {"lengths": "lengths", "amount": "amounts", "density": "densities", "placement": "placements"}


def documents(**metadata) -> dict:
    """The questions as the only split.

    Raises: ValueError without a model or tokenizer, or for a length that the model does not read: lm-eval would cut it without a word.
    """
    from datasets import Dataset

    items, prompts = _made(_frozen(metadata))
    return {"test": Dataset.from_list([_document(item, prompts) for item in items])}


def choice_documents(**metadata) -> dict:
    """The questions that have near misses as the only split.

    Raises: as `documents`.
    """
    from datasets import Dataset

    items, prompts = _made(_frozen(metadata))
    rows = [
        {
            "prompt": prompts.text(item.context, item.question),
            "choices": [prompts.with_answer("", one) for one in item.choices],
            "correct": item.correct,
        }
        for item in items
        if item.choices is not None
    ]
    return {"test": Dataset.from_list(rows)}


def process_results(doc: dict, results: list[str]) -> dict:
    """The scores of one answer."""
    answer = cut(results[0], at_blank_line=doc["is_plain"])  # lm-eval would also stop at a blank line before the answer
    found = score(Gold.from_dict(json.loads(doc["gold"])), doc["kind"], results[0] if answer is None else answer, answer_marker=False)
    return {name: float(getattr(found, name)) for name in ("f1", "recall", "strict", "exact", "unparsable")}


def _document(item: Item, prompts: Prompts) -> dict:
    return {
        "prompt": prompts.text(item.context, item.question),
        "target": write_gold(item.gold),
        "gold": json.dumps(item.gold.as_dict()),  # as text: the rows of different questions have different types
        "kind": item.kind,
        "is_plain": prompts.style.template == "plain",
    }


def _frozen(metadata: dict) -> tuple:
    """What the benchmark depends on, in a form that can be remembered; the rest are arguments of the model.

    Raises: ValueError for a key that is nearly one of ours, and for values that are no text, number or list of them.
    """
    known = (*_KEYS, "pretrained", "max_length")
    for name in metadata.keys() - set(known):
        close = difflib.get_close_matches(name, _KEYS, n=1, cutoff=0.8)
        if close:
            raise ValueError(f"the metadata of the task have {name!r}; did you mean {close[0]!r}? It knows: {', '.join(_KEYS)}.")
    found = []
    for name, value in sorted(metadata.items()):
        if name in known and value is not None:
            values = value if isinstance(value, list) else [value]
            if not all(isinstance(one, str | int | float) for one in values) or isinstance(value, list) and name not in _LISTS:
                raise ValueError(
                    f"the metadata of the task have {name} {value!r}; it must be a text or a number, or for {', '.join(_LISTS)} a list of them."
                )
            found.append((name, tuple(value) if isinstance(value, list) else value))
    return tuple(found)


@cache
def _made(metadata: tuple) -> tuple[tuple[Item, ...], Prompts]:
    """One benchmark for both tasks."""
    given = dict(metadata)
    model, most = given.pop("pretrained", None), given.pop("max_length", None)
    name = given.pop("tokenizer", None) or model
    if not isinstance(name, str):
        raise ValueError('the tasks of HoloBench count the tokens of a tokenizer; name it with --metadata \'{"tokenizer": "MODEL"}\'.')
    most = int(most) if most else positions(load_config(name))
    options = {"tokenizer": name, "template": given.pop("template", "plain"), "room": ROOM["direct"]}  # the room of the YAML
    for key, plural in _LISTS.items():
        if key in given:
            value = given.pop(key)
            options[plural] = list(value) if isinstance(value, tuple) else [value]
    built = build(None, **options, **given)
    longest = max(item.prompt_tokens for item in built.items) + ROOM["direct"]
    if most is not None and longest > most:
        raise ValueError(
            f"an item has {longest:,} tokens with its answer, and {name} reads {most:,}; give shorter lengths, such as "
            f"--metadata '{{\"lengths\": [{most}]}}'."
        )
    return built.items, Prompts(load_tokenizer(name), Style(options["template"], "direct"))
