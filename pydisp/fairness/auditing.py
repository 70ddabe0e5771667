"""Audit: loss, accuracy and calibration of a language model by the frequency of a token, and what another model has more or less of it.

    report, stats = pydisp.fairness.audit("pruned", text=["test.txt"], against="SMOLLM2", counts="train_counts.json")
    audit(model, tokenizer, text="test.txt").report.write("out")

Source: The Fair Language Model Paradox (https://arxiv.org/abs/2410.11985). Unlike there, the text is held out, every figure has an interval
whose replicate is the document, and both means are given: over the tokens, and over the types.
"""

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from torch import nn

from pydisp.arguments import BY_NAME, MODEL, PATH, RECEIVER, SEED, SOURCES, TOKENIZER, Kind, one_of, optional, takes
from pydisp.environment import run_facts
from pydisp.evaluation import SIZES, check_context, check_most, check_token_ids, positions, usual_context_tokens
from pydisp.fairness import groups
from pydisp.fairness.comparison import Comparison, compare
from pydisp.fairness.counts import Counts
from pydisp.fairness.documents import BLOCK_TOKENS, Documents, ReadTokens, read_tokens
from pydisp.fairness.groups import Group
from pydisp.fairness.measures import EMPTY, Figures, figures, of_ratios
from pydisp.fairness.scores import Scores, characters_of, numbered_windows, score_units
from pydisp.fairness.token_stats import TokenStats
from pydisp.fairness.units import Units, token_units, word_starts, word_units
from pydisp.intervals import Estimate, Ratio, Resamples
from pydisp.loading import DEMO
from pydisp.progress import Bar, on_stderr
from pydisp.report import Report
from pydisp.subject import Subject
from pydisp.text import Text, read_text

MODES = ("auto", "id", "word")
COUNTS = Kind(
    "give a file of counts, a mapping from id or word to count, Counts, or 'demo'",
    lambda value: isinstance(value, Mapping | Counts) or PATH.is_right(value),
)
_FEWEST_IDS = 8192  # with fewer, almost no id is rare: words are counted


@dataclass(frozen=True, eq=False)
class Audit:
    """The figures of one model, perhaps against a reference.

    Args:
        model, reference, text: names.
        documents, counts: of the text; where the counts are from.
        scores: of the model on each unit. counts_of_units: (V,) the count of each type of `scores.units`.
        average: mean loss of a token, the figure of `pydisp eval`.
        whole, bins, parts, deciles, classes: figures of all units and of groups of them, with the groups; None where a group is empty.
        comparison: MODEL minus REFERENCE, if there is a reference. reference_scores: its scores.
        context_tokens: tokens a window. vocabulary: digest of the tokenizer.
        texts: (V,) how people read each type.
        unknown: by model the share of the text's tokens that its tokenizer does not know, where it has a token for that.
        facts: of the run.
    """

    model: str
    reference: str | None
    text: str
    documents: Documents
    counts: Counts
    scores: Scores
    counts_of_units: np.ndarray
    average: Estimate
    whole: Figures
    bins: tuple[tuple[Group, Figures | None], ...]
    parts: dict[str, tuple[Group, Figures | None]]
    deciles: tuple[tuple[Group, Figures | None], ...]
    classes: dict[str, tuple[Group, Figures | None]]
    comparison: Comparison | None
    reference_scores: Scores | None
    context_tokens: int
    vocabulary: str
    texts: tuple[str, ...]
    unknown: dict[str, float]
    facts: dict

    def __iter__(self) -> Iterator:
        """The report and the sums by type, so that `report, stats = audit(…)`."""
        yield self.report
        yield self.stats

    @property
    def unit(self) -> str:
        return self.scores.units.unit

    @property
    def nats_per_byte(self) -> float:
        """Loss of all whole units over the bytes that they stand for: to compare two tokenizers."""
        whole = self.scores.is_whole
        return float(self.scores.values.nats[whole].sum() / self.scores.units.bytes[whole].sum())

    @property
    def stats(self) -> TokenStats:
        """Sums by type over all documents; `scores.stats` has those of one."""
        return self.scores.stats(self.vocabulary if self.unit == "token" else "")

    @property
    def report(self) -> Report:
        """The figures for people and programs; `report.write(folder)` makes report.json, report.md and report.html."""
        from pydisp.fairness.audit_report import report

        return report(self)

    def as_dict(self) -> dict:
        """The object that `pydisp fairness audit --json` prints. Means and intervals are in nats a unit, `average_nats` in nats a token."""

        def plain(group: Group, found: Figures | None) -> dict:
            limits = {} if group.low is None and group.name in self.classes else {"low": group.low, "high": group.high}
            return limits | (dict(EMPTY) if found is None else found.as_dict())

        return {
            "model": self.model,
            "text": self.text,
            "unit": self.unit,
            "context_tokens": self.context_tokens,
            "tokens": int(self.scores.tokens_by_document.sum()),
            "documents": {"count": len(self.documents), "are_blocks": self.documents.are_blocks, "block_tokens": BLOCK_TOKENS},
            "counts_source": {"name": self.counts.source, "is_scored_text": self.counts.is_biased},
            "average_nats": self.average.value,
            "average_interval": self.average.interval,
            "unit_nats": self.whole.nats.value,
            "unit_interval": self.whole.nats.interval,
            "balanced_nats": self.whole.balanced.value,
            "balanced_interval": self.whole.balanced.interval,
            "nats_per_byte": self.nats_per_byte,
            **{name: value for name, value in self.whole.as_dict().items() if name in ("types", "units", "accuracy", "ece", "rank", "entropy", "confidence")},
            "bins": [plain(*one) for one in self.bins],
            "parts": {name: plain(*one) for name, one in self.parts.items()},
            "deciles": [plain(*one) for one in self.deciles],
            "classes": {name: plain(*one) for name, one in self.classes.items()},
            **({} if self.comparison is None else {"against": self.reference, "delta": self.comparison.as_dict()}),
        }  # fmt: skip


