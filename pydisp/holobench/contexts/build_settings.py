"""BuildSettings: what a benchmark is to hold, checked before anything is made."""

from collections.abc import Sequence
from dataclasses import dataclass

from pydisp.holobench.contexts.context import Plan
from pydisp.holobench.items import PLACEMENTS

PER_LENGTH = 18  # two questions of each class
DENSITY, DENSITY_OF_SHORT = 0.5, 0.75  # by default; contexts below SHORT would have too few relevant rows to ask about
SHORT = 512
LONGEST = 4_000_000  # tokens
ROOM_OF_SHORT = 32  # tokens for a direct answer


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
        for name in ("lengths", "placements", "amounts", "densities"):
            values = getattr(self, name)
            if isinstance(values, str) or not isinstance(values, Sequence):
                raise ValueError(f"{name} is {values!r}; it must be a list.")
            if len(set(values)) != len(values):
                raise ValueError(f"{name} has one value twice ({', '.join(map(str, values))}); give each once.")
            object.__setattr__(self, name, tuple(values))
        if self.amounts and self.densities:
            raise ValueError(
                "amounts and densities are both given; an amount of relevant tokens decides the density, so give one of the two."
            )
        if not self.amounts and not self.densities:
            object.__setattr__(self, "densities", (DENSITY_OF_SHORT if self.has_short else DENSITY,))
        if not self.lengths or not self.placements:
            raise ValueError("there is no length or no placement; give one or more of each.")
        for name in ("lengths", "amounts"):
            for value in getattr(self, name):
                _check_whole(value, f"one of the {name}", 1)
                if value > LONGEST:
                    raise ValueError(f"one of the {name} is {value:,}; at most {LONGEST:,} tokens are built.")
        for name, least in (("per_length", 1), ("questions_per_context", 1), ("seed", 0)):
            _check_whole(getattr(self, name), name, least)
        for value in self.densities:
            if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value <= 1:
                raise ValueError(f"a density is {value!r}; it must be a share above 0 and at most 1.")
        for value in self.placements:
            if value not in PLACEMENTS:
                raise ValueError(f"a placement is {value!r}; it must be one of: {', '.join(PLACEMENTS)}.")

    @property
    def has_short(self) -> bool:
        """Whether a length is so short that the defaults leave more room for facts."""
        return any(isinstance(length, int) and length < SHORT for length in self.lengths)

    def plans(self) -> list[Plan]:
        """Every context to be made of a draw."""
        shares = [{"amount": amount} for amount in self.amounts] + [{"density": density} for density in self.densities]
        return [Plan(length, placement, **share) for length in self.lengths for placement in self.placements for share in shares]


def _check_whole(value, name: str, least: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise ValueError(f"{name} is {value!r}; it must be a whole number of {least} or more.")


def lengths_for(positions: int | None) -> tuple[int, ...]:
    """The lengths for a model that reads so many tokens: half and 7/8 of 512 or fewer, else 512, 1,024, 2,048 and 4,096 as far as they fit."""
    if positions is not None and positions < 1024:
        return (positions // 2, positions * 7 // 8)
    return tuple(length for length in (512, 1024, 2048, 4096) if positions is None or length <= positions)
