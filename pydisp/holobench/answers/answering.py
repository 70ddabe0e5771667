"""Answering: a causal language model reads each item of a benchmark and answers, or its choices are scored.

    predictions = run("SMOLLM2", "bench.jsonl", out="answers.jsonl")
    run(model, (items, manifest), tokenizer=tokenizer, form="likelihood")

Answers are greedy. A batch, a shared context or a stop and a --resume change no answer but by rounding: padding stands before a text only, and a
resumed run makes the same batches.
"""

import hashlib
import json
import os
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import nn

from pydisp.arguments import BY_NAME, MODEL, PATH, RECEIVER, SWITCH, TOKENIZER, Kind, one_of, optional, takes, whole
from pydisp.environment import run_facts
from pydisp.evaluation import evaluating, positions
from pydisp.holobench.answers.asked_items import FORMS, Asked, ask, batches
from pydisp.holobench.answers.decoding import Ending, greedy
from pydisp.holobench.answers.journal import Journal
from pydisp.holobench.answers.likelihood import choice_log_likelihoods
from pydisp.holobench.answers.predictions import FORMAT, Prediction, Predictions
from pydisp.holobench.answers.shared_prefix import SharedPrefix
from pydisp.holobench.item_file import check_manifest, read_items
from pydisp.holobench.items import Item
from pydisp.holobench.prompts import Prompts, Style
from pydisp.holobench.sealed_file import read_manifest
from pydisp.modeling.cached_model import CachedModel, Past, can_join
from pydisp.progress import Bar, Interrupted, on_stderr, stop_requests
from pydisp.subject import Subject

BATCH_TOKENS = 8192


class AnsweringError(ValueError):
    """A run that cannot be done as asked; the message is one sentence."""


@takes(
    model=MODEL,
    data=Kind("give the file of a benchmark, or (items, manifest)", lambda value: _is_items(value) or PATH.is_right(value)),
    tokenizer=optional(TOKENIZER), out=optional(PATH), form=one_of(FORMS), batch_tokens=whole(1), limit=optional(whole(1)),
    **dict.fromkeys(("without_context", "any_tokenizer", "resume", "overwrite"), SWITCH), **BY_NAME, say=RECEIVER,
)  # fmt: skip
def run(
    model: nn.Module | str | os.PathLike,
    data: str | os.PathLike | tuple[Sequence[Item], dict],
    *,
    tokenizer=None,
    out: str | os.PathLike | None = None,
    form: str = "generate",
    batch_tokens: int = BATCH_TOKENS,
    without_context: bool = False,
    any_tokenizer: bool = False,
    resume: bool = False,
    overwrite: bool = False,
    limit: int | None = None,
    device: str | None = None,
    dtype: str | None = None,
    revision: str | None = None,
    trust_remote_code: bool = False,
    say: Callable[[str], None] = on_stderr,
) -> Predictions:
    """Ask a model, dense or pruned, the items of a benchmark.

    Args:
        model, tokenizer: a name that `pydisp.loading` knows, or a model in memory with its fast tokenizer.
        data: a file of `write_items`, or (items, manifest).
        out: a file for the predictions. While it is made, FILE.partial holds the finished batches.
        form: "generate": an answer; "likelihood": the log-probability of each choice; "both".
        batch_tokens: of prompts and answers in a batch; a longer item is alone.
        without_context: ask with no facts, a control of what a model knows without reading.
        any_tokenizer: ask also if the benchmark was built for another tokenizer; lengths are then other ones.
        resume: go on from FILE.partial. overwrite: replace predictions that are there.
        limit: ask the first items only.
        device, dtype, revision, trust_remote_code: only for a model by name.
    Returns: Predictions in the order of the items; items that are longer than the model reads are skipped, and say so.
    Raises: ValueError or TypeError with one sentence, if possible before weights are loaded; Interrupted after Ctrl-C.
    """
    if resume and out is None:
        raise AnsweringError("a run without a file for its predictions leaves nothing to resume; give --out FILE.")
    items, manifest = data if isinstance(data, tuple) else read_items(data)
    check_manifest(manifest, "the manifest")
    out = None if out is None else Path(out)
    _check_out(out, overwrite)
    subject = Subject.of(model, tokenizer, device=device, dtype=dtype, revision=revision, trust_remote_code=trust_remote_code)
    if not any_tokenizer:
        _check_tokenizer(subject, manifest)
    items = list(items)[:limit]
    prompts = Prompts(subject.tokenizer, Style(**manifest["style"]))
    options = dict(form=form, without_context=without_context)
    asked, skipped = ask(items, prompts, positions=positions(subject.config), check=not any_tokenizer, say=say, **options)
    _check_asked(asked, skipped, subject)
    if skipped:
        say(_skipped_words(skipped, len(items)))
    described = {
        "model": subject.name, "data_sha256": manifest["sha256"], "style": manifest["style"], **options, "any_tokenizer": any_tokenizer,
        "limit": limit, "batch_tokens": batch_tokens,
    }  # fmt: skip
    journal = None if out is None else Journal(out, {**described, **_identity(subject)}, resume=resume)
    if journal is not None and not resume and journal.path.exists():
        say(f"{journal.path.name} of a run that was stopped is replaced; with --resume it would be gone on from.")
    with journal or nullcontext():
        found, facts = _answered(subject, prompts, asked, batch_tokens, journal, say)
        by_id = {one.id: one for one in (*found, *skipped)}
        described |= {"format": FORMAT, "items": len(items), "skipped": len(skipped), "facts": facts}
        predictions = Predictions(tuple(by_id[item.id] for item in items), described)
        if journal is not None:
            _check_out(out, overwrite)  # it may have appeared meanwhile
            predictions = replace(predictions, manifest=predictions.write(out))
            journal.remove()
    return predictions