@takes(
    model=MODEL, tokenizer=optional(TOKENIZER), text=optional(SOURCES), against=optional(MODEL), against_tokenizer=optional(TOKENIZER),
    mode=one_of(MODES), counts=optional(COUNTS), counts_text=optional(SOURCES), **SIZES, **BY_NAME, seed=SEED, say=RECEIVER,
)  # fmt: skip
def audit(
    model: nn.Module | str | os.PathLike,
    tokenizer=None,
    text: Sequence[str] | str | None = None,
    *,
    against: nn.Module | str | os.PathLike | None = None,
    against_tokenizer=None,
    mode: str = "auto",
    counts: str | os.PathLike | Mapping | Counts | None = None,
    counts_text: Sequence[str] | str | None = None,
    context_tokens: int | None = None,
    most_tokens: int | None = None,
    batch_size: int | None = None,
    device: str | None = None,
    dtype: str | None = None,
    revision: str | None = None,
    trust_remote_code: bool = False,
    seed: int = 0,
    say: Callable[[str], None] = on_stderr,
) -> Audit:
    """Audit a causal language model, dense or pruned, on a text.

    Args:
        model, tokenizer, text: as for `pydisp.evaluate`.
        against: the reference, on the same documents; every difference is MODEL minus REFERENCE.
        against_tokenizer: its tokenizer, if it is in memory and has one of its own; by default that of `model`.
        mode: "id" counts token ids, "word" words; "auto" words where the vocabulary has fewer than 8,192 ids or two tokenizers differ.
        counts: a file of counts by id or word, best of the training text; or such a mapping; or "demo" (the demo model's training text); or
            `Counts`.
        counts_text: a text to count instead. Without both: the demo's counts if one of the models is the demo, else the scored text,
            which makes rare types look harder than they are (the report says so).
        context_tokens, most_tokens, batch_size, say: as for `pydisp.evaluation.evaluate_text`.
        device, dtype, revision, trust_remote_code: only for models by name.
        seed: of the draws for intervals and p-values.
    Returns: an Audit, which is also the pair of a Report and the TokenStats.
    Raises: ValueError, TypeError, FileNotFoundError or ImportError with one sentence, if possible before weights are loaded: for two
        tokenizers in mode "id", counts of another vocabulary, a text that is too short or all padding.
    """
    if counts is not None and counts_text is not None:
        raise ValueError("counts and a text to count exclude each other; give one of them.")
    check_most(most_tokens, context_tokens)
    if text is None:
        raise ValueError("there is no text to audit on; name one or more files, folders or other sources.")
    source = read_text(text, say)
    by_name = dict(device=device, dtype=dtype, revision=revision, trust_remote_code=trust_remote_code)
    subjects = [Subject.of(model, tokenizer, **by_name)]
    if against is not None:
        is_named = isinstance(against, str | os.PathLike)
        its_tokenizer = against_tokenizer or (None if is_named else subjects[0].tokenizer)
        subjects.append(Subject.of(against, its_tokenizer, **(by_name if is_named else {})))
    reads, has_one_tokenizer = _read(source, subjects, say)
    unit = _unit(mode, subjects, has_one_tokenizer)
    with Bar(2, say, title=f"places of the {unit}s", unit="pass", is_brief=True) as bar:
        documents = Documents.of(source, reads[0], word_starts(source.joined))
        bar.advance(1)
        units = _units(unit, documents, reads, subjects)
        bar.advance(1)
    if context_tokens is not None:
        for one, read in zip(subjects, reads, strict=True):
            check_context(context_tokens, one.config)
            read.tokens.windows(context_tokens)  # refuses a text that is too short
    counted = _counts(counts, counts_text, unit, subjects, units[0], say)
    counted.check(units[0].keys, subjects[0].vocabulary if unit == "token" else None)
    scores, context_tokens, facts = _scored(
        subjects, documents, reads, units, context_tokens, most_tokens, batch_size, has_one_tokenizer, say
    )  # fmt: skip
    described = {"name": source.name, "sha256": source.sha256, "bytes": source.bytes, "tokens": len(reads[0].tokens)}
    unknown = {one.name: share for one, read in zip(subjects, reads, strict=True) if (share := _unknown_share(one, read)) is not None}
    return _audited(
        subjects, documents, counted, scores, context_tokens, has_one_tokenizer, seed, unknown, {"text": described, "seed": seed, **facts}, say
    )  # fmt: skip


