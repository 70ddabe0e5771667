"""A batch whose texts grow unequally writes what a plain loop without cache and without a batch writes, for every family."""

import pytest
import torch
from families import MODELS, random_plan, tiny_model
from toolken_writing import TOOLS, Answers, letters_tokenizer, toolkens_of
from transformers import GPT2Config, GPT2LMHeadModel, LogitsProcessorList

from pydisp.modeling.cached_model import CachedModel
from pydisp.spec import ModelSpec
from pydisp.surgery import prune_model
from pydisp.toolken.decoding.batch_rows import BatchRows
from pydisp.toolken.decoding.generating import generate
from pydisp.toolken.decoding.put_in import put_in
from pydisp.toolken.decoding.tool_mode import Written
from pydisp.toolken.documentation import Documentation

PROMPTS = ["What is a?", "One and two and three and four =", "(5"]
TOKENIZER = letters_tokenizer()
ROOM = 16


def result_of(name, arguments):
    """Results of 1 to 7 characters, and an error now and then."""
    if name == "clock":
        return "1234567"
    return ValueError("three is too many.") if arguments == "3" else "8" * int(arguments)


def arguments_of(text, name):
    return str(1 + len(text) % 3) if name == "pick" else ""


class Arguments:
    """A writer that looks at the length of the text only; what models write is in test_tool_mode."""

    def write(self, asked):
        return [Written(arguments_of(text, TOOLS.names[place])) for text, place in asked]


def decode(ids):
    return TOKENIZER.decode(ids, skip_special_tokens=True)


class Plain:
    """The definition: one text, every forward over the whole of it."""

    def __init__(self, model, toolkens, k):
        self.model, self.toolkens, self.k = model, toolkens, k
        self.documentation = Documentation(TOKENIZER, TOOLS)

    @torch.no_grad()
    def read(self, ids):
        """Word logits, first scores, and what the head read, after the last token."""
        seen = []
        handle = self.model.get_output_embeddings().register_forward_hook(lambda _, inputs, __: seen.append(inputs[0][0, -1]))
        logits = self.model(input_ids=torch.tensor([ids]), use_cache=False).logits[0, -1]
        handle.remove()
        return logits, self.toolkens.rows.double() @ seen[0].double(), seen[0].double()

    def write(self, prompt, room=ROOM):
        ids = [1, *TOKENIZER(prompt)["input_ids"]]
        start, steps, last, times = len(ids), [], None, 0  # the last call that ran and where its result ends; how often on end
        failed, is_given_up = set(), set()  # calls; tools that are not tried again
        while len(ids) < start + room and ids[-1] != 2:
            words, first, _ = self.read(ids)
            left = words.clone()
            if last is not None:  # results are numbers here, and are not lengthened
                behind = decode(ids[last[1] :])
                left[[place for place in range(97) if behind in ("", ".", ",") and decode([place]).isdecimal()]] = -torch.inf
            added = [int(left.argmax())]
            if first.max() > words[:97].max():
                candidates = first.sort(descending=True, stable=True).indices[: self.k].tolist()
                hidden = self.read([*ids, *self.documentation.ids(candidates, 512 - len(ids))])[2]
                second = self.toolkens.rerank_rows.double()[[*candidates, -1]] @ hidden
                best = int(second.argmax())
                outcome, call = "rejected", None
                if best < self.k:
                    tool = list(TOOLS)[candidates[best]]
                    outcome = "failed"
                    arguments = arguments_of(decode(ids), tool.name) if tool.function and tool.name not in is_given_up else None
                    result = None if arguments is None else result_of(tool.name, arguments)
                    call = (tool.name, arguments)
                    if tool.name in is_given_up:
                        outcome = "repeated"
                    elif call in failed:
                        outcome = "repeated"
                        is_given_up.add(tool.name)
                    elif arguments is not None and last is not None and last[0] == call and (times >= 2 or last[1] == len(ids)):
                        outcome = "repeated"
                    elif isinstance(result, str):
                        outcome = "called"
                        added = TOKENIZER(put_in(decode(ids), result))["input_ids"]
                        if len(added) > start + room - len(ids):  # it is put in whole, or the text ends
                            steps.append((len(ids) - start, "beyond", call))
                            break
                        times = times + 1 if last is not None and last[0] == call else 1
                        last = (call, len(ids) + len(added))
                    if outcome == "failed":
                        failed.add(call)
                        is_given_up |= {tool.name} - {one.name for one in TOOLS if one.function}
                steps.append((len(ids) - start, outcome, call))
            ids += added
        return ids[start:], steps


