"""Calls in texts: what is put in, what follows a rejection, a failure or a repetition, where texts end, and what stays as it was."""

import pytest
import torch
from families import tiny_model
from toolken_writing import TOOLS, Answers, letters_tokenizer, rows_after, scripted_model, second_rows, token, toolkens_of
from transformers import LlamaForCausalLM, StoppingCriteriaList

from pydisp.toolken.decoding import calling_rows
from pydisp.toolken.decoding.generating import generate
from pydisp.toolken.decoding.marked_text import marked_text
from pydisp.toolken.decoding.tool_mode import ArgumentWriter, Written
from pydisp.toolken.documentation import Documentation, DocumentationError
from pydisp.toolken.tools import calling
from pydisp.toolken.tools.builtin import BUILTIN
from pydisp.toolken.tools.tools import Tools

FOLLOWING = {"(": "2", "2": ")", "7": "+", "+": "=", "=": "9", "9": "y", "y": "$", "b": "c"}


def written(
    fires, answer="7", inputs="a=", *, scores=None, following=FOLLOWING, mode="toolkengpt", max_new_tokens=30, model=None, **settings
):
    """What a scripted model writes, and what the caller was asked."""
    model, tokenizer = model or scripted_model(following), letters_tokenizer()
    keywords = {name: settings.pop(name) for name in ("threshold", "temperature") if name in settings}
    toolkens = toolkens_of(model, tokenizer, rows_after(fires), second_rows(scores or {}), **keywords)
    caller = Answers(answer if callable(answer) else lambda name, arguments: answer)
    return generate(model, tokenizer, toolkens, inputs, mode=mode, caller=caller, max_new_tokens=max_new_tokens, **settings), caller


def outcomes(found, row=0):
    return [step.outcome for step in found.traces[row].steps]


def test_a_result_is_put_in_where_the_tool_fires_and_the_same_tool_fires_again():
    found, caller = written({"pick": "="}, writer=Writing("2", "2", "3"), most_calls=3)
    assert found.texts == (" 7+= 7+= 7+=9y",)
    assert caller.asked == [("pick", "2"), ("pick", "2"), ("pick", "3")]
    assert outcomes(found) == ["called"] * 3 + ["beyond"]
    steps = found.traces[0].steps
    assert [(one.place, one.start, one.end) for one in steps] == [(0, 0, 2), (4, 4, 6), (8, 8, 10), (12, 12, 12)]
    assert steps[1].arguments == "2" and steps[1].result == "7" and steps[1].tool == steps[1].fired == "pick"
    assert found.sequences[0].tolist() == [1, token("a"), token("="), *map(token, " 7+= 7+= 7+=9y"), 2]


@pytest.mark.parametrize("before", ["a ", "a(", 'a"', "a'", "a["])
def test_a_result_needs_no_space_behind_white_space_brackets_and_quotation_marks(before):
    found, _ = written({"clock": before[-1]}, inputs=before, following={"7": "y"})
    assert found.texts == ("7y",)


def test_rejected_the_plain_token_follows():
    found, caller = written({"pick": "="}, scores={"REJ": 4.0}, mode="reject")
    assert found.texts == ("9y",) and outcomes(found) == ["rejected"] and not caller.asked
    step = found.traces[0].steps[0]
    weights = torch.tensor([0.0, 0.0, 4.0]).softmax(-1)
    assert step.candidates == ("pick", "clock") and torch.tensor(step.probabilities).allclose(weights, atol=1e-4)
    assert step.tool == "pick" and step.confidence == pytest.approx(float(weights[0]), abs=1e-4) and step.arguments is None


def test_in_mode_rerank_nothing_is_rejected():
    found, _ = written({"pick": "="}, scores={"REJ": 4.0}, mode="rerank", most_calls=1)
    assert outcomes(found) == ["called", "beyond"]


def test_another_tool_is_called_if_the_second_scores_say_so():
    found, caller = written({"pick": "="}, scores={"clock": 4.0}, mode="reject", most_calls=1)
    assert caller.asked == [("clock", "")]
    assert found.traces[0].steps[0].fired == "pick" and found.traces[0].steps[0].tool == "clock"


