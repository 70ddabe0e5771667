"""Toolkens: what is saved is what is read, another model is refused, and sets are taken apart and put together."""

import json
import logging
from dataclasses import replace

import pytest
import torch
from tiny_text import tiny_llama, tiny_tokenizer
from toolken_training import TOOLS

from pydisp.subject import tokenizer_digest
from pydisp.toolken import toolkens as toolkens_module
from pydisp.toolken.decisions import Policy
from pydisp.toolken.model_digest import model_digest
from pydisp.toolken.toolkens import DEFAULT_CALIBRATION, FACTS_FILE, ROWS_FILE, Toolkens, ToolkensError, encoding_digest
from pydisp.toolken.tools.tool import Tool, ToolError
from pydisp.toolken.tools.tools import Tools

MODEL, TOKENIZER = tiny_llama(), tiny_tokenizer()


def made(tools: Tools = TOOLS, seed: int = 0, **changes) -> Toolkens:
    generator = torch.Generator().manual_seed(seed)
    values = dict(
        tools=tools,
        rows=torch.randn(len(tools), 32, generator=generator),
        rerank_rows=torch.randn(len(tools) + 1, 32, generator=generator),
        vocabulary=257,
        base={"name": "tiny", "digest": model_digest(MODEL), "hidden_size": 32},
        tokenizer_digest=tokenizer_digest(TOKENIZER),
        encoding_digest=encoding_digest(TOKENIZER),
        calibration={"temperature": 1.5, "threshold": 0.6, "k": 2, "ece": None},
        training={"losses": [1.0, 0.5], "sätze": "„Ü“"},
    )
    return Toolkens(**{**values, **changes})


def assert_same(one: Toolkens, two: Toolkens) -> None:
    assert torch.equal(one.rows, two.rows) and torch.equal(one.rerank_rows, two.rerank_rows)
    for name in ("tools", "vocabulary", "base", "tokenizer_digest", "encoding_digest", "calibration", "training"):
        assert getattr(one, name) == getattr(two, name)


def test_what_is_saved_is_read(tmp_path):
    toolkens = made()
    toolkens.save(tmp_path / "new" / "folder")
    assert_same(Toolkens.load(tmp_path / "new" / "folder"), toolkens)


def test_equal_toolkens_have_equal_bytes(tmp_path):
    made().save(tmp_path / "one")
    made().save(tmp_path / "two")
    for name in (ROWS_FILE, FACTS_FILE):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()
    assert sorted(path.name for path in (tmp_path / "one").iterdir()) == [FACTS_FILE, ROWS_FILE]


def test_they_are_shown_in_a_line():
    assert repr(made()) == "Toolkens(3 tools: add, subtract, multiply; for tiny, hidden size 32, k 2)"
    assert repr(made().without("add").without("multiply")) == "Toolkens(1 tool: subtract; for tiny, hidden size 32, k 1)"
    many = made(Tools(Tool(f"t{number}", "A tool.") for number in range(6)))
    assert repr(many) == "Toolkens(6 tools: t0, t1, t2, t3, t4, ...; for tiny, hidden size 32, k 2)"


def test_a_file_in_the_way_of_the_folder_is_one_sentence(tmp_path):
    (tmp_path / "file").write_text("mine")
    for folder in (tmp_path / "file", tmp_path / "file" / "new"):
        with pytest.raises(ToolkensError, match="^no folder can be made at .*, for a file stands there or above; give another folder.$"):
            made().save(folder)
    assert (tmp_path / "file").read_text() == "mine"


def test_a_folder_that_is_not_there_or_a_file_is_said(tmp_path):
    with pytest.raises(FileNotFoundError, match="^there is no folder .*nowhere; give one"):
        Toolkens.load(tmp_path / "nowhere")
    made().save(tmp_path)
    with pytest.raises(ToolkensError, match=f"{FACTS_FILE} is a file; give the folder that"):
        Toolkens.load(tmp_path / FACTS_FILE)


