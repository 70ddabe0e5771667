"""Evaluating: what each mode does with a model's toolkens on test problems, teacher-forced and end to end.

    evaluated = evaluate(model, {0: toolkens, 1: others}, problems, tokenizer=tokenizer, work="work")
    evaluated.as_dict()["modes"]["calibrated"]["accuracy"]

Teacher-forced selection of all modes and seeds comes from one pass over the frozen model (`scoring`); answers are written for each (`answering`).
A stopped run goes on in the same work folder.
"""

import hashlib
import json
import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from tempfile import TemporaryDirectory

from torch import nn

from pydisp.draws import Draws
from pydisp.evaluation import evaluating
from pydisp.progress import silence
from pydisp.toolken.decisions import CONTROLS, MODES, Policy
from pydisp.toolken.evaluating.answering import Answering, AnswerSettings, check_rooms
from pydisp.toolken.evaluating.calibration_curves import calibration_curves
from pydisp.toolken.evaluating.evaluated import Evaluated
from pydisp.toolken.evaluating.figures import ORDER, figures
from pydisp.toolken.evaluating.journal import Journal
from pydisp.toolken.evaluating.outcomes import Outcome
from pydisp.toolken.evaluating.scoring import documentation_room, scored_positions, usable
from pydisp.toolken.evaluating.selection import decide
from pydisp.toolken.problems.problem import Problem
from pydisp.toolken.toolkens import Toolkens, ToolkensError

_JOURNAL = "outcomes.partial"


def evaluate(
    model: nn.Module,
    toolkens_by_seed: Mapping[int, Toolkens],
    problems: Sequence[Problem],
    *,
    tokenizer,
    modes: Sequence[str] = MODES + CONTROLS,
    k: int | None = None,
    answers: int | None = None,
    settings: AnswerSettings = AnswerSettings(),  # noqa: B008  frozen
    seed: int = 0,
    name: str = "",
    data: str = "",
    left_out: Sequence[str] = (),
    work: str | os.PathLike | Callable[[], str | os.PathLike] | None = None,
    resume: bool = True,
    say: Callable[[str], None] = silence,
) -> Evaluated:
    """Compare modes on problems that the toolkens were not trained on, which the caller sees to.

    Args:
        model: a transformers causal language model; not changed. tokenizer: its fast one.
        toolkens_by_seed: of this model, trained alike with these seeds; tools that not all of them have are left out, which the result says.
        modes: of `decisions.MODES` and `CONTROLS`, each taken once; "none" alone needs answers, for it has nothing else to measure. k: tools that are reranked; by default the least of the toolkens.
        answers: of how many problems answers are written, drawn by the seed among those with a gold answer; None for all, 0 for none.
        seed: of that draw and of p-values. name, data: of the model and the problems, for people. left_out: sentences on what a reader of the data left out.
        work: folder for caches and the journal; by default one that is removed at the end. A function that returns it is called when all has been
            checked that can be refused without the model reading anything. resume: go on from a journal that is there.
    Raises: ToolkensError for toolkens of another model, without a common tool, or of trainings that differ by more than the seed; ValueError with one sentence for what cannot be evaluated;
        JournalError for a work folder of another run; Interrupted after a stop request.
    """
    modes = _ordered(modes)
    _check_measured(modes, _asked(problems, answers, seed))
    used, sentences = _common(toolkens_by_seed)
    for one in used.values():
        one.check(model, tokenizer)
    any_of = next(iter(used.values()))
    k = min(one.k for one in used.values()) if k is None else k
    policies = {mode: [one.policy(mode, k) for one in used.values()] for mode in modes}
    kinds = tuple(dict.fromkeys(of[0].documentation for of in policies.values() if of[0].reads_documentation))
    kept, labelled, why = usable(problems, tokenizer, any_of.tools, model, kinds=kinds, k=k)
    left_out = [*left_out, *sentences, *why]
    for sentence in left_out:
        say(sentence)
    if not kept:
        raise ValueError(f"none of {len(problems)} problems can be evaluated; give problems that call the tools of the toolkens.")
    asked = _asked(kept, answers, seed)
    _check_measured(modes, asked)
    if asked:
        any_of.tools.check_files()
        check_rooms(model, tokenizer, asked, settings)
    with evaluating(model), _folder(work) as folder:
        positions = scored_positions(model, tokenizer, list(used.values()), kept, labelled, kinds=kinds, k=k, folder=folder, say=say)
        decided = {mode: [decide(one, of) for one, of in zip(positions, policies[mode], strict=True)] for mode in modes if mode != MODES[0]}
        outcomes = _answered(model, tokenizer, asked, used, modes, k, settings, folder, resume, say) if asked else []
    curves = {mode: one for mode, of in decided.items() if (one := calibration_curves(positions, of)) is not None}
    return Evaluated(
        model=name or any_of.base["name"],
        data=data or "problems",
        tools=any_of.tools.names,
        seeds=tuple(used),
        k=k,
        figures=figures(positions, decided, outcomes, k=k, seed=seed),
        curves=curves,
        outcomes=tuple(outcomes),
        prompts={problem.id: problem.prompt for problem in asked},
        problems={
            "problems": len(kept), "groups": len({one.group for one in kept}), "need_a_tool": sum(one.needs_tool for one in kept),
            "answered": len(asked), "positions": len(positions[0].gold), "gold_calls": int((positions[0].gold >= 0).sum()),
        },
        left_out=tuple(left_out),
        calibrations=tuple(dict(one.calibration) for one in used.values()),
        facts={"seed": seed, "modes": modes, "settings": asdict(settings), "problems": _digest([asdict(one) for one in kept])},
    )  # fmt: skip