@pytest.mark.parametrize(("threshold", "temperature", "outcome"), [(0.5, 1.0, "called"), (0.95, 1.0, "rejected"), (0.95, 0.5, "called")])
def test_the_threshold_and_the_temperature_of_the_toolkens_decide(threshold, temperature, outcome):
    found, _ = written({"pick": "="}, scores={"pick": 3.0}, mode="calibrated", threshold=threshold, temperature=temperature, most_calls=1)
    assert outcomes(found)[0] == outcome


def test_k_is_that_of_the_toolkens_or_given():
    assert len(written({"pick": "="}, mode="reject")[0].traces[0].steps[0].candidates) == 2
    assert len(written({"pick": "="}, mode="reject", k=3)[0].traces[0].steps[0].candidates) == 3
    with pytest.raises(ValueError, match="k is 4, but there are 3 tools"):
        written({}, mode="reject", k=4)


def test_failed_the_plain_token_follows_and_the_tool_does_not_fire_there_again():
    found, caller = written({"pick": "="}, ValueError("it is too late."))
    assert found.texts == ("9y",) and outcomes(found) == ["failed"] and len(caller.asked) == 1
    step = found.traces[0].steps[0]
    assert (step.error, step.kind, step.result, step.start, step.end) == ("it is too late.", "failed", None, 0, 0)


def test_arguments_without_an_end_are_a_failure_and_no_rejection():
    model = scripted_model(FOLLOWING)
    writer = ArgumentWriter(reader_of(model), letters_tokenizer(), TOOLS, most_argument_tokens=1)
    found, caller = written({"pick": "="}, model=model, writer=writer)
    assert outcomes(found) == ["failed"] and not caller.asked and found.texts == ("9y",)
    assert found.traces[0].steps[0].kind == "bad arguments" and "no end within 1 tokens" in found.traces[0].steps[0].error


def reader_of(model):
    from pydisp.modeling.cached_model import CachedModel

    return CachedModel(model)


def test_a_tool_without_a_function_fails():
    found, caller = written({"oracle": "="})
    assert outcomes(found) == ["failed"] and not caller.asked and found.texts == ("9y",)
    assert found.traces[0].steps[0].error == "the tool 'oracle' has no function; only its documentation is known, so it cannot be called."


LONG = {"inputs": "=", "following": dict(zip("=bc", "bcy", strict=True))}  # a text of three places: "=", "b", "c", and "y" ends it


def test_what_failed_is_not_run_again_and_after_a_second_time_its_tool_is_not_tried_in_that_text():
    writer = Writing("2", " n = 2", "3")
    found, caller = written({"pick": "=bc"}, ValueError("no."), writer=writer, **LONG)
    assert outcomes(found) == ["failed", "repeated", "repeated"] and caller.asked == [("pick", "2")] and writer.given == ["3"]
    assert found.texts == ("bcy",)
    assert [(one.arguments, one.error, one.kind) for one in found.traces[0].steps[1:]] == [
        (" n = 2", "no.", "failed"),
        (None, "no.", "failed"),
    ]


def test_other_arguments_of_a_tool_that_failed_are_tried():
    found, caller = written(
        {"pick": "=bc"}, lambda _, arguments: "7" if arguments == "3" else ValueError("no."), writer=Writing("1", "2", "3"), **LONG
    )
    assert outcomes(found) == ["failed", "failed", "called"] and [one for _, one in caller.asked] == ["1", "2", "3"]


def test_arguments_that_were_broken_in_the_same_way_are_not_tried_on_and_on():
    class Broken:
        count = 0

        def write(self, asked):
            self.count += len(asked)
            return [Written("2 2", "no comma.") for _ in asked]

    writer = Broken()
    found, caller = written({"pick": "=bc"}, writer=writer, **LONG)
    assert outcomes(found) == ["failed", "repeated", "repeated"] and writer.count == 2 and not caller.asked
    assert {one.kind for one in found.traces[0].steps} == {"bad arguments"}


