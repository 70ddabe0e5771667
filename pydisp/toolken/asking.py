"""Asking: one question to a model with toolkens, for people who want to see what it does.

ask("SMOLLM2", "toolkens", "What is 1234 times 56?").marked      # "[multiply(1234, 56) -> 69104]"
"""

import os
from collections.abc import Callable
from dataclasses import dataclass

from pydisp.arguments import BY_NAME, MODEL, NAME, PATH, RECEIVER, SWITCH, TOKENIZER, Kind, one_of, optional, takes, whole
from pydisp.progress import Bar, silence
from pydisp.subject import Subject
from pydisp.toolken.decisions import MODES
from pydisp.toolken.decoding.generating import generate
from pydisp.toolken.decoding.marked_text import marked_text, shown
from pydisp.toolken.problems.problem import QUESTION
from pydisp.toolken.toolkens import Toolkens

NEXT_QUESTION = "\nQuestion:"  # a base model goes on with a next one


@dataclass(frozen=True)
class Asked:
    """An answer.

    Args:
        question: as asked. text: the answer, results of calls included. marked: the same with each call marked. trace: every decision, plain values.
    """

    question: str
    mode: str
    text: str
    marked: str
    trace: dict

    def as_dict(self) -> dict:
        """Plain values for JSON."""
        return {"question": self.question, "mode": self.mode, "text": self.text, "marked": self.marked, "trace": self.trace}


@takes(
    model=MODEL,
    toolkens=Kind("give Toolkens, or their folder", lambda value: isinstance(value, Toolkens) or PATH.is_right(value)),
    question=NAME, mode=one_of(MODES), as_it_is=SWITCH, max_new_tokens=whole(1), tokenizer=optional(TOKENIZER), **BY_NAME, say=RECEIVER,
)  # fmt: skip
def ask(
    model,
    toolkens: Toolkens | str | os.PathLike,
    question: str,
    *,
    mode: str = "calibrated",
    as_it_is: bool = False,
    max_new_tokens: int = 64,
    tokenizer=None,
    device: str | None = None,
    dtype: str | None = None,
    revision: str | None = None,
    trust_remote_code: bool = False,
    say: Callable[[str], None] = silence,
) -> Asked:
    """Answer greedily.

    Args:
        model: a name that `pydisp.loading` knows, or a transformers model with its tokenizer. toolkens: of this model, or their folder.
        mode: one of `pydisp.toolken.decisions.MODES`. as_it_is: the question is the whole prompt, else it is put as in training.
        say: a function that receives progress lines.
    Raises: ValueError with one sentence, also for toolkens of another model.
    """
    found = toolkens if isinstance(toolkens, Toolkens) else Toolkens.load(toolkens)
    subject = Subject.of(model, tokenizer, device=device, dtype=dtype, revision=revision, trust_remote_code=trust_remote_code)
    prompt = question if as_it_is else QUESTION.format(question=question)
    stops = {} if as_it_is else {"stop_strings": [NEXT_QUESTION]}
    phase = dict(title=f"answer of {subject.name}", unit="token", is_brief=True)
    with subject.loaded(say) as loaded, Bar(max_new_tokens, say, **phase) as bar:
        made = generate(
            loaded, subject.tokenizer, found, prompt, mode=mode, max_new_tokens=max_new_tokens, do_sample=False,
            told=lambda tokens: bar(min(tokens, max_new_tokens)), **stops,
        )  # fmt: skip
    text, trace = made.texts[0], made.traces[0]
    marked = marked_text(text, trace).removesuffix(shown(NEXT_QUESTION, "\n")).strip()
    return Asked(question, mode, text.removesuffix(NEXT_QUESTION).strip(), marked, trace.as_dict())
