"""Arguments: what the model reads, that it writes what can become a valid call, the same in a batch as alone, once for one text."""

import pytest
import torch
from families import tiny_model
from tiny_text import tiny_llama, tiny_tokenizer
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from toolken_writing import letters_tokenizer, scripted_model, token
from transformers import PreTrainedTokenizerFast

from pydisp.modeling.cached_model import CachedModel
from pydisp.toolken.decoding.put_in import put_in
from pydisp.toolken.decoding.tool_mode import ArgumentWriter, Written, _Call
from pydisp.toolken.tools.arguments import bound, parse
from pydisp.toolken.tools.plain_prefix import plainly_continues
from pydisp.toolken.tools.tool import Example, Parameter, Tool
from pydisp.toolken.tools.tools import Tools

TOKENIZER = letters_tokenizer()
NUMBERS = (Parameter("a", "number"), Parameter("b", "number"))
TOOLS = Tools(
    [
        Tool("add", "Adds.", NUMBERS, (Example("One and two:", "1, 2"), Example("Five and six: (", "5, 6"))),
        Tool("unit", "Converts.", (Parameter("to", "string", choices=("km", "kg")),), (Example("To km:", "'km'"),)),
        Tool("clock", "Tells the time."),
        Tool("sum", "Sums.", NUMBERS),
    ]
)


def writer_of(model, tokenizer=TOKENIZER, tools=TOOLS, **keywords):
    return ArgumentWriter(CachedModel(model), tokenizer, tools, **keywords)


def test_the_prompt_is_demonstrations_the_text_and_the_name():
    writer = writer_of(scripted_model({}))
    front, ids = writer.prompt("What is 3 and 4? =", 0)
    text = TOKENIZER.decode([*front, *ids], skip_special_tokens=False)
    assert text == "<s>One and two: add(1, 2)Five and six: (add(5, 6)What is 3 and 4? = add("  # this tokenizer has no line ends
    assert writer.prompt("a(", 2)[0] == [] and TOKENIZER.decode(writer.prompt("a(", 2)[1]) == "<s>a(clock("


def test_line_ends_stand_between_demonstrations():
    writer = writer_of(tiny_llama(), tiny_tokenizer())
    front, ids = writer.prompt("Q: 3 and 4?\n", 0)
    front, ids = (tiny_tokenizer().decode(part, skip_special_tokens=True) for part in (front, ids))
    assert front == "One and two: add(1, 2)\n\n" and ids == "Q: 3 and 4?\nadd("  # two do not fit into half of 64 tokens


def test_a_long_text_loses_its_beginning_and_long_demonstrations_their_end():
    writer = writer_of(scripted_model({}, positions=80), most_argument_tokens=10)
    front, ids = writer.prompt("x" * 200, 0)
    assert len(front) + len(ids) == 70 and TOKENIZER.decode(ids).endswith("xx add(")
    assert TOKENIZER.decode(front) == "<s>One and two: add(1, 2)"
    front, ids = writer_of(scripted_model({}, positions=50), most_argument_tokens=30).prompt("x" * 200, 0)
    assert front == [] and len(ids) == 20
    assert writer_of(scripted_model({}, positions=50), most_argument_tokens=30).write([("x" * 200, 2)])[0].error is None


def test_writing_ends_where_the_bracket_closes():
    writer = writer_of(scripted_model({"(": "7", "7": ",", ",": "3", "3": ")"}))
    assert writer.write([("3 and 4?", 0)]) == [Written("7,3")]


def test_only_what_can_become_a_call_is_written():
    model = scripted_model({"(": "k", "7": "k", ",": "7", "k": "m"})
    with torch.no_grad():
        for then, score in (("7", 0.9), ("'", 0.8)):
            model.lm_head.weight[token(then), token("(")] = score
        for then, score in ((")", 0.9), (",", 0.8)):
            model.lm_head.weight[token(then), token("7")] = score
        model.lm_head.weight[token("k"), token("'")] = 0.6
        model.lm_head.weight[token("'"), token("m")] = 0.6
        model.lm_head.weight[token(")"), token("'")] = 0.5
    writer = writer_of(model)
    assert writer.write([("3?", 0), ("3?", 1), ("3?", 2)]) == [Written("7,7"), Written("'km'"), Written("")]


