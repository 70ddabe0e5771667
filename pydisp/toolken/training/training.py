"""Training: from a frozen model, tools and problems to Toolkens; the same seed gives the same bytes.

    toolkens = train(model, tools, problems, tokenizer=tokenizer, settings=TrainSettings(seed=0), work="work")

Problems are split by group; labels come from character spans; hidden states and the log-sum-exp of all words are cached once (`features`); the first
rows learn beside them (`rows`), then the second ones on prefixes with documentation (`rerank`); temperature and threshold are chosen on the
validation problems (`calibration`). A stopped run goes on with what is cached.
"""

import os
from collections.abc import Callable, Iterator, Sequence, Sized
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from torch import Tensor, nn

from pydisp.arguments import (
    PATH,
    RECEIVER,
    SEED,
    TEXT,
    TOKENIZER,
    Kind,
    check,
    check_fields,
    instance_of,
    list_of,
    number,
    optional,
    takes,
    whole,
)
from pydisp.loading import displayed_name
from pydisp.progress import silence
from pydisp.subject import tokenizer_digest
from pydisp.toolken.documentation import Documentation
from pydisp.toolken.head import real_vocabulary
from pydisp.toolken.model_digest import model_digest
from pydisp.toolken.problems.labels import Labelled, label
from pydisp.toolken.problems.problem import Problem, ProblemError
from pydisp.toolken.problems.splits import split
from pydisp.toolken.toolkens import Toolkens, ToolkensError, encoding_digest
from pydisp.toolken.tools.tools import Tools
from pydisp.toolken.training.calibration import calibrated
from pydisp.toolken.training.features import Features, cached_features
from pydisp.toolken.training.fitting import Fit, FitSettings
from pydisp.toolken.training.logit_form import logit_form
from pydisp.toolken.training.positions import choose_positions
from pydisp.toolken.training.rerank import Examples, choose_examples, second_scores, second_states, train_second_rows
from pydisp.toolken.training.rows import tool_logits, train_rows
from pydisp.toolken.training.second_pass import context_tokens, reader_of

RERANKED = 3  # tools, by default


@dataclass(frozen=True)
class TrainSettings:
    """What decides the result beside model, tools and problems.

    Args:
        k: how many tools are reranked; None for 3, or for as many as problems call if these are fewer. seed: of the split, the sampled positions and the batches.
        validation_share: of the problems' groups.
        most_words: word positions of the training problems; None for all. Of the validation problems all are read: the threshold needs their ratio.
        most_reranked: gold positions that are reranked in training, and as many words; each costs a forward over its documentation; None for all
            gold ones and all words where a tool fires.
        documentation_tokens: the most for each tool. batch_tokens: the most of a batch, which changes the result by rounding only.
        first, second: how both sets of rows learn.
    Raises: ValueError.
    """

    k: int | None = None
    seed: int = 0
    validation_share: float = 0.2
    most_words: int | None = 20_000
    most_reranked: int | None = 1_000
    documentation_tokens: int = 40
    batch_tokens: int = 2048
    # Measured on SmolLM2-135M-Instruct with 351 generated problems, by validation loss: the first rows 0.19 nats scaled and 0.27 whitened, the second
    # ones 0.75 scaled and 0.71 whitened; far fewer states than dimensions and the pull to zero decide.
    first: FitSettings = field(default_factory=FitSettings)
    second: FitSettings = field(default_factory=lambda: FitSettings("whitened", learning_rate=0.01, weight_decay=3.0, batch_size=128))

    def __post_init__(self):
        check_fields(
            self, **dict.fromkeys(("k", "most_words", "most_reranked"), optional(whole(1))), seed=SEED, documentation_tokens=whole(0),
            batch_tokens=whole(1), validation_share=number("lie between 0 and 1, both excluded", lambda value: 0 < value < 1),
            **dict.fromkeys(("first", "second"), instance_of(FitSettings, "give FitSettings")),
        )  # fmt: skip


