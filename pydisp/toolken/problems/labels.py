"""Labels: what a model should choose at each token of a solution, from character spans, for any fast tokenizer.

    labelled = label(problem, tokenizer, tools)
    labelled.ids      1  Question: What is 12 times 7?\\nAnswer:  ·84
    labelled.first                                              ^
    labelled.targets                                            place of "multiply", then MASKED for what follows the text

Label t stands for what the hidden state at t - 1 predicts. A tool is the label of the first token of its result, spaces before the result included;
the other tokens of the result are masked, for in decoding they are put in and not chosen.
The prompt is tokenized alone, as it is when a model answers it. A token that covers both a result and what stands beside it would give away the
result, or hide what follows it: there the text is cut, and each side is tokenized alone, as it is when the result is put in.
"""

from dataclasses import dataclass

from pydisp.toolken.problems.problem import Problem, ProblemError
from pydisp.toolken.tools.tools import Tools

WORD, MASKED = -1, -2  # targets that are no tool
_LEFT_CONTEXTS = (".", "\n", "a", "0")  # what a text may go on after; a full stop first, for no word goes on behind it


@dataclass(frozen=True)
class Labelled:
    """A problem as tokens and labels.

    Args:
        ids: the tokenizer's first token if it has one (bos), the prompt, the solution. first: place of the first token of the solution.
        targets: for the places first .. len(ids), one each: WORD, MASKED, or the place of a tool in the tools; the last stands for what follows the
            text, which is MASKED unless a call without a known result is there.
    """

    ids: tuple[int, ...]
    first: int
    targets: tuple[int, ...]


def label(problem: Problem, tokenizer, tools: Tools) -> Labelled:
    """The tokens of a problem with their labels.

    Args:
        tokenizer: a fast one of transformers. tools: they have every tool of the problem's calls.
    Raises: ProblemError if the tokenizer is a slow one, if no token stands before the solution, and if the labels do not decode to the results; ToolError
        for a call of a tool that is not there.
    """
    _check_ends(problem)
    front = prompt_ids(problem.prompt, tokenizer)
    if not front:
        raise ProblemError(
            f"problem {problem.id!r} has no token before its solution, so that nothing predicts it; give it a prompt, or use a tokenizer with a bos token."
        )
    spans = _spans(problem)
    tokens = _tokens(problem, tokenizer, spans)
    targets = [WORD] * len(tokens) + [MASKED]
    for call, (space, _, end) in zip(problem.calls, spans, strict=True):
        places = [place for place, (_, start, _) in enumerate(tokens) if space <= start < end]
        if call.start == call.end:
            places = [len(tokens)]
        for place in places:
            targets[place] = MASKED
        if places:
            targets[places[0]] = tools.index(call.tool)
    labelled = Labelled((*front, *(token for token, _, _ in tokens)), len(front), tuple(targets))
    _check_decoded(problem, labelled, tokenizer)
    return labelled


def prompt_ids(prompt: str, tokenizer) -> list[int]:
    """A prompt as tokens, the tokenizer's bos token in front if it has one."""
    bos = [] if tokenizer.bos_token_id is None else [tokenizer.bos_token_id]
    return [*bos, *(token for token, _, _ in _encoded(prompt, tokenizer))]


def text_ids(text: str, tokenizer, *, is_beginning: bool) -> list[int]:
    """As `prompt_ids` or `continuation_ids`, of a text that holds no special tokens: where its characters spell one, as when a result ends in
    `<|im_end|` and `>` was written behind it, they are taken one at a time. Words that were added to a tokenizer stay what they are."""
    special = {*tokenizer.all_special_ids, *(one for one, token in tokenizer.added_tokens_decoder.items() if token.special)}
    unknown = tokenizer.unk_token_id
    ids = [tokenizer.bos_token_id] if is_beginning and tokenizer.bos_token_id is not None else []
    for token, first, last in _encoded(text, tokenizer) if is_beginning else _continued(text, tokenizer):
        if token not in special or (token == unknown and text[max(first, 0) : last] != tokenizer.unk_token):
            ids.append(token)
            continue
        for character in text[max(first, 0) : last]:
            ids += [one for one, _, _ in _continued(character, tokenizer) if one not in special]
    return ids