def test_a_tool_without_a_function_is_tried_once_in_a_text():
    for inputs in ("=", ["=", "="]):
        found, caller = written({"oracle": "=bc"}, **{**LONG, "inputs": inputs}, most_calls=2)
        for trace, text in zip(found.traces, found.texts, strict=True):
            assert [one.outcome for one in trace.steps] == ["failed", "repeated", "repeated"] and text == "bcy"
            assert {one.error for one in trace.steps} == {found.traces[0].steps[0].error}
    assert not caller.asked


def test_what_failed_in_one_text_is_tried_in_another():
    found, _ = written({"oracle": "=c"}, **{**LONG, "inputs": ["=", "b"]})
    assert [outcomes(found, row) for row in (0, 1)] == [["failed", "repeated"], ["failed"]]


def test_another_tool_is_tried_where_one_is_not_tried_again():
    found, caller = written({"oracle": "=b", "clock": "c"}, **LONG, most_calls=2)
    assert outcomes(found) == ["failed", "repeated", "called"] and caller.asked == [("clock", "")]


def test_the_same_call_with_nothing_but_its_result_between_is_broken_off():
    found, caller = written({"pick": "=7"}, most_calls=3)
    # the second call would be word for word the first; the third has "+=" before it. The one that was broken off counts
    assert outcomes(found) == ["called", "repeated", "called", "beyond", "beyond"] and len(caller.asked) == 2
    assert found.texts == (" 7+= 7+=9y",)
    assert found.traces[0].counts == {"called": 2, "rejected": 0, "failed": 0, "repeated": 1, "beyond": 2}


def test_a_text_that_goes_in_a_circle_is_broken_off_at_the_third_equal_call():
    found, caller = written({"pick": "="}, writer=Writing("2", "2", "2"))
    assert outcomes(found) == ["called", "called", "repeated"] and found.texts == (" 7+= 7+=9y",) and len(caller.asked) == 2


def test_a_text_in_a_circle_writes_no_more_calls_than_it_may_have():
    writer = Writing(*["2"] * 20)
    found, caller = written({"pick": "=9"}, writer=writer, following={**FOLLOWING, "9": "="}, most_calls=5, max_new_tokens=40)
    assert outcomes(found)[:6] == ["called", "called", *["repeated"] * 3, "beyond"] and len(writer.given) == 15 and len(caller.asked) == 2


def test_a_call_may_come_again_behind_another_one():
    found, caller = written({"pick": "="}, writer=Writing("2", "2", "3", "2", "2", "2"))
    assert outcomes(found) == ["called"] * 5 + ["repeated"] and [one for _, one in caller.asked] == ["2", "2", "3", "2", "2"]


def test_the_same_call_written_otherwise_is_the_same_call():
    class Writer:
        written = iter(["1", " n = 1 ", "2"])

        def write(self, asked):
            return [Written(next(self.written, "2")) for _ in asked]

    found, caller = written({"pick": "=7+"}, writer=Writer(), following={**FOLLOWING, "+": "y"}, most_calls=3)
    assert outcomes(found)[:4] == ["called", "repeated", "called", "beyond"] and [one for _, one in caller.asked] == ["1", "2"]


def test_another_call_right_behind_a_result_is_not_broken_off():
    found, caller = written({"pick": "=", "clock": "7"}, lambda name, _: {"pick": "7", "clock": "9"}[name])
    assert outcomes(found) == ["called", "called"] and found.texts == (" 7 9y",)


def test_a_result_of_no_text_puts_nothing_in():
    found, _ = written({"pick": "="}, "")
    assert found.texts == ("9y",) and outcomes(found) == ["called"] and found.traces[0].steps[0].result == ""


class Writing:
    """A writer that writes these arguments one after the other, or errors."""

    def __init__(self, *given):
        self.given = list(given)

    def write(self, asked):
        return [Written("", str(one)) if isinstance(one, Exception) else Written(one) for one in (self.given.pop(0) for _ in asked)]


def test_failed_calls_count_against_the_most_calls():
    following = {**FOLLOWING, "9": "=", "=": "b", "b": "9"}
    settings = dict(inputs="=", writer=Writing("1", "2"), following=following, most_calls=2)
    found, caller = written({"pick": "=b"}, ValueError("no."), **settings)
    assert len(caller.asked) == 2 and outcomes(found)[:3] == ["failed", "failed", "beyond"]


