"""The report of a probe says what the figures say, and can be written whatever the figures are."""

import copy
import json
import re
from dataclasses import replace
from functools import lru_cache

import numpy as np
import pytest
import torch
from browser_page import needs_chromium, require_readable
from families import tiny_model
from tiny_text import tiny_llama, tiny_tokenizer

from pydisp.intervals import Estimate
from pydisp.legal_probe import Exclusion, concept_set, figures, probe, probe_words, shipped, windows
from pydisp.legal_probe.comparison import HeadThatStandsOut
from pydisp.legal_probe.concept_mass import PassageStrip
from pydisp.legal_probe.method_section import method_section
from pydisp.legal_probe.passage_tokens import TokenSpan
from pydisp.legal_probe.probe_report import _differences, _enrichments, in_words, report
from pydisp.legal_probe.reference_section import reference_section
from pydisp.legal_probe.strip_section import chosen_strip, relative, shown_part, strip_section
from pydisp.report import Picture, Report, Section, Table

WORDS = "The keeper of the lamp may light it. No keeper shall sell the oil; if the oil is low, the keeper fetches more."
RECORDS = [
    {
        "id": f"lamp-{n}",
        "text": f"({n}) {WORDS[n:]}",
        "spans": [{"concept": "act", "phrase": "light it"}, {"concept": "ban", "phrase": "sell the oil"}],
        "source": f"page {n}",
    }
    for n in range(9)
]
NAN = float("nan")


def shifted(model, seed=0, by=0.1):
    """The model with some noise on its weights."""
    other = copy.deepcopy(model)
    torch.manual_seed(seed)
    with torch.no_grad():
        for parameter in other.parameters():
            parameter.add_(by * torch.randn_like(parameter))
    return other


@pytest.fixture(scope="module")
def alone():
    return probe(tiny_llama(), tiny_tokenizer(), [*RECORDS, {"groups": {"deeds": ["act", "ban"]}}])


@pytest.fixture(scope="module")
def against():
    return probe(tiny_llama(), tiny_tokenizer(), RECORDS, against=[shifted(tiny_llama())])


def with_figures(found, **changes):
    """The probe with changed figures of some concepts."""
    return replace(found, figures={name: replace(one, **changes.get(name, {})) for name, one in found.figures.items()})


def with_comparison(found, **changes):
    compared = {name: replace(one, **changes.get(name, {})) for name, one in found.comparisons[0].items()}
    return replace(found, comparisons=(compared, *found.comparisons[1:]))


@lru_cache(maxsize=4)  # a probe is hashed by its identity
def report_of(found):
    return found.report


def parts(found, title):
    if title == "Method":  # without the pictures of the others
        return method_section(found).parts
    return next(section for section in report_of(found).sections if section.title == title).parts


def table(found, section, title):
    """Rows of a table by their first cell, each from column to cell."""
    (one,) = [part for part in parts(found, section) if isinstance(part, Table) and part.title == title]
    return {row[0]: dict(zip(one.columns, row, strict=True)) for row in one.rows}


def words(found, section):
    return " ".join(part for part in parts(found, section) if isinstance(part, str))


def lines(found):
    """The summary of the report, without its pictures."""
    return [*probe_words.summary(found), *probe_words.cautions(found)]


def summary(found):
    return " ".join(lines(found))


def pictures(found):
    return {part.title: part for section in report_of(found).sections for part in section.parts if isinstance(part, Picture)}


