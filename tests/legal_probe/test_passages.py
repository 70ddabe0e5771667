"""Passages come from files and from Python, with the lines of what is wrong in them."""

import hashlib
import json

import pytest

from pydisp.legal_probe.passages import ConceptsError, Passage, Span, concept_set, read_concepts

TEXT = "The bank, or any other bank, shall keep a record. "


def record(**changes) -> dict:
    return {"id": "a", "text": TEXT, "spans": [{"concept": "role", "phrase": "The bank"}], **changes}


def spanned(**span) -> dict:
    return record(spans=[{"concept": "role", **span}])


def found(concepts) -> list[str]:
    (passage,) = concepts.passages
    return [passage.text[span.start : span.end] for span in passage.spans]


def write(path, *records) -> str:
    path.write_text("".join(f"{one if isinstance(one, str) else json.dumps(one)}\n" for one in records), encoding="utf-8")
    return path


@pytest.mark.parametrize(
    "span, words",
    [(dict(phrase="The bank"), ["The bank"]), (dict(phrase="bank", occurrence=2), ["bank"]), (dict(phrase=" or any "), ["or any"]),
     (dict(phrase="bank", occurrence="all"), ["bank", "bank"]), (dict(regex=r"(?i)the\s\w+"), ["The bank"]),
     (dict(regex="[a-z]*er"), ["other"]), (dict(regex=r"\w*a\w*", occurrence=3), ["bank"]), (dict(start=0, end=3), ["The"]),
     (dict(start=3, end=len(TEXT)), [TEXT.strip()[4:]]), (dict(phrase="record", occurrence=1), ["record"])],
)  # fmt: skip
def test_a_span_is_found_without_white_space_at_its_ends(span, words):
    assert found(concept_set([spanned(**span)])) == words


def test_occurrences_are_counted_from_left_to_right():
    (second,) = concept_set([spanned(phrase="bank", occurrence=2)]).passages[0].spans
    assert second == Span("role", TEXT.rindex("bank"), TEXT.rindex("bank") + 4)


def test_lines_of_json_become_passages_and_groups(tmp_path):
    other = record(id="b", source="Act, s 3", spans=[{"concept": "duty", "phrase": "shall keep"}, {"concept": "role", "phrase": "The"}])
    file = write(tmp_path / "c.jsonl", record(), "", {"groups": {"all of it": ["duty", "role"]}}, other)
    concepts = read_concepts(file)
    assert concepts.passages[0] == Passage("a", TEXT, (Span("role", 0, 8),), "", "c.jsonl, line 1")
    assert concepts.passages[1].source == "Act, s 3" and concepts.passages[1].place == "c.jsonl, line 4"
    assert concepts.name == "c.jsonl" and concepts.concepts == ("role", "duty") and concepts.groups == {"all of it": ("duty", "role")}
    assert concepts.sha256 == hashlib.sha256(file.read_bytes()).hexdigest()
    from_python = concept_set([record(), other, {"groups": {"all of it": ("duty", "role")}}])
    assert [(p.id, p.text, p.spans, p.source) for p in from_python.passages] == [
        (p.id, p.text, p.spans, p.source) for p in concepts.passages
    ]
    assert from_python.groups == concepts.groups and from_python.passages[1].place == "passage 2"


def test_the_digest_of_passages_from_python_is_that_of_what_they_say():
    one = concept_set([record()]).sha256
    assert one == concept_set([spanned(start=0, end=9 - 1)], "another name").sha256
    assert len({one, concept_set([spanned(phrase="The")]).sha256, concept_set([record(), {"groups": {"g": ["role"]}}]).sha256}) == 3


def test_concepts_are_selected_by_their_names_or_by_a_group():
    spans = [{"concept": concept, "phrase": phrase} for concept, phrase in (("role", "The"), ("duty", "shall"), ("thing", "record"))]
    concepts = concept_set([record(spans=spans), record(id="b"), {"groups": {"g": ["duty", "thing"], "h": ["role", "duty"]}}])
    group = concepts.selected(["g"])
    assert group.concepts == ("duty", "thing") and list(group.groups) == ["g"] and [one.id for one in group.passages] == ["a"]
    role = concepts.selected("role")
    assert role.concepts == ("role",) and role.groups == {} and len(role.passages) == 2 and role.sha256 == concepts.sha256
    assert concepts.selected(name for name in ("duty", "role")).groups == {"h": ("role", "duty")}
    assert concepts.concepts == ("role", "duty", "thing")
    with pytest.raises(ConceptsError, match=r"passages has no concept 'rule' \(did you mean 'role'\?\); known: role, duty, thing, g, h\."):
        concepts.selected(["rule"])
    with pytest.raises(ConceptsError, match="no concept is selected"):
        concepts.selected([])