@pytest.mark.parametrize("room", [1, 4, 5, 6])
def test_no_more_tokens_are_written_than_asked_for_and_a_result_stands_whole_or_not_at_all(room):
    found, caller = written(
        {"pick": "="}, "7777", inputs=["a=", "b="], max_new_tokens=room, most_calls=1, following={**FOLLOWING, "b": "="}
    )
    assert found.texts == (("" if room < 5 else " 7777+"[:room]),) * 2
    assert found.sequences.shape == (2, 3 + (0 if room < 5 else room))
    step = found.traces[0].steps[0]
    assert step.outcome == ("beyond" if room < 5 else "called") and step.result == "7777" and step.arguments == "2"
    assert (step.start, step.end) == (0, 0 if room < 5 else 5) and len(caller.asked) == 2
    if room < 5:
        assert step.needed == 5 and marked_text(found.texts[0], found.traces[0]) == "[pick(2) has no room: 5 tokens]"
        assert step.error == f"the result has 5 tokens and the text has room for {room}; the text ends before it."


def test_a_text_that_ends_before_its_result_does_not_call_behind_its_padding():
    rows = rows_after({"pick": "="})
    rows[1, 0] = 2.0  # after padding
    model, tokenizer, caller = scripted_model({**FOLLOWING, "b": "b"}), letters_tokenizer(), Answers(lambda *_: "7777")
    toolkens = toolkens_of(model, tokenizer, rows)
    found = generate(model, tokenizer, toolkens, ["a=", "b"], mode="toolkengpt", caller=caller, max_new_tokens=4)
    assert found.texts == ("", "bbbb") and outcomes(found) == ["beyond"] and len(caller.asked) == 1


@pytest.mark.parametrize("settings", [{}, {"eos_token_id": None}], ids=["with an end", "without"])
def test_a_text_that_ends_before_its_result_calls_no_more_while_others_go_on(settings):
    found, caller = written(
        {"pick": "="}, "7777", inputs=["a=", "b"], max_new_tokens=4, following={**FOLLOWING, "b": "b", "9": "="}, **settings
    )
    assert found.texts == ("", "bbbb") and outcomes(found) == ["beyond"] and len(caller.asked) == 1
    assert found.sequences[0].tolist()[-4:] == [0] * 4


def test_a_stop_string_ends_the_text_behind_a_result_not_inside_it():
    found, _ = written({"pick": "="}, "1.5.7", stop_strings=["."], following={**FOLLOWING, "7": "."})
    assert found.texts == (" 1.5.7.",)


def test_the_tokenizer_may_be_given_by_name_too_as_transformers_asks_for_beside_stop_strings():
    model, tokenizer = scripted_model({"=": "+", "+": "7", "7": "+"}), letters_tokenizer()
    settings = dict(mode="none", stop_strings=["7+"], max_new_tokens=9)
    wanted = model.generate(torch.tensor([[1, token("=")]]), stop_strings=["7+"], tokenizer=tokenizer, max_new_tokens=9)
    for given, named in (((tokenizer, None, "="), {}), ((tokenizer, None, "="), {"tokenizer": tokenizer}), ((tokenizer, None, "="), {"tokenizer": None}),
                         ((), {"tokenizer": tokenizer, "toolkens": None, "inputs": "="})):  # fmt: skip
        found = generate(model, *given, **named, **settings)
        assert found.texts == ("+7+",) and torch.equal(found.sequences, wanted)
    with pytest.raises(ValueError, match="two different tokenizers were given, one by position and one by name"):
        generate(model, tokenizer, None, "=", tokenizer=letters_tokenizer(), **settings)


@pytest.mark.parametrize(
    ("inputs", "types"), [([None], "NoneType"), (None, "NoneType"), (["a", 3, [4]], "int, list"), (7, "int"), ([b"a"], "bytes")]
)
def test_prompts_that_are_no_texts_are_refused_in_one_sentence(inputs, types):
    with pytest.raises(
        ValueError, match=f"^among the prompts are values of type {types}; give a text, a list of texts, or input ids as a tensor.$"
    ):
        generate(scripted_model({}), letters_tokenizer(), None, inputs, mode="none", max_new_tokens=1)