@pytest.mark.parametrize("name", [*MODELS, "llama pruned", "gemma3_text pruned", "padded head"])
def test_calls_in_a_batch_are_those_of_a_plain_loop_over_each_text(name):
    family, _, change = name.partition(" ")
    # stock gemma2 in float64 gives NaN where a text is padded
    dtype = torch.float32 if family == "gemma2" else torch.float64
    if name == "padded head":
        model = tiny_model("llama", max_position_embeddings=512, vocab_size=128)
        with torch.no_grad():
            model.lm_head.weight[97:] = -model.lm_head.weight[:31]
            model.lm_head.weight[97:] *= 0.1
    else:
        model = tiny_model(family, dtype=dtype, max_position_embeddings=512)
        if change:
            model = prune_model(model, random_plan(ModelSpec.from_model(model), 1, (0,), (2,)))
    generator = torch.Generator().manual_seed(11)
    width, scale = model.get_output_embeddings().in_features, float(model.get_output_embeddings().weight.detach().std())
    rows = torch.randn(3, width, generator=generator) * scale * 2.5
    second = torch.randn(4, width, generator=generator) * scale
    second[-1] = 0  # where the best two have negative scores they are rejected, and called with the signs turned
    outcomes = set()
    for rerank_rows in (second, -second):
        toolkens = toolkens_of(model, TOKENIZER, rows, rerank_rows)
        found = generate(
            model,
            TOKENIZER,
            toolkens,
            PROMPTS,
            mode="reject",
            caller=Answers(result_of),
            writer=Arguments(),
            most_calls=99,
            max_new_tokens=ROOM,
        )
        outcomes |= same_as_plain(Plain(model, toolkens, 2), found)
    assert "called" in outcomes and len(outcomes) > 1, outcomes


def same_as_plain(plain, found):
    """The outcomes, which are those of the plain loop, as ids and arguments are."""
    outcomes = set()
    start = 1 + max(map(len, PROMPTS))
    for row, prompt in enumerate(PROMPTS):
        ids, steps = plain.write(prompt)
        assert found.sequences[row, start : start + len(ids)].tolist() == ids and not found.sequences[row, start + len(ids) :].any()
        ours = found.traces[row].steps
        assert [(one.place, one.outcome) for one in ours] == [(place, outcome) for place, outcome, _ in steps]
        assert [(one.tool, one.arguments) for one in ours if one.outcome != "rejected"] == [call for *_, call in steps if call]
        outcomes |= {outcome for _, outcome, _ in steps}
    return outcomes


def test_processors_and_criteria_see_a_text_as_it_would_be_alone():
    """A penalty would otherwise fall on padding that a batch has and a text alone has not."""
    model = tiny_model("llama", max_position_embeddings=512)
    rows = torch.randn(3, 48, generator=torch.Generator().manual_seed(2)) * 0.3
    toolkens = toolkens_of(model, TOKENIZER, rows, torch.zeros(4, 48))
    settings = dict(
        writer=Arguments(),
        mode="rerank",
        most_calls=3,
        max_new_tokens=ROOM,
        repetition_penalty=1.2,
        min_new_tokens=6,
        stop_strings=["y", "Q", "R"],
    )
    ids = torch.randint(3, 97, (4, 8), generator=torch.Generator().manual_seed(4))
    together = generate(model, TOKENIZER, toolkens, ids, caller=Answers(result_of), **settings)
    assert len({tuple(one.place for one in trace.steps) for trace in together.traces}) > 1
    for row in range(4):
        alone = generate(model, TOKENIZER, toolkens, ids[row : row + 1], caller=Answers(result_of), **settings)
        assert alone.texts[0] == together.texts[row] and alone.traces[0].counts == together.traces[row].counts
        assert alone.sequences[0].tolist() == together.sequences[row, : alone.sequences.shape[1]].tolist()