def test_unconstrained_arguments_are_what_came_up_to_their_bracket():
    model = scripted_model({"(": "7", "7": "7"})
    free = writer_of(model, is_constrained=False, most_argument_tokens=3).write([("a", 2)])
    assert free == [Written("777", "the arguments of 'clock' have no end within 3 tokens.")]
    model = scripted_model({"(": "9", "9": ")"})
    assert writer_of(model, is_constrained=False).write([("a", 2)]) == [Written("9")]  # `clock` takes none: the caller will say so
    assert writer_of(model).write([("a", 2)]) == [Written("")]
    padded = scripted_model({"(": "9", "9": ")"}, head_rows=128)
    with torch.no_grad():
        padded.lm_head.weight[100:, token("(")] = 3.0  # columns that stand for no token
    assert writer_of(padded, is_constrained=False).write([("a", 2)]) == [Written("9")]


def test_ids_that_stand_for_no_text_are_no_argument():
    model = scripted_model({"(": "7", "7": ")"}, head_rows=128)
    with torch.no_grad():
        model.lm_head.weight[100, token("(")] = 3.0  # between the tokens of this tokenizer
        model.lm_head.weight[token(")"), token("(")] = 1.5
    tokenizer = letters_tokenizer(xyz=120)
    assert writer_of(model, tokenizer).vocabulary == 121
    assert writer_of(model, tokenizer, most_argument_tokens=2).write([("a", 2)]) == [Written("")]


def test_tokens_are_read_as_they_stand_behind_the_prompt():
    """Decoded alone, the first of them would lose the space in front of it, which stands for something in a string."""
    words = Tokenizer(models.WordLevel({"▁say('": 0, "▁one": 1, "▁two": 2, "</s>": 3, "?": 4}, unk_token="?"))
    words.pre_tokenizer, words.decoder = pre_tokenizers.Metaspace(), decoders.Metaspace()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=words, eos_token="</s>")
    call = _Call(writer_of(scripted_model({}), tokenizer), TOOLS["clock"], [0])
    assert call._behind([1, 2]) == " one two" and tokenizer.decode([1, 2]) == "one two"


def test_the_end_of_a_text_is_no_argument():
    writer = writer_of(scripted_model({"(": "$"}), most_argument_tokens=4)
    assert writer.write([("a", 2)]) == [Written("")]
    free = writer_of(scripted_model({"(": "$"}), is_constrained=False).write([("a", 2)])
    assert free == [Written("")]


def test_arguments_that_do_not_end_say_so():
    found = writer_of(scripted_model({"(": "7", "7": "7"}), most_argument_tokens=6).write([("a", 0)])[0]
    assert found == Written("777777", "the arguments of 'add' have no end within 6 tokens.")


@pytest.mark.parametrize("name", ["llama", "mistral", "gemma3_text", "opt-350m"])
def test_a_batch_writes_as_each_alone_and_as_a_plain_loop_without_cache(name):
    model = tiny_model(name, max_position_embeddings=512)
    asked = [("b", 0), ("What is 7?", 3), ("km or kg (", 1), ("What is 3 and 4? =", 0), ("What is 3 and 4? =", 2), ("y", 3), ("a", 0)]
    together = writer_of(model, most_argument_tokens=12).write(asked)
    for one, found in zip(asked, together, strict=True):
        assert writer_of(model, most_argument_tokens=12).write([one]) == [found] and plainly_written(model, *one) == found.arguments
    for (_, place), found in zip(asked, together, strict=True):
        tool = list(TOOLS)[place]
        assert bound(tool, parse(found.arguments)) is not None if found.error is None else plainly_continues(tool, found.arguments)


