"""The evaluation journey: from a model's name and folders of toolkens to a folder with the report, which appears whole or not at all.

evaluate_to_folder("SMOLLM2", ["toolkens-0", "toolkens-1", "toolkens-2"], "report", data="builtin:b").in_words()
"""

import json
import os
import shutil
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from pathlib import Path

from pydisp.arguments import (
    BY_NAME,
    MODEL,
    PATH,
    RECEIVER,
    SWITCH,
    TOKENIZER,
    instance_of,
    list_of,
    one_of,
    optional,
    takes,
    whole,
)
from pydisp.arguments import (
    SEED as ANY_SEED,
)
from pydisp.environment import run_facts
from pydisp.loading import displayed_name
from pydisp.progress import Interrupted, on_stderr
from pydisp.subject import Subject
from pydisp.toolken.decisions import CONTROLS, MODES
from pydisp.toolken.evaluating.answering import AnswerSettings
from pydisp.toolken.evaluating.evaluated import Evaluated
from pydisp.toolken.evaluating.evaluating import evaluate
from pydisp.toolken.problems.generator import MOST_PROBLEMS
from pydisp.toolken.problems.sources import read_problems
from pydisp.toolken.toolkens import Toolkens, ToolkensError
from pydisp.toolken.tools.builtin import BUILTIN
from pydisp.toolken.tools.tools import Tools
from pydisp.workspace import Workspace, write_whole

RESULT_FILE = "toolken.json"  # the object of --json; `Workspace` knows finished folders by it and the report beside it
OUTCOMES_FILE = "outcomes.jsonl"
EVALUATED, SEED = 200, 1000  # problems, and a seed that no training has by default
_WORK = "work"


@takes(
    model=MODEL, toolkens=list_of(PATH, "folders of `train_to_folder`, one or more", least=1), out=PATH, data=replace(PATH, made=os.fspath),
    modes=optional(list_of(one_of(MODES + CONTROLS), "modes, one or more", least=1)), count=optional(whole(1, MOST_PROBLEMS)), answers=optional(whole(0)),
    k=optional(whole(1)), seed=ANY_SEED, settings=instance_of(AnswerSettings, "give AnswerSettings"), tokenizer=optional(TOKENIZER),
    resume=SWITCH, overwrite=SWITCH, **BY_NAME, say=RECEIVER,
)  # fmt: skip
def evaluate_to_folder(
    model,
    toolkens: Sequence[str | os.PathLike],
    out: str | os.PathLike,
    *,
    data: str = "builtin:b",
    modes: Sequence[str] | None = None,
    count: int | None = EVALUATED,
    answers: int | None = None,
    k: int | None = None,
    seed: int = SEED,
    settings: AnswerSettings = AnswerSettings(),  # noqa: B008  frozen
    tokenizer=None,
    resume: bool = False,
    overwrite: bool = False,
    device: str | None = None,
    dtype: str | None = None,
    revision: str | None = None,
    trust_remote_code: bool = False,
    say: Callable[[str], None] = on_stderr,
) -> Evaluated:
    """Compare the modes of deciding on problems, and write a report.

    Args:
        model: a name that `pydisp.loading` knows, or a transformers model with its tokenizer.
        toolkens: folders of `train_to_folder`, one for each seed of the training.
        out: the folder to make: the report, `toolken.json` (the figures), `outcomes.jsonl` (every answer with its trace).
        data: where the problems come from; those that any of the toolkens was trained on are left out. count: at most so many of them.
        modes: by default all. answers: how many problems are also answered end to end, by default all. k: tools that are reranked.
        seed: of the problems, of the draw of those that are answered, and of p-values.
        resume: go on where a stopped run was; the result is the same.
    Raises: ValueError, FileNotFoundError, FileExistsError or ImportError with one sentence; Interrupted after a stop request.
    """
    workspace = Workspace(out, marker=RESULT_FILE, journey="toolken eval")
    try:
        with workspace.claimed(overwrite=overwrite, resume=resume):
            sets = _by_seed(toolkens)
            subject = Subject.of(model, tokenizer, device=device, dtype=dtype, revision=revision, trust_remote_code=trust_remote_code)
            seen = frozenset().union(*(one.trained_on for one in sets.values()))
            found = read_problems(data, seed=seed, count=count, tools=_named(sets), is_unseen=lambda one: seen.isdisjoint(one.digests))
            names = list(MODES + CONTROLS if modes is None else modes)

            def begin() -> Path:
                """The folder for what a stopped run leaves; claimed when all that can be refused at once has been looked at."""
                identity = {
                    "data": data,
                    "modes": names,
                    "count": count,
                    "answers": answers,
                    "k": k,
                    "seed": seed,
                    **asdict(settings),
                }
                of_model = {"model": subject.name, "tokenizer": subject.digest, "dtype": str(loaded.dtype), "device": str(loaded.device)}
                workspace.begin({**identity, **of_model, "toolkens": {str(key): one.digest for key, one in sets.items()}}, resume=resume)
                work = workspace.folder / _WORK
                if not resume:
                    shutil.rmtree(work, ignore_errors=True)
                    workspace.save_state({"seeds": list(sets)})  # marks the folder as one that can be resumed
                work.mkdir(exist_ok=True)
                return work

            with subject.loaded(say) as loaded:
                evaluated = evaluate(
                    loaded, sets, found.problems, tokenizer=subject.tokenizer, modes=names, k=k, answers=answers, settings=settings,
                    seed=seed, name=subject.name, data=found.name, left_out=found.left_out, work=begin, resume=resume, say=say,
                )  # fmt: skip
                evaluated = replace(evaluated, facts={**evaluated.facts, **run_facts(loaded)})
            _write(workspace, evaluated)
            workspace.finish()
            shutil.rmtree(workspace.folder / _WORK, ignore_errors=True)
            return evaluated
    except Exception:
        raise
    except BaseException:  # a second Ctrl-C
        if not (workspace.has_begun and workspace.has_state):
            raise
        raise Interrupted("stopped; repeat the command with --resume to go on.") from None


def _by_seed(folders: Sequence[str | os.PathLike]) -> dict[int, Toolkens]:
    sets: dict[int, Toolkens] = {}
    for folder in folders:
        one = Toolkens.load(folder)
        seed = one.training.get("settings", {}).get("seed", len(sets))
        if seed in sets and sets[seed].tools.names != one.tools.names:
            raise ToolkensError(
                f"the toolkens in {displayed_name(os.fspath(folder))} have other tools than those before; give trainings on the same tools and "
                "problems that differ by the seed only."
            )
        if seed in sets:
            raise ToolkensError(f"two sets of toolkens were trained with the seed {seed}; give one for each seed.")
        sets[seed] = one
    if not sets:
        raise ToolkensError("there are no toolkens to evaluate; give one or more folders of `pydisp toolken train`.")
    return sets


def _named(sets: dict[int, Toolkens]) -> Tools:
    """The tools that a file of problems may name: those of the toolkens and the built-in ones; problems of tools without toolkens are left out later."""
    own = next(iter(sets.values())).tools
    return Tools([*own, *(tool for tool in BUILTIN if tool.name not in own)])


def _write(workspace: Workspace, evaluated: Evaluated) -> None:
    evaluated.report.write(workspace.output)
    write_whole(workspace.output / RESULT_FILE, f"{json.dumps(evaluated.as_dict(), indent=2, allow_nan=False)}\n")
    lines = [json.dumps(one.as_dict(), ensure_ascii=False, allow_nan=False) for one in evaluated.outcomes]
    write_whole(workspace.output / OUTCOMES_FILE, "".join(f"{line}\n" for line in lines))