def test_the_direction_is_that_of_the_percentile_and_not_of_the_mean_enrichment(alone):
    high, low = Estimate(0.81, (0.7, 0.9), 0.05, 0.0004), Estimate(0.12, (0.1, 0.2), 0.05, 0.03)
    chance = alone.figures["act"].chance
    found = with_figures(
        alone,
        act={"percentile": high, "enrichment": Estimate(0.5), "chance": replace(chance, enrichment=2.0)},
        ban={"percentile": low, "enrichment": Estimate(2.5), "chance": replace(chance, enrichment=1.0)},
        deeds={"percentile": Estimate(0.7, None, None, 0.2)},
    )
    more, less, neither, explained = [line for line in lines(found) if "null spans" in line][:4]
    assert more.startswith("More attention than null spans") and more.endswith(": act (percentile 81 %, p < 0.001).")
    assert less == "Less attention than null spans: ban (percentile 12 %, p = 0.030)."
    assert neither == "Could not be told from null spans (p > 0.05): deeds (group)."
    assert explained == "Percentile: the share of null spans that received less for their place; 50 % is chance."
    assert explained in in_words(found) and explained in words(found, "Concepts")
    assert report_of(found).metrics[1].note == "percentile 12 %, p = 0.030"


def test_nothing_found_is_said_to_be_nothing(alone):
    none = {name: {"percentile": Estimate(0.55, None, None, 0.4)} for name in alone.figures}
    assert "No concept could be told from null spans" in summary(with_figures(alone, **none))
    assert "More attention" not in summary(with_figures(alone, **none))


def test_without_null_spans_nothing_is_said_of_chance(alone):
    heads = len(alone.reading.heads)
    nothing = {"chance": None, "percentile": None, "q": np.full(heads, NAN), "head_percentile": np.full(heads, NAN)}
    found = with_figures(alone, **dict.fromkeys(alone.figures, nothing))
    assert "There are no null spans, so nothing says what is chance." in lines(found)
    assert "act: there is no null span, so nothing says what is chance." in lines(found)
    row = table(found, "Concepts", "Concepts")["act"]
    assert [row[column] for column in ("by chance", "percentile, %", "p", "heads found")] == [None] * 4
    assert "Percentile by head" not in pictures(found) and "1, even attention" in pictures(found)["Enrichment by head"].caption
    assert "Percentile by head" in pictures(alone) and "enrichment of null spans" in pictures(alone)["Enrichment by head"].caption
    assert [metric.note for metric in report_of(found).metrics] == ["no null spans"] * 3


def test_shares_that_changed_are_named_with_their_direction(against):
    found = with_comparison(
        against,
        act={"share": Estimate(0.0123, (0.005, 0.02), 0.003, 0.002), "percentile": Estimate(-0.05, (-0.08, -0.02), 0.01, 0.01)},
        ban={"share": Estimate(0.001, (-0.02, 0.02), 0.01, 0.6), "percentile": Estimate(0.01, (-0.08, 0.1), 0.01, 0.5)},
    )
    (line,) = [line for line in lines(found) if line.startswith("Against llama (2)")]
    assert "gives a larger share of its attention to act: +1.23 points (0.50 to 2.00), p = 0.002." in line
    assert "No difference of the share could be seen (p > 0.05) for ban." in line
    assert "The percentile is lower for act: -5.00 points (-8.00 to -2.00), p = 0.010." in line
    turned = with_comparison(found, act={"share": Estimate(-0.0123, (-0.02, -0.005), 0.003, 0.002)})
    assert "gives a smaller share of its attention to act: -1.23 points" in summary(turned) and "larger share" not in summary(turned)


def test_a_positive_skew_is_said_not_to_be_more_attention_where_there_is_a_reference(alone, against):
    assert "A positive skew of the differences over the heads is not more attention" in summary(against)
    assert "skew" not in summary(alone)
    assert "A positive skewness is not more attention" in words(against, "Against llama (2)")


