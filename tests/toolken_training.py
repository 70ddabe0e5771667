"""A tiny model with room for long texts, three tools and problems of one shape: what tests of toolken training learn from in a second."""

import torch
from tiny_text import tiny_llama, tiny_tokenizer

from pydisp.toolken.problems.labels import Labelled, label
from pydisp.toolken.problems.problem import QUESTION, GoldCall, Problem
from pydisp.toolken.tools.tool import Example, Parameter, Tool
from pydisp.toolken.tools.tools import Tools

TOKENIZER = tiny_tokenizer()
NUMBERS = (Parameter("a", "number"), Parameter("b", "number"))
TOOLS = Tools(
    [
        Tool("add", "The sum of two numbers.", NUMBERS, (Example(QUESTION.format(question="What is 3 plus 4?"), "3, 4"),)),
        Tool("subtract", "The difference of two numbers, the first less the second.", NUMBERS),
        Tool("multiply", "The product of two numbers.", NUMBERS),
    ]
)
WORDS = {"add": ("plus", int.__add__), "subtract": ("minus", int.__sub__), "multiply": ("times", int.__mul__)}


def tiny(seed: int = 0, dtype: torch.dtype = torch.float32, head_rows: int = 257, context_tokens: int = 2048):
    """A tiny Llama; its head has `head_rows` rows, those from 257 on padding."""
    model = tiny_llama(seed, dtype)
    model.config.max_position_embeddings = context_tokens
    if head_rows != 257:
        torch.manual_seed(seed)
        model.resize_token_embeddings(head_rows, mean_resizing=False)
    return model


def problems(count: int = 30) -> list[Problem]:
    """One in four needs no tool; of the others every third has a word behind its result."""
    made = []
    for number in range(count):
        a, b = 17 + 3 * number, 2 + number % 7
        if number % 4 == 3:
            made.append(Problem(f"p{number}", QUESTION.format(question=f"Say {a} again."), f" {a}", answer=str(a)))
            continue
        tool = TOOLS.names[number % 3]
        word, function = WORDS[tool]
        result = str(function(a, b))
        solution = f" {result}" + " cups" * (number % 3 == 0)
        call = GoldCall(tool, f"{a}, {b}", 1, 1 + len(result))
        made.append(Problem(f"p{number}", QUESTION.format(question=f"What is {a} {word} {b}?"), solution, (call,), result))
    return made


def labelled(count: int = 30) -> list[Labelled]:
    return [label(problem, TOKENIZER, TOOLS) for problem in problems(count)]
