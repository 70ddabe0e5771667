"""`pydisp probe`: attention to annotated concepts (`run`), the annotations as tokens (`check`), statistics of published values (`stats`)."""

import csv
import io
import json
from pathlib import Path
from typing import Annotated

import typer

from pydisp.commands.options import Device, Dtype, Json, ModelName, Revision, TrustRemoteCode
from pydisp.commands.output import WrongUsage, begin, claimed, print_json, print_words

RESULT_FILE = "probe.json"  # the output of --json; no other command writes such a file, so --overwrite recognises its folders by it
_CONCEPTS = "JSONL or YAML of passages with marked concepts; docs/legal_probe.md describes it."

app = typer.Typer(help="How much attention a model gives to concepts that people marked in texts, against chance and other models.")

Exclude = Annotated[str, typer.Option(metavar="RULES", help="Tokens that do not count: some of special,first,punctuation,space; or none.")]
ExcludeToken = Annotated[list[str] | None, typer.Option(metavar="TEXT", help="A further token that does not count; repeatable.")]
_RULES = "special,first,punctuation,space"


@app.command()
def run(
    ctx: typer.Context,
    model: ModelName,
    against: Annotated[
        list[str] | None,
        typer.Option(metavar="REFERENCE", help="Another model, such as the unpruned one; differences are MODEL minus it. Repeatable."),
    ] = None,
    concepts: Annotated[Path | None, typer.Option(help=_CONCEPTS, show_default="112 passages of seven legal concepts")] = None,
    concept: Annotated[list[str] | None, typer.Option(help="Only this concept or group; repeatable.", show_default="all")] = None,
    out: Annotated[Path | None, typer.Option(help="Folder to make for the report; it appears whole or not at all.")] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the report of an earlier run.")] = False,
    queries: Annotated[
        str, typer.Option(metavar="all|later", help="later: what a token gives to itself does not count.")
    ] = "all",
    exclude: Exclude = _RULES,
    exclude_token: ExcludeToken = None,
    windows: Annotated[bool, typer.Option("--windows", help="Cut passages that are longer than the model reads, instead of refusing them.")] = False,
    null_spans: Annotated[int, typer.Option(help="Most random spans of a passage that each span is compared with.")] = 200,
    seed: Annotated[int, typer.Option(help="Of the draws for random spans, intervals and p-values.")] = 0,
    device: Device = None,
    dtype: Dtype = None,
    revision: Revision = None,
    trust_remote_code: TrustRemoteCode = False,
    as_json: Json = False,
) -> None:  # fmt: skip
    """Measure how much attention MODEL gives to concepts, and where that differs from chance and from each REFERENCE."""
    if overwrite and out is None:
        raise WrongUsage("--overwrite goes with --out; leave it out.")
    if queries not in ("all", "later"):
        raise WrongUsage(f"--queries is {queries!r}; it must be all or later.")
    if null_spans < 1:
        raise WrongUsage(f"--null-spans is {null_spans}; it must be 1 or more.")
    with claimed(out, RESULT_FILE, "probe", overwrite=overwrite) as workspace:
        say = begin(ctx)
        exclusion = _exclusion(exclude, exclude_token)
        from pydisp.legal_probe import probe
        from pydisp.legal_probe.probe_report import in_words, report

        found = probe(
            model, None, concepts, against=against or (), concepts=concept or None, queries=queries,
            exclusion=exclusion, windows=windows, null_spans=null_spans, seed=seed,
            device=device, dtype=dtype, revision=revision, trust_remote_code=trust_remote_code, say=say,
        )  # fmt: skip
        result, words = found.as_dict(), in_words(found)
        if workspace:
            _write(workspace, report(found, say), found, result)
            result = {"out": str(out), **result}
            words += f"\nreport: {out / 'report.html'}"
    print_json(result) if as_json else print_words(words)