def _ordered(modes: Sequence[str]) -> list[str]:
    if not modes:
        raise ValueError(f"no mode is given; known: {', '.join(ORDER)}.")
    for mode in modes:
        Policy(mode)  # raises for an unknown one
    return [mode for mode in ORDER if mode in modes]


def _check_measured(modes: Sequence[str], asked: Sequence[Problem]) -> None:
    if list(modes) == [MODES[0]] and not asked:
        raise ValueError(
            f"nothing would be measured: the only mode is {MODES[0]!r}, which calls no tool, and no answers are written; give another mode "
            "beside it, or answers of problems that have a gold answer."
        )


def _common(toolkens_by_seed: Mapping[int, Toolkens]) -> tuple[dict[int, Toolkens], list[str]]:
    """The toolkens with the tools that all of them have, in the order of the first; and a sentence on the others."""
    if not toolkens_by_seed:
        raise ToolkensError("there are no toolkens to evaluate; give one or more sets, one for each seed of the training.")
    names = [one.tools.names for one in toolkens_by_seed.values()]
    _check_alike(toolkens_by_seed)
    shared = [name for name in names[0] if all(name in of for of in names)]
    if not shared:
        raise ToolkensError(f"no tool is in all {len(names)} sets of toolkens; give sets that were trained on the same tools.")
    used, dropped = {}, set()
    for seed, one in toolkens_by_seed.items():
        for name in one.tools.names:
            if name not in shared:
                one, _ = one.without(name), dropped.add(name)  # noqa: PLW2901
        if list(one.tools.names) != shared:
            raise ToolkensError(f"the toolkens of seed {seed} have their tools in another order; train all sets with the same tools.")
        used[seed] = one
    words = f"{len(dropped)} tools are not in all {len(names)} sets of toolkens and are left out: {', '.join(sorted(dropped)[:10])}."
    return used, [words] if dropped else []


def _check_alike(toolkens_by_seed: Mapping[int, Toolkens]) -> None:
    """Refuse sets that are no repetitions of one training: the intervals over seeds would say nothing."""
    (first, one), *others = toolkens_by_seed.items()
    for seed, other in others:
        for name in one.tools.names:
            if name in other.tools and one.tools[name] != other.tools[name]:
                raise ToolkensError(
                    f"the tool {name!r} is another one for seed {seed} than for seed {first}; train all sets with the same tools."
                )
        mine, theirs = ({**of.training.get("settings", {}), "documentation_tokens": documentation_room(of)} for of in (one, other))
        for name in sorted((mine.keys() | theirs.keys()) - {"seed"}):
            if mine.get(name) != theirs.get(name):
                raise ToolkensError(
                    f"the toolkens of seed {first} were trained with {name} {mine.get(name)!r}, those of seed {seed} with {theirs.get(name)!r}; give "
                    "sets whose trainings differ by the seed only."
                )


def _asked(problems: Sequence[Problem], answers: int | None, seed: int) -> list[Problem]:
    having = [problem for problem in problems if problem.answer is not None]
    if answers is None or answers >= len(having):
        return having
    return [having[place] for place in sorted(Draws(seed, "answered problems").sample(range(len(having)), answers))]


def _answered(model, tokenizer, asked, used, modes, k: int, settings, folder: Path, resume: bool, say) -> list[Outcome]:
    any_of = next(iter(used.values()))
    identity = {
        "model": any_of.base["digest"], "tokenizer": any_of.tokenizer_digest, "tools": any_of.tools.digest,
        "problems": _digest([asdict(one) for one in asked]), "toolkens": {str(seed): one.digest for seed, one in used.items()},
        "modes": list(modes), "k": k, **asdict(settings), **_numbers_of(model),
    }  # fmt: skip
    with Journal(folder / _JOURNAL, identity, resume=resume) as journal:
        return Answering(model, tokenizer, asked, used, modes, k=k, journal=journal, settings=settings).outcomes(say)


def _numbers_of(model: nn.Module) -> dict:
    """What decides how a model computes beside its weights: answers in another dtype or on another device are other answers."""
    parameters = list(model.parameters())
    return {
        "dtype": ", ".join(sorted({str(one.dtype).removeprefix("torch.") for one in parameters})),
        "device": ", ".join(sorted({one.device.type for one in parameters})),
    }


def _digest(values) -> str:
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:16]


@contextmanager
def _folder(work: str | os.PathLike | Callable[[], str | os.PathLike] | None):
    if work is not None:
        yield Path(work() if callable(work) else work)
        return
    with TemporaryDirectory() as folder:
        yield Path(folder)