def _scored(
    subjects: Sequence[Subject], documents: Documents, reads: Sequence[ReadTokens], units: Sequence[Units], context_tokens: int | None,
    most_tokens: int | None, batch_size: int | None, has_one_tokenizer: bool, say: Callable[[str], None],
) -> tuple[list[Scores], int, dict]:  # fmt: skip
    """The scores of each model, one in memory at a time; the tokens of a window, chosen by the first if not given; facts of the run."""
    scores: list[Scores] = []
    facts: dict = {}
    like = None
    for one, read, its_units in zip(subjects, reads, units, strict=True):
        with one.loaded(say) as model:
            if context_tokens is None:
                context_tokens = min([usual_context_tokens(model), *(p for other in subjects if (p := positions(other.config)))])
            check_token_ids(read.tokens, model.get_input_embeddings().weight.shape[0], one.tokenizer)
            numbered = numbered_windows(read, context_tokens, most_tokens, like)
            if not has_one_tokenizer and most_tokens is not None:
                like = characters_of(read, numbered)  # the reference scores the same parts of the text
            padding_id = (subjects[0] if has_one_tokenizer else one).padding_id
            options = {"batch_size": batch_size, "padding_id": padding_id, "say": say, "title": one.name}
            scores.append(score_units(model, documents, read, its_units, numbered, **options))
            facts = facts or run_facts(model)
            del model  # else it would stay in memory beside the next one
    return scores, context_tokens, facts


def _unknown_share(subject: Subject, read: ReadTokens) -> float | None:
    """The share of unknown tokens; None for a tokenizer that knows every text (bytes), or whose token for it has another meaning."""
    tokenizer = subject.tokenizer
    unknown = tokenizer.unk_token_id
    if unknown is None or unknown in (tokenizer.eos_token_id, tokenizer.bos_token_id, tokenizer.pad_token_id):
        return None
    return float((read.tokens.ids == unknown).double().mean())


def _audited(
    subjects: Sequence[Subject], documents: Documents, counts: Counts, scores: Sequence[Scores], context_tokens: int, has_one_tokenizer: bool,
    seed: int, unknown: dict[str, float], facts: dict, say: Callable[[str], None],
) -> Audit:  # fmt: skip
    """The figures of the scores."""
    mine, units = scores[0], scores[0].units
    if not mine.is_whole.any():
        raise ValueError(
            f"{documents.text.name}: no {units.unit} was scored whole at a context of {context_tokens} tokens; count token ids (mode 'id'), or ask for a longer context."
        )
    resamples = Resamples(len(documents), seed)
    of_units = counts.of(units.keys)
    among = np.fromiter(counts.by_type.values(), dtype=np.int64, count=len(counts.by_type))
    by_bin, by_part = groups.bins(units, of_units), groups.parts(units, of_units, among)
    by_decile, by_class = groups.deciles(units, of_units, among), groups.classes(units)

    if len(scores) > 1 and not (mine.is_whole & scores[1].is_whole).any():
        raise ValueError(f"{documents.text.name}: no {units.unit} was scored whole by both models; ask for a longer context.")

    def measured(group: Group) -> tuple[Group, Figures | None]:
        found = figures(mine, group.holds, resamples)
        bar.advance(1)
        return group, found

    count = len(by_bin) + len(by_part) + len(by_decile) + len(by_class)
    with Bar(count * len(scores), say, title="intervals", unit="group") as bar:
        measures = dict(
            average=of_ratios([Ratio(mine.nats_by_document, mine.tokens_by_document)], resamples),
            whole=figures(mine, mine.is_whole, resamples),
            bins=tuple(map(measured, by_bin)),
            parts={name: measured(group) for name, group in by_part.items()},
            deciles=tuple(map(measured, by_decile)),
            classes={name: measured(group) for name, group in by_class.items()},
        )
        comparison = None
        if len(scores) > 1:
            shared = dict(has_one_tokenizer=has_one_tokenizer, told=lambda: bar.advance(1))
            comparison = compare(mine, scores[1], resamples, bins=by_bin, parts=by_part, deciles=by_decile, classes=by_class, **shared)
    return Audit(
        model=subjects[0].name,
        reference=subjects[1].name if len(subjects) > 1 else None,
        text=documents.text.name,
        documents=documents,
        counts=counts,
        scores=mine,
        counts_of_units=of_units,
        **measures,
        comparison=comparison,
        reference_scores=scores[1] if len(scores) > 1 else None,
        context_tokens=context_tokens,
        vocabulary=subjects[0].digest,
        texts=_texts(units, subjects[0].tokenizer),
        unknown=unknown,
        facts=facts,
    )


