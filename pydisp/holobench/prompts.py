"""Prompts: what a model reads: facts, then one question; as plain text or in the tokenizer's chat template.

    prompts = Prompts(tokenizer, Style("chat", "direct"))
    prompts.text(context, question), prompts.ids(context, question)

The facts come before the question, so that the questions of one context share their beginning.
"""

from dataclasses import asdict, dataclass

from pydisp.arguments import check_fields, one_of, whole

TEMPLATES = ("plain", "chat")
ANSWERS = ("direct", "reason")
ROOM = {"direct": 64, "reason": 320}  # tokens for the answer, by default

_BEFORE = "Facts:\n"
_AFTER = "\n\nQuestion: {question}\n{how}"
_HOW = {
    "direct": 'One row a line, commas between columns, or "No answer".',
    "reason": 'Reason in short steps. Then write "Answer:" and one row a line, commas between columns, or "No answer".',
}
_CUE = {"direct": "\nAnswer:", "reason": "\nReasoning:"}  # a plain prompt ends with it; a chat template has the model's turn instead
_CONTEXT, _QUESTION = "\ue000context\ue000", "\ue000question\ue000"  # private characters: no text of a database has them


class PromptError(ValueError):
    """A prompt that this tokenizer cannot make; the message is one sentence."""


@dataclass(frozen=True)
class Style:
    """How a model is asked.

    Args:
        template: "plain", or "chat" for the tokenizer's chat template. answer: "direct", or "reason" before answering.
        room: tokens kept for the answer; 0: the default of `answer`.
    """

    template: str = "plain"
    answer: str = "direct"
    room: int = 0

    def __post_init__(self):
        check_fields(self, template=one_of(TEMPLATES), answer=one_of(ANSWERS), room=whole(0))
        if not self.room:
            object.__setattr__(self, "room", ROOM[self.answer])

    def as_dict(self) -> dict:
        return asdict(self)


class Prompts:
    """The prompts of one tokenizer and style.

    Raises: PromptError if the style asks for a chat template and the tokenizer has none, or one that changes what it is given.
    """

    def __init__(self, tokenizer, style: Style):
        self.tokenizer, self.style = tokenizer, style
        body = _BEFORE + _CONTEXT + _AFTER.format(question=_QUESTION, how=_HOW[style.answer])
        if style.template == "chat":
            if not tokenizer.chat_template:
                raise PromptError("the tokenizer has no chat template; ask plainly.")
            try:
                whole = tokenizer.apply_chat_template([{"role": "user", "content": body}], tokenize=False, add_generation_prompt=True)
            except Exception as error:  # a template is a program of its author
                raise PromptError(f"the tokenizer's chat template fails on a single question ({error}); ask plainly.") from None
        else:
            whole = body + _CUE[style.answer]
        if whole.count(_CONTEXT) != 1 or whole.count(_QUESTION) != 1:
            raise PromptError("the tokenizer's chat template changes the text it is given; ask plainly.")
        ends = tokenizer(".", add_special_tokens=True, verbose=False)["input_ids"]
        if style.template == "plain" and tokenizer.eos_token_id is not None and len(ends) > 1 and ends[-1] == tokenizer.eos_token_id:
            raise PromptError(
                "the tokenizer writes an end-of-text token behind every text (add_eos_token), so no answer could follow; turn that off."
            )
        self.before, rest = whole.split(_CONTEXT)
        self.between, self.after = rest.split(_QUESTION)

    @property
    def starts_answer_with_space(self) -> bool:
        """Whether an answer follows a word of the prompt on its line."""
        return not self.after.endswith(("\n", " ", ">")) and self.style.template == "plain"

    def text(self, context: str, question: str) -> str:
        return f"{self.before}{context}{self.between}{question}{self.after}"

    def encode(self, text: str) -> list[int]:
        """The ids of a whole prompt, with the beginning-of-text token if the tokenizer has one (a chat template writes its own)."""
        return self.tokenizer(text, add_special_tokens=self.style.template == "plain", verbose=False)["input_ids"]

    def ids(self, context: str, question: str) -> list[int]:
        return self.encode(self.text(context, question))

    def with_answer(self, prompt: str, answer: str) -> str:
        """The prompt followed by an answer."""
        return prompt + (" " if self.starts_answer_with_space else "") + answer