def test_a_save_that_fails_leaves_the_old_ones(tmp_path):
    made().save(tmp_path)
    with pytest.raises((TypeError, ValueError)):
        made(seed=1, training={"what": object()}).save(tmp_path)
    with pytest.raises(ValueError):
        made(seed=1, training={"loss": float("nan")}).save(tmp_path)
    assert_same(Toolkens.load(tmp_path), made())


def test_files_of_two_sets_do_not_go_together(tmp_path):
    made().save(tmp_path / "one")
    made(seed=1).save(tmp_path / "two")
    (tmp_path / "two" / ROWS_FILE).replace(tmp_path / "one" / ROWS_FILE)
    with pytest.raises(ToolkensError, match="do not belong together; copy both again"):
        Toolkens.load(tmp_path / "one")
    with pytest.raises(FileNotFoundError, match=f"there is no {ROWS_FILE} in .*two"):
        Toolkens.load(tmp_path / "two")


@pytest.mark.parametrize(
    "damage",
    [
        lambda facts: facts.update(format="pydisp-toolkens-9"),
        lambda facts: facts.pop("tools"),
        lambda facts: facts.pop("format"),
        lambda facts: facts["base"].pop("hidden_size"),
        lambda facts: facts["base"].update(hidden_size=31),
        lambda facts: facts["tools"].pop(),
        lambda facts: facts["tools"][0].pop("documentation"),
    ],
)
def test_damaged_facts_are_refused(tmp_path, damage):
    made().save(tmp_path)
    facts = json.loads((tmp_path / FACTS_FILE).read_text())
    damage(facts)
    (tmp_path / FACTS_FILE).write_text(json.dumps(facts))
    with pytest.raises((ToolkensError, ToolError)):
        Toolkens.load(tmp_path)


@pytest.mark.parametrize(
    ("path", "value", "words"),
    [
        (("calibration",), None, "calibration is None"), (("calibration", "k"), "x", "k is 'x'"), (("calibration", "k"), 0, "k is 0"),
        (("calibration", "k"), True, "k is True"), (("calibration", "k"), 9, "k is 9"), (("calibration", "temperature"), 0, "temperature is 0"),
        (("calibration", "threshold"), -1, "threshold is -1"), (("calibration", "threshold"), "x", "threshold is 'x'"),
        (("calibration", "documentation_tokens"), 1.5, "documentation_tokens is 1.5"), (("vocabulary",), None, "vocabulary is None"),
        (("base", "hidden_size"), "32", "hidden_size is '32'"), (("base", "name"), 3, "name is 3"), (("base",), [], "base is"),
        (("training",), [], "training is"), (("training", "trained_on"), 5, "training is"), (("training", "trained_on"), [[]], "training is"),
        (("training", "trained_on"), "a-1", "training is"), (("training", "removed"), [1], "training is"), (("tools",), {}, "tools is"),
        (("training", "merged"), 5, "training is"), (("training", "merged"), [1], "training is"),
        (("training", "merged"), [{"trained_on": [1]}], "training is"), (("training", "settings"), [1], "training is"),
        (("training", "settings"), {"seed": [1]}, "training is"), (("tokenizer_digest",), 5, "tokenizer_digest is 5"),
    ],
)  # fmt: skip
def test_a_value_that_no_training_wrote_is_named(tmp_path, path, value, words):
    made().save(tmp_path)
    facts = json.loads((tmp_path / FACTS_FILE).read_text())
    place = facts
    for name in path[:-1]:
        place = place[name]
    place[path[-1]] = value
    (tmp_path / FACTS_FILE).write_text(json.dumps(facts))
    with pytest.raises(ToolkensError, match=f"{words}.* in {FACTS_FILE} in .*; copy both files again.$|^{words}.*copy both files again.$"):
        Toolkens.load(tmp_path)