def test_the_table_of_concepts_has_the_figures_of_the_json(alone):
    rows, result = table(alone, "Concepts", "Concepts"), alone.as_dict()["concepts"]
    assert list(rows) == ["act", "ban", "deeds (group)"]
    for name, row in zip(result, rows.values(), strict=True):
        one = result[name]
        assert row["share, %"] == pytest.approx(100 * one["share"], rel=1e-12) and row["enrichment"] == one["enrichment"]
        assert row["by chance"] == one["chance"]["enrichment"] and row["percentile, %"] == round(100 * one["percentile"])
        assert row["spans in passages"] == f"{one['spans']} in {one['passages']}"
        assert row["95 % interval"] == " to ".join(f"{end:.2f}" for end in one["interval"])
        assert float(row["p"].lstrip("<")) == pytest.approx(one["p"], abs=0.001)
        assert row["heads found"] == f"{sum(head['q'] <= 0.05 for head in one['heads'])} of 12"
    metrics = report_of(alone).metrics
    assert [metric.value for metric in metrics] == [one["enrichment"] for one in result.values()]
    assert [metric.interval for metric in metrics] == [tuple(one["interval"]) for one in result.values()]


def test_the_table_of_differences_adds_up(against):
    rows, result = table(against, "Against llama (2)", "Difference of the share"), against.as_dict()["concepts"]
    for name, row in rows.items():
        delta = result[name]["delta"]["llama (2)"]["share"]
        assert row["llama, %"] - row["llama (2), %"] == pytest.approx(row["difference, points"], abs=1e-9)
        assert row["difference, points"] == pytest.approx(100 * delta["mean"], rel=1e-12)
        assert row["llama, %"] == pytest.approx(100 * result[name]["share"], rel=1e-9)
        assert (row["smallest visible"] is None) == (delta["p"] <= 0.05)
    hidden = with_comparison(
        against, act={"share": Estimate(0.001, (-0.02, 0.02), 0.01, 0.6)}, ban={"share": Estimate(0.03, None, 0.01, 0.01)}
    )
    rows = table(hidden, "Against llama (2)", "Difference of the share")
    assert rows["act"]["smallest visible"] == pytest.approx(2.8) and rows["ban"]["smallest visible"] is None
    assert rows["ban"]["95 % interval"] is None and rows["act"]["p"] == "0.600"


def test_shares_of_a_difference_are_over_what_both_models_have(against):
    """A reference that has not read a passage, and one with fewer heads."""
    reference = against.references[0]
    passages = {concept: {key: mass for key, mass in by_id.items() if key != "lamp-0"} for concept, by_id in reference.passages.items()}
    from pydisp.legal_probe.comparison import compare

    fewer = replace(reference, passages=passages)
    compared = {name: compare(against.reading, fewer, name) for name in against.figures}
    found = replace(against, references=(fewer,), comparisons=(compared,))
    row = table(found, "Against llama (2)", "Difference of the share")["act"]
    assert row["llama, %"] - row["llama (2), %"] == pytest.approx(100 * compared["act"].share.value, abs=1e-9)
    assert row["llama, %"] != pytest.approx(100 * against.figures["act"].share.value, rel=1e-9)
    mass = reference.passages["act"]["lamp-0"]
    more_spans = {**reference.passages["act"], "lamp-0": replace(mass, spans=mass.spans * 2)}
    other = replace(reference, passages={**reference.passages, "act": more_spans})
    row = table(replace(against, references=(other,), comparisons=(compared,)), "Against llama (2)", "Difference of the share")["act"]
    assert row["llama, %"] - row["llama (2), %"] == pytest.approx(100 * compared["act"].share.value, abs=1e-9)