def _answered(
    subject: Subject, prompts: Prompts, asked: Sequence[Asked], batch_tokens: int, journal: Journal | None, say: Callable[[str], None]
) -> tuple[list[Prediction], dict]:
    """All predictions, in the order of the batches, and facts of the run."""
    joins = can_join(subject.config)
    groups = batches(asked, batch_tokens if joins else 0)
    done: dict[int, list[Prediction]] = {} if journal is None else journal.done
    with subject.loaded(say) as model, evaluating(model), stop_requests() as is_stop_requested:
        facts, reader = run_facts(model), CachedModel(model)
        if journal is not None:
            journal.begin()
        batch = _Batches(SharedPrefix(reader), Ending.of(model, prompts.tokenizer, prompts.style), batch_tokens if joins else 0)
        with Bar(len(groups), say, done=len(done), title=f"answers of {subject.name}", unit="batch") as bar:
            for number, group in enumerate(groups):
                if number in done:
                    continue
                if is_stop_requested():
                    raise Interrupted(_stopped_words(number, len(groups), journal))
                done[number] = batch.predictions(group)
                if journal is not None:
                    journal.append(number, done[number])
                bar(number + 1)
        del model, reader, batch  # else the weights would stay in memory behind the `with`
    return [one for number in range(len(groups)) for one in done[number]], facts