def test_text_that_is_no_json_is_refused(tmp_path):
    made().save(tmp_path)
    (tmp_path / FACTS_FILE).write_text("{")
    with pytest.raises(ToolkensError, match="toolkens.json in .* is no JSON .*; copy both files again"):
        Toolkens.load(tmp_path)


@pytest.mark.parametrize("text", ["[" * 5000, '{"a": NaN}', '{"a": 1, "a": 2}', "[1]", "null", "5", '"a"'])
def test_facts_of_another_shape_are_refused(tmp_path, text):
    made().save(tmp_path)
    (tmp_path / FACTS_FILE).write_text(text)
    with pytest.raises(ToolkensError, match="; copy both files again.$"):
        Toolkens.load(tmp_path)


@pytest.mark.parametrize("name", ["rows", "rerank_rows"])
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_rows_that_are_not_finite_are_refused(name, value):
    rows = getattr(made(), name).clone()
    rows[-1, -1] = value
    with pytest.raises(ToolkensError, match=f"^{name} hold numbers that are not finite"):
        made(**{name: rows})


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_model_they_were_made_for_passes_in_both_precisions(dtype):
    made().check(tiny_llama(dtype=dtype), TOKENIZER)


def test_another_model_is_refused_by_both_names():
    with pytest.raises(ToolkensError, match=r"made for tiny \(digest .*\), this model is LlamaForCausalLM .* train new ones"):
        made().check(tiny_llama(seed=1), TOKENIZER)


def test_another_tokenizer_is_refused():
    tokenizer = tiny_tokenizer()
    tokenizer.add_tokens(["<new>"])
    with pytest.raises(ToolkensError, match="made with a tokenizer of 257 tokens .*load the tokenizer of tiny"):
        made().check(MODEL, tokenizer)
    with pytest.raises(ToolkensError, match="made with a tokenizer of 256 tokens"):
        made(vocabulary=256).check(MODEL, TOKENIZER)


@pytest.mark.parametrize(
    "changes", [{"rows": torch.zeros(2, 32)}, {"rerank_rows": torch.zeros(3, 32)}, {"rows": torch.zeros(3, 32).half()}]
)
def test_rows_that_do_not_fit_the_tools_are_refused(changes):
    with pytest.raises(ToolkensError, match="3 tools of a model with hidden size 32 need float32 of shape"):
        made(**changes)


def test_a_tool_is_removed_with_its_rows():
    toolkens = made()
    left = toolkens.without("subtract")
    assert left.tools.names == ("add", "multiply") and left.k == 2
    assert torch.equal(left.rows, toolkens.rows[[0, 2]]) and torch.equal(left.rerank_rows, toolkens.rerank_rows[[0, 2, 3]])
    assert left.calibration["threshold"] == 0.6 and left.training["removed"] == ["subtract"]
    last = left.without("add")
    assert last.k == 1 and last.training["removed"] == ["subtract", "add"]
    with pytest.raises(ToolError, match="'multiply' is the only tool, and a set of toolkens needs one"):
        last.without("multiply")
    with pytest.raises(ToolError, match="there is no tool 'add'"):
        last.without("add")


OTHERS = Tools([Tool("divide", "The quotient of two numbers.")])


def test_two_sets_are_merged_and_lose_their_calibration():
    one, two = made(), made(OTHERS, seed=1, calibration={"temperature": 3.0, "threshold": 0.9, "k": 1})
    both = one.merged(two)
    assert both.tools.names == ("add", "subtract", "multiply", "divide")
    assert torch.equal(both.rows, torch.cat([one.rows, two.rows]))
    assert torch.equal(both.rerank_rows[:4], torch.cat([one.rerank_rows[:3], two.rerank_rows[:1]]))
    torch.testing.assert_close(both.rerank_rows[4], (one.rerank_rows[3] + two.rerank_rows[1]) / 2)
    assert both.calibration == {**DEFAULT_CALIBRATION, "k": 2}
    assert "default" in both.training["note"] and both.training["merged"] == [one.training, two.training]


