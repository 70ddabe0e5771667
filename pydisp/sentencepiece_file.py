"""A tokenizer.model of SentencePiece: if transformers cannot read one, it wrongly asks for tiktoken; this says what is missing."""

import importlib.util


def is_sentencepiece(place: str, revision: str | None) -> bool:
    """Whether a model's tokenizer.model is a SentencePiece file.

    Args:
        place: a folder or a hub name, of which only what is in the hub's cache is looked at.
    """
    from transformers.utils import cached_file

    options = dict(revision=revision, local_files_only=True, _raise_exceptions_for_missing_entries=False)
    try:
        file = cached_file(place, "tokenizer.model", **options)
    except (OSError, ValueError):
        return False
    if file is None:
        return False
    with open(file, "rb") as opened:  # a tiktoken file of that name has lines of base64, a SentencePiece file is a protocol buffer
        return opened.read(1) == b"\n"


def unread(name: str) -> str:
    """Why the tokenizer of a model was not read, as one sentence."""
    missing = [package for package, module in (("sentencepiece",) * 2, ("protobuf", "google.protobuf")) if not _is_installed(module)]
    if not missing:
        return f"the tokenizer.model of {name} cannot be read with sentencepiece; is it damaged or cut off?"
    return f"the tokenizer of {name} is a SentencePiece file, which needs {' and '.join(missing)}; pip install {' '.join(missing)}."


def _is_installed(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:  # the parent package is missing
        return False