def _read(source: Text, subjects: Sequence[Subject], say: Callable[[str], None]) -> tuple[list[ReadTokens], bool]:
    """The tokens of the text for each model, and whether both models have one tokenizer."""
    reads = [read_tokens(source, subjects[0].tokenizer, say)]
    is_same = len(subjects) == 1 or subjects[0].tokenizer is subjects[1].tokenizer
    if len(subjects) > 1 and not is_same:
        other = read_tokens(source, subjects[1].tokenizer, say)
        is_same = subjects[0].digest == subjects[1].digest and np.array_equal(reads[0].tokens.ids.numpy(), other.tokens.ids.numpy())
        if not is_same:
            return [reads[0], other], False
    return reads * len(subjects), True


def _unit(mode: str, subjects: Sequence[Subject], has_one_tokenizer: bool) -> str:
    if mode == "id" and not has_one_tokenizer:
        raise ValueError(
            f"the tokenizers of {subjects[0].name} and {subjects[1].name} differ, so their ids cannot be compared; count words with mode 'word'."
        )
    if mode == "auto":
        return "word" if not has_one_tokenizer or subjects[0].vocabulary < _FEWEST_IDS else "token"
    return "token" if mode == "id" else "word"


def _units(unit: str, documents: Documents, reads: Sequence[ReadTokens], subjects: Sequence[Subject]) -> list[Units]:
    tokenizer = subjects[0].tokenizer
    if unit == "token":
        return [token_units(documents, reads[0], tokenizer.all_special_ids)] * len(subjects)
    special = [token for one in subjects for token in one.tokenizer.all_special_tokens]
    if len(reads) > 1 and reads[0] is reads[1]:
        return word_units(documents, reads[:1], special) * 2
    return word_units(documents, reads, special)


def _counts(given, given_text, unit: str, subjects: Sequence[Subject], units: Units, say: Callable[[str], None]) -> Counts:
    if isinstance(given, Mapping):
        given = Counts.given(given, unit)
    if isinstance(given, Counts):
        if given.unit != unit:
            raise ValueError(f"{given.source} has counts by {given.unit}, the audit is by {unit}; choose the other mode or other counts.")
        return given
    if given_text is not None:
        return Counts.of_text(read_text(given_text, say), unit, subjects[0].tokenizer, say=say)
    is_demo = any(one.is_demo for one in subjects)
    if given == DEMO or (given is None and is_demo):
        if unit == "token" and not is_demo and subjects[0].digest != Subject.of(DEMO).digest:
            raise ValueError(
                f"the counts of the demo model's ids are of another vocabulary than that of {subjects[0].name}; count by word."
            )
        return Counts.of_demo(unit)
    if given is not None:
        return Counts.read(given, unit)
    seen = np.bincount(units.type, minlength=len(units.keys))
    return Counts("the scored text itself", unit, dict(zip(units.keys.tolist(), seen.tolist(), strict=True)), is_biased=True)


def _texts(units: Units, tokenizer) -> tuple[str, ...]:
    """How people read each type: a word as it is, an id as its text, or as the tokenizer's own symbol where it is part of a character."""
    if units.unit == "word":
        return tuple(units.keys.tolist())
    ids = units.keys.tolist()
    decoded = tokenizer.batch_decode([[one] for one in ids], clean_up_tokenization_spaces=False)
    symbols = tokenizer.convert_ids_to_tokens(ids)
    return tuple(symbol if "\ufffd" in text or not text else text for text, symbol in zip(decoded, symbols, strict=True))
