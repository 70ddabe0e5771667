"""Documentation: what the model reads after the prefix before the second scores, the documentation of the best tools and of REJ.

    documentation = Documentation(tokenizer, tools)
    documentation.ids([4, 0, 9], most_tokens=200)

As text, for two candidates:

    Tools:
    multiply(a: number, b: number): The product of two numbers.
    divide(a: number, b: number): The quotient of two numbers.
    none: No tool is needed here; go on writing.
    The tool needed next:

The second scores are read at the last token, where a language model would go on with a name. Text and order are ours: the paper puts the
documentation into the prompt, and its wording is not recoverable. Here it follows the prefix, so that what was read of the prefix is used.
"""

from collections.abc import Callable, Sequence
from functools import partial

from pydisp.arguments import one_of, takes, whole
from pydisp.draws import Draws
from pydisp.toolken.tools.results import escaped
from pydisp.toolken.tools.tools import Tools

KINDS = ("own", "none", "shuffled")
OPENING = "\n\nTools:"
REJECTED = "\nnone: No tool is needed here; go on writing."
CUE = "\nThe tool needed next:"


class DocumentationError(ValueError):
    """Documentation that the model has no room for; the message is one sentence."""


class Documentation:
    """The tokens that follow a prefix, for any candidates; deterministic.

    Args:
        tokenizer: a fast transformers tokenizer.
        kind: "own"; "shuffled": each name stands before the parameters and the documentation of another tool, always the same one;
            "none": the same lines without their sentences: names, parameters, REJ and the cue stay, for the second rows know the form.
        room: the most tokens of documentation for each tool, its name and parameters not counted.
        escape: makes a text harmless, so that no part of it becomes a special token; by default `tools.results.escaped`. What becomes an
            added token only beside the signs that are put in front here is tokenized by characters.
    Raises: ValueError.

    The rule where the context is short: all documentations are cut to the same number of tokens, the largest that fits, each at the end of a
    word. Names, parameters and the line of REJ stay.
    """

    @takes(kind=one_of(KINDS), room=whole(0))
    def __init__(self, tokenizer, tools: Tools, kind: str = "own", room: int = 40, escape: Callable[[str], str] | None = None):
        self.tokenizer, self.tools, self.kind, self.room = tokenizer, tools, kind, room
        self._reserved = {*tokenizer.all_special_ids, *tokenizer.added_tokens_decoder}
        self._escape = escape or partial(escaped, tokenizer=tokenizer)
        self._opening, self._rejected, self._cue = (self._tokens(text)[0] for text in (OPENING, REJECTED, CUE))
        self._all = list(tools)
        self._told = self._all if kind != "shuffled" else [self._all[place] for place in _following(tools)]
        self._lines: dict[int, tuple[list[int], list[int], list[int]]] = {}

    def ids(self, candidates: Sequence[int], most_tokens: int) -> list[int]:
        """The tokens after the prefix, at most `most_tokens` of them.

        Args:
            candidates: places of tools, the best first; each gets one line.
        Raises: DocumentationError if names, the line of REJ and the cue alone are more.
        """
        lines = [self._line(place) for place in candidates]
        least = self._fixed + sum(len(head) for head, _, _ in lines)
        if least > most_tokens:
            raise DocumentationError(
                f"the documentation of {len(candidates)} tools has {least} tokens even without its sentences, and the context has room for "
                f"{most_tokens} after the text; rerank fewer tools, or shorten the text."
            )
        room = self._common_room(lines, most_tokens - least)
        body = [token for head, text, ends in lines for token in (*head, *text[: _cut(ends, room)])]
        return [*self._opening, *body, *self._rejected, *self._cue]

    def least(self, k: int) -> int:
        """How many tokens any k tools may need even without their sentences: those of the k longest names and parameters, REJ and the cue."""
        return self._fixed + sum(sorted((len(self._line(place)[0]) for place in range(len(self._all))), reverse=True)[:k])

    def tokens_of(self, place: int) -> int:
        """How many tokens the documentation of one tool has before it is cut."""
        return len(self._line(place)[1])

    @property
    def _fixed(self) -> int:
        return len(self._opening) + len(self._rejected) + len(self._cue)

    def _common_room(self, lines, left: int) -> int:
        """The largest number of tokens, at most `room`, to which all documentations can be cut so that they fit."""
        low, high = 0, min(self.room, max((len(text) for _, text, _ in lines), default=0))
        while low < high:
            middle = (low + high + 1) // 2
            if sum(_cut(ends, middle) for _, _, ends in lines) <= left:
                low = middle
            else:
                high = middle - 1
        return low

    def _line(self, place: int) -> tuple[list[int], list[int], list[int]]:
        """Tokens of name and parameters, tokens of the documentation, and how many of the latter may be kept."""
        if place not in self._lines:
            tool, told = self._all[place], self._told[place]
            parameters = told.signature.removeprefix(told.name)
            head, _ = self._tokens("\n" + self._escape(tool.name + parameters))
            sentences = "" if self.kind == "none" else ": " + self._escape(" ".join(told.documentation.split()))
            text, ends = self._tokens(sentences)
            self._lines[place] = head, text, ends
        return self._lines[place]

    def _tokens(self, text: str) -> tuple[list[int], list[int]]:
        """Tokens of a text, none special or added, and the numbers of tokens after which a word ends, 0 first."""
        tokens = []
        for token, start, end in self._encoded(text):
            if token not in self._reserved:
                tokens.append((token, start))
                continue
            for place in range(start, end):
                tokens += [(one, place) for one, _, _ in self._encoded(text[place]) if one not in self._reserved]
        starts = [start for _, start in tokens]
        # a space belongs to the word behind it, in the token's characters or (some tokenizers) left out of them
        ends = [
            number
            for number, (before, start) in enumerate(zip(starts, starts[1:], strict=False), start=1)
            if text[start].isspace() or text[start - 1].isspace() and before < start - 1
        ]
        return [token for token, _ in tokens], [0, *ends, len(starts)]

    def _encoded(self, text: str) -> list[tuple[int, int, int]]:
        """Each token with its first character and the one behind its last."""
        encoding = self.tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
        return [(token, *span) for token, span in zip(encoding["input_ids"], encoding["offset_mapping"], strict=True)]


def _cut(ends: Sequence[int], room: int) -> int:
    """The largest of the allowed numbers that is at most `room`."""
    return max(end for end in ends if end <= room)


def _following(tools: Tools) -> list[int]:
    """For each tool the next one in a random circle of all: none is its own, but for a single tool."""
    circle = Draws("shuffled documentation", tools.digest).shuffled(range(len(tools)))
    following = dict(zip(circle, circle[1:] + circle[:1], strict=True))
    return [following[place] for place in range(len(tools))]
