"""Probe: how much attention a causal language model gives to human-defined concepts, against chance and against other models.

    report = pydisp.legal_probe.probe("pruned", against="SMOLLM2").report
    probe(model, tokenizer, read_concepts("concepts.yaml")).figures["role"].enrichment

Source: the metric and the moments are those of https://arxiv.org/abs/2410.12001. Unlike there, a concept has many passages, which are the
replicates; null spans of the same passages say what is chance; and every difference has an interval and a p-value.
"""

import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from torch import nn

from pydisp.arguments import (
    BY_NAME,
    MODEL,
    PATH,
    RECEIVER,
    SEED,
    SWITCH,
    TOKENIZER,
    Kind,
    instance_of,
    iterable_of,
    one_of,
    optional,
    takes,
    whole,
)
from pydisp.attention_support import support, support_of_config
from pydisp.environment import run_facts
from pydisp.evaluation import positions
from pydisp.legal_probe.comparison import ConceptComparison, compare
from pydisp.legal_probe.exclusion import Exclusion
from pydisp.legal_probe.figures import ConceptFigures, concept_figures
from pydisp.legal_probe.null_spans import MOST
from pydisp.legal_probe.passage_tokens import PassageTokens, tokenize_passage
from pydisp.legal_probe.passages import NAMES, ConceptsError, ConceptSet, concept_set, read_concepts, shipped
from pydisp.legal_probe.reading import Reading, read_attention
from pydisp.legal_probe.windows import cut
from pydisp.progress import Bar, on_stderr
from pydisp.report import Report
from pydisp.subject import Subject

QUERIES = ("all", "later")


@dataclass(frozen=True, eq=False)
class Probe:
    """The figures of one model, perhaps against references.

    Args:
        model: its name. concepts: the passages.
        reading: what was read. figures: by concept and group.
        references: their readings. comparisons: by reference and concept, MODEL minus REFERENCE.
        queries: "all" or "later". exclusion: what does not count. null_spans: most of each span. seed: of draws.
        skipped: (model, passage, concept, reason) of what could not be measured. cut: passages read in windows, by model and id their number.
        facts: of the run.
    """

    model: str
    concepts: ConceptSet
    reading: Reading
    figures: dict[str, ConceptFigures]
    references: tuple[Reading, ...]
    comparisons: tuple[dict[str, ConceptComparison], ...]
    queries: str
    exclusion: Exclusion
    null_spans: int
    seed: int
    skipped: tuple[tuple[str, str, str, str], ...]
    cut: dict[str, dict[str, int]]
    facts: dict

    @property
    def report(self) -> Report:
        """The figures for people and programs; `report.write(folder)` makes report.json, report.md and report.html."""
        from pydisp.legal_probe.probe_report import report

        return report(self)

    def as_dict(self) -> dict:
        """The object that `pydisp probe run --json` prints."""
        heads = self.reading.heads
        concepts = {}
        for name, found in self.figures.items():
            concepts[name] = found.as_dict(heads)
            if self.comparisons:
                concepts[name]["delta"] = {
                    one.model: compared[name].as_dict()
                    for one, compared in zip(self.references, self.comparisons, strict=True)
                    if name in compared
                }
        return {
            "model": self.model,
            "concepts_file": {"name": self.concepts.name, "sha256": self.concepts.sha256, "passages": len(self.concepts.passages)},
            "groups": {name: list(members) for name, members in self.concepts.groups.items()},
            "queries": self.queries,
            "excluded": {"rules": list(self.exclusion.rules), "tokens": list(self.exclusion.tokens)},
            "null_spans": self.null_spans,
            "seed": self.seed,
            "against": [one.model for one in self.references],
            "concepts": concepts,
            "layers": [
                {"layer": one.layer, "heads": one.heads, "key_heads": one.key_heads, "kind": one.kind, "window": one.window}
                for one in self.reading.layers
            ],
            "skipped": [
                {"model": model, "passage": passage, "concept": concept, "reason": reason}
                for model, passage, concept, reason in self.skipped
            ],
            "windows": self.cut,
        }


_RECORDS = iterable_of("records")


