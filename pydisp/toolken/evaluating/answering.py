"""Answering: the problems are answered end to end under every mode and seed; calls run, answers are judged.

    answering = Answering(model, tokenizer, problems, {0: toolkens}, modes, journal=journal, settings=AnswerSettings())
    outcomes = answering.outcomes(say)

Modes of one seed differ only where a tool is above every word. So an answer during which that never happens is the answer under all modes of the
seed, and is written once. Arguments depend on neither mode nor seed: one writer remembers them all.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace

from torch import nn

from pydisp.arguments import check_fields, whole
from pydisp.progress import Bar, Interrupted, stop_requests
from pydisp.toolken.decisions import MODES, Policy
from pydisp.toolken.evaluating.answers import judged
from pydisp.toolken.evaluating.journal import Journal
from pydisp.toolken.evaluating.outcomes import Outcome
from pydisp.toolken.evaluating.scoring import documentation_room
from pydisp.toolken.problems.problem import Problem
from pydisp.toolken.toolkens import Toolkens

_PLAIN = MODES[0]
_NEXT_QUESTION = "\nQuestion:"


@dataclass(frozen=True)
class AnswerSettings:
    """What decides the answers beside model, toolkens and problems.

    Args:
        max_new_tokens: of one answer, results included; of a solution with several lines `lines_factor` times as many.
        batch_size: answers that are written together; it changes them by rounding only.
        most_calls: of one answer. most_argument_tokens: of one call.
    """

    max_new_tokens: int = 32
    lines_factor: int = 5
    batch_size: int = 16
    most_calls: int = 8
    most_argument_tokens: int = 64

    def __post_init__(self):
        numbers = dict.fromkeys(("max_new_tokens", "lines_factor", "batch_size", "most_argument_tokens"), whole(1))
        check_fields(self, **numbers, most_calls=whole(0))


class Answering:
    """The answers of one evaluation.

    Args:
        toolkens: by seed; all of the same tools. modes: in which answers are written. k: tools that are reranked.
        journal: open; receives each finished batch, and what it has already is not done again.
    """

    def __init__(
        self,
        model: nn.Module,
        tokenizer,
        problems: Sequence[Problem],
        toolkens: Mapping[int, Toolkens],
        modes: Sequence[str],
        *,
        k: int,
        journal: Journal,
        settings: AnswerSettings,
    ):
        self.model, self.tokenizer, self.toolkens, self.k = model, tokenizer, toolkens, k
        self.modes, self.journal, self.settings = modes, journal, settings
        self.batches = _batches(problems, settings.batch_size)

    def outcomes(self, say: Callable[[str], None]) -> list[Outcome]:
        """One for each mode, seed and problem.

        Raises: Interrupted after a stop request, when the batch in progress is in the journal.
        """
        runs = [(mode, None) for mode in self.modes if mode == _PLAIN]
        runs += [(mode, seed) for seed in self.toolkens for mode in self.modes if mode != _PLAIN]
        total, found = len(runs) * len(self.batches), []
        with ExitStack() as opened, stop_requests() as is_stop_requested:
            tools = _Tools(self, opened)
            bar = opened.enter_context(Bar(total, say, len(self.journal.done), title="answers", unit="batch"))
            done = 0
            for mode, seed in runs:
                same = {one.problem: one for one in found if one.seed == seed and seed is not None and not one.steps}
                for number, batch in enumerate(self.batches):
                    name = f"{mode}, seed {seed}, {number}"
                    if name not in self.journal.done:
                        if is_stop_requested():
                            raise Interrupted(
                                f"stopped after {done} of {total} batches of answers; repeat the command with --resume to go on."
                            )
                        self.journal.append(name, self._answered(tools, mode, seed, batch, same))
                        bar(done + 1)
                    found += self.journal.done[name]
                    done += 1
        return found

    def _answered(self, tools: "_Tools", mode: str, seed: int | None, batch: list[Problem], same: Mapping[str, Outcome]) -> list[Outcome]:
        new = [problem for problem in batch if problem.id not in same]
        written = dict(zip((problem.id for problem in new), tools.written(mode, seed, new), strict=True)) if new else {}
        return [
            _outcome(problem, mode, seed, *written[problem.id]) if problem.id in written else replace(same[problem.id], mode=mode)
            for problem in batch
        ]


class _Tools:
    """What is used again by all modes: the caller, the writer of arguments, and the documentation of each kind."""

    def __init__(self, of: Answering, opened: ExitStack):
        self.of, self._opened = of, opened
        self._caller = self._writer = None
        self._checked: set[int] = set()  # seeds whose toolkens were found to be this model's, which takes a moment each time
        self._documentation: dict = {}

    def written(self, mode: str, seed: int | None, problems: Sequence[Problem]) -> list[tuple[str, tuple[dict, ...]]]:
        """Texts and steps."""
        from pydisp.toolken.decoding.generating import generate

        of, has_lines = self.of, _has_lines(problems[0])
        settings = of.settings
        given = {} if mode == _PLAIN else {"k": of.k, "most_calls": settings.most_calls, **self._shared(mode, of.toolkens[seed])}
        prompts = [problem.prompt for problem in problems]
        found = generate(
            of.model, of.tokenizer, None if mode == _PLAIN else of.toolkens[seed], prompts, mode=mode, do_sample=False,
            max_new_tokens=_most_tokens(problems[0], settings),
            stopping_criteria=_answered_criteria(of.tokenizer, prompts, has_lines), is_checked=seed in self._checked, **given,
        )  # fmt: skip
        self._checked.add(seed)
        return [(text, tuple(step.as_dict() for step in trace.steps)) for text, trace in zip(found.texts, found.traces, strict=True)]

    def _shared(self, mode: str, toolkens: Toolkens) -> dict:
        from pydisp.modeling.cached_model import CachedModel
        from pydisp.toolken.decoding.tool_mode import ArgumentWriter
        from pydisp.toolken.documentation import Documentation
        from pydisp.toolken.tools.calling import Caller

        if self._writer is None:
            reader, most = CachedModel(self.of.model), self.of.settings.most_argument_tokens
            self._writer = ArgumentWriter(reader, self.of.tokenizer, toolkens.tools, most_argument_tokens=most)
            self._caller = self._opened.enter_context(Caller(toolkens.tools))
        shared = {"writer": self._writer, "caller": self._caller}
        policy = Policy(mode)
        if policy.reads_documentation:
            kind = policy.documentation
            if kind not in self._documentation:
                self._documentation[kind] = Documentation(self.of.tokenizer, toolkens.tools, kind, room=documentation_room(toolkens))
            shared["documentation"] = self._documentation[kind]
        return shared


def _batches(problems: Sequence[Problem], size: int) -> list[list[Problem]]:
    """Problems of similar length together; those whose solutions have several lines by themselves."""
    found = []
    for has_lines in (False, True):
        alike = sorted((one for one in problems if _has_lines(one) == has_lines), key=lambda one: (len(one.prompt), one.id))
        found += [alike[start : start + size] for start in range(0, len(alike), size)]
    return found


def check_rooms(model: nn.Module, tokenizer, problems: Sequence[Problem], settings: AnswerSettings) -> None:
    """Refuse settings whose answers some problem leaves no room for.

    Raises: ValueError.
    """
    from pydisp.toolken.decoding.generating import check_room
    from pydisp.toolken.problems.labels import prompt_ids

    for problem in problems:
        check_room(model, len(prompt_ids(problem.prompt, tokenizer)), _most_tokens(problem, settings))


def _most_tokens(problem: Problem, settings: AnswerSettings) -> int:
    return settings.max_new_tokens * (settings.lines_factor if _has_lines(problem) else 1)


def _has_lines(problem: Problem) -> bool:
    return "\n" in problem.solution.strip()


def _outcome(problem: Problem, mode: str, seed: int | None, text: str, steps: tuple[dict, ...]) -> Outcome:
    found = judged(text, problem.answer, has_lines=_has_lines(problem))
    return Outcome(
        problem=problem.id, group=problem.group, mode=mode, seed=seed, gold_tools=tuple(call.tool for call in problem.calls), text=text,
        answer=found.answer, gold=problem.answer, is_exact=found.is_exact, is_within=found.is_within, kind=problem.kind, family=problem.family,
        steps=steps,
    )  # fmt: skip


def _answered_criteria(tokenizer, prompts: Sequence[str], has_lines: bool):
    """Stop a text behind its first line that is not empty; one with several lines where the next question begins."""
    import torch
    from transformers import StoppingCriteria, StoppingCriteriaList

    from pydisp.toolken.problems.labels import prompt_ids

    longest = max(len(prompt_ids(prompt, tokenizer)) for prompt in prompts)

    class Answered(StoppingCriteria):
        def __call__(self, input_ids, scores, **_kwargs):
            texts = tokenizer.batch_decode(input_ids[:, longest:], skip_special_tokens=True, clean_up_tokenization_spaces=False)
            ended = [_NEXT_QUESTION in text if has_lines else "\n" in text.lstrip() for text in texts]
            return torch.tensor(ended, device=input_ids.device)

    return StoppingCriteriaList([Answered()])