@dataclass(frozen=True, eq=False)
class _Batches:
    """Makes the predictions of one batch after another.

    Args:
        most_tokens: of choices that are scored at a time with their prompts; one is scored at any rate.
    """

    prefix: SharedPrefix
    ending: Ending
    most_tokens: int

    def predictions(self, group: Sequence[Asked]) -> list[Prediction]:
        try:
            sums, pasts = [], []
            for one in group:
                past = self.prefix.past(one)
                sums.append(self._sums(past, one))
                pasts += [self._to_last_token(past, one)] if one.room else []
            answers = self._answers(pasts, group) if pasts else [(None, True)] * len(group)
        except torch.OutOfMemoryError as error:
            raise AnsweringError(
                f"a batch of {len(group)} items of up to {max(one.tokens for one in group):,} tokens does not fit into memory "
                f"({str(error).splitlines()[0]}); choose a smaller --batch-tokens, --dtype bfloat16, or shorter items."
            ) from None
        return [
            Prediction(one.item.id, text, ended, found, None if found is None else one.scored)
            for one, found, (text, ended) in zip(group, sums, answers, strict=True)
        ]

    def _sums(self, past: Past, one: Asked) -> tuple[float, ...] | None:
        if not one.choices:
            return None
        return choice_log_likelihoods(self.prefix.reader, past, one, max(1, self.most_tokens // one.tokens))

    def _to_last_token(self, past: Past, one: Asked) -> Past:
        rest = one.prompt[one.read : -1]  # where a choice changes how the prompt's end is cut into tokens
        if len(rest):
            self.prefix.reader.read(past, rest[None])
        return past

    def _answers(self, pasts: Sequence[Past], group: Sequence[Asked]) -> list[tuple[str, bool]]:
        last, ids = [int(one.prompt[-1]) for one in group], [one.item.id for one in group]
        return [(text.strip(), ended) for text, ended in greedy(self.prefix.reader, pasts, last, group[0].room, self.ending, ids)]


def _is_items(value) -> bool:
    """Whether a value is (items, manifest), as `read_items` returns them; the manifest is looked at by `check_manifest`."""
    if not isinstance(value, tuple) or len(value) != 2 or not isinstance(value[1], dict):
        return False
    return isinstance(value[0], list | tuple) and all(isinstance(one, Item) for one in value[0])


def _check_out(out: Path | None, overwrite: bool) -> None:
    """Refuse a file that is there, and one that must not be replaced: only predictions may be, with --overwrite."""
    if out is None:
        return
    above = next(parent for parent in (*out.parents, Path()) if parent.exists())
    if not above.is_dir():
        raise AnsweringError(f"{above} is a file, so {out.name} cannot be made in it; choose another --out.")
    if out.is_dir():
        raise AnsweringError(f"{out} is a folder; name a file to write with --out.")
    if not (out.exists() or out.is_symlink()):
        return
    if not overwrite:
        raise AnsweringError(f"{out} is there already; choose another --out, or replace it with --overwrite.")
    manifest = read_manifest(out, AnsweringError) if out.is_file() else None
    if (manifest or {}).get("format") != FORMAT:
        raise AnsweringError(f"{out} holds no predictions of pydisp, so it is not replaced; choose another --out.")


def _check_tokenizer(subject: Subject, manifest: dict) -> None:
    if subject.digest != manifest["tokenizer"]["digest"]:
        raise AnsweringError(
            f"the benchmark was built for the tokenizer of {manifest['tokenizer']['name']}, {subject.name} has another; "
            f"build it again with --tokenizer {subject.name}, or pass --any-tokenizer."
        )


def _check_asked(asked: Sequence[Asked], skipped: Sequence[Prediction], subject: Subject) -> None:
    """Refuse, before weights are loaded, a benchmark of which nothing can be asked, and another model's tokenizer."""
    if not asked:
        why = f"the first: {skipped[0].skipped}" if skipped else "there are none"
        raise AnsweringError(f"{subject.name} can be asked none of the items ({why}); build a benchmark that it can read.")
    vocabulary = getattr(subject.config.get_text_config(decoder=True), "vocab_size", None)
    largest = max(int(tokens.max()) for one in asked for tokens in (one.prompt, *one.choices))
    if vocabulary is not None and largest >= vocabulary:
        raise AnsweringError(
            f"the tokenizer of {subject.name} gives the id {largest}, the model has {vocabulary} embeddings; give the model's own tokenizer."
        )


def _identity(subject: Subject) -> dict:
    """What decides the predictions besides the options."""
    config = {name: value for name, value in subject.config.to_dict().items() if name != "_name_or_path"}
    digest = hashlib.sha256(json.dumps(config, sort_keys=True, default=str).encode()).hexdigest()
    source = subject.source or {"device": subject.model.device, "dtype": subject.model.dtype}
    return {
        "config": digest[:16],
        "weights": _weights(subject),
        "tokenizer": subject.digest,
        "device": str(source["device"]),
        "dtype": str(source["dtype"]),
    }


def _weights(subject: Subject) -> list:
    """Names, sizes and times of the files of a model that lies in a folder: it may have been trained on since a run was stopped."""
    folder = Path(subject.source.get("name", ""))
    if not subject.source or not folder.is_dir():
        return []
    return [[file.name, file.stat().st_size, file.stat().st_mtime_ns] for file in sorted(folder.glob("*.safetensors"))]


def _skipped_words(skipped: Sequence[Prediction], count: int) -> str:
    first = ", ".join(one.id for one in skipped[:3])
    more = f" and {len(skipped) - 3} more" if len(skipped) > 3 else ""
    return f"{len(skipped)} of {count} items are skipped ({first}{more}): {skipped[0].skipped}"


def _stopped_words(number: int, count: int, journal: Journal | None) -> str:
    if journal is None:
        return f"stopped after batch {number} of {count}; nothing was written."
    return f"stopped after batch {number} of {count}; repeat the command with --resume to go on from there."
