"""What the tasks pydisp_holobench and pydisp_holobench_mc are made of; lm-eval reads the names from their YAML."""

import difflib
import json
from functools import cache

from pydisp.evaluation import positions
from pydisp.holobench.answers.decoding import cut
from pydisp.holobench.contexts.building import build
from pydisp.holobench.items import Gold, Item
from pydisp.holobench.prompts import Prompts, Style
from pydisp.holobench.scorer.scoring import score, write_gold
from pydisp.loading import load_config, load_tokenizer
from pydisp.subject import tokenizer_digest

_KEYS = (
    "lengths", "amount", "density", "placement", "database", "questions", "seed", "per_length", "questions_per_context", "template", "room", "tokenizer",
)  # fmt: skip
MOST_ANSWER_TOKENS = 64  # max_gen_toks of pydisp_holobench.yaml
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
    most = int(most) if most else positions(load_config(model or name))
    if model and name != model and tokenizer_digest(load_tokenizer(name)) != tokenizer_digest(load_tokenizer(model)):
        raise ValueError(
            f"the tokenizer of {name} is another than that of {model}, so the lengths would be wrong; leave the key tokenizer out."
        )
    options = {"tokenizer": name, "template": given.pop("template", "plain"), "room": int(given.pop("room", 0))}
    for key, plural in _LISTS.items():
        if key in given:
            value = given.pop(key)
            options[plural] = list(value) if isinstance(value, tuple) else [value]
    if not 0 <= options["room"] <= MOST_ANSWER_TOKENS:
        raise ValueError(
            f"the metadata of the task have room {options['room']}; it must be at most {MOST_ANSWER_TOKENS}, which the task generates."
        )
    lengths = options.get("lengths")
    if most is not None and lengths and max(lengths) > most:
        raise ValueError(_too_long(max(lengths), model or name, most))
    built = build(None, **options, **given)
    longest = max(item.prompt_tokens for item in built.items) + MOST_ANSWER_TOKENS
    if most is not None and longest > most:
        raise ValueError(_too_long(longest, model or name, most))
    return built.items, Prompts(load_tokenizer(name), Style(**built.manifest["style"]))


def _too_long(tokens: int, name: str, most: int) -> str:
    return (
        f"an item has {tokens:,} tokens with its answer, and {name} reads {most:,}; give shorter lengths, such as "
        f"--metadata '{{\"lengths\": [{most}]}}'."
    )