def test_prompts_of_any_iterable_are_taken():
    assert generate(scripted_model({"a": "b"}), letters_tokenizer(), None, (one for one in "aa"), mode="none", max_new_tokens=1).texts == (
        "b",
        "b",
    )


def test_fewer_than_no_calls_are_refused_and_none_are_no_calls():
    with pytest.raises(ValueError, match="^most_calls is -1; it must be a whole number of at least 0"):
        written({"pick": "="}, most_calls=-1)
    found, caller = written({"pick": "="}, most_calls=0)
    assert outcomes(found) == ["beyond"] and not caller.asked


def test_results_are_no_control():
    found, _ = written({"pick": "="}, "</s>7<pad>7", most_calls=1)
    ids = found.sequences[0, 3:].tolist()
    assert ids.index(2) == len(ids) - 1 and 0 not in ids
    assert found.texts[0] == " <\\/s>7<\\pad>7+=9y" and found.traces[0].steps[0].result == "</s>7<pad>7"


def test_a_second_lock_keeps_special_tokens_out(monkeypatch):
    monkeypatch.setattr(calling_rows, "escaped", lambda text, _: text)
    ids = written({"pick": "="}, "</s>7<pad>7", most_calls=1)[0].sequences[0, 3:].tolist()
    assert ids.index(2) == len(ids) - 1 and 0 not in ids


def test_a_text_that_has_ended_calls_no_more():
    found, caller = written({"clock": "$"}, inputs=["a=", "a=" + "+"], following={**FOLLOWING, "=": "y", "+": "b", "b": "c", "c": "y"})
    assert not caller.asked and found.texts == ("y", "bcy") and outcomes(found) == []
    rows = rows_after({"pick": "="})
    rows[1, 0] = 2.0  # after padding, which an ended text goes on with
    model = scripted_model({**FOLLOWING, "=": "y", "+": "b", "b": "c", "c": "y"})
    found = generate(
        model,
        letters_tokenizer(),
        toolkens_of(model, letters_tokenizer(), rows),
        ["y", "a+"],
        mode="toolkengpt",
        caller=caller,
        max_new_tokens=9,
    )
    assert found.texts == ("", "bcy") and not caller.asked


def test_a_model_that_reads_all_places_of_its_head_chooses_the_same():
    class All(LlamaForCausalLM):
        def forward(self, input_ids=None, attention_mask=None, position_ids=None, past_key_values=None, use_cache=None, **_):
            return super().forward(input_ids, attention_mask, position_ids, past_key_values, use_cache=use_cache)

    settings = dict(inputs=["a=", "a(", "bb="], scores={"REJ": 1.0, "clock": 3.0}, mode="reject", k=1, most_calls=2)
    fires = {"pick": "=", "clock": "("}
    wanted, _ = written(fires, **settings)
    model = scripted_model(FOLLOWING)
    model.__class__ = All
    found, _ = written(fires, model=model, **settings)
    assert found.texts == wanted.texts and [one.as_dict() for one in found.traces] == [one.as_dict() for one in wanted.traces]
    assert outcomes(found) == ["rejected"] and outcomes(found, 1)[0] == "called"


def test_prompts_of_unequal_lengths_are_written_together_as_alone():
    prompts = ["a=", "bb(", "cdef", "b", "a=" * 5]
    fires = {"pick": "=", "clock": "("}
    settings = dict(answer=lambda name, _: {"pick": "7", "clock": "1234567"}[name], most_calls=2)
    together, _ = written(fires, inputs=prompts, **settings)
    longest = max(map(len, prompts)) + 1
    for row, prompt in enumerate(prompts):
        alone, _ = written(fires, inputs=prompt, **settings)
        assert together.texts[row] == alone.texts[0] and together.traces[row].as_dict() == alone.traces[0].as_dict()
        ids = together.sequences[row].tolist()
        padding = longest - 1 - len(prompt)
        assert ids[: padding + 1] == [0] * padding + [1]
        end = ids.index(2) + 1
        assert ids[padding:end] == alone.sequences[0].tolist() and set(ids[end:]) <= {0}