def test_processors_that_change_their_argument_do_so_once():
    model = tiny_model("llama", max_position_embeddings=512)
    bias = torch.randn(97, generator=torch.Generator().manual_seed(1)) * 2
    toolkens = toolkens_of(model, TOKENIZER, torch.randn(3, 48, generator=torch.Generator().manual_seed(2)) * 0.3)
    settings = dict(mode="rerank", writer=Arguments(), caller=Answers(result_of), most_calls=1, max_new_tokens=ROOM)
    settings["logits_processor"] = LogitsProcessorList([lambda ids, scores: scores.add_(bias)])
    ids = torch.randint(3, 97, (4, 8), generator=torch.Generator().manual_seed(4))
    together = generate(model, TOKENIZER, toolkens, ids, **settings)
    assert len({len(trace.steps) for trace in together.traces}) > 1
    assert together.texts == tuple(generate(model, TOKENIZER, toolkens, ids[row : row + 1], **settings).texts[0] for row in range(4))


def rows_of_unequal_lengths(**more) -> BatchRows:
    """Prompts of 3 tokens, behind which 3, 1 and 2 were written; the last prompt was given padded."""
    mask = torch.tensor([[1, 1, 1]] * 2 + [[0, 1, 1]])
    rows = BatchRows(CachedModel(tiny_model("llama")), torch.zeros(3, 3).long(), {"attention_mask": mask}, 0, **more)
    rows.ids = torch.tensor([[11, 12, 13, 14, 15, 16], [0, 0, 21, 22, 23, 24], [0, 0, 32, 33, 34, 35]])
    rows.ids[2, 1] = 31
    rows.added = [0, 2, 1]
    return rows


def test_by_length_gives_each_text_the_value_of_its_own_length():
    rows = rows_of_unequal_lengths()
    assert rows.by_length(lambda ids: ids.sum(-1)).tolist() == [81, 90, 165]
    assert rows.by_length(lambda ids: ids[:, :1] * 1.0).tolist() == [[11.0], [21.0], [31.0]]
    assert rows.lengths == [6, 4, 5] and rows.padding == [0, 0, 1] and rows.text_ids(2) == [32, 33, 34, 35]


@pytest.mark.parametrize(("more", "filled"), [({}, 0), ({"stand_in": 7}, 7)])
def test_texts_of_other_lengths_are_cut_or_filled_directly_behind_their_prompts(more, filled):
    seen = []
    rows_of_unequal_lengths(**more).by_length(lambda ids: seen.append(ids.tolist()) or ids[:, 0])
    assert seen == [
        [[11, 12, 13, 14, 15, 16], [21, 22, 23, filled, filled, 24], [31, 32, 33, filled, 34, 35]],
        [[11, 12, 13, 15, 16], [21, 22, 23, filled, 24], [31, 32, 33, 34, 35]],
        [[11, 12, 13, 16], [21, 22, 23, 24], [31, 32, 33, 35]],
    ]


def test_texts_of_one_length_are_seen_in_one_call_as_they_are():
    rows, seen = rows_of_unequal_lengths(), []
    rows.added = [0, 0, 0]
    rows.by_length(lambda ids: seen.append(ids.tolist()) or ids[:, 0])
    assert seen == [rows.ids.tolist()]


def test_a_joined_batch_has_no_more_slots_than_its_longest_text():
    model = tiny_model("mistral", max_position_embeddings=512)
    reader = CachedModel(model)
    ids = torch.tensor([[0, 0, 5, 6], [0, 7, 8, 9]])
    mask = (ids > 0).long()
    past = reader.start()
    model(input_ids=ids, attention_mask=mask, position_ids=(mask.cumsum(-1) - 1).clamp(0), past_key_values=past.cache)
    arguments = {"past_key_values": past.cache, "attention_mask": torch.ones(2, 5).long(), "position_ids": torch.zeros(2, 5)}
    arguments["attention_mask"][:, :4] = mask
    rows = BatchRows(reader, ids, arguments, 0)
    rows.padding = [2, 1]
    rows.append_(torch.tensor([11, 12]), {0: [21, 22, 23]})
    assert rows.ids.tolist() == [[0, 0, 5, 6, 21, 22, 23], [0, 0, 0, 7, 8, 9, 12]] and rows.added == [0, 2]
    assert rows.arguments["past_key_values"].get_seq_length() == 4
    assert rows.arguments["attention_mask"].tolist() == [[1] * 5, [0, 1, 1, 1, 1]]
    assert rows.arguments["position_ids"][:, -1].tolist() == [4, 3]
    assert rows.text_ids(0) == [5, 6, 21, 22, 23] and rows.text_ids(1) == [7, 8, 9, 12]


