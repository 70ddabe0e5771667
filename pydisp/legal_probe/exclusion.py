"""Exclusion: which keys do not count as attended to, neither in a concept nor in what its share is taken of.

Exclusion.parse("special,space")              # or "none"
Exclusion(tokens=("§",))                      # all rules, and a token of one's own

- special: special tokens of the tokenizer (`special_ids`): the beginning-of-text token, and one that stands in a text.
- first: the token at position 0, on which models put attention they have no other use for (the attention sink), whatever it is. Where a
  tokenizer writes no beginning-of-text token, the first word is in its place.
- punctuation: tokens of Unicode punctuation only (categories P*: not $, +, =, <, which are symbols).
- space: tokens of white space only, and tokens that stand for no character.

Source: https://arxiv.org/abs/2410.12001, which leaves out punctuation, bare spaces and the beginning-of-text token.
"""

import unicodedata
from dataclasses import dataclass

from pydisp.arguments import TEXT, list_of, takes
from pydisp.given_value import short
from pydisp.legal_probe.fields import did_you_mean

RULES = ("special", "first", "punctuation", "space")


@dataclass(frozen=True)
class Exclusion:
    """What is left out.

    Args:
        rules: some of RULES, in any order.
        tokens: texts of further tokens, compared without the white space at their ends.
    Raises: ValueError for an unknown rule, one that is given twice, or a token that is empty or has white space at its ends.
    """

    rules: tuple[str, ...] = RULES
    tokens: tuple[str, ...] = ()

    def __post_init__(self):
        for field, given in (("rules", self.rules), ("tokens", self.tokens)):
            if not isinstance(given, list | tuple) or not all(isinstance(one, str) for one in given):
                raise ValueError(f"Exclusion: {field} is {short(given)}; it must be a tuple of strings.")
            if len(set(given)) < len(given):
                raise ValueError(f"Exclusion: {field} is {short(given)}, with one of them twice; leave one out.")
        for rule in self.rules:
            if rule not in RULES:
                raise ValueError(f"unknown rule {short(rule)} of what to exclude{did_you_mean(rule, RULES)}; known: {', '.join(RULES)}.")
        for token in self.tokens:
            if not token or token != token.strip():
                raise ValueError(
                    f"the excluded token {short(token)} is empty or has white space at its ends; the rule space excludes white space."
                )
        object.__setattr__(self, "rules", tuple(rule for rule in RULES if rule in self.rules))  # equal if they mean the same
        object.__setattr__(self, "tokens", tuple(self.tokens))

    @classmethod
    @takes(rules=TEXT, tokens=list_of(TEXT, "texts"))
    def parse(cls, rules: str, tokens: tuple[str, ...] = ()) -> "Exclusion":
        """From words with commas between them; "none" alone is no rule.

        Raises: ValueError, as the class does.
        """
        words = [word.strip() for word in rules.split(",")]
        return cls(() if words == ["none"] else tuple(words), tokens)

    def reason(self, position: int, text: str, is_special: bool) -> str | None:
        """The rule by which a token is left out ("token" for one of `tokens`); None for one that counts.

        Args:
            position: in the sequence, from 0.
            text: the characters it stands for.
            is_special: whether its id is one of `special_ids`.
        """
        text = text.strip()
        holds = {
            "special": is_special,
            "first": position == 0,
            "punctuation": text != "" and all(unicodedata.category(character).startswith("P") for character in text),
            "space": text == "",
        }
        return next((rule for rule in self.rules if holds[rule]), "token" if text in self.tokens else None)


def special_ids(tokenizer) -> frozenset[int]:
    """The ids of a tokenizer's special tokens: `all_special_ids`, and added tokens that are marked as special but have no role."""
    added = getattr(tokenizer, "added_tokens_decoder", {})
    return frozenset(tokenizer.all_special_ids) | {number for number, token in added.items() if token.special}
