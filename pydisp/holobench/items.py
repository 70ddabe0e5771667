"""Items: one question on one context with its gold answer, and the JSONL file that holds a benchmark.

{"id": "512-uniform-d0.5-shop-0003-0", "context_id": "512-uniform-d0.5-shop-0003", "draw": "shop-0003", "question": "How many …", "sql": "SELECT …",
 "class": "count", "length": 512,
 "context": "…", "prompt_tokens": 447, "gold": {"columns": ["count"], "types": ["integer"], "rows": [[7]]}, "choices": ["7", "5", "9", "6"],
 "correct": 0, "offsets": [{"table": "orders", "row": 12, "characters": [0, 41], "tokens": [3, 17]}], "placement": "uniform",
 "amount": 210, "density": 0.47, "asked": 0.5, "seed": 0, "sha256": "…"}

Beside FILE.jsonl stands FILE.manifest.json: the version, the tokenizer's digest, how the model is asked, the SHA-256 of the JSONL file.
"""

from dataclasses import dataclass, field

# Kinds of questions, in the order of all tables and reports.
CLASSES = ("filter", "count", "aggregate", "extreme", "group", "comparison", "top_k", "join", "join_aggregate")
PLACEMENTS = ("uniform", "begin", "middle", "end", "bimodal", "shuffled")


@dataclass(frozen=True)
class Gold:
    """What SQL answers on the rows that were written.

    Args:
        columns: names. types: "text", "integer", "identifier" (a key or a year: a near number is no near answer), "date", or "decimal(2)"
            with the number of digits. rows: values as JSON has them: str, int, float for decimals (12.5), an ISO str for dates. Never None.
    """

    columns: tuple[str, ...]
    types: tuple[str, ...]
    rows: tuple[tuple[str | int | float, ...], ...]

    def as_dict(self) -> dict:
        return {"columns": list(self.columns), "types": list(self.types), "rows": [list(row) for row in self.rows]}

    @classmethod
    def from_dict(cls, values: dict) -> "Gold":
        return cls(tuple(values["columns"]), tuple(values["types"]), tuple(tuple(row) for row in values["rows"]))

    @property
    def is_scalar(self) -> bool:
        return len(self.columns) == 1 and len(self.rows) == 1


@dataclass(frozen=True, eq=False)
class Item:
    """One question on one context; the fields are those of the file.

    Args:
        id: unique in the file. context_id: shared by the questions of a context. draw: shared by the items of all lengths that come from one
            draw of questions and rows; the replicate of all statistics.
        kind: the file's "class", one of CLASSES. length: the budget of tokens: prompt and room for the answer.
        prompt_tokens: what the prompt has. amount: tokens of the rows of the tables that the question touches. density: their share of the facts'
            tokens. asked: the amount or density that was asked for, of the tables of all questions of the context.
        choices, correct: for the likelihood form, the gold answer among near misses, and its place; None if there are none.
        offsets: of each relevant row {"table", "row", "characters": [first, stop] in the context, "tokens": [first, stop] in the prompt}.
        sha256: of the prompt's text.
    """

    id: str
    context_id: str
    draw: str
    question: str
    sql: str
    kind: str
    length: int
    context: str
    prompt_tokens: int
    gold: Gold
    choices: tuple[str, ...] | None
    correct: int | None
    offsets: tuple[dict, ...] = field(repr=False)
    placement: str
    amount: int
    density: float
    asked: float
    seed: int
    sha256: str

    def as_dict(self) -> dict:
        values = {("class" if name == "kind" else name): getattr(self, name) for name in self.__dataclass_fields__}
        values["gold"] = self.gold.as_dict()
        values["choices"] = None if self.choices is None else list(self.choices)
        values["offsets"] = list(self.offsets)
        return values

    @classmethod
    def from_dict(cls, values: dict) -> "Item":
        values = dict(values)
        values["kind"] = values.pop("class")
        values["gold"] = Gold.from_dict(values["gold"])
        values["choices"] = None if values["choices"] is None else tuple(values["choices"])
        values["offsets"] = tuple(values["offsets"])
        return cls(**values)