@app.command()
def check(
    ctx: typer.Context,
    concepts: Annotated[
        Path | None, typer.Argument(metavar="[FILE]", help=_CONCEPTS, show_default="the passages that pydisp ships")
    ] = None,
    tokenizer: Annotated[str, typer.Option(metavar="MODEL", help="A model whose tokenizer is used.")] = "demo",
    exclude: Exclude = _RULES,
    exclude_token: ExcludeToken = None,
    revision: Revision = None,
    trust_remote_code: TrustRemoteCode = False,
    as_json: Json = False,
) -> None:
    """Show the tokens of each marked span; a token in parentheses does not count. Every passage that this tokenizer cannot use is named."""
    begin(ctx)
    exclusion = _exclusion(exclude, exclude_token)
    from pydisp.legal_probe import read_concepts, shipped
    from pydisp.legal_probe.passage_tokens import check_lines, tokenize_passage
    from pydisp.legal_probe.passages import ConceptsError
    from pydisp.loading import load_tokenizer

    chosen = shipped() if concepts is None else read_concepts(concepts)
    loaded = load_tokenizer(tokenizer, revision=revision, trust_remote_code=trust_remote_code)
    rows, errors = [], []
    for passage in chosen.passages:
        try:
            tokens = tokenize_passage(passage, loaded, exclusion)
        except ConceptsError as error:
            errors.append(str(error))
            continue
        spans = [
            {"concept": span.concept, "first": span.first, "stop": span.stop, "counted": tokens.counted(span),
             "tokens": [tokens.text_of(number) for number in range(span.first, span.stop)]}
            for span in tokens.spans
        ]  # fmt: skip
        rows.append({"id": passage.id, "tokens": len(tokens.ids), "spans": spans})
        if not as_json:
            typer.echo("\n".join([f"{passage.id}: {len(tokens.ids)} tokens", *(f"  {line}" for line in check_lines(tokens))]))
    if errors:
        for error in errors[1:]:
            typer.echo(error, err=True)
        raise ConceptsError(errors[0] if len(errors) == 1 else f"{len(errors)} passages cannot be used, the first: {errors[0]}")
    if as_json:
        print_json({"name": chosen.name, "sha256": chosen.sha256, "concepts": list(chosen.concepts), "passages": rows})


@app.command()
def stats(
    ctx: typer.Context,
    first: Annotated[Path, typer.Argument(metavar="A.csv", help="A row for each layer, a column for each head.")],
    second: Annotated[Path, typer.Argument(metavar="B.csv", help="The same of another model.")],
    as_json: Json = False,
) -> None:
    """The paper's statistics of A minus B: mean, skewness, kurtosis, entropy of the heads' differences, means and medians of the layers."""
    begin(ctx)
    from pydisp.legal_probe.matrices import compare_matrices, read_matrix

    found = compare_matrices(read_matrix(first), read_matrix(second))
    if as_json:
        print_json({"a": first.name, "b": second.name, **found.as_dict()})
        return
    moments = found.difference
    undefined = "not defined, all heads are equal"
    lines = [
        f"{first.name} minus {second.name}: {len(found.layer_means)} layers, {moments.count} heads",
        f"mean {moments.mean:+.6f} ({found.mean_a:.6f} and {found.mean_b:.6f}), median {moments.median:+.6f}, "
        f"standard deviation {moments.standard_deviation:.6f}",
        f"skewness {undefined if moments.skewness is None else f'{moments.skewness:+.4f}'}, "
        f"kurtosis {undefined if moments.kurtosis is None else f'{moments.kurtosis:.4f}'} (Pearson, normal = 3), "
        f"entropy {moments.entropy:.4f} nats (histogram of 11 bins)",
        "layer: mean, median",
        *(
            f"{layer}: {mean:+.6f}, {median:+.6f}"
            for layer, (mean, median) in enumerate(zip(found.layer_means, found.layer_medians, strict=True))
        ),
        "A positive skewness does not mean that A is larger: the mean says that.",
    ]
    typer.echo("\n".join(lines))


def _exclusion(rules: str, tokens: list[str] | None):
    from pydisp.legal_probe.exclusion import Exclusion

    try:
        return Exclusion.parse(rules, tuple(tokens or ()))
    except ValueError as error:
        raise WrongUsage(str(error)) from None


def _write(workspace, report, found, result: dict) -> None:
    from pydisp.workspace import write_whole

    workspace.begin({})
    report.write(workspace.output)
    write_whole(workspace.output / RESULT_FILE, f"{json.dumps(result, indent=2, allow_nan=False, default=float)}\n")
    write_whole(workspace.output / "heads.csv", _heads(found))
    workspace.finish()


def _heads(found) -> str:
    """CSV of every head of every concept: share, enrichment and q of the model, and differences to each reference."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    against = [one.model for one in found.references]
    writer.writerow(
        [
            "concept",
            "layer",
            "head",
            "share",
            "enrichment",
            "percentile",
            "q",
            *(f"{what} {name}" for name in against for what in ("minus", "q minus")),
        ]
    )
    for concept, figures in found.figures.items():
        deltas = [
            {} if concept not in compared else dict(zip(compared[concept].heads, zip(compared[concept].head_share, compared[concept].head_q, strict=True), strict=True))
            for compared in found.comparisons
        ]  # fmt: skip
        for number, head in enumerate(found.reading.heads):
            values = [figures.head_share[number], figures.head_enrichment[number], figures.head_percentile[number], figures.q[number]]
            values += [value for delta in deltas for value in delta.get(head, (float("nan"),) * 2)]
            writer.writerow([concept, *head, *("" if value != value else repr(float(value)) for value in values)])
    return text.getvalue()