@takes(
    model=instance_of(nn.Module, "give a transformers causal language model"),
    tools=instance_of(Tools, "give Tools"),
    problems=list_of(instance_of(Problem, "give a Problem"), "Problem"),
    tokenizer=TOKENIZER,
    name=optional(TEXT),
    settings=instance_of(TrainSettings, "give TrainSettings"),
    work=optional(Kind("give a folder, or a function that returns one", lambda value: callable(value) or PATH.is_right(value))),
    say=RECEIVER,
)
def train(
    model: nn.Module,
    tools: Tools,
    problems: Sequence[Problem],
    *,
    tokenizer,
    name: str | None = None,
    settings: TrainSettings = TrainSettings(),  # noqa: B008  frozen
    work: str | os.PathLike | Callable[[], str | os.PathLike] | None = None,
    say: Callable[[str], None] = silence,
) -> Toolkens:
    """Toolkens for a model; nothing of the model changes.

    Args:
        model: a transformers causal language model. problems: each call names one of the tools; their gold results are not checked here.
        tokenizer: a fast one. name: of the model, for people; by default that of its config.
        work: a folder for cached states, where a stopped run goes on; by default one that is removed at the end. A function that returns it is
            called when all has been checked that can be refused without the model reading anything.
        say: receives lines.
    Raises: ToolkensError if k is larger than the number of tools, or if too few problems are left; ProblemError, ToolError, DocumentationError,
        ValueError with one sentence; Interrupted after a stop request.
    """
    prepared = _prepared(tools, problems, tokenizer, settings, context_tokens(model))
    for sentence in prepared.left_out:
        say(sentence)
    settings = replace(settings, k=_k(settings, prepared.tools))
    vocabulary, count = real_vocabulary(tokenizer, model), len(prepared.tools)
    documentation = Documentation(tokenizer, prepared.tools, room=settings.documentation_tokens)
    notes = _notes(prepared.tools, documentation)
    for sentence in notes:
        say(sentence)
    reader_of(model)
    base = {"name": name or _name_of(model), "digest": model_digest(model)}
    with _evaluating(model), _folder(work) as folder:
        form = logit_form(model, torch.tensor([prepared.train[0].ids]))

        def features(part: str) -> Features:
            labelled = getattr(prepared, part)
            positions = choose_positions(labelled, most_words=settings.most_words if part == "train" else None, seed=settings.seed)
            return cached_features(
                model, labelled, positions, folder / f"{part}-first", vocabulary=vocabulary, batch_tokens=settings.batch_tokens, say=say,
                title=f"{part}: hidden states",
            )  # fmt: skip

        def second(part: str, of: Features, rows: Tensor, most: int | None, put_gold: bool) -> tuple[Examples, Tensor]:
            examples = choose_examples(
                of, tool_logits(of.hidden, rows, form), k=settings.k, most=most, seed=settings.seed, put_gold=put_gold
            )
            states = second_states(
                model, getattr(prepared, part), examples, documentation, folder / f"{part}-second", batch_tokens=settings.batch_tokens,
                say=say, title=f"{part}: documentation",
            )  # fmt: skip
            return examples, states

        learning = {"seed": settings.seed, "say": say}
        train_features, validation_features = features("train"), features("validation")
        left_out = [*prepared.left_out]
        if not (train_features.positions.target < 0).any():
            left_out.append(
                "The solutions have no word besides the results, so that no tool learns when not to fire; add problems that call none."
            )
            say(left_out[-1])
        first = train_rows(train_features, validation_features, count, form, settings.first, **learning)
        examples, states = second("train", train_features, first.rows, settings.most_reranked, True)
        checked, checked_states = second("validation", validation_features, first.rows, None, False)
        last = train_second_rows(examples, states, checked, checked_states, count, settings.second, **learning)
        falling = _falling(("first", first, settings.first.epochs), ("second", last, settings.second.epochs))
        for sentence in falling:
            say(sentence)
    scores = second_scores(checked_states, last.rows, checked.candidates)
    calibration = calibrated(scores, checked.right, checked.fires, settings.k, len(validation_features))
    if "note" in calibration:
        say(calibration["note"])
    return Toolkens(
        tools=prepared.tools,
        rows=first.rows,
        rerank_rows=last.rows,
        vocabulary=vocabulary,
        base={**base, "hidden_size": first.rows.shape[1]},
        tokenizer_digest=tokenizer_digest(tokenizer),
        encoding_digest=encoding_digest(tokenizer),
        calibration={**calibration, "documentation_tokens": settings.documentation_tokens},
        training={
            "settings": asdict(settings),
            "left_out": left_out,
            "notes": [*notes, *falling],
            "problems": {"train": len(prepared.train), "validation": len(prepared.validation)},
            "positions": {"train": _counts(train_features), "validation": _counts(validation_features)},
            "reranked": {"train": len(examples), "train_fired": int(examples.fires.sum()), "validation": len(checked)},
            "first": first.facts(),
            "second": last.facts(),
            "trained_on": sorted(prepared.digests),
        },
    )


@dataclass(frozen=True)
class _Prepared:
    tools: Tools
    train: list[Labelled]
    validation: list[Labelled]
    left_out: tuple[str, ...]
    digests: frozenset[str]