def test_of_mode_none_no_toolkens_are_needed_and_else_they_are():
    found, caller = written({"pick": "="}, mode="none")
    assert found.texts == ("9y",) and not caller.asked and found.traces[0].steps == []
    with pytest.raises(ValueError, match="the mode is 'reject', but there are no toolkens"):
        generate(scripted_model({}), letters_tokenizer(), None, "a", mode="reject")


def test_toolkens_of_another_model_are_refused():
    toolkens = toolkens_of(scripted_model({"a": "b"}), letters_tokenizer(), rows_after({}))
    with pytest.raises(ValueError, match="the toolkens were made for tiny"):
        generate(scripted_model({"a": "c"}), letters_tokenizer(), toolkens, "a", max_new_tokens=3)


def test_documentation_longer_than_the_context_is_refused_before_anything_is_written():
    with pytest.raises(DocumentationError, match="the documentation of 2 tools has"):
        written({"pick": "="}, mode="reject", model=scripted_model(FOLLOWING, positions=90))


def test_documentation_that_was_trained_with_some_room_is_read_with_that(monkeypatch):
    rooms = []
    real = Documentation.__init__
    monkeypatch.setattr(Documentation, "__init__", lambda self, *given: rooms.append(given[3]) or real(self, *given))
    model, tokenizer = scripted_model(FOLLOWING), letters_tokenizer()
    for calibration in ({}, {"documentation_tokens": 7}):
        toolkens = toolkens_of(model, tokenizer, rows_after({"pick": "="}), **calibration)
        generate(model, tokenizer, toolkens, "a=", mode="reject", caller=Answers(lambda *_: "7"), max_new_tokens=3)
    assert rooms == [40, 7]


def test_a_text_with_no_room_for_documentation_goes_on_plainly_and_says_so():
    found, _ = written({"pick": "="}, mode="reject", inputs="a" * 100 + "=", model=scripted_model(FOLLOWING, positions=190))
    assert outcomes(found) == ["rejected"] and found.texts == ("9y",)
    assert "the context has room for 88 after the text" in found.traces[0].steps[0].error


@pytest.mark.parametrize(("mode", "kind"), [("no_docs", "none"), ("shuffled_docs", "shuffled")])
def test_the_controls_read_their_documentation(mode, kind):
    model, tokenizer = scripted_model(FOLLOWING), letters_tokenizer()
    read = []
    model.get_input_embeddings().register_forward_pre_hook(lambda _, inputs: read.append(inputs[0].tolist()))
    found, _ = written({"pick": "="}, mode=mode, model=model, scores={"REJ": 4.0})
    assert outcomes(found) == ["rejected"]
    assert [Documentation(tokenizer, TOOLS, kind).ids([0, 1], 500)] in read
    with pytest.raises(ValueError, match="reads documentation of kind"):
        written({}, mode=mode, documentation=Documentation(tokenizer, TOOLS))


def test_no_id_of_a_tool_is_ever_read_and_padding_columns_stay_behind_them():
    model, largest = scripted_model(FOLLOWING, head_rows=128), []
    model.get_input_embeddings().register_forward_pre_hook(lambda _, inputs: largest.append(int(inputs[0].max())))
    found, _ = written({"pick": "="}, mode="calibrated", scores={"pick": 5.0}, model=model, most_calls=2)
    assert found.texts == (" 7+= 7+=9y",) and max(largest) < 97 and int(found.sequences.max()) < 97


def test_the_model_is_as_it_was_even_after_an_error():
    model = scripted_model(FOLLOWING).train()
    model.model.norm.eval()
    before = {name: one.training for name, one in model.named_modules()}
    wanted = {name: one.clone() for name, one in model.state_dict().items()}

    def broken(name, arguments):
        raise KeyError("the caller itself broke")

    assert written({"pick": "="}, model=model, most_calls=1)[0].texts == (" 7+=9y",)
    with pytest.raises(KeyError):
        written({"pick": "="}, broken, model=model)
    assert {name: one.training for name, one in model.named_modules()} == before
    assert not model.lm_head._forward_hooks and all(torch.equal(one, wanted[name]) for name, one in model.state_dict().items())