@torch.no_grad()
def plainly_written(model, text, place):
    tool = list(TOOLS)[place]
    shown = "".join(f"{one.text}{put_in(one.text, tool.name)}({one.arguments})" for one in tool.examples)
    prompt, written = TOKENIZER(f"{shown}{text}{put_in(text, tool.name)}(")["input_ids"], ""
    for _ in range(12):
        logits = model(input_ids=torch.tensor([[1, *prompt, *TOKENIZER(written)["input_ids"]]]), use_cache=False).logits[0, -1, :97]
        characters = (TOKENIZER.decode([one]) for one in logits.argsort(descending=True).tolist())
        written += next(one for one in characters if len(one) == 1 and plainly_continues(tool, written + one))
        if written.endswith(")"):
            return written[:-1]
    return written


def test_one_text_is_written_once_and_demonstrations_are_read_once():
    model, lengths = scripted_model({"(": "7", "7": ",", ",": "3", "3": ")"}), []
    model.get_input_embeddings().register_forward_pre_hook(lambda _, inputs: lengths.append(inputs[0].shape[1]))
    writer = writer_of(model)
    first = writer.write([("3?", 0), ("3?", 0), ("4?", 0)])
    assert first == [Written("7,3")] * 3
    count = len(lengths)
    assert writer.write([("4?", 0), ("3?", 0)]) == first[:2] and len(lengths) == count
    assert sorted(lengths)[-1] == len(writer.prompt("3?", 0)[0]) and lengths.count(max(lengths)) == 1
    writer.write([("5?", 0)])
    assert lengths.count(max(lengths)) == 1


def test_characters_of_several_tokens_are_written_whole():
    """A byte a token: "ö" is two of them, and the first alone is no text yet."""
    tokenizer, tools = tiny_tokenizer(), Tools([Tool("greet", "Greets.", (Parameter("whom", "string", choices=("ö",)),))])
    ids = tokenizer('("ö")')["input_ids"]
    model = scripted_model({}, positions=512, size=257)
    with torch.no_grad():
        for last, then in zip(ids, ids[1:], strict=False):
            model.lm_head.weight[then, last] = 1.0 - 0.5 * (then == ids[1] and last == ids[-2])
        model.lm_head.weight[ids[-1], ids[1]] = 2.0  # after a quotation mark the bracket, where it may stand
    assert writer_of(model, tokenizer, tools, most_argument_tokens=12).write([("Hi", 0)]) == [Written('"ö"')]


@pytest.mark.parametrize("choices", [("ö",), ()])
def test_bytes_of_no_character_that_can_stand_there_are_not_written(choices):
    """The model wants a byte that continues a character, one that begins another, and bytes without an end."""
    tokenizer, tools = tiny_tokenizer(), Tools([Tool("greet", "Greets.", (Parameter("whom", "string", choices=choices),))])
    quote, first, second = (tokenizer.convert_tokens_to_ids(name) for name in ('"', "Ã", "¶"))  # "ö" by its bytes
    other = tokenizer.convert_tokens_to_ids("â")  # begins one of three bytes
    bracket, opening = (tokenizer.convert_tokens_to_ids(name) for name in ")(")
    model = scripted_model({}, positions=512, size=257)
    with torch.no_grad():
        weight = model.lm_head.weight
        weight[second, opening], weight[quote, opening] = 3.0, 2.0  # half a character is no value
        weight[second, quote], weight[other, quote], weight[first, quote], weight[bracket, quote] = 3.0, 2.5 if choices else 0.0, 2.0, 1.0
        weight[first, first], weight[quote, first], weight[second, first] = 3.0, 2.5, 2.0
        weight[second, second], weight[quote, second] = 3.0, 2.0
    assert writer_of(model, tokenizer, tools, most_argument_tokens=12).write([("Hi", 0)]) == [Written('"ö"')]


