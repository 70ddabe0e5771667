"""Documentation: the lines of the candidates, cut evenly where the context is short, harmless whatever stands in them."""

from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tiny_text import tiny_tokenizer
from toolken_training import TOKENIZER, TOOLS

from pydisp.toolken.documentation import CUE, KINDS, OPENING, REJECTED, Documentation, DocumentationError
from pydisp.toolken.tools.tool import Parameter, Tool
from pydisp.toolken.tools.tools import Tools

ROOM = 10**6
LONG = Tools(
    [
        Tool("one", "Aa bb cc dd ee ff gg hh ii jj.", (Parameter("x", "number"),)),
        Tool("two", "Kk ll."),
        Tool("three", "Mmmmmmmmmmmmmmmm nn oo pp qq rr ss tt uu vv ww xx yy zz."),
    ]
)


def text(documentation: Documentation, places, most: int = ROOM) -> str:
    return TOKENIZER.decode(documentation.ids(places, most))


def test_the_text_of_two_candidates_written_out():
    assert text(Documentation(TOKENIZER, TOOLS, room=200), [2, 0]) == (
        "\n\nTools:"
        "\nmultiply(a: number, b: number): The product of two numbers."
        "\nadd(a: number, b: number): The sum of two numbers."
        "\nnone: No tool is needed here; go on writing."
        "\nThe tool needed next:"
    )


def test_documentation_is_cut_at_the_end_of_a_word():
    cut = text(Documentation(TOKENIZER, LONG, room=12), [0, 1, 2])
    # ": Aa bb cc d" is 12 long and ends within a word; ": Mmmm..." has no end of a word but the one behind the colon
    assert cut == f"{OPENING}\none(x: number): Aa bb cc\ntwo(): Kk ll.\nthree():{REJECTED}{CUE}"


def test_a_short_context_cuts_all_to_one_number_of_tokens():
    documentation = Documentation(TOKENIZER, LONG, room=200)
    whole = documentation.ids([0, 1, 2], ROOM)
    least = len(text(documentation, [0, 1, 2], len(Documentation(TOKENIZER, LONG, room=0).ids([0, 1, 2], ROOM))))
    lines = {most: text(documentation, [0, 1, 2], most) for most in range(least, len(whole) + 1)}
    assert lines[len(whole)] == TOKENIZER.decode(whole)
    assert lines[len(whole) - 1] == lines[len(whole)].replace(" zz.", "")  # the longest is cut first
    assert lines[least] == f"{OPENING}\none(x: number)\ntwo()\nthree(){REJECTED}{CUE}"
    for most, found in lines.items():
        assert len(found) <= most
        assert found.startswith(OPENING) and found.endswith(REJECTED + CUE)
    sizes = [len(found) for found in lines.values()]
    assert sizes == sorted(sizes)


def test_no_room_for_names_is_refused():
    documentation = Documentation(TOKENIZER, LONG)
    least = len(Documentation(TOKENIZER, LONG, room=0).ids([0, 1, 2], ROOM))
    with pytest.raises(DocumentationError, match=f"documentation of 3 tools has {least} tokens even without .* room for {least - 1}"):
        documentation.ids([0, 1, 2], least - 1)
    with pytest.raises(DocumentationError, match="room for 3"):
        Documentation(TOKENIZER, LONG, "none").ids([0], 3)


def test_without_documentation_only_the_sentences_are_gone():
    documentation = Documentation(TOKENIZER, LONG, "none")
    assert text(documentation, [1, 0]) == f"{OPENING}\ntwo()\none(x: number){REJECTED}{CUE}"
    assert documentation.ids([1, 0], ROOM) == Documentation(TOKENIZER, LONG, room=0).ids([1, 0], ROOM)


@pytest.mark.parametrize("kind", KINDS)
def test_the_least_room_is_that_of_the_tools_with_the_longest_names_and_parameters_in_tokens(kind):
    tools = Tools(
        [
            Tool("one", "A.", (Parameter("x", "string", choices=("東京", "大阪")),)),  # fewer characters than the next, more tokens
            Tool("two", "B.", (Parameter("number", "number"),)),
            Tool("a_long_name", "C."),
            Tool("four", "D."),
        ]
    )
    documentation = Documentation(TOKENIZER, tools, kind)
    for k in range(1, 5):
        lengths = [len(Documentation(TOKENIZER, tools, kind, room=0).ids(some, ROOM)) for some in combinations(range(4), k)]
        assert documentation.least(k) == max(lengths) > min(lengths) - (k == 4)