def test_sets_that_do_not_go_together_are_not_merged():
    with pytest.raises(ToolError, match="two tools are named 'add'"):
        made().merged(made(seed=1))
    other = made(OTHERS, base={"name": "other", "digest": "0", "hidden_size": 32})
    with pytest.raises(ToolkensError, match=r"made for tiny .*, the others for other \(digest 0\); merge toolkens of one model"):
        made().merged(other)
    with pytest.raises(ToolkensError, match="with another tokenizer"):
        made().merged(made(OTHERS, tokenizer_digest="0"))


def test_a_policy_has_the_calibration():
    assert made().policy("reject") == Policy("reject", 2, 1.5, 0.6)
    assert made().policy(k=3) == Policy("calibrated", 3, 1.5, 0.6)
    with pytest.raises(ToolkensError, match="k is 4, but there are 3 tools; choose a k of 1 to 3"):
        made().policy(k=4)
    with pytest.raises(ValueError, match="mode is 'other'"):
        made().policy("other")


def test_facts_are_added_and_values_stay():
    toolkens = made()
    assert toolkens.with_facts(data="builtin").training == {**toolkens.training, "data": "builtin"}
    assert replace(toolkens).calibration == toolkens.calibration
    assert "data" not in toolkens.training


def reading_otherwise():
    """The same tokens, and a space in front of each text."""
    from tokenizers import pre_tokenizers

    tokenizer = tiny_tokenizer()
    tokenizer.backend_tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    assert tokenizer_digest(tokenizer) == tokenizer_digest(TOKENIZER)
    return tokenizer


def test_a_tokenizer_that_reads_texts_otherwise_is_refused():
    other = reading_otherwise()
    with pytest.raises(ToolkensError, match="tokenizer that reads texts otherwise .*load the tokenizer of tiny, or train new ones"):
        made().check(MODEL, other)
    made(encoding_digest=encoding_digest(other)).check(MODEL, other)
    made(encoding_digest=None).check(MODEL, other)  # of older files
    without_bos = tiny_tokenizer()
    without_bos.bos_token = None
    assert encoding_digest(without_bos) != encoding_digest(TOKENIZER)
    with pytest.raises(ToolkensError, match="with another tokenizer"):
        made().merged(made(OTHERS, encoding_digest=encoding_digest(other)))


def test_merged_sets_keep_the_larger_room_for_documentation():
    one, two = ({"temperature": 1.0, "threshold": 0.5, "k": 1, "documentation_tokens": room} for room in (20, 30))
    assert made(calibration=one).merged(made(OTHERS, calibration=two)).calibration["documentation_tokens"] == 30
    assert made(calibration=one).merged(made(OTHERS)).calibration["documentation_tokens"] == 20


def test_what_was_trained_on_is_known_of_merged_sets_too(tmp_path):
    assert made().trained_on == frozenset()
    one, two, three = (
        made(Tools([Tool(name, "Something.")]), training={"trained_on": digests})
        for name, digests in (("one", ["a", "b"]), ("two", ["b", "c"]), ("three", ["d"]))
    )
    assert one.trained_on == {"a", "b"}
    one.merged(two).merged(three).save(tmp_path)
    assert Toolkens.load(tmp_path).trained_on == Toolkens.load(tmp_path).without("one").trained_on == {"a", "b", "c", "d"}


def test_another_k_than_that_of_the_training_is_warned_of_once(caplog):
    toolkens_module._warn_of_k.cache_clear()  # another test may have been warned
    toolkens = made(calibration={"temperature": 1.0, "threshold": 0.5, "k": 2})
    with caplog.at_level(logging.WARNING, "pydisp"):
        toolkens.policy("reject")
        toolkens.policy("toolkengpt", 1)
        assert not caplog.records
        for _ in range(2):
            toolkens.policy("calibrated", 1)
    assert [record.getMessage() for record in caplog.records] == [
        "k is 1, but the toolkens were trained and calibrated with 2; temperature and threshold were not chosen for 1."
    ]
