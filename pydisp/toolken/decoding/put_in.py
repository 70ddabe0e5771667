"""Texts that are put in: how a result, or the beginning of a call, follows what stands before it, and how the written text is read.

put_in("It costs 3 *  4 =", "12")     # " 12"
put_in("It costs (", "12")            # "12"
"""

from pydisp.toolken.problems.joining import put_in

__all__ = ["put_in", "written_text"]


def written_text(tokenizer, ids, prompt_tokens: int) -> str:
    """The text of the tokens behind the prompt, special ones left out, as they read behind it.

    Args:
        ids: of prompt and written text together. prompt_tokens: how many of them are the prompt.
    """
    whole, prompt = _decoded(tokenizer, ids), _decoded(tokenizer, ids[:prompt_tokens])
    # both from the beginning, because some tokenizers take a space from the beginning of what they decode
    return whole[len(prompt) :] if whole.startswith(prompt) else _decoded(tokenizer, ids[prompt_tokens:])


def _decoded(tokenizer, ids) -> str:
    return tokenizer.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False)
