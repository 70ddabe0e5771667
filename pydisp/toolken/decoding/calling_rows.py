"""Calling rows: what follows where a tool is on top: arguments, the call, its result in the text, or the plain model's token after all.

A text goes on with the plain model's token where nothing is put in. So a tool cannot fire twice at one place, and every step writes a
token. A result is put in whole; where the text has no room for it, the text ends before it.

The call of just now, once more directly behind its result, is broken off, and so is a call that ran twice and comes a third time before any other:
a text that goes in a circle would make it to its end.

What failed once in a text is not run in it again: the same call, with equal arguments, is counted as repeated. A tool that has no function, or that
fails with the same arguments a second time, is not tried again in that text, and its arguments are not written: else a text in which it is on
top at every position would take as many attempts as it has tokens.
"""

from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial

from torch import Tensor

from pydisp.toolken.decisions import Choice
from pydisp.toolken.decoding.batch_rows import BatchRows
from pydisp.toolken.decoding.choosing import Chooser
from pydisp.toolken.decoding.closed_results import closed_results
from pydisp.toolken.decoding.put_in import put_in, written_text
from pydisp.toolken.decoding.tool_mode import ArgumentWriter, Written
from pydisp.toolken.decoding.trace import Step, Trace
from pydisp.toolken.problems.labels import continuation_ids
from pydisp.toolken.tools.arguments import ArgumentsError, bound, parse, written
from pydisp.toolken.tools.limits import LimitError
from pydisp.toolken.tools.results import escaped
from pydisp.toolken.tools.tool import Tool
from pydisp.toolken.tools.tools import Tools

MOST_ON_END = 2  # equal calls; a text may well ask for the same twice
WITHOUT_FUNCTION = "has no function; only its documentation is known, so it cannot be called"


@dataclass(frozen=True)
class _Last:
    """The last call of a text that ran, how often it ran on end, and how long the text was behind its last result, in tokens."""

    tool: int
    values: str
    times: int
    length: int


@dataclass
class _Failed:
    """What failed in one text.

    Args:
        calls: the errors and kinds, by tool and arguments. tools: those that are not tried again, with the error and kind of the last attempt.
    """

    calls: dict[tuple[int, str], tuple[str, str]] = field(default_factory=dict)
    tools: dict[int, tuple[str, str]] = field(default_factory=dict)


