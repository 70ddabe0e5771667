"""Tiny models that write texts with tools: a tokenizer of a character a token, a model whose next token follows from the last, a caller."""

from collections.abc import Callable
from types import SimpleNamespace

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from torch import nn
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from pydisp.subject import tokenizer_digest
from pydisp.toolken.head import real_vocabulary
from pydisp.toolken.model_digest import model_digest
from pydisp.toolken.toolkens import Toolkens
from pydisp.toolken.tools.tool import Example, Parameter, Tool
from pydisp.toolken.tools.tools import Tools

FIRST = 32  # the characters from the space on are the tokens from 3 on
TOOLS = Tools(
    [
        Tool("pick", "Picks a digit.", (Parameter("n", "integer", choices=(1, 2, 3)),), (Example("Pick:", "1"),), function="not:called"),
        Tool("clock", "Tells the time.", function="not:called"),
        Tool("oracle", "Knows everything."),
    ]
)


def letters_tokenizer(**more: int) -> PreTrainedTokenizerFast:
    """97 tokens: padding 0, bos 1, eos 2, and the characters from the space to "}"; and `more` with ids of their own."""
    table = {"<pad>": 0, "<s>": 1, "</s>": 2, **{chr(code): code - FIRST + 3 for code in range(FIRST, FIRST + 94)}, **more}
    table["Ġ"] = table.pop(" ")
    tokenizer = Tokenizer(models.BPE(table, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>", pad_token="<pad>")


def token(character: str) -> int:
    return {"$": 2}.get(character, ord(character) - FIRST + 3)  # "$" stands for the end of a text


def scripted_model(following: dict[str, str], head_rows: int = 97, positions: int = 512, size: int = 97) -> LlamaForCausalLM:
    """After each character the one that `following` names, "$" for the end; after others the end, and after "(" else its closing.

    Args:
        head_rows: more than there are tokens for a padded head. size: of the vocabulary; from 129 on the model is wider.
    """
    head_rows, hidden_size = max(head_rows, size), 128 if size <= 128 else 264
    config = LlamaConfig(
        vocab_size=size, hidden_size=hidden_size, intermediate_size=8, num_hidden_layers=1, num_attention_heads=4, num_key_value_heads=2,
        max_position_embeddings=positions, pad_token_id=0, bos_token_id=1, eos_token_id=2, tie_word_embeddings=False,
    )  # fmt: skip
    model = LlamaForCausalLM(config).eval()
    model.lm_head = nn.Linear(hidden_size, head_rows, bias=False)
    with torch.no_grad():
        for parameter in model.model.layers.parameters():
            parameter.zero_()
        model.model.embed_tokens.weight.copy_(torch.eye(size, hidden_size))
        model.lm_head.weight.zero_()
        for last in range(size):
            model.lm_head.weight[2, last] = 0.5
        model.lm_head.weight[token(")"), token("(")] = 0.75  # for a tool without parameters
        for last, then in following.items():
            model.lm_head.weight[token(then), token(last)] = 1.0
    return model


def rows_after(fires: dict[str, str], tools: Tools = TOOLS) -> torch.Tensor:
    """(T, 128) rows with which a tool is on top after each of the characters it is named for."""
    rows = torch.zeros(len(tools), 128)
    for name, characters in fires.items():
        for character in characters:
            rows[tools.index(name), token(character)] = 2.0
    return rows


def second_rows(scores: dict[str, float], tools: Tools = TOOLS) -> torch.Tensor:
    """(T + 1, 128) second rows of a scripted model: the scores of tools and REJ, 0 if not named, at the ":" that ends the documentation."""
    rows = torch.zeros(len(tools) + 1, 128)
    for name, score in scores.items():
        rows[-1 if name == "REJ" else tools.index(name), token(":")] = score / 128**0.5
    return rows


def toolkens_of(model, tokenizer, rows, rerank_rows=None, tools: Tools = TOOLS, **calibration) -> Toolkens:
    """Toolkens for a model; second rows of zeros by default."""
    hidden_size = rows.shape[1]
    base = {"name": "tiny", "digest": model_digest(model), "hidden_size": hidden_size}
    rerank_rows = torch.zeros(len(tools) + 1, hidden_size) if rerank_rows is None else rerank_rows
    calibration = {"temperature": 1.0, "threshold": 0.5, "k": min(2, len(tools)), **calibration}
    return Toolkens(
        tools, rows.float(), rerank_rows.float(), real_vocabulary(tokenizer, model), base, tokenizer_digest(tokenizer), calibration
    )


class Answers:
    """A caller that answers by a function of name and arguments: a text, or an error to be given back; it keeps what it was asked."""

    def __init__(self, answer: Callable[[str, str], str | Exception]):
        self.answer, self.asked = answer, []

    def call(self, name: str, arguments: str):
        self.asked.append((name, arguments))
        found = self.answer(name, arguments)
        is_error = isinstance(found, Exception)
        return SimpleNamespace(
            tool=name, arguments=arguments, text=None if is_error else found, error=str(found) if is_error else None,
            kind="failed" if is_error else "done", seconds=0.0,
        )  # fmt: skip
