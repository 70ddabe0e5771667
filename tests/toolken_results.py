"""Simulated results of an evaluation: scores at positions and generated answers of problems that exist only here."""

from dataclasses import replace

import numpy as np

from pydisp.toolken.decisions import CONTROLS, MODES, Policy, candidates
from pydisp.toolken.evaluating.outcomes import Outcome
from pydisp.toolken.evaluating.selection import Decided, Positions, decide

TOOLS = ("add", "subtract", "multiply", "divide", "convert", "look_up")
KINDS = ("arithmetic", "units", "table", "no tool")


def positions_of(*, seed: int, problems: int = 60, k: int = 3, skill: float = 3.0, fire: float = 1.0) -> Positions:
    """Two problems a group and one more; a quarter needs no tool; four positions a problem, of which the second is the call.

    Args:
        seed: of the toolkens: the problems are the same under all. skill: how far the right tool stands out. fire: how far tools stand above
            words at a call.
    """
    import torch

    fixed, own = np.random.default_rng(11), np.random.default_rng([seed, 12])
    needs = np.arange(problems) % 4 != 3
    problem = np.repeat(np.arange(problems), 4)
    offset = np.tile(np.arange(4), problems)
    gold = np.where((offset == 1) & needs[problem], fixed.integers(0, len(TOOLS), problems)[problem], -1)
    hardness = fixed.standard_normal(problems)
    first = own.standard_normal((len(problem), len(TOOLS))).astype(np.float32)
    is_call = gold >= 0
    first[is_call, gold[is_call]] += skill
    best_word = np.where(is_call, 2.4 - fire - 0.5 * hardness[problem], 3.0 + 0.5 * hardness[problem]).astype(np.float32)
    best = candidates(torch.as_tensor(first), k).numpy()
    second = {}
    for kind, gain in (("own", 2.5), ("none", 0.5), ("shuffled", 0.0)):
        scores = own.standard_normal((len(problem), k + 1)) * 0.8
        scores[:, :-1] += gain * (best == gold[:, None])
        scores[:, -1] += np.where(is_call, -gain / 2, gain)
        second[kind] = scores.astype(np.float32)
    return Positions(first, best_word, gold, problem, tuple(f"g{place // 2}" for place in range(problems)), needs, second)


def decided_of(positions: list[Positions], *, k: int = 3) -> dict[str, list[Decided]]:
    """The decisions of all modes with tools."""
    modes = [mode for mode in MODES + CONTROLS if mode != "none"]
    return {mode: [decide(one, Policy(mode, k, 1.2, 0.6)) for one in positions] for mode in modes}


def outcomes_of(positions: list[Positions], decided: dict[str, list[Decided]]) -> list[Outcome]:
    """Answers that follow from the decisions, with some failed calls; the plain model answers a fifth, and most where no tool is needed."""
    found = []
    plain = np.random.default_rng(13).random(len(positions[0].groups))
    for mode, seed, done in [("none", None, None), *((mode, seed, one) for mode, of in decided.items() for seed, one in enumerate(of))]:
        one = positions[0 if seed is None else seed]
        for problem, group in enumerate(one.groups):
            places = np.flatnonzero(one.problem == problem)
            gold = [int(tool) for tool in one.gold[places] if tool >= 0]
            steps = [] if done is None else _steps(done, places, problem)
            called = [step["tool"] for step in steps if step["outcome"] == "called"]
            is_right = plain[problem] < (0.2 if gold else 0.7) and not called
            is_right = is_right or bool(gold) and called == [TOOLS[gold[0]]]
            text = f" {problem if is_right else problem + 1}"
            found.append(
                Outcome(
                    f"p{problem}", group, mode, seed, tuple(TOOLS[tool] for tool in gold), text, text.strip(), str(problem), is_right, is_right,
                    KINDS[3] if not gold else KINDS[problem % 3], "ab"[problem % 2], tuple(steps),
                )
            )  # fmt: skip
    return found


def _steps(done: Decided, places: np.ndarray, problem: int) -> list[dict]:
    steps = []
    for place in places[done.fired[places]]:
        outcome = "rejected" if done.rejected[place] else "failed" if problem % 17 == 5 else "called"
        steps.append(
            {
                "place": int(place), "fired": TOOLS[done.best[place]], "outcome": outcome, "tool": TOOLS[done.best[place]],
                "candidates": list(TOOLS[:3]), "probabilities": [0.6, 0.2, 0.1, 0.1], "confidence": float(done.confidence[place]),
                "arguments": None if outcome == "rejected" else f"{problem}, 3", "result": "12" if outcome == "called" else None,
                "error": "division by zero: the second number is 0; give another." if outcome == "failed" else None,
                "kind": None, "start": 1, "end": 1 if outcome != "called" else 3,
            }
        )  # fmt: skip
    return steps


def without_second(positions: Positions) -> Positions:
    return replace(positions, second={})