class CallingRows:
    """The tools in the loop (`decoding.loop.ToolsInTheLoop`) for one batch.

    A context manager, which ends the worker of calls if it began one.

    Args:
        caller: runs calls: `call(name, arguments) -> CallResult`; None for a `Caller` of the tools that begins with the first call.
        most_calls: of one text, failed ones included.
    Raises: ToolError for a tool whose file is not there.

    `traces` has the trace of each text.
    """

    def __init__(self, chooser: Chooser, writer: ArgumentWriter, tools: Tools, tokenizer, caller=None, most_calls: int = 8):
        tools.check_files()
        self.chooser, self.writer, self.tools, self.tokenizer = chooser, writer, tools, tokenizer
        self.most_calls = most_calls
        self.traces: list[Trace] = []
        self._caller, self._opened = caller, ExitStack()
        self._prompts: list[int] = []  # tokens of each prompt, without padding
        self._last: dict[int, _Last] = {}
        self._results: dict[int, tuple[str, int]] = {}  # the last one in each text, and how long the text was behind it
        self._closed = closed_results(tokenizer, chooser.vocabulary)
        self._failed: list[_Failed] = []
        self._max_length = 0
        self._reserved = {*tokenizer.all_special_ids, *tokenizer.added_tokens_decoder}

    def __enter__(self) -> "CallingRows":
        return self

    def __exit__(self, *error) -> None:
        self._opened.__exit__(*error)

    def begin(self, rows: BatchRows, max_length: int) -> None:
        self.traces = [Trace() for _ in range(len(rows))]
        self._failed, self._last, self._results = [_Failed() for _ in range(len(rows))], {}, {}
        self._prompts = [rows.ids.shape[1] - padding for padding in rows.padding]
        self._max_length = max_length

    def words(self, logits: Tensor) -> Tensor:
        return self.chooser.words(logits)

    def closed(self, rows: BatchRows) -> dict[int, Tensor]:
        found = {}
        for row, (result, length) in self._results.items():
            count = rows.lengths[row] - length
            if count <= 1:
                behind = self.tokenizer.convert_ids_to_tokens(int(rows.ids[row, -1])) if count else ""
                ids = self._closed.forbidden(result, behind)
                if len(ids):
                    found[row] = ids
        return found

    def put_in(self, logits: Tensor, rows: BatchRows, is_unfinished: Tensor) -> dict[int, list[int]]:
        fired = (self.chooser.fired(logits) & is_unfinished.to(logits.device)).nonzero().flatten().tolist()
        if not fired:
            return {}
        texts = {row: self._text(rows, row) for row in fired}
        step = partial(self._step, rows, texts)
        asked = [row for row in fired if self.traces[row].calls_made < self.most_calls]
        for row in set(fired) - set(asked):
            best = int(self.chooser.tool_logits(logits)[row].argmax())
            step(row, Choice(None, best, (best,), (), 0.0), "beyond", confidence=None)
        chosen = {}
        for row, (choice, error) in zip(asked, self.chooser.choices(logits, asked, rows.past) if asked else (), strict=True):
            if choice.tool is None:
                step(row, choice, "rejected", error=error)
            elif choice.tool in self._failed[row].tools:
                error, kind = self._failed[row].tools[choice.tool]
                step(row, choice, "repeated", error=error, kind=kind)
            else:
                chosen[row] = choice
        calls = self._written(chosen, texts)
        found = {row: self._called(rows, row, texts[row][0], choice, calls.get(row), step) for row, choice in chosen.items()}
        return {row: ids for row, ids in found.items() if ids is not None}

    def _written(self, chosen: dict[int, Choice], texts: dict[int, tuple[str, str]]) -> dict[int, Written]:
        """The arguments of each row whose tool can be called."""
        tools = list(self.tools)
        rows = [row for row, choice in chosen.items() if tools[choice.tool].function is not None]
        return dict(zip(rows, self.writer.write([(texts[row][0], chosen[row].tool) for row in rows]), strict=True))

    def _called(self, rows: BatchRows, row: int, before: str, choice: Choice, call: Written | None, step) -> list[int] | None:
        """The tokens that a call puts into a text, none where they have no room and the text ends; None if the plain model goes on."""
        name, length = self.tools.names[choice.tool], rows.lengths[row]
        failed = self._failed[row]
        if call is None:
            failed.tools[choice.tool] = error, kind = f"the tool {name!r} {WITHOUT_FUNCTION}.", "failed"
            step(row, choice, "failed", error=error, kind=kind)
            return None
        arguments = call.arguments
        values = arguments if call.error is not None else _values(self.tools[name], arguments)
        key = choice.tool, values
        if key in failed.calls:
            failed.tools[choice.tool] = error, kind = failed.calls[key]
            step(row, choice, "repeated", arguments=arguments, error=error, kind=kind)
            return None
        if call.error is not None:
            failed.calls[key] = call.error, "bad arguments"
            step(row, choice, "failed", arguments=arguments, error=call.error, kind="bad arguments")
            return None
        last = self._last.get(row)
        times = last.times if last is not None and (last.tool, last.values) == key else 0
        if times and (times >= MOST_ON_END or last.length == length):
            step(row, choice, "repeated", arguments=arguments)
            return None
        result = self._call(name, arguments)
        if result.text is None:
            failed.calls[key] = result.error, result.kind
            step(row, choice, "failed", arguments=arguments, error=result.error, kind=result.kind)
            return None
        ids = self._ids(put_in(before, result.text)) if result.text else []
        if len(ids) > self._max_length - length:
            error = f"the result has {len(ids)} tokens and the text has room for {self._max_length - length}; the text ends before it."
            step(row, choice, "beyond", arguments=arguments, result=result.text, kind=result.kind, error=error, needed=len(ids))
            return []
        after = written_text(self.tokenizer, [*rows.text_ids(row), *ids], self._prompts[row])
        step(row, choice, "called", arguments=arguments, result=result.text, kind=result.kind, end=len(after))
        self._last[row] = _Last(*key, times + 1, length + len(ids))
        if ids:
            self._results[row] = result.text, length + len(ids)
        return ids or None

    def _ids(self, text: str) -> list[int]:
        """The tokens of a result with its space in front; none of them is a special one."""
        ids = continuation_ids(escaped(text, self.tokenizer), self.tokenizer)
        return [one for one in ids if one not in self._reserved]  # a second lock: `escaped` leaves none

    def _call(self, name: str, arguments: str):
        if self._caller is None:
            from pydisp.toolken.tools.calling import Caller

            self._caller = self._opened.enter_context(Caller(self.tools))
        return self._caller.call(name, arguments)

    def _text(self, rows: BatchRows, row: int) -> tuple[str, str]:
        """The whole text of a row, and what of it was written."""
        ids = rows.text_ids(row)
        written = written_text(self.tokenizer, ids, self._prompts[row])
        return written_text(self.tokenizer, ids, 0), written

    def _step(self, rows: BatchRows, texts, row: int, choice: Choice, outcome: str, **values) -> None:
        place = rows.lengths[row] - rows.padding[row] - self._prompts[row]
        self.traces[row].add(Step.of(place, choice, self.tools, outcome, len(texts[row][1]), **values))


def _values(tool: Tool, arguments: str) -> str:
    """The arguments in one form, equal for equal calls."""
    try:
        return written(bound(tool, parse(arguments)))
    except (ArgumentsError, LimitError):
        return arguments