def _prepared(tools: Tools, problems: Sequence[Problem], tokenizer, settings: TrainSettings, context: int) -> _Prepared:
    """Labels of both parts, the tools that can learn, and sentences on what was left out."""
    _check_k(settings.k, {call.tool for problem in problems for call in problem.calls if call.tool in tools})
    usable, why = [], []
    for problem in problems:
        try:
            usable.append((problem, len(label(problem, tokenizer, tools).ids)))
        except ProblemError as error:
            why.append(str(error))
    left_out = [f"{len(why)} of {len(problems)} problems cannot be labelled and are left out; the first: {why[0]}"] if why else []
    usable, sentences = _with_room(usable, tools, tokenizer, settings, context)
    left_out += sentences
    if not usable and left_out:
        raise ToolkensError(f"no problem is left to train on: {left_out[0]}")
    train, validation = _parts(usable, settings)
    called = {call.tool for problem in train for call in problem.calls}
    unused = [name for name in tools.names if name not in called]
    if len(unused) == len(tools):
        raise ToolkensError(f"none of {len(train)} training problems calls a tool; give problems that do.")
    if unused:
        shown = ", ".join(unused[:10]) + (f" and {len(unused) - 10} more" if len(unused) > 10 else "")
        left_out.append(
            f"{len(unused)} of {len(tools)} tools {'is' if len(unused) == 1 else 'are'} called by no training problem, so without a toolken: {shown}; give more problems, or such that call them."
        )
        tools = Tools(tool for tool in tools if tool.name in called)
        validation = [problem for problem in validation if all(call.tool in called for call in problem.calls)]
    _check_k(settings.k, tools)
    if not any(problem.calls for problem in validation):
        raise ToolkensError(
            f"none of {len(validation)} validation problems calls a tool that is trained; give more problems than these {len(problems)}."
        )
    parts = ([label(problem, tokenizer, tools) for problem in part] for part in (train, validation))
    return _Prepared(tools, *parts, tuple(left_out), frozenset(one for problem in (*train, *validation) for one in problem.digests))


def _notes(tools: Tools, documentation: Documentation) -> list[str]:
    """Sentences on tools that cannot do all that a user may expect of them."""
    without = [tool.name for tool in tools if tool.function is None]
    cut = [tool.name for place, tool in enumerate(tools) if documentation.tokens_of(place) > documentation.room]
    return [
        *([f"{_some(without)} no function: such a tool can be chosen, and not called."] if without else []),
        *([f"{_some(cut)} a documentation of more than {documentation.room} tokens, of which these are read."] if cut else []),
    ]


def _falling(*fits: tuple[str, Fit, int]) -> list[str]:
    """Sentences on rows that were best at their last epoch; of each fit its title, itself, and the most epochs."""
    return [
        f"The validation loss of the {title} rows was still falling after all {most} epochs; give more problems, or more epochs in "
        f"Python, with TrainSettings({title}=FitSettings(epochs=...))."
        for title, fit, most in fits
        if fit.best_epoch == fit.epochs == most
    ]


def _some(names: Sequence[str]) -> str:
    """`multiply and 3 more tools have`, for the beginning of a sentence."""
    if len(names) == 1:
        return f"The tool {names[0]!r} has"
    return f"{len(names)} tools ({', '.join(names[:3])}{', ...' if len(names) > 3 else ''}) have"


def _with_room(sized: Sequence[tuple[Problem, int]], tools: Tools, tokenizer, settings: TrainSettings, context: int) -> tuple[list, list]:
    """The problems behind whose tokens the context has room for any k tools that problems call, without their sentences; and a sentence on the others."""
    called = {call.tool for problem, _ in sized for call in problem.calls}
    least = Documentation(tokenizer, Tools(tool for tool in tools if tool.name in called) if called else tools).least(
        _k(settings, called or tools)
    )
    long = [problem.id for problem, tokens in sized if tokens + least > context]
    words = (
        f"{len(long)} of {len(sized)} problems are left out, for the context of {context} tokens has no room for their text and the {least} tokens "
        f"that {_k(settings, called or tools)} tools may need; the first: {long[0] if long else ''}."
    )
    return [problem for problem, tokens in sized if tokens + least <= context], [words] if long else []


def _parts(problems: Sequence[Problem], settings: TrainSettings) -> tuple[Sequence[Problem], Sequence[Problem]]:
    found = split(problems, seed=settings.seed, validation=settings.validation_share, test=0.0)
    return found.train, found.validation


def _check_k(k: int | None, tools: Sized) -> None:
    if k is not None and k > len(tools) > 0:
        raise ToolkensError(f"k is {k}, but there {_are(len(tools))} that problems call; choose a k of 1 to {len(tools)}.")


def _k(settings: TrainSettings, tools: Sized) -> int:
    return min(RERANKED, len(tools)) if settings.k is None else settings.k


def _are(count: int) -> str:
    return "is 1 tool" if count == 1 else f"are {count} tools"


def _counts(features: Features) -> dict:
    tools = int(features.positions.is_tool.sum())
    return {"tools": tools, "words": len(features) - tools}


def _name_of(model: nn.Module) -> str:
    return displayed_name(getattr(model.config, "_name_or_path", "") or model.config.model_type)


@contextmanager
def _evaluating(model: nn.Module) -> Iterator[None]:
    """A region in evaluation mode; afterwards each module is in the mode it was in."""
    learning = [module for module in model.modules() if module.training]
    model.eval()
    try:
        yield
    finally:
        for module in learning:
            module.training = True


@contextmanager
def _folder(work: str | os.PathLike | Callable[[], str | os.PathLike] | None) -> Iterator[Path]:
    if work is not None:
        yield Path(check("work", work(), PATH) if callable(work) else work)
        return
    with TemporaryDirectory() as folder:
        yield Path(folder)