def test_a_model_in_training_writes_as_in_evaluation():
    model, ids = tiny_model("phi"), torch.tensor([[5, 6, 7]])  # it has dropout
    wanted = model.generate(ids, max_new_tokens=8)
    model.train()
    assert torch.equal(generate(model, letters_tokenizer(), None, ids, mode="none", max_new_tokens=8).sequences, wanted) and model.training


def test_a_caller_of_its_own_begins_with_the_first_call_and_ends_with_the_texts(monkeypatch):
    events = []

    class Own(Answers):
        def __init__(self, tools):
            super().__init__(lambda name, arguments: "7")
            events.append(tools)

        def __enter__(self):
            return self

        def __exit__(self, *_error):
            events.append("ended")

    monkeypatch.setattr(calling, "Caller", Own)
    model, tokenizer = scripted_model(FOLLOWING), letters_tokenizer()
    for fires, wanted in (("", []), ("=", [TOOLS, "ended"])):
        toolkens = toolkens_of(model, tokenizer, rows_after({"pick": fires}))
        generate(model, tokenizer, toolkens, ["a=", "b="], mode="toolkengpt", max_new_tokens=9)
        assert events == wanted


def test_built_in_tools_are_called_in_their_worker():
    model, tokenizer = scripted_model({"(": "2", "2": ",", ",": "3", "3": ")", "=": "y"}), letters_tokenizer()
    tools = Tools([BUILTIN["multiply"], BUILTIN["divide"]])
    toolkens = toolkens_of(model, tokenizer, rows_after({"multiply": "=", "divide": "+"}, tools), tools=tools)
    found = generate(model, tokenizer, toolkens, ["a=", "a+"], mode="toolkengpt", max_new_tokens=20)
    assert found.texts == (" 6", " 0.666666666667") and [outcomes(found, row) for row in (0, 1)] == [["called"]] * 2


def test_without_an_end_of_text_no_text_is_longer_than_asked_for():
    found, _ = written({"clock": "("}, "1234", inputs=["b", "b("], eos_token_id=None, max_new_tokens=4, following={"b": "b", "4": "y"})
    assert found.texts == ("bbbb", "1234")


def test_sampled_texts_draw_once_a_step_whether_a_tool_is_called_or_not():
    draws = []
    real = torch.multinomial
    for answer in ("7", ValueError("no.")):
        count = 0

        def counted(*arguments, **keywords):
            nonlocal count
            count += 1
            return real(*arguments, **keywords)

        torch.multinomial = counted
        try:
            found, _ = written({"pick": "="}, answer, do_sample=True, top_k=1, most_calls=1)
        finally:
            torch.multinomial = real
        draws.append((count, found.texts[0]))
    assert draws == [(6, " 7+=9y"), (3, "9y")]  # a result is one step, the end another


def test_inputs_as_ids_with_a_mask_or_as_a_mapping():
    ids = torch.tensor([[0, 0, 1, token("a"), token("=")], [1, token("b"), token("a"), token("a"), token("=")]])
    mask = (ids > 0).long()
    for inputs, keywords in ((ids, {"attention_mask": mask}), ({"input_ids": ids, "attention_mask": mask}, {})):
        found, _ = written({"pick": "="}, inputs=inputs, most_calls=1, **keywords)
        assert found.texts == (" 7+=9y",) * 2
    for wrong in ([], [""], torch.zeros(3, dtype=torch.long)):
        with pytest.raises(ValueError, match="no prompt|must be"):
            written({}, inputs=wrong if not isinstance(wrong, list) or wrong != [""] else torch.zeros(0, 3, dtype=torch.long))


def test_one_tool_alone():
    model, tokenizer, tools = scripted_model(FOLLOWING), letters_tokenizer(), Tools([TOOLS["clock"]])
    toolkens = toolkens_of(model, tokenizer, rows_after({"clock": "="}, tools), second_rows({"clock": 2.0}, tools), tools)
    found = generate(model, tokenizer, toolkens, "a=", caller=Answers(lambda name, arguments: "7"), max_new_tokens=9, most_calls=1)
    assert found.texts == (" 7+=9y",)