def test_heads_that_stand_out_are_listed_or_said_not_to_be(against):
    heads = tuple(HeadThatStandsOut(n // 4, n % 4, 0.01 * n, -0.001, 0.004 * n) for n in range(12))
    section = "Against llama (2)"
    found = with_comparison(against, act={"standing_out": heads}, ban={"standing_out": ()})
    (one,) = [part for part in parts(found, section) if isinstance(part, Table) and part.title == "Heads that stand out"]
    assert len(one.rows) == 10 and "2 more are in report.json" in words(found, section)
    assert one.rows[5][:3] == ("act", "1", "1") and one.rows[5][3:5] == pytest.approx((5.0, -0.1)) and one.rows[5][5:] == ("0.020", True)
    assert "no head stands out for ban" in words(found, section)
    few = with_comparison(against, act={"standing_out": None}, ban={"standing_out": None})
    assert "(8 are needed): act, ban." in words(few, section)
    assert not any(part.title == "Heads that stand out" for part in parts(few, section) if isinstance(part, Table))


def test_the_spread_of_the_heads_is_described(against):
    rows = table(against, "Against llama (2)", "Spread over the heads")
    for name, row in rows.items():
        moments = against.comparisons[0][name].moments
        assert (row["heads"], row["skewness"], row["kurtosis"], row["entropy"]) == (12, moments.skewness, moments.kurtosis, moments.entropy)
        assert row["mean, points"] == pytest.approx(100 * moments.mean)
    assert "These figures describe and are no test" in words(against, "Against llama (2)")
    nothing = with_comparison(against, act={"moments": None}, ban={"moments": None})
    assert "Spread over the heads" not in [part.title for part in parts(nothing, "Against llama (2)") if isinstance(part, Table)]


def test_heads_without_a_figure_leave_the_others_as_they_are(alone):
    def holed(values):
        return np.where(np.arange(len(values)) < 4, NAN, values)

    changes = {
        name: {
            "head_share": holed(one.head_share), "head_enrichment": holed(one.head_enrichment), "head_percentile": holed(one.head_percentile),
            "q": holed(one.q), "layer_share": (Estimate(NAN), *one.layer_share[1:]), "layer_enrichment": (Estimate(NAN), *one.layer_enrichment[1:]),
        }
        for name, one in alone.figures.items()
    }  # fmt: skip
    found = with_figures(alone, **changes)
    assert "Crossed out: no figure." in pictures(found)["Share by head"].caption
    assert "Crossed out" not in pictures(alone)["Share by head"].caption
    assert table(found, "Concepts", "Concepts")["act"]["heads found"].endswith(" of 8")
    written = json.loads(report_of(found).to_json())["facts"]["result"]["concepts"]["act"]
    assert written["layers"][0]["share"] is None and written["layers"][1]["share"] == found.figures["act"].layer_share[1].value
    assert written["heads"][3]["enrichment"] is None and written["heads"][4]["enrichment"] is not None


def test_figures_that_are_none_do_not_stop_a_report(against):
    bare = {"share": Estimate(0.1), "enrichment": Estimate(NAN), "percentile": Estimate(NAN, None, None, 0.01)}
    heads = len(against.comparisons[0]["act"].heads)
    delta = {
        "share": Estimate(NAN), "enrichment": Estimate(NAN), "percentile": Estimate(NAN), "head_share": np.full(heads, NAN),
        "head_q": np.full(heads, NAN), "moments": None, "layer_share": tuple(map(Estimate, [NAN] * 3)),
    }  # fmt: skip
    found = with_comparison(with_figures(against, act=bare, ban=bare), act=delta, ban=delta)
    assert _differences(found, ["llama (2)"]) == _enrichments(found) == []
    assert "too few passages were read by both" in summary(found)
    shares = reference_section(found, 0, "Against llama (2)", "llama (2)").parts[1]
    assert dict(zip(shares.columns, shares.rows[0], strict=True))["heads that differ"] is None
    assert isinstance(report_of(with_figures(against, act=bare, ban=bare)), Report)
    assert "too few passages for a test" in in_words(found)


def test_a_concept_that_was_not_compared_is_told(against):
    lacking = replace(against, comparisons=({"act": against.comparisons[0]["act"]},))
    assert "Not compared with llama (2), as there is no passage whose spans both measured: ban." in lines(lacking)
    assert list(table(lacking, "Against llama (2)", "Difference of the share")) == ["act"]
    assert "ban: no passage whose spans both measured" in in_words(lacking)
    nothing = replace(against, comparisons=({},))
    assert words(nothing, "Against llama (2)").endswith("have no passage whose spans both measured, so nothing can be compared.")
    none = {name: () for name in ("heads", "layers", "layer_share", "layer_median")}
    none |= dict.fromkeys(("head_share", "head_interval", "head_p", "head_q"), np.zeros(0))
    other = with_comparison(against, act=none, ban=none)
    assert "have no head of the same layer and number" in words(other, "Against llama (2)")
    assert not {"Difference by head", "Difference by layer"} & set(pictures(other))


def test_many_concepts_with_long_names_have_a_report():
    names = [f"a concept whose name is so long that its address in a page is cut, number {n} of $x_{n}$" for n in range(20)]
    records = [
        {
            "id": f"{n}",
            "text": WORDS[n:],
            "spans": [{"concept": name, "start": 10 + 3 * k, "end": 18 + 3 * k} for k, name in enumerate(names)],
        }
        for n in range(2)
    ]
    found = probe(tiny_llama(), tiny_tokenizer(), records, against=[shifted(tiny_llama()), tiny_llama()])
    done = report_of(found)
    assert [section.title for section in done.sections][2:4] == ["Against llama (2)", "Against llama (3)"]
    assert len(done.metrics) == 8 and len(_enrichments(found)) == 7 and len(table(found, "Concepts", "Concepts")) == 20
    strips = [part for part in parts(found, "What the words received") if isinstance(part, Picture)]
    assert len(strips) == 20 and all(name in one.title for name, one in zip(names, strips, strict=True))
    assert "null spans" in summary(found)
    assert Report.from_json(done.to_json()) == done


def test_one_head_and_one_passage_have_a_report(tmp_path):
    shape = dict(vocab_size=257, num_hidden_layers=1, num_attention_heads=1, num_key_value_heads=1)
    one = tiny_model("llama", dtype=torch.float32, **shape)
    found = probe(one, tiny_tokenizer(), RECORDS[:1], against=shifted(one))
    report_of(found).write(tmp_path)
    assert "Fewer than 3 passages, so no interval: act, ban." in lines(found)
    assert "Fewer than 6 passages, so no difference can reach p ≤ 0.05: act, ban." in lines(found)
    assert "Against llama (2): too few passages were read by both to test a difference." in lines(found)
    row = table(found, "Concepts", "Concepts")["act"]
    assert row["95 % interval"] is None and row["heads found"] in ("0 of 1", "1 of 1") and row["p"] is not None


def test_the_same_data_give_the_same_bytes(against, tmp_path):
    for name in ("one", "two"):
        against.report.write(tmp_path / name)
    files = sorted(path.name for path in (tmp_path / "one").iterdir())
    assert {"report.html", "report.json", "report.md", "difference-by-head.svg", "act.svg"} <= set(files)
    assert all((tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes() for name in files)


def test_facts_hold_the_json_and_the_run(against):
    facts = json.loads(report(against).to_json())["facts"]
    assert facts["result"] == json.loads(json.dumps(against.as_dict())) and facts["seed"] == 0 and "versions" in facts


def test_signs_and_letters_of_any_kind_can_be_shown(tmp_path):
    text = "契約者は、$100 & <b>を支払う。 عقد العمل 🙂 \x01\x00\u202e ]]> café——naïve"
    spans = [{"concept": "契約", "phrase": "契約者"}, {"concept": "<عقد> & $x$", "phrase": "عقد"}, {"concept": "b", "phrase": "<b>"}]
    found = probe(tiny_llama(), tiny_tokenizer(), [{"id": "日本", "text": text, "spans": spans, "source": "a\x00b"}])
    report_of(found).write(tmp_path)
    shown = pictures(found)["契約"]
    assert "Passage 日本" in shown.caption and "(a\\x00b)" in shown.caption and "stands once for each" in shown.caption
    drawn = set(re.findall(r">([^<]+)</text>", shown.svg))
    assert {"契", "🙂", "é", "&amp;", "&lt;", "\\x01", "\\x00", "\\u202e"} <= drawn


def test_the_terminal_has_a_line_for_each_concept_and_each_difference(against):
    found = with_comparison(
        with_figures(against, act={"share": Estimate(0.0712), "enrichment": Estimate(1.234, (0.91, 1.567)), "percentile": Estimate(0.31, p=0.0002)}),
        act={"share": Estimate(0.001, (-0.02, 0.02), 0.01, 0.6), "percentile": Estimate(0.0, None, None, 1.0)},
        ban={"share": Estimate(0.03, (0.01, 0.05), 0.01, 0.01), "percentile": Estimate(0.2, (0.1, 0.3), 0.1, 0.03)},
    )  # fmt: skip
    shown = in_words(found).splitlines()
    (act,) = [line for line in shown if line.startswith("act") and "%" in line]
    chance = found.figures["act"].chance.enrichment
    assert re.sub(" {2,}", "|", act).split("|")[:6] == ["act", "7.12 %", "1.23 (0.91–1.57)", f"{chance:.2f}", "31 %", "<0.001"]
    assert "Share of llama minus that of llama (2):" in shown
    assert "act  +0.10 points (-2.00 to 2.00), p = 0.600: no difference could be seen smaller than 2.80 points" in shown
    assert "ban  +3.00 points (1.00 to 5.00), p = 0.010; percentile +20.0 points (10.0 to 30.0), p = 0.030" in shown
    same = with_comparison(found, act={"share": Estimate(0.0, (0.0, 0.0), 0.0, 1.0)})
    assert "act  +0.00 points (0.00 to 0.00), the same in every passage" in in_words(same).splitlines()


def test_the_table_on_a_terminal_fits_80_columns(alone):
    """With the longest name that pydisp ships, two digits everywhere and 270 heads; a longer name stands above its figures."""
    wide = {
        "enrichment": Estimate(12.345, (10.2, 14.5)),
        "percentile": Estimate(0.37, p=0.0001),
        "q": np.zeros(270),
        "share": Estimate(0.208),
    }
    name, long = max(shipped().concepts, key=len), "a concept with a name that leaves figures no room beside it"
    found = with_figures(alone, act=wide | {"name": name}, ban=wide | {"name": long})
    head, act, above, ban = in_words(found).splitlines()[2:6]
    assert max(map(len, (head, act, above, ban))) <= 80 and above == long
    for words in ("20.80 %", "12.35 (10.20–14.50)", "37 %", "<0.001", "270/270"):
        assert act.index(words) == ban.index(words), words
    assert act.startswith(name) and ban.startswith(" ") and "Pct. is the percentile" in in_words(found)


def test_what_could_not_be_measured_is_told(alone):
    skipped = (("llama", "lamp-1", "act", "no later token sees it"), ("llama", "lamp-2", "act", "no later token sees it"))
    found = replace(alone, skipped=skipped, cut={"llama": {"lamp-1": 2, "lamp-4": 3}})
    assert "2 spans could not be measured in llama: no later token sees it." in lines(found)
    assert any(line.startswith("Cut into windows, because longer than llama reads: 2 passages") for line in lines(found))
    assert f"repeats up to {windows._LEAD} tokens before" in words(found, "Method") and "Windows:" not in words(alone, "Method")
    assert table(found, "Method", "Spans that could not be measured")["llama"]["passage"] == "lamp-2"
    many = replace(alone, skipped=skipped * 30)
    assert "10 more are in report.json." in parts(many, "Method")
    assert not any("could not be measured" in line or "windows" in line for line in lines(alone))


def test_relaxed_matches_are_counted_once_for_a_span(alone):
    chance = alone.figures["act"].chance
    changes = {name: {"chance": replace(chance, matches=matches)} for name, matches in (("act", (5, 3, 1, 0)), ("ban", (7, 0, 0, 2)))}
    found = with_figures(alone, **changes)  # the group's are the same spans
    (line,) = [line for line in lines(found) if "relaxed" in line]
    assert line.startswith("For 6 of 18 spans fewer than 20 null spans have the same length")
    assert (
        "(length within a quarter, about the share of excluded tokens: 3; and a neighbouring tenth: 1; and any share of excluded tokens: 2)"
        in line
    )
    assert [*table(found, "Method", "Spans by how alike their null spans are")["ban"].values()][1:] == [
        9,
        round(chance.null_spans, 1),
        7,
        0,
        0,
        2,
        chance.draws,
    ]
    exact = {name: {"chance": replace(chance, matches=(9, 0, 0, 0))} for name in alone.figures}
    assert not any("relaxed" in line for line in lines(with_figures(alone, **exact)))


def test_the_method_says_what_counted():
    model, tokenizer = tiny_llama(), tiny_tokenizer()
    later = probe(model, tokenizer, RECORDS, queries="later", exclusion=Exclusion(("punctuation",), ("oil",)))
    whole = probe(model, tokenizer, RECORDS, exclusion=Exclusion(()))
    assert "Left out, in a concept and in the whole: tokens of punctuation only, the tokens 'oil'." in words(later, "Method")
    assert "Only queries of later tokens count" in words(later, "Method") and "only attention from later tokens counts" in summary(later)
    assert "No token is left out." in words(whole, "Method") and "All queries count" in words(whole, "Method")
    assert "https://arxiv.org/abs/2410.12001" in words(whole, "Method")
    assert f"bootstrap from {figures._FEWEST_DRAWN} passages on, Student's t for fewer" in words(whole, "Method")
    assert "what a span received is divided by what its places receive in this head" in words(whole, "Method")


def test_a_word_is_used_for_a_measure_everywhere(against):
    assert not re.search(r"\brank", report_of(against).to_html() + in_words(against), re.IGNORECASE)


def test_spans_at_the_ends_of_their_texts_are_told(alone):
    def placed(first):
        def moved(strip):
            spans = tuple(TokenSpan(span.concept, first, first + 2) if span.concept == "ban" else span for span in strip.spans)
            return replace(strip, spans=spans, texts=("x",) * 100)

        strips = {one: moved(strip) for one, strip in alone.reading.strips.items()}
        return replace(alone, reading=replace(alone.reading, strips=strips))

    for first, is_told in ((1, True), (97, True), (5, False), (50, False)):
        told = [line for line in lines(placed(first)) if "lie within 5 % of an end of their texts" in line]
        assert [line.rpartition(": ")[2] for line in told] == (["ban."] if is_told else []), first


def test_layers_are_listed_by_kind_where_they_differ(alone):
    mixed = probe(tiny_model("qwen2", dtype=torch.float32, vocab_size=257), tiny_tokenizer(), RECORDS, against=tiny_llama())
    (one,) = [part for part in parts(mixed, "Method") if isinstance(part, Table) and part.title == "Layers that have attention"]
    assert one.rows == (
        ("qwen2", "0, 2", 4, 2, "sliding window", 6),
        ("qwen2", "1, 3", 4, 2, "full", None),
        ("llama", "0–2", 4, 2, "full", None),
    )
    assert "Layers that have attention" not in [part.title for part in parts(alone, "Method") if isinstance(part, Table)]


def test_the_source_of_shipped_passages_is_named_and_only_of_these(alone):
    assert "CC BY 4.0" not in words(alone, "Method")
    told = words(replace(alone, concepts=shipped()), "Method")
    assert "public domain" in told and "LegalBench" in told and "CC BY 4.0" in told and "https://github.com/HazyResearch/legalbench" in told
    same_name = concept_set(RECORDS, "passages.jsonl")
    assert "CC BY 4.0" not in words(replace(alone, concepts=same_name), "Method")


def test_a_strip_is_of_the_passage_nearest_to_80_tokens(alone):
    def strip(ident, tokens, concept="act"):
        return PassageStrip(ident, ("x",) * tokens, np.zeros(tokens, dtype=bool), (TokenSpan(concept, 2, 4),), np.ones(tokens))

    lengths = {"lamp-0": 30, "lamp-1": 90, "lamp-2": 70, "lamp-3": 200, "lamp-4": 80}
    strips = {**{one: strip(one, 300) for one in alone.reading.strips}, **{one: strip(one, tokens) for one, tokens in lengths.items()}}
    strips["lamp-4"] = strip("lamp-4", 80, "ban")  # the windows with the concept are others
    reading = replace(alone.reading, strips=strips)
    assert chosen_strip(reading, "act").passage == "lamp-1" and chosen_strip(reading, "ban").passage == "lamp-4"
    none = replace(alone.reading, strips={one: strip(one, 50, "other") for one in alone.reading.strips})
    assert chosen_strip(none, "act") is None
    assert strip_section(replace(alone, reading=none)) == [] and len(strip_section(alone)) == 1


def test_a_strip_shows_at_most_120_tokens_around_the_span(alone):
    assert shown_part(80, 3, 9) == (0, 80) and shown_part(500, 3, 9) == (0, 120) and shown_part(500, 490, 495) == (380, 500)
    assert shown_part(500, 200, 210) == (145, 265) and shown_part(500, 100, 300) == (100, 220)
    tokens, spans = 300, (TokenSpan("act", 200, 202),)
    strip = PassageStrip("lamp-0", tuple(f" w{n}" for n in range(tokens)), np.zeros(tokens, dtype=bool), spans, np.ones(tokens))
    reading = replace(alone.reading, strips=dict.fromkeys(alone.reading.strips, strip))
    picture = pictures(replace(alone, reading=reading))["act"]
    assert "tokens 142 to 261 of 300 (page 0); underlined: act." in picture.caption
    drawn = [text for text in re.findall(r">([^<]+)</text>", picture.svg) if text.startswith("w") and text != "word"]
    assert drawn == [f"w{n}" for n in range(141, 261)] and picture.svg.count(">…</text>") == 2
    cut = replace(alone, reading=reading, cut={"llama": {"lamp-0": 2}})
    assert "of 300 of a window" in pictures(cut)["act"].caption


@pytest.mark.parametrize("later", [False, True])
def test_the_colours_of_a_strip_are_over_those_of_all_counted_tokens(alone, later):
    """What the tokens receive, each the mean of the heads: of a strip with one kind of layers it can be taken apart again."""
    from pydisp.legal_probe.uniform import uniform_received

    found = probe(tiny_llama(), tiny_tokenizer(), RECORDS, queries="later") if later else alone
    strip = found.reading.strips["lamp-3"]
    values = relative(found.reading, strip, later=later)
    uniform = uniform_received(len(strip.texts), later=later)
    counts = np.isfinite(values)
    assert counts.sum() == (~strip.is_excluded & (uniform > 0)).sum() > 50
    assert np.average(values[counts], weights=uniform[counts]) == pytest.approx(1, rel=1e-9)
    np.testing.assert_allclose(values[counts] / values[counts][0], strip.enrichment[counts] / strip.enrichment[counts][0])


def test_sections_come_in_the_order_of_reading(against):
    titles = [section.title for section in report_of(against).sections]
    assert list(report_of(against).summary) == lines(against)
    assert titles == ["Concepts", "Layers and heads", "Against llama (2)", "What the words received", "Method"]
    assert all(isinstance(section, Section) for section in report_of(against).sections)
    assert report_of(against).title == "llama against llama (2): attention to the concepts of passages"


@needs_chromium
def test_its_page_is_readable(alone, against):
    require_readable({"alone": report_of(alone).to_html(), "against": report_of(against).to_html()})