def test_no_position_passes_the_last_one_once_texts_have_unequal_lengths():
    reader = CachedModel(tiny_model("llama"))
    ids = torch.tensor([[5, 6, 7], [8, 9, 10]])
    past = reader.start().repeated(2)
    reader.read(past, ids)
    arguments = {"past_key_values": past.cache, "position_ids": torch.arange(4).repeat(2, 1)}
    rows = BatchRows(reader, ids, arguments, 0, max_length=5)
    rows.append_(torch.tensor([11, 12]), {})
    assert rows.arguments["position_ids"].tolist() == [[0, 1, 2, 3]] * 2  # a step as of transformers
    rows = BatchRows(reader, ids, arguments, 0, max_length=5)
    rows.append_(torch.tensor([11, 12]), {0: [21, 22, 23]})
    assert rows.arguments["position_ids"].tolist() == [[0, 1, 2, 3, 4, 4], [0, 0, 0, 1, 2, 3]]
    rows.arguments["position_ids"] = torch.tensor([[4, 5], [3, 4]])
    rows.append_(torch.tensor([31, 32]), {})
    assert rows.arguments["position_ids"].tolist() == [[4, 4], [3, 4]]


class ByPrompt:
    """Arguments with which the call of the first prompt gives a result, and those of other texts fail."""

    def write(self, asked):
        return [Written("1" if text.startswith("q=") else "2") for text, _ in asked]


@pytest.mark.parametrize("settings", [{"eos_token_id": None}, {"suppress_tokens": [2]}], ids=["without an end", "no end"])
@pytest.mark.parametrize("name", ["gpt2", "opt-125m", "llama"])
def test_a_text_that_has_ended_waits_within_the_context_while_a_shorter_one_fills_it(name, settings):
    if name == "gpt2":
        torch.manual_seed(0)
        config = GPT2Config(
            vocab_size=97, n_embd=48, n_layer=2, n_head=4, n_positions=48, pad_token_id=0, bos_token_id=1, eos_token_id=2
        )  # fmt: skip
        model = GPT2LMHeadModel(config).eval()
    else:
        model = tiny_model(name, dtype=torch.float32, max_position_embeddings=48)
    with torch.no_grad():
        seen = []
        handle = model.get_output_embeddings().register_forward_hook(lambda _, inputs, __: seen.append(inputs[0][0, -1]))
        for prompt in ("q=", "qa"):
            model(input_ids=torch.tensor([[1, *TOKENIZER(prompt)["input_ids"]]]))
        handle.remove()
    first, second = seen
    rows = torch.zeros(3, 48)
    rows[0] = (first - first @ second / (second @ second) * second) * 1000  # on top behind the first prompt, 0 behind the other
    toolkens = toolkens_of(model, TOKENIZER, rows)
    settings = dict(mode="toolkengpt", writer=ByPrompt(), most_calls=1, max_new_tokens=45, **settings)
    caller = Answers(lambda name, arguments: "8" * 20 if arguments == "1" else ValueError("no."))
    together = generate(model, TOKENIZER, toolkens, ["q=", "qa"], caller=caller, **settings)
    assert [trace.counts["called"] for trace in together.traces] == [1, 0] and together.sequences.shape == (2, 48)
    for row, prompt in enumerate(["q=", "qa"]):
        alone = generate(model, TOKENIZER, toolkens, prompt, caller=caller, **settings)
        assert torch.equal(alone.sequences[0], together.sequences[row])