def test_a_phrase_that_does_not_occur_names_its_line(tmp_path):
    with pytest.raises(ConceptsError) as error:
        read_concepts(write(tmp_path / "concepts.jsonl", record(), spanned(phrase="x")))
    assert (
        str(error.value)
        == "concepts.jsonl, line 2: the phrase 'x' does not occur in the text of passage 'a'; copy it exactly from the text."
    )


SPANS = [
    (dict(phrase="the bank"), "the phrase 'the bank' does not occur in the text of passage 'a'"),
    (dict(phrase="bank."), "the phrase 'bank.' does not occur"),
    (dict(phrase="bank"), "the phrase 'bank' occurs 2 times in the text of passage 'a'; give an occurrence from 1 to 2, or \"all\"."),
    (dict(phrase="bank", occurrence=3), "occurs 2 times in the text of passage 'a', the occurrence is 3; give one from 1 to 2"),
    (dict(phrase="bank", occurrence=0), "the occurrence is 0"),
    (dict(phrase="The", occurrence=2), "occurs 1 time in the text"),
    (dict(phrase="bank", occurrence=True), "the occurrence of the phrase 'bank' is True; it must be a number from 1"),
    (dict(phrase="bank", occurrence="first"), "is 'first'; it must be a number"),
    (dict(phrase=""), "a phrase of passage 'a' is empty"),
    (dict(phrase=" "), "a phrase of passage 'a' is empty"),
    (dict(phrase=3), "a phrase is 3; it must be a string"),
    (dict(regex=3), "a regex is 3; it must be a string"),
    (dict(regex="("), "the regex '(' is no regular expression of Python (missing )"),
    (dict(regex="a{99999999999999999999}"), "is no regular expression of Python (the repetition number is too large)"),
    (dict(regex="x*", occurrence=1), "the regex 'x*' matches the empty string"),
    (dict(regex=r"\b", occurrence="all"), "matches the empty string"),
    (dict(regex="^$"), "matches the empty string"),
    (dict(regex=r"\s", occurrence="all"), r"the regex '\\s' stands for white space only"),
    (dict(regex=r"\s|bank", occurrence="all"), "stands for white space only"),
    (dict(regex="BANK"), "the regex 'BANK' does not occur in the text of passage 'a'; correct it"),
    (dict(regex="ban."), "the regex 'ban.' occurs 2 times"),
    (dict(start=0, end=99), f"a span of 'role' in passage 'a' runs from 0 to 99, its text has {len(TEXT)} characters"),
    (dict(start=-1, end=3), "runs from -1 to 3"),
    (dict(start=4, end=4), "runs from 4 to 4"),
    (dict(start=3, end=4), "a span of 'role' stands for white space only"),
    (dict(start=0), "has no end; give both"),
    (dict(end=4), "has no start; give both"),
    (dict(start=True, end=4), "the start of a span of 'role' in passage 'a' is True; it must be a whole number"),
    (dict(start=0, end=4.0), "is 4.0; it must be a whole number"),
    (dict(start=0, end=4, occurrence=1), "leave the occurrence out"),
    (dict(), "has no place in the text; give one of a phrase, a regex, or start and end"),
    (dict(phrase="The", regex="The"), "has both phrase and regex; give one"),
    (dict(phrase="The", start=0), "has both phrase and start and end"),
    (
        dict(phrase="The", ocurrence=1),
        "a span of passage 'a' has the unknown key 'ocurrence' (did you mean 'occurrence'?); known: concept,",
    ),
    (dict(phrase="The", concept=""), "the concept of a span of passage 'a' is empty"),
    (dict(phrase="The", concept=None), "the concept of a span of passage 'a' is None; it must be a string"),
    (dict(phrase="The", concept=" role"), "is ' role'; it must have no white space at its ends"),
    (dict(phrase="The", concept="ro\nle"), r"is 'ro\nle'; it must have no white space at its ends and no control"),
]