def test_a_character_of_three_bytes_is_written_in_three_tokens():
    tokenizer, tools = tiny_tokenizer(), Tools([Tool("pay", "Pays.", (Parameter("what", "string"),))])
    ids = tokenizer('("€")')["input_ids"]
    model = scripted_model({}, positions=512, size=257)
    with torch.no_grad():
        for last, then in zip(ids, ids[1:], strict=False):
            model.lm_head.weight[then, last] = 1.0
        model.lm_head.weight[ids[-1], ids[1]] = 0.8
    assert len(ids) == 7 and writer_of(model, tokenizer, tools, most_argument_tokens=12).write([("Hi", 0)]) == [Written('"€"')]


def test_spaces_and_other_spellings_do_not_go_on():
    model = scripted_model({"(": " ", " ": " ", "7": " ", ",": " "})
    with torch.no_grad():
        model.lm_head.weight[token("7"), token(" ")] = 0.9
        for then, score in ((")", 0.8), (",", 0.7)):
            model.lm_head.weight[token(then), token("7")] = score
    assert writer_of(model).write([("3?", 0)]) == [Written(" 7, 7")]


def test_prompts_of_a_batch_are_read_in_no_more_forwards_than_they_have_lengths():
    model, lengths = scripted_model({"(": "7", "7": ",", ",": "3", "3": ")"}), []
    writer = writer_of(model)
    writer.write([("b", 0)])
    model.get_input_embeddings().register_forward_pre_hook(lambda _, inputs: lengths.append(tuple(inputs[0].shape)))
    texts = ["3 and 4", "3", "5", "3 and 5"]
    assert writer.write([(text, 0) for text in texts]) == [Written("7,3")] * 4
    first = len("3 add(") - 1
    assert lengths[:2] == [(2, len(" and 4")), (4, first)] and lengths[2][1] == 1 and len(lengths) == 2 + 4


def test_a_token_far_down_is_found_without_trying_those_that_begin_otherwise(monkeypatch):
    tools, tried = Tools([Tool("unit", "Converts.", (Parameter("to", "string", choices=("km",)),))]), []
    model = scripted_model({"(": "t", "o": "=", "=": "'", "'": "k", "k": "m", "m": "'"})
    with torch.no_grad():
        model.lm_head.weight[:, token("t")] = torch.arange(97.0)
        model.lm_head.weight[token("o"), token("t")] = -1.0  # the last of all
        model.lm_head.weight[token(")"), token("'")] = 0.9
    real = _Call._is_allowed
    monkeypatch.setattr(_Call, "_is_allowed", lambda self, one: tried.append(self.text) or real(self, one))
    assert writer_of(model, tools=tools).write([("a", 0)]) == [Written("to='km'")]
    assert tried.count("t") == 64 + 2  # "<" too, with which names of bytes begin


def test_a_control_token_that_a_result_and_the_model_wrote_together_stays_text():
    tokenizer = letters_tokenizer()
    tokenizer.add_special_tokens({"additional_special_tokens": ["<|e|>"]})
    tokenizer.add_tokens(["word"])  # an added one, but no control
    control, added = tokenizer.convert_tokens_to_ids(["<|e|>", "word"])
    text = "It says <|e|" + "> word <s>="  # the result ended before the last bracket of the first
    tools = Tools([Tool("add", "Adds.", NUMBERS, (Example("One <|e|> two:", "1, 2"),)), Tool("clock", "Tells the time.")])
    writer = writer_of(scripted_model({}), tokenizer, tools)
    for place, spelt in ((0, ["One <|e|> two: add(1, 2)", f"{text} add("]), (1, ["", f"{text} clock("])):
        parts = writer.prompt(text, place)
        ids = [*parts[0], *parts[1]]
        assert control not in ids and ids.count(added) == 1 and ids.count(tokenizer.bos_token_id) == 1
        assert [tokenizer.decode([one for one in part if one != tokenizer.bos_token_id]) for part in parts] == spelt
