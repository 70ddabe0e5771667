"""A log-likelihood that is a plain float for lm-eval, but from which a metric can read the loss of each token.

>>> score = TokenLogLikelihood(-1.5, [0.5, 1.0], [7, 9])
>>> score + 1, score.token_nll, score.tokens
(-0.5, (0.5, 1.0), (7, 9))
"""

from collections.abc import Sequence


class TokenLogLikelihood(float):
    """The sum of a text's log-probabilities in nats, with its parts; copying and pickling (lm-eval's cache) keep them.

    Args:
        value: the sum.
        token_nll: nats of each scored token, in the order of the text.
        tokens: their ids.
    """

    token_nll: tuple[float, ...]
    tokens: tuple[int, ...]

    def __new__(cls, value: float, token_nll: Sequence[float], tokens: Sequence[int]):
        if len(token_nll) != len(tokens):
            raise ValueError(f"{len(token_nll)} losses were given for {len(tokens)} tokens; give one for each.")
        score = super().__new__(cls, value)
        score.token_nll, score.tokens = tuple(token_nll), tuple(tokens)
        return score

    def __reduce__(self):
        return type(self), (float(self), self.token_nll, self.tokens)

    @classmethod
    def joined(cls, parts: Sequence["TokenLogLikelihood"]) -> "TokenLogLikelihood":
        """The log-likelihood of a text that was scored in parts; 0 for no parts."""
        return cls(sum(parts), [nll for part in parts for nll in part.token_nll], [token for part in parts for token in part.tokens])
