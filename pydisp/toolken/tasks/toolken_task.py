"""lm-eval's documents and scores of generated problems (`pydisp_toolken.yaml`)."""

from functools import cache

from pydisp.arguments import check, whole
from pydisp.toolken.evaluating.answers import judged
from pydisp.toolken.problems.generator import FAMILIES, generate

_DEFAULTS = {"family": "b", "count": 100, "problem_seed": 1}  # another seed than training's 0


def documents(**metadata) -> dict:
    """The problems as the only split; keys that are not ours are arguments of the model.

    Raises: ValueError for a family that there is not, and for numbers that are none.
    """
    from datasets import Dataset

    given = {name: metadata.get(name, value) for name, value in _DEFAULTS.items()}
    if given["family"] not in FAMILIES:
        raise ValueError(f"the metadata of the task have family {given['family']!r}; known: {', '.join(FAMILIES)}.")
    for name, least in (("count", 1), ("problem_seed", 0)):
        check(f"{name} in the metadata of the task", given[name], whole(least))
    return {"test": Dataset.from_list(_rows(given["family"], given["count"], given["problem_seed"]))}


@cache
def _rows(family: str, count: int, seed: int) -> list[dict]:
    return [{"prompt": one.prompt, "target": one.solution, "answer": one.answer} for one in generate(family, count, seed)]


def process_results(doc: dict, results: list[str]) -> dict:
    """Whether the answer is right, and whether it is within 0.1 %."""
    found = judged(results[0], doc["answer"])
    return {"exact": float(found.is_exact), "within": float(found.is_within)}