@takes(
    model=MODEL, tokenizer=optional(TOKENIZER),
    passages=optional(Kind("give a ConceptSet, a file of passages, or a list of records",
        lambda value: isinstance(value, ConceptSet) or PATH.is_right(value) or _RECORDS.is_right(value))),
    against=optional(Kind("give a model, or a list of models", lambda value: all(map(MODEL.is_right, value if isinstance(value, list | tuple) else [value])))),
    against_tokenizer=optional(TOKENIZER),
    concepts=optional(NAMES), queries=one_of(QUERIES),
    exclusion=optional(instance_of(Exclusion, "give an Exclusion, such as Exclusion.parse('special,space')")),
    windows=SWITCH, null_spans=whole(1), seed=SEED, **BY_NAME, say=RECEIVER,
)  # fmt: skip
def probe(
    model: nn.Module | str | os.PathLike,
    tokenizer=None,
    passages: ConceptSet | str | os.PathLike | Iterable[dict] | None = None,
    *,
    against: Sequence[nn.Module | str | os.PathLike] | nn.Module | str | os.PathLike = (),
    against_tokenizer=None,
    concepts: Sequence[str] | None = None,
    queries: str = "all",
    exclusion: Exclusion | None = None,
    windows: bool = False,
    null_spans: int = MOST,
    seed: int = 0,
    device: str | None = None,
    dtype: str | None = None,
    revision: str | None = None,
    trust_remote_code: bool = False,
    say: Callable[[str], None] = on_stderr,
) -> Probe:
    """Probe a causal language model, dense or pruned, for concepts in a set of passages.

    Args:
        model, tokenizer: a name that `pydisp.loading` knows, or a model in memory with its fast tokenizer.
        passages: a ConceptSet, a file, or records as in a file; None: the passages that pydisp ships, of seven kinds of legal concepts.
        against: references; every difference is MODEL minus REFERENCE. against_tokenizer: of those in memory, if it is another.
        concepts: names of concepts or groups to measure; all by default.
        queries: "all", or "later": a token's own query does not count.
        exclusion: tokens that do not count, neither in a concept nor in what its share is taken of.
        windows: whether to cut passages that are longer than a model reads; otherwise they are refused.
        null_spans: most null spans of each span. seed: of their draws, of intervals and of p-values.
        device, dtype, revision, trust_remote_code: only for models by name.
    Returns: a Probe.
    Raises: ValueError, TypeError or ImportError with one sentence, if possible before weights are loaded.
    """
    exclusion = exclusion or Exclusion()
    chosen = _concepts(passages)
    if concepts is not None:
        chosen = chosen.selected(concepts)
    by_name = dict(device=device, dtype=dtype, revision=revision, trust_remote_code=trust_remote_code)
    subjects = [Subject.of(model, tokenizer, **by_name)]
    for one in against if isinstance(against, list | tuple) else [against] if against is not None else ():
        is_named = isinstance(one, str | os.PathLike)
        its = None if is_named else against_tokenizer or subjects[0].tokenizer
        subjects.append(Subject.of(one, its, **(by_name if is_named else {})))
    names = _distinct([one.name for one in subjects])
    tokens = [[tokenize_passage(passage, subject.tokenizer, exclusion) for passage in chosen.passages] for subject in subjects]
    for subject, of_subject in zip(subjects, tokens, strict=True):
        _check_config(subject, max(int(one.ids.max()) for one in of_subject))
    limits = [positions(subject.config) for subject in subjects]
    is_long = _too_long(tokens, limits, names, windows)
    fewest = min((limit for limit in limits if limit is not None), default=None)
    prepared = [_windows(chosen, one, is_long, fewest, exclusion) for one in tokens]
    in_windows = [
        {one.passage.id: len(parts) for one, parts in zip(of_subject, found, strict=True) if _is_cut(one, parts)}
        for of_subject, (found, _) in zip(tokens, prepared, strict=True)
    ]
    for name, of_passages in zip(names, in_windows, strict=True):
        if of_passages:
            say(
                f"{name}: {len(of_passages)} {'passage is' if len(of_passages) == 1 else 'passages are'} cut into windows of {fewest:,} tokens"
            )
    readings, facts = _read(
        subjects, names, [tokenized for tokenized, _ in prepared], chosen.groups, queries == "later", null_spans, seed, say
    )
    skipped = [(name, *one) for name, (_, missed), read in zip(names, prepared, readings, strict=True) for one in (*missed, *read.skipped)]
    reading, *references = readings
    measured = [one for one in (*chosen.concepts, *chosen.groups) if one in reading.passages]
    if not measured:
        raise ConceptsError(f"{chosen.name}: no span could be measured ({skipped[0][3]}); mark others or exclude less.")
    figures, comparisons = _figures(reading, references, measured, seed, say)
    return Probe(
        model=reading.model,
        concepts=chosen,
        reading=reading,
        figures=figures,
        references=tuple(references),
        comparisons=comparisons,
        queries=queries,
        exclusion=exclusion,
        null_spans=null_spans,
        seed=seed,
        skipped=tuple(skipped),
        cut={name: of_passages for name, of_passages in zip(names, in_windows, strict=True) if of_passages},
        facts={"seed": seed, **facts},
    )


