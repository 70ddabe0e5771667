"""The training journey: from a model's name, tools and problems to a folder of toolkens, which appears whole or not at all.

toolkens = train_to_folder("SMOLLM2", "toolkens", tools="builtin", data="builtin")
"""

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from pathlib import Path

from pydisp.arguments import BY_NAME, MODEL, PATH, RECEIVER, SWITCH, TOKENIZER, instance_of, optional, takes, whole
from pydisp.environment import run_facts
from pydisp.loading import displayed_name
from pydisp.progress import Interrupted, on_stderr
from pydisp.subject import Subject
from pydisp.toolken.problems.checking import Wrong, checked, in_words
from pydisp.toolken.problems.generator import MOST_PROBLEMS
from pydisp.toolken.problems.problem import Problem
from pydisp.toolken.problems.problem_set import ProblemSet
from pydisp.toolken.problems.sources import read_problems
from pydisp.toolken.toolkens import ROWS_FILE, Toolkens
from pydisp.toolken.tools.calling import Caller
from pydisp.toolken.tools.tool import ToolError
from pydisp.toolken.tools.tool_file import read_tools
from pydisp.toolken.tools.tools import Tools
from pydisp.toolken.training.training import TrainSettings, train
from pydisp.workspace import Workspace

TRAINED = 600  # problems, by default
_CACHE = "features"


@takes(
    model=MODEL, out=PATH, tools=replace(PATH, made=os.fspath), data=replace(PATH, made=os.fspath), count=optional(whole(1, MOST_PROBLEMS)),
    settings=instance_of(TrainSettings, "give TrainSettings"), tokenizer=optional(TOKENIZER), resume=SWITCH, overwrite=SWITCH, **BY_NAME,
    say=RECEIVER,
)  # fmt: skip
def train_to_folder(
    model,
    out: str | os.PathLike,
    *,
    tools: str = "builtin",
    data: str = "builtin",
    count: int | None = TRAINED,
    settings: TrainSettings = TrainSettings(),  # noqa: B008  frozen
    tokenizer=None,
    resume: bool = False,
    overwrite: bool = False,
    device: str | None = None,
    dtype: str | None = None,
    revision: str | None = None,
    trust_remote_code: bool = False,
    say: Callable[[str], None] = on_stderr,
) -> Toolkens:
    """Train toolkens for a frozen model and write them to a folder.

    Args:
        model: a name that `pydisp.loading` knows, or a transformers model with its tokenizer.
        out: the folder to make: `toolkens.safetensors` and `toolkens.json`.
        tools: "builtin", a file of tools or a module (`pydisp.toolken.tools.tool_file`). With "builtin" data that have tools of their own, such as
            MetaTool's, bring these.
        data: where the problems come from (`pydisp.toolken.problems.sources`). count: at most so many; None for all that there are.
        settings: of the training; their seed also draws the problems.
        resume: go on with the hidden states that a stopped run left; the result has the same bytes as that of an unbroken one.
    Raises: ValueError, FileNotFoundError, FileExistsError or ImportError with one sentence, before the model reads anything; Interrupted.
    """
    workspace = Workspace(out, marker=ROWS_FILE, journey="toolken train")
    try:
        with workspace.claimed(overwrite=overwrite, resume=resume):
            subject = Subject.of(model, tokenizer, device=device, dtype=dtype, revision=revision, trust_remote_code=trust_remote_code)
            known = read_tools(tools)
            found = read_problems(data, seed=settings.seed, count=count, tools=known)
            known = _tools_of(tools, known, found)
            problems, wrong = _checked(found, known, say)
            left_out = [*found.left_out, *([in_words(wrong)] if wrong else [])]
            for sentence in left_out:
                say(sentence)

            def begin() -> Path:
                """The folder for hidden states; claimed when all that can be refused at once has been looked at."""
                cache = workspace.folder / _CACHE
                dtype_and_device = {"dtype": str(loaded.dtype), "device": str(loaded.device)}
                workspace.begin({**_identity(subject, known, problems, settings), **dtype_and_device}, resume=resume)
                if not resume:
                    shutil.rmtree(cache, ignore_errors=True)
                    workspace.save_state({"toolkens": list(known.names)})  # marks the folder as one that can be resumed
                cache.mkdir(exist_ok=True)
                return cache

            with subject.loaded(say) as loaded:
                toolkens = train(
                    loaded, known, problems, tokenizer=subject.tokenizer, name=subject.name, settings=settings, work=begin, say=say
                )
                facts = run_facts(loaded)
            left_out = [*left_out, *toolkens.training["left_out"]]
            toolkens = toolkens.with_facts(data=found.name, left_out=left_out, wrong_calls=[str(one) for one in wrong], run=facts)
            toolkens.save(workspace.output)
            workspace.finish()
            shutil.rmtree(workspace.folder / _CACHE, ignore_errors=True)
            return toolkens
    except Exception:
        raise
    except BaseException:  # a second Ctrl-C
        if not (workspace.has_begun and workspace.has_state):
            raise
        raise Interrupted("stopped; repeat the command with --resume to go on.") from None


def _tools_of(source: str, given: Tools, found: ProblemSet) -> Tools:
    """The tools to train: those given where they were chosen, else those of the data.

    Raises: ToolError if the problems call others than those chosen.
    """
    if source == "builtin":
        return found.tools or given
    called = dict.fromkeys(call.tool for problem in found.problems for call in problem.calls)
    other = [name for name in called if name not in given]
    if other:
        raise ToolError(
            f"the problems of {found.name} call {other[0]!r}, which is not among the tools of {displayed_name(source)} ({', '.join(given.names[:5])}"
            f"{', ...' if len(given) > 5 else ''}); give problems that call these, with --data FILE.jsonl."
        )
    return given


def _checked(found: ProblemSet, tools: Tools, say: Callable[[str], None]) -> tuple[list[Problem], list[Wrong]]:
    """The problems whose gold calls give the results that stand in them, and the others."""
    with Caller(tools) as caller:
        return checked(found.problems, caller, say)


def _identity(subject: Subject, tools: Tools, problems: Sequence[Problem], settings: TrainSettings) -> dict:
    read = hashlib.sha256(json.dumps([asdict(one) for one in problems], sort_keys=True).encode()).hexdigest()[:16]
    return {"model": subject.name, "tokenizer": subject.digest, "tools": tools.digest, "problems": read, **asdict(settings)}
