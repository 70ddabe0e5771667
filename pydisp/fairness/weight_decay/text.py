"""SweepText: the train text and the held-out text of a sweep as ids of a byte-level BPE that was trained on the train text.

text = read_sweep_text(settings)
text.train, text.held_out            # (T,) ids; each document begins with END, whose id is 0
"""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from pydisp.fairness.weight_decay.settings import SweepSettings
from pydisp.progress import Bar, silence
from pydisp.text import Text, read_text

END = "<|endoftext|>"


@dataclass(frozen=True, eq=False)
class SweepText:
    """The texts of a sweep.

    Args:
        train, held_out: (T,) int64 ids, as many as the longest arm takes.
        tokenizer: the tokenizer's JSON.
        vocabulary_size: of the tokenizer.
        facts: names, digests and sizes for a report.
    """

    train: np.ndarray
    held_out: np.ndarray
    tokenizer: str
    vocabulary_size: int
    facts: dict

    @property
    def vocabulary(self) -> str:
        """The digest of the tokenizer, which says whose ids these are."""
        return hashlib.sha256(self.tokenizer.encode()).hexdigest()


def read_sweep_text(settings: SweepSettings, say: Callable[[str], None] = silence) -> SweepText:
    """Read both texts, train the tokenizer, and encode as many documents as the arms take, in the order of the text.

    A held-out document that is in the train text too is left out. `say` receives the progress of what takes more than 2 seconds.
    Raises: as `pydisp.text.read_text`; ValueError if a text is too short for an arm or for the vocabulary.
    """
    train, held_out = read_text(settings.train, say), read_text(settings.held_out, say)
    known = set(train.documents)
    apart = tuple(document for document in held_out.documents if document not in known)
    if not apart:
        raise ValueError(f"every document of {held_out.name} is in the train text too; give another text as held_out.")
    tokenizer = _trained(train.documents, settings.vocabulary_size, say)
    found = tokenizer.get_vocab_size()
    if found < settings.vocabulary_size:
        raise ValueError(
            f"{train.name} has pairs of letters for {found:,} ids, vocabulary_size is {settings.vocabulary_size:,}; give more text or a smaller vocabulary_size."
        )
    ids = [
        _encoded(Text(text.name, documents), tokenizer, wanted, asked, say)
        for text, documents, wanted, asked in (
            (train, train.documents, settings.train_tokens, "train_tokens"),
            (held_out, apart, settings.held_out_tokens, "held_out_tokens"),
        )
    ]
    facts = {
        name: {"name": text.name, "sha256": text.sha256, "documents": len(text.documents), "tokens": len(taken)}
        for name, text, taken in (("train", train, ids[0]), ("held_out", held_out, ids[1]))
    }
    facts["held_out"]["documents_left_out"] = len(held_out.documents) - len(apart)
    return SweepText(*ids, tokenizer.to_str(), found, facts)


def _trained(documents: Sequence[str], vocabulary_size: int, say: Callable[[str], None]):
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    trainer = trainers.BpeTrainer(vocab_size=vocabulary_size, special_tokens=[END], initial_alphabet=alphabet, show_progress=False)
    with Bar(len(documents), say, title="training the tokenizer", unit="document", is_brief=True) as bar:
        tokenizer.train_from_iterator(_told(documents, bar), trainer)
    return tokenizer


def _told(documents: Sequence[str], bar: Bar) -> Iterator[str]:
    for document in documents:
        yield document
        bar.advance(1)


def _encoded(text: Text, tokenizer, wanted: int, asked: str, say: Callable[[str], None]) -> np.ndarray:
    """(wanted,) ids: END and the document, for each document until there are enough."""
    end = tokenizer.token_to_id(END)
    parts, count = [], 0
    with Bar(wanted, say, title=f"tokenizing {text.name}", unit="token", is_brief=True) as bar:
        for document in text.documents:
            parts.append([end, *tokenizer.encode(document, add_special_tokens=False).ids])
            count += len(parts[-1])
            bar(min(count, wanted))
            if count >= wanted:
                return np.array([i for part in parts for i in part][:wanted], dtype=np.int64)
    raise ValueError(f"{text.name} has {count:,} tokens of this vocabulary, {asked} is {wanted:,}; give more text or ask for fewer tokens.")
