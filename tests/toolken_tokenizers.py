"""Small tokenizers of every make, trained on texts about numbers: what labels and inserted texts must hold for."""

from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

_TEXTS = [
    f"Question: What is {a} times {b}?\nAnswer: {a} * {b} = {a * b} and ${a}.50 for {b} apples. It is {a}:30 on 2024-0{b}-1{b}, a Monday (or 12 km)."
    for a in range(10, 99, 3)
    for b in range(2, 9)
]


def _trained(tokenizer: Tokenizer, trainer) -> PreTrainedTokenizerFast:
    tokenizer.train_from_iterator(_TEXTS, trainer)
    names = {"<s>": "bos_token", "[UNK]": "unk_token"}
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, **{role: name for name, role in names.items() if tokenizer.token_to_id(name) is not None}
    )


def merging() -> PreTrainedTokenizerFast:
    """BPE without words: it merges over spaces, signs and digits, so that tokens such as "= 84 and" may arise."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.decoder = decoders.Fuse()
    return _trained(
        tokenizer,
        trainers.BpeTrainer(
            vocab_size=1000, special_tokens=["<s>"], show_progress=False, initial_alphabet=pre_tokenizers.ByteLevel.alphabet()
        ),
    )


def byte_level(*, trim_offsets: bool) -> PreTrainedTokenizerFast:
    """Byte-level BPE, a space put in front of a text; with `trim_offsets` the space before a word is not among its characters."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    tokenizer.post_processor = processors.ByteLevel(trim_offsets=trim_offsets)
    tokenizer.decoder = decoders.ByteLevel()
    return _trained(
        tokenizer, trainers.BpeTrainer(vocab_size=400, show_progress=False, initial_alphabet=pre_tokenizers.ByteLevel.alphabet())
    )


def metaspace(prepend_scheme: str) -> PreTrainedTokenizerFast:
    """Unigram on words marked by "▁", one of which is put in front of a text ("first", "always")."""
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme=prepend_scheme)
    tokenizer.decoder = decoders.Metaspace(prepend_scheme=prepend_scheme)
    alphabet = sorted({character for text in _TEXTS for character in text.replace(" ", "▁")} | set("abcdefghijklmnopqrstuvwxyz0123456789"))
    return _trained(
        tokenizer,
        trainers.UnigramTrainer(
            vocab_size=300, special_tokens=["<s>", "[UNK]"], unk_token="[UNK]", show_progress=False, initial_alphabet=alphabet
        ),
    )


def prepended() -> PreTrainedTokenizerFast:
    """BPE in which a normalizer puts "▁" in front, as the older Llama tokenizers do."""
    tokenizer = Tokenizer(models.BPE(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    tokenizer.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.Fuse(), decoders.Strip(" ", 1, 0)])
    return _trained(tokenizer, trainers.BpeTrainer(vocab_size=300, special_tokens=["<s>", "[UNK]"], show_progress=False))


def word_piece() -> PreTrainedTokenizerFast:
    """WordPiece on words and signs, white space dropped; it has no bos token."""
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    return _trained(tokenizer, trainers.WordPieceTrainer(vocab_size=300, special_tokens=["[UNK]"], show_progress=False))


def single_digits() -> PreTrainedTokenizerFast:
    """BPE on words and single digits, the space a token of its own before a digit."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Split(Regex(r"\d"), "isolated"), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    return _trained(
        tokenizer,
        trainers.BpeTrainer(
            vocab_size=400, special_tokens=["<s>"], show_progress=False, initial_alphabet=pre_tokenizers.ByteLevel.alphabet()
        ),
    )


TOKENIZERS = {
    "merging": merging,
    "byte level": lambda: byte_level(trim_offsets=False),
    "byte level, trimmed": lambda: byte_level(trim_offsets=True),
    "metaspace first": lambda: metaspace("first"),
    "metaspace always": lambda: metaspace("always"),
    "prepended": prepended,
    "WordPiece": word_piece,
    "single digits": single_digits,
}
