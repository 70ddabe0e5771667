"""BuildSettings: what a benchmark is to hold, checked before anything is made."""

from dataclasses import dataclass

from pydisp.arguments import SEED, check_fields, list_of, number, one_of, whole
from pydisp.holobench.contexts.context import Plan
from pydisp.holobench.items import PLACEMENTS

PER_LENGTH = 18  # two questions of each class
DENSITY, DENSITY_OF_SHORT = 0.5, 0.75  # by default; contexts below SHORT would have too few relevant rows to ask about
SHORT = 512
LONGEST = 4_000_000  # tokens
ROOM_OF_SHORT = 32  # tokens for a direct answer
KINDS = {
    "lengths": list_of(whole(1, LONGEST), "tokens, one or more", least=1),
    "amounts": list_of(whole(1, LONGEST), "tokens"),
    "densities": list_of(number("be a share above 0 and at most 1", lambda value: 0 < value <= 1), "shares"),
    "placements": list_of(one_of(PLACEMENTS), "placements, one or more", least=1),
    "per_length": whole(1), "questions_per_context": whole(1), "seed": SEED,
}  # fmt: skip
"""As `takes` needs them."""


@dataclass(frozen=True)
class BuildSettings:
    """What a benchmark is to hold.

    Args:
        lengths: tokens of prompt and answer. placements: some of items.PLACEMENTS.
        amounts: tokens of relevant rows; or densities: their shares of the facts. Only one of the two.
        per_length: questions for each length, placement, and amount or density. questions_per_context: of them on one context.
        seed: of everything that is drawn.
    Raises: ValueError with one sentence.
    """

    lengths: tuple[int, ...]
    placements: tuple[str, ...] = ("uniform",)
    amounts: tuple[int, ...] = ()
    densities: tuple[float, ...] = ()
    per_length: int = PER_LENGTH
    questions_per_context: int = 1
    seed: int = 0

    def __post_init__(self):
        check_fields(self, **KINDS)
        for name in ("lengths", "placements", "amounts", "densities"):
            values = getattr(self, name)
            if len(set(values)) != len(values):
                raise ValueError(f"{name} has one value twice ({', '.join(map(str, values))}); give each once.")
        if self.amounts and self.densities:
            raise ValueError(
                "amounts and densities are both given; an amount of relevant tokens decides the density, so give one of the two."
            )
        if not self.amounts and not self.densities:
            object.__setattr__(self, "densities", (DENSITY_OF_SHORT if self.has_short else DENSITY,))

    @property
    def has_short(self) -> bool:
        """Whether a length is so short that the defaults leave more room for facts."""
        return any(length < SHORT for length in self.lengths)

    def plans(self) -> list[Plan]:
        """Every context to be made of a draw."""
        shares = [{"amount": amount} for amount in self.amounts] + [{"density": density} for density in self.densities]
        return [Plan(length, placement, **share) for length in self.lengths for placement in self.placements for share in shares]


def lengths_for(positions: int | None) -> tuple[int, ...]:
    """The lengths for a model that reads so many tokens: half and 7/8 of 512 or fewer, else 512, 1,024, 2,048 and 4,096 as far as they fit."""
    if positions is not None and positions < 1024:
        return (positions // 2, positions * 7 // 8)
    return tuple(length for length in (512, 1024, 2048, 4096) if positions is None or length <= positions)