def continuation_ids(text: str, tokenizer) -> list[int]:
    """A text that goes on after other text as tokens: as `prompt_ids` without bos, but no tokenizer puts its space for the beginning of a text in front.

    Texts that are put in while decoding are tokenized by this, so that training and decoding see the same tokens.
    """
    return [token for token, _, _ in _continued(text, tokenizer)]


def decoded_spans(labelled: Labelled, tokenizer) -> list[str]:
    """The texts of the results, in their order, from the tokens and labels alone; "" for a call without a known result."""
    spans = []
    for place, target in enumerate(labelled.targets):
        if target >= 0:
            spans.append([])
        if target != WORD and spans and labelled.first + place < len(labelled.ids):
            spans[-1].append(labelled.ids[labelled.first + place])
    return [tokenizer.decode(ids, skip_special_tokens=False, clean_up_tokenization_spaces=False) for ids in spans]


def _spans(problem: Problem) -> list[tuple[int, int, int]]:
    """For each call where the spaces before its result begin, where the result begins, and where it ends, in characters of the solution."""
    spans, last = [], 0
    for call in problem.calls:
        space = call.start
        while space > last and problem.solution[space - 1] == " ":
            space -= 1
        spans.append((space, call.start, call.end))
        last = call.end
    return spans


def _tokens(problem: Problem, tokenizer, spans: list[tuple[int, int, int]]) -> list[tuple[int, int, int]]:
    """The tokens of the solution with their characters, none across the beginning of a result or its end."""
    cuts = {0, len(problem.solution)}
    while True:
        tokens = []
        ends = sorted(cuts)
        for start, end in zip(ends, ends[1:], strict=False):
            piece = problem.solution[start:end]
            encoded = _continued(piece, tokenizer) if start or problem.prompt else _encoded(piece, tokenizer)
            tokens += [(token, start + first, start + last) for token, first, last in encoded]
        crossed = set()
        for space, start, end in spans:
            for _, first, last in tokens:
                if first < space and last > start:  # a token such as "= " may take the spaces: then the tool fires behind it
                    crossed.add(space)
                if first < end < last:
                    crossed.add(end)
        if crossed <= cuts:
            return tokens
        cuts |= crossed


def _encoded(text: str, tokenizer) -> list[tuple[int, int, int]]:
    """Each token with its first character and the one behind its last."""
    if not getattr(tokenizer, "is_fast", False):
        raise ProblemError(
            f"the tokenizer is a slow one ({type(tokenizer).__name__}), which does not tell the characters of a token; load the fast one of this model."
        )
    encoded = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True, verbose=False)
    return [(token, first, last) for token, (first, last) in zip(encoded["input_ids"], encoded["offset_mapping"], strict=True)]


def _continued(text: str, tokenizer) -> list[tuple[int, int, int]]:
    """As `_encoded`, behind a text that ends in some character; which one does not matter as long as no token covers both."""
    if not text:
        return []
    for left in _LEFT_CONTEXTS:
        encoded = _encoded(left + text, tokenizer)
        if not any(first < len(left) < last for _, first, last in encoded):
            return [(token, first - len(left), last - len(left)) for token, first, last in encoded if first >= len(left)]
    return _encoded(text, tokenizer)


def _check_ends(problem: Problem) -> None:
    open_calls = [call for call in problem.calls if call.start == call.end]
    if len(open_calls) > 1 or any(call.end != len(problem.solution) for call in open_calls):
        raise ProblemError(
            f"problem {problem.id!r} has a call of {open_calls[0].tool!r} without a result before the end of the solution; "
            "only one such call can be labelled, at the end: give the others their results."
        )


def _check_decoded(problem: Problem, labelled: Labelled, tokenizer) -> None:
    """White space apart, for tokenizers differ in what they keep of it."""
    wanted = [problem.solution[call.start : call.end] for call in problem.calls]
    found = decoded_spans(labelled, tokenizer)
    if ["".join(text.split()) for text in found] != ["".join(text.split()) for text in wanted]:
        raise ProblemError(
            f"problem {problem.id!r}: labels that do not decode: the tokens labelled as results read {found}, the results are {wanted}; "
            "the tokenizer changes these characters, leave the problem out or write the result otherwise."
        )