def _read(
    subjects: Sequence[Subject], names: Sequence[str], tokenized: Sequence[Sequence[Sequence[PassageTokens]]], groups: dict[str, tuple[str, ...]],
    later: bool, null_spans: int, seed: int, say: Callable[[str], None],
) -> tuple[list[Reading], dict]:  # fmt: skip
    """The reading of each model, one in memory at a time, and facts of the run."""
    readings, facts = [], {}
    for subject, name, passages in zip(subjects, names, tokenized, strict=True):
        with subject.loaded(say) as loaded:
            supported = support(loaded)
            if not supported:
                raise ValueError(supported.reason)
            padding_id = subject.padding_id or 0
            readings.append(
                read_attention(
                    loaded, passages, name=name, groups=groups, later=later, null_most=null_spans, seed=seed, padding_id=padding_id, say=say
                )
            )
            facts = facts or run_facts(loaded)
            del loaded  # else it would stay in memory beside the next one
    return readings, facts


def _figures(
    reading: Reading, references: Sequence[Reading], measured: Sequence[str], seed: int, say: Callable[[str], None]
) -> tuple[dict[str, ConceptFigures], tuple[dict[str, ConceptComparison], ...]]:
    """The figures of each concept, and for each reference the differences from it, of the concepts that it has too."""
    with Bar(len(measured) * (1 + len(references)), say, title="intervals", unit="concept") as bar:
        figures = {}
        for concept in measured:
            figures[concept] = concept_figures(reading, concept, seed=seed)
            bar.advance(1)
        comparisons = tuple({} for _ in references)
        for one, found in zip(references, comparisons, strict=True):
            for concept in measured:
                compared = compare(reading, one, concept, seed=seed)
                if compared is not None:
                    found[concept] = compared
                bar.advance(1)
    return figures, comparisons


def _distinct(names: Sequence[str]) -> list[str]:
    """The names, with a number behind one that is there already."""
    found: list[str] = []
    for name in names:
        number, distinct = 1, name
        while distinct in found:
            number += 1
            distinct = f"{name} ({number})"
        found.append(distinct)
    return found


def _check_config(subject: Subject, largest: int) -> None:
    """Refuse what the config tells before weights are loaded: a model that cannot be recorded, and another model's tokenizer."""
    vocabulary = getattr(subject.config.get_text_config(decoder=True), "vocab_size", None)
    if vocabulary is not None and largest >= vocabulary:
        raise ValueError(
            f"the tokenizer of {subject.name} gives the id {largest}, the model has {vocabulary} embeddings; give the model's own tokenizer."
        )
    if subject.model is None:
        supported = support_of_config(subject.config)
        if not supported:
            raise ValueError(supported.reason)


def _concepts(passages) -> ConceptSet:
    if passages is None:
        return shipped()
    if isinstance(passages, ConceptSet):
        return passages
    if isinstance(passages, str | os.PathLike):
        return read_concepts(passages)
    return concept_set(passages)


def _too_long(tokens: Sequence[Sequence[PassageTokens]], limits: Sequence[int | None], names: Sequence[str], windows: bool) -> list[bool]:
    """By passage whether a model has too few positions for it; then all models read it in windows, so that all read the same.

    Raises: ConceptsError for the first of them, unless `windows`.
    """
    is_long = [False] * len(tokens[0])
    for of_subject, limit, name in zip(tokens, limits, names, strict=True):
        for number, one in enumerate(of_subject):
            if limit is None or len(one.ids) <= limit:
                continue
            if not windows:
                passage = one.passage
                raise ConceptsError(
                    f"{passage.place or 'passages'}, passage {passage.id!r} has {len(one.ids):,} tokens, {name} reads {limit:,} at most; "
                    "shorten it, or have such passages cut into windows (--windows, windows=True)."
                )
            is_long[number] = True
    return is_long


def _windows(
    chosen: ConceptSet, tokens: Sequence[PassageTokens], is_long: Sequence[bool], most: int | None, exclusion: Exclusion
) -> tuple[list[list[PassageTokens]], list[tuple[str, str, str]]]:
    """The windows of each passage, and (passage, concept, reason) of spans that fit into none.

    most: the fewest positions of a model.
    """
    found, missed = [], []
    for one, is_cut in zip(tokens, is_long, strict=True):
        if not is_cut or len(one.ids) <= most:
            found.append([one])
            continue
        parts, too_long = cut(one, most, exclusion)
        missed += [
            (one.passage.id, concept, f"the span is longer than the {most:,} tokens that are read at a time") for concept in too_long
        ]
        found.append(parts)
    if not any(found):
        raise ConceptsError(f"{chosen.name}: no span fits into the {most:,} tokens that are read at a time; mark shorter spans.")
    return found, missed


def _is_cut(tokens: PassageTokens, parts: Sequence[PassageTokens]) -> bool:
    return len(parts) != 1 or len(parts[0].ids) < len(tokens.ids)