def lm_eval_criteria(tokenizer, stops, prompts):
    huggingface = pytest.importorskip("lm_eval.models.huggingface")
    longest = max(len(tokenizer(prompt)["input_ids"]) for prompt in prompts) + 1  # the beginning of text
    return huggingface.stop_sequences_criteria(tokenizer, stops, longest, len(prompts))


@pytest.mark.parametrize("prompts", [["q|b=", "q=b|"], ["q=b|", "q|b="], ["q|b=", "b|", "|q|q|q|"], ["q|q|q|b=", "b|"]])
def test_criteria_of_lm_eval_find_no_stop_in_a_prompt_when_one_text_calls(prompts):
    model, tokenizer = scripted_model({**FOLLOWING, "7": "|", **dict(zip("|acde", "acde|", strict=True))}), letters_tokenizer()
    toolkens = toolkens_of(model, tokenizer, rows_after({"pick": "="}))
    settings = dict(mode="toolkengpt", most_calls=1, max_new_tokens=30, caller=Answers(lambda name, arguments: "77777777"))
    made = generate(
        model, tokenizer, toolkens, prompts, stopping_criteria=lm_eval_criteria(tokenizer, ["|"], prompts), eos_token_id=None, **settings
    )
    # the text that calls has its stop after 2 steps, the others after 5; lm-eval ends all then
    assert made.texts == tuple(" 77777777|acd" if prompt.endswith("=") else "acde|" for prompt in prompts)
    assert [trace.counts["called"] for trace in made.traces] == [int(prompt.endswith("=")) for prompt in prompts]


def test_criteria_of_lm_eval_take_no_filling_for_an_end_of_text():
    # padding is the end of text, which lm-eval always has among its stop strings; the text that calls ends, so all would seem done
    model = scripted_model(dict(zip("|acde", "acde|", strict=True)), size=98)
    tokenizer = letters_tokenizer(**{"\u0122": 97})
    tokenizer.pad_token = tokenizer.eos_token
    toolkens, prompts = toolkens_of(model, tokenizer, rows_after({"pick": "="})), ["q=", "b|"]
    settings = dict(mode="toolkengpt", most_calls=1, max_new_tokens=12, caller=Answers(lambda name, arguments: "7777"))
    criteria = lm_eval_criteria(tokenizer, ["</s>"], prompts)
    assert generate(model, tokenizer, toolkens, prompts, stopping_criteria=criteria, **settings).texts == (" 7777", "acde|acde|ac")


@pytest.mark.parametrize(
    ("more", "changes", "wanted"),
    [
        ({"\u0122": 97}, {}, 97),  # the byte 0x80 as byte level tokenizers name it
        ({"<0x80>": 97}, {}, 97),  # and as SentencePiece does
        ({"\u0122": 99}, {}, 0),  # the model has 99 tokens
        ({"<unk>": 98}, {"unk_token": "<unk>"}, 98),
        ({"\u0122": 97, "<unk>": 98}, {"unk_token": "<unk>"}, 97),
        ({}, {"unk_token": "</s>"}, 0),
        ({}, {"unk_token": "</s>", "pad_token": "</s>"}, 2),
        ({}, {}, 0),
    ],
)
def test_a_short_text_is_filled_with_what_no_stop_string_has(more, changes, wanted):
    model, tokenizer, seen = scripted_model(FOLLOWING, size=99), letters_tokenizer(**more), []
    for name, value in changes.items():
        setattr(tokenizer, name, value)
    toolkens = toolkens_of(model, tokenizer, rows_after({"pick": "="}))
    generate(
        model, tokenizer, toolkens, ["q=", "qb"], mode="toolkengpt", most_calls=1, max_new_tokens=12,
        stopping_criteria=StoppingCriteriaList([lambda ids, _: seen.append(ids.tolist()) or torch.zeros(2).bool()]),
        caller=Answers(lambda name, arguments: "77"),
    )  # fmt: skip
    assert seen[:2] == [
        [[1, *map(token, "q= 77")], [1, *map(token, "qb"), wanted, wanted, token("c")]],
        [[1, *map(token, "q=7")], [1, *map(token, "qbc")]],
    ]