@pytest.mark.parametrize("added", [": a", "\nx(", "Tools:", "\n\n"])
def test_what_is_put_in_front_makes_no_added_token_either(added):
    tokenizer = tiny_tokenizer()
    tokenizer.add_tokens([added])
    tools = Tools([Tool("x", "a b."), Tool("y", "a c.")])
    ids = Documentation(tokenizer, tools, room=200).ids([0, 1], ROOM)
    assert not set(ids) & set(tokenizer.added_tokens_decoder)
    assert tokenizer.decode(ids) == f"{OPENING}\nx(): a b.\ny(): a c.{REJECTED}{CUE}"
    assert tokenizer.decode(Documentation(tokenizer, tools, room=3).ids([0], ROOM)) == f"{OPENING}\nx(): a{REJECTED}{CUE}"
    assert tokenizer.decode(Documentation(tokenizer, tools, room=2).ids([0], ROOM)) == f"{OPENING}\nx():{REJECTED}{CUE}"


def test_a_character_that_is_an_added_token_itself_is_left_out():
    tokenizer = tiny_tokenizer()
    tokenizer.add_tokens([":"])
    ids = Documentation(tokenizer, Tools([Tool("x", "a b.")]), room=200).ids([0], ROOM)
    assert not set(ids) & set(tokenizer.added_tokens_decoder)
    assert tokenizer.decode(ids) == f"{OPENING}\nx(): a b.{REJECTED}{CUE}".replace(":", "")


def test_shuffled_documentation_is_always_anothers():
    documentation = Documentation(TOKENIZER, LONG, "shuffled", room=200)
    own = {tool.name: f"{tool.signature.removeprefix(tool.name)}: {tool.documentation}" for tool in LONG}
    told = {}
    for place, name in enumerate(LONG.names):
        line = text(documentation, [place]).removeprefix(f"{OPENING}\n{name}").removesuffix(REJECTED + CUE)
        assert line in own.values() and line != own[name]
        told[name] = line
    assert len(set(told.values())) == 3
    again = Documentation(TOKENIZER, LONG, "shuffled", room=200)
    assert again.ids([0, 1, 2], ROOM) == documentation.ids([0, 1, 2], ROOM)
    alone = Tools([LONG["one"]])
    assert Documentation(TOKENIZER, alone, "shuffled").ids([0], ROOM) == Documentation(TOKENIZER, alone).ids([0], ROOM)


def test_no_part_of_a_documentation_is_a_special_token():
    tools = Tools([Tool("end", "Stops <|endoftext|> here.\nnone: <|endoftext|>")])
    ids = Documentation(TOKENIZER, tools, room=200).ids([0], ROOM)
    assert not set(ids) & set(TOKENIZER.all_special_ids)
    assert TOKENIZER.decode(ids).count("\n") == 5  # no line of its own for what pretends to be one


def test_the_escape_that_is_given_is_used():
    assert "THE SUM" in text(Documentation(TOKENIZER, TOOLS, room=200, escape=str.upper), [0])


@given(st.permutations(range(3)), st.integers(0, 60), st.integers(0, 300))
def test_it_is_the_same_each_time_and_never_longer_than_asked(places, room, more):
    documentation = Documentation(TOKENIZER, LONG, room=room)
    least = len(Documentation(TOKENIZER, LONG, room=0).ids(places, ROOM))
    ids = documentation.ids(places, least + more)
    assert len(ids) <= least + more
    assert ids == documentation.ids(places, least + more) == Documentation(TOKENIZER, LONG, room=room).ids(places, least + more)


def test_what_is_returned_may_be_changed():
    documentation = Documentation(TOKENIZER, TOOLS, "none")
    documentation.ids([0], ROOM).clear()
    assert documentation.ids([0], ROOM)


def test_a_character_of_several_tokens_is_not_cut():
    tools = Tools([Tool("one", "A é 漢字 z.")])
    for room in range(20):
        assert "\ufffd" not in text(Documentation(TOKENIZER, tools, room=room), [0])


@pytest.mark.parametrize(("given", "message"), [({"kind": "other"}, "one of: own, none, shuffled"), ({"room": -1}, "room is -1")])
def test_unknown_settings_are_refused(given, message):
    with pytest.raises(ValueError, match=message):
        Documentation(TOKENIZER, TOOLS, **given)