@pytest.mark.parametrize("span, words", SPANS)
def test_a_wrong_span_is_refused_in_one_sentence(span, words):
    with pytest.raises(ConceptsError) as error:
        concept_set([record(id="ok"), spanned(**span)])
    assert str(error.value).startswith("passage 2: ") and words in str(error.value) and str(error.value).endswith(".")


def overlapping(*phrases, concept="role"):
    return record(spans=[{"concept": concept if n else "role", "phrase": phrase} for n, phrase in enumerate(phrases)])


RECORDS = [
    ([3], "passage 1: a passage is 3; it must be an object with id, text, spans."),
    ([record(texts="x")], "passage 1: a passage has the unknown key 'texts' (did you mean 'text'?); known: id, text, spans, source."),
    ([{**record(), 3: 4}], "has the unknown key 3; known"),
    ([{"id": "a", "spans": []}], "a passage has no text; give it one."),
    ([record(id=7)], "the id is 7; it must be a string, in quotes."),
    ([record(id=" ")], "the id is empty"),
    ([record(text=True)], "the text of passage 'a' is True; it must be a string"),
    ([record(text=" \n")], "the text of passage 'a' is empty"),
    ([record(text="The bank \ud83d")], "with half of a surrogate pair"),
    ([record(source=None)], "the source of passage 'a' is None"),
    ([record(spans=[])], "passage 'a' has no span; annotate"),
    ([record(spans={})], "the spans of passage 'a' are {}; they must be a list"),
    ([record(spans=["The"])], "a span of passage 'a' is 'The'; it must be an object with concept"),
    ([record(spans=[{"phrase": "The"}])], "a span of passage 'a' has no concept"),
    ([record(), record()], "passage 2: the id 'a' is that of passage 1 too; give each passage its own."),
    ([overlapping("keep a record", "shall keep")], "the spans 'shall keep' and 'keep a record' of 'role' overlap in passage 'a'"),
    ([overlapping("The bank", "The bank")], "overlap in passage 'a'"),
    ([], "passages: there is no passage; give objects with id, text and spans."),
    ([record(), {"groups": ["role"]}], "passage 2: groups is ['role']; it must be an object"),
    ([record(), {"groups": {"g": "role"}}], "the group 'g' is 'role'; it must be a list"),
    ([record(), {"groups": {"g": []}}], "the group 'g' is []; it must be a list of one concept or more"),
    ([record(), {"groups": {"g": [3]}}], "a concept of the group 'g' is 3; it must be a string"),
    ([record(), {"groups": {"": ["role"]}}], "the name of a group is empty"),
    ([record(), {"groups": {"g": ["role", "role"]}}], "the group 'g' names a concept twice"),
    ([record(), {"groups": {"g": ["roles"]}}], "the group 'g' holds 'roles' (did you mean 'role'?), of which no passage has a span"),
    ([record(), {"groups": {"role": ["role"]}}], "the group 'role' has the name of a concept"),
    ([{"groups": {"g": ["role"]}}, record(), {"groups": {"g": ["role"]}}], "passage 3: the group 'g' is in passage 1 too"),
    ([record(), {"groups": {}, "id": "b"}], "an object with groups has the unknown key 'id'"),
    ([{"groups": {"g": ["role"]}}], "there is no passage"),
]  # fmt: skip


@pytest.mark.parametrize("records, words", RECORDS)
def test_wrong_records_are_refused_in_one_sentence(records, words):
    with pytest.raises(ConceptsError) as error:
        concept_set(records)
    assert words in str(error.value) and str(error.value).endswith(".")


def test_spans_may_touch_and_those_of_two_concepts_may_overlap():
    assert found(concept_set([overlapping("The bank", ", or")])) == ["The bank", ", or"]
    assert found(concept_set([overlapping("The bank", "bank, or", concept="duty")])) == ["The bank", "bank, or"]


def test_a_long_value_is_cut_in_a_message():
    with pytest.raises(ConceptsError) as error:
        concept_set([spanned(phrase="x" * 5000)])
    assert len(str(error.value)) < 200
