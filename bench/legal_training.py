"""The demo model trained further on statutes, and as long on other text: the before and after of an attention probe for legal passages.

    python bench/legal_training.py --legal dc_code_titles.txt.gz --other wikitext-2/train.txt --passages pydisp/legal_probe/data/passages.jsonl \\
        --steps 250 --seeds 0,1,2 --out build/legal-models

OUT/legal-0, other-0, legal-1, …: models with their tokenizer, and what decided them in training.json; OUT/training.json has it all together.
Two models of one seed have the same settings and the same draws, only the text differs. The sections of the D.C. Code that the passages were
taken from are in no text; the last twentieth of each text, whole documents, is only scored. A folder that is there is not trained again, so a
command that was stopped goes on where it was. One seed and one thread give the same weights, bit for bit.
"""

import argparse
import hashlib
import json
import math
import re
import shlex
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path

import results
import torch
from machine import describe
from torch import Tensor, nn

from pydisp.commands.output import quiet_libraries
from pydisp.environment import environment
from pydisp.evaluation import check_context, check_token_ids, evaluate_text
from pydisp.fairness.weight_decay.settings import ArmSettings
from pydisp.fairness.weight_decay.training_run import LARGEST_NORM
from pydisp.loading import displayed_name, load_model, load_tokenizer
from pydisp.progress import Bar, duration_words, on_stderr
from pydisp.spec import model_digest
from pydisp.text import Text, Tokens, read_text, tokenize
from pydisp.token_nll import token_nll
from pydisp.workspace import Workspace, write_whole

ARMS = ("legal", "other")
FILE = "training.json"
HELD_OUT_SHARE = 0.05
# Held-out legal loss after 75 steps on legal text (seed 0, AMD EPYC with AVX-512, one thread): 2.857 at 3e-4, 2.498 at 1e-3, 2.397 at 2e-3,
# 2.385 at 4e-3, 2.467 at 8e-3. Level with the best, and other text is forgotten less than at 4e-3 (4.84 against 5.03).
LEARNING_RATE = 2e-3
SETTINGS = (
    "steps", "context_tokens", "batch_windows", "learning_rate", "warmup_share", "schedule", "betas", "weight_decay", "held_out_tokens",
)  # fmt: skip
_ARTICLE = re.compile(r"^ *\n(?= = [^=\n]+ = \n *\n)", re.M)  # the blank line before the title of one of WikiText's articles
_SECTION = re.compile(r"D\.C\. Code § (\S+)")


def whole_documents(text: Text) -> Text:
    """A text of one document cut into its articles (WikiText), else at its blank lines (statutes: sections); others as they are."""
    if len(text.documents) > 1:
        return text
    parts = _ARTICLE.split(text.joined)
    parts = parts if len(parts) > 1 else text.joined.split("\n\n")
    return Text(text.name, tuple(part for part in parts if part.strip()))


def passage_sections(passages: str) -> list[str]:
    """The sections of the D.C. Code that passages were taken from, such as `22-3211`; other sources are ignored.

    Raises: as `read_text`; ValueError for a source of the D.C. Code without a section.
    """
    sources = [source for source in read_text([f"{passages}#source"]).documents if source.startswith("D.C.")]
    for source in sources:
        if not _SECTION.fullmatch(source):
            raise ValueError(f"{passages} has the source {source!r}; one of the D.C. Code must read like 'D.C. Code § 22-3211'.")
    return sorted({_SECTION.fullmatch(source)[1] for source in sources})


def without_sections(text: Text, sections: Sequence[str], passages: str) -> Text:
    """The text without the documents that have one of these numbers as their first line.

    Raises: ValueError for a section that is not there: its text may then stand under another number.
    """
    numbers = [document.strip().partition("\n")[0].strip() for document in text.documents]
    missing = next((section for section in sections if section not in numbers), None)
    if missing is not None:
        raise ValueError(f"{passages} names D.C. Code § {missing}, which {text.name} lacks; correct the passage's source or give its text.")
    return Text(text.name, tuple(d for d, number in zip(text.documents, numbers, strict=True) if number not in sections))


def apart(text: Text) -> tuple[Text, Text]:
    """The text without its last documents, and these: as few as hold a twentieth of its characters.

    Raises: ValueError if no document would be left.
    """
    first, left = len(text.documents), HELD_OUT_SHARE * sum(map(len, text.documents))
    while left > 0:
        first -= 1
        left -= len(text.documents[first])
    if first == 0:
        raise ValueError(
            f"{text.name} is a single document, none is left to train on; give text of several, with a blank line between them."
        )
    return Text(f"{text.name} (first 95 %)", text.documents[:first]), Text(f"{text.name} (last 5 %)", text.documents[first:])


@dataclass(frozen=True)
class Corpus:
    """One arm's text as tokens; `facts` are digests and sizes for the record."""

    train: Tokens
    held_out: Tokens
    facts: dict

    @classmethod
    def of(cls, whole: Text, used: Text, tokenizer, vocabulary: int, settings: ArmSettings) -> "Corpus":
        """Args:
            whole: as it was read.
            used: what is left of it, in documents.
        Raises: ValueError for a text that is too short.
        """
        texts = dict(zip(("train", "held_out"), apart(used), strict=True))
        tokens = {name: tokenize(text, tokenizer) for name, text in texts.items()}
        facts = {"name": whole.name, "sha256": whole.sha256}
        for name, its in tokens.items():
            check_token_ids(its, vocabulary, tokenizer)
            count, text = len(its.windows(settings.context_tokens)), texts[name]
            facts[name] = {
                "sha256": text.sha256,
                "documents": len(text.documents),
                "bytes": text.bytes,
                "tokens": len(its),
                "windows": count,
            }
        if facts["train"]["windows"] < settings.batch_windows:
            raise ValueError(
                f"{tokens['train'].name} has {facts['train']['windows']} windows of {settings.context_tokens} tokens, a step takes "
                f"{settings.batch_windows}; give more text, or lower --context or --batch-windows."
            )
        return cls(tokens["train"], tokens["held_out"], facts)


def fit(model: nn.Module, windows: Tensor, settings: ArmSettings, seed: int, after_step: Callable[[int, float], None]) -> None:
    """Train in place, in evaluation mode: without dropout nothing is drawn but the windows, and the numbers drawn depend only on the seed.

    Args:
        windows: (N, T) int64.
        after_step: receives the number of steps done and the loss.
    Raises: ValueError, naming the step, for a loss or a gradient that is not finite.
    """
    generator = torch.Generator().manual_seed(seed)
    numbers = torch.randint(2**62, (settings.steps, settings.batch_windows), generator=generator)
    optimizer = torch.optim.AdamW(model.parameters(), betas=settings.betas, weight_decay=settings.weight_decay[0], fused=True)
    for step, drawn in enumerate(numbers):
        loss = token_nll(model, windows[drawn % len(windows)]).mean()
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        norm = nn.utils.clip_grad_norm_(model.parameters(), LARGEST_NORM)
        if not math.isfinite(loss.item() + norm.item()):
            raise ValueError(f"the loss is {loss.item()} and its gradient {norm.item()} at step {step + 1}; lower --learning-rate.")
        for group in optimizer.param_groups:
            group["lr"] = settings.rates[step]
        optimizer.step()
        after_step(step + 1, loss.item())
    optimizer.zero_grad(set_to_none=True)


def new_start(model: str) -> nn.Module:
    return load_model(model, device=torch.device("cpu"), dtype=torch.float32)


def losses(model: nn.Module, texts: dict[str, Corpus], settings: ArmSettings) -> dict[str, dict]:
    """By text, the loss on windows of its held-out part; these are the same for every model."""
    scored = {
        name: evaluate_text(model, corpus.held_out, settings.context_tokens, most_tokens=settings.held_out_tokens)
        for name, corpus in texts.items()
    }
    return {name: {key: value for key, value in asdict(loss).items() if key != "window_nats"} for name, loss in scored.items()}


def known_record(folder: Path, identity: dict) -> dict | None:
    """What the training.json of a folder says; None if there is no folder.

    Raises: ValueError if the folder is not this script's, or of a model with another identity.
    """
    if not folder.exists():
        return None
    try:
        record = json.loads((folder / FILE).read_text())
        theirs = dict(record["identity"])
    except (OSError, ValueError, TypeError, KeyError):
        raise ValueError(f"{folder} exists and has no {FILE} of this script; give another --out, or move the folder away.") from None
    for name, value in identity.items():
        if theirs.get(name) != value:
            raise ValueError(
                f"{folder} has {name} {theirs.get(name)!r}, this command has {value!r}; give another --out, or delete the folder."
            )
    return record


def train_all(
    model: str, texts: dict[str, Corpus], settings: ArmSettings, out: Path, machine: dict, say: Callable[[str], None]
) -> dict[str, dict]:
    """Train each model that has no folder yet; returns the record of every model by its name.

    Args:
        machine: what `machine.describe` gave, for the records.
    Raises: ValueError or FileExistsError, before anything is trained, for folders of other models.
    """
    identities = {(arm, seed): _identity(model, texts, settings, arm, seed) for seed in settings.seeds for arm in ARMS}
    records = {(arm, seed): known_record(out / f"{arm}-{seed}", identity) for (arm, seed), identity in identities.items()}
    missing = [key for key, record in records.items() if record is None]
    say(f"{len(missing)} of {len(records)} models are to be trained, {settings.steps} steps each")
    tokenizer = load_tokenizer(model)

    @cache
    def before() -> dict:
        return losses(new_start(model), texts, settings)

    with Bar(len(missing) * settings.steps, say, title="train") as bar:
        for number, (arm, seed) in enumerate(missing):

            def after_step(step: int, loss: float, done: int = number * settings.steps) -> None:
                bar(done + step, loss=loss)

            workspace = Workspace(out / f"{arm}-{seed}", marker="model.safetensors", journey="training")
            with workspace.claimed():
                trained, started = new_start(model), time.perf_counter()
                fit(trained, texts[arm].train.windows(settings.context_tokens), settings, seed, after_step)
                seconds = time.perf_counter() - started
                record = {
                    "identity": identities[arm, seed], "before": before(), "after": losses(trained, texts, settings), "seconds": seconds,
                    "threads": torch.get_num_threads(), "machine": machine,
                }  # fmt: skip
                workspace.begin(record["identity"])
                trained.save_pretrained(workspace.output)
                tokenizer.save_pretrained(workspace.output)
                write_whole(workspace.output / FILE, json.dumps(record, indent=1, allow_nan=False) + "\n")
                workspace.finish()
            records[arm, seed] = record
            changes = [f"{name} {record['before'][name]['nats_per_token']:.3f} to {_nats(record, name):.3f}" for name in ARMS]
            say(f"{arm}-{seed}: {duration_words(seconds)}; held-out text, nats per token: {', '.join(changes)}")
    return {f"{arm}-{seed}": record for (arm, seed), record in records.items()}


def _identity(model: str, texts: dict[str, Corpus], settings: ArmSettings, arm: str, seed: int) -> dict:
    """Everything that decides a model's weights and the losses of its record, in plain values."""
    own = {"arm": arm, "seed": seed, "model": displayed_name(model), "model_digest": _digest(model), **_recorded(settings)}
    parts = {f"{name}.{part}.sha256": texts[name].facts[part]["sha256"] for name in ARMS for part in ("train", "held_out")}
    return own | parts


@cache
def _digest(model: str) -> str:
    return model_digest(new_start(model))


def _recorded(settings: ArmSettings) -> dict:
    return {name: value for name, value in json.loads(json.dumps(asdict(settings))).items() if name in SETTINGS}


def _nats(record: dict, text: str) -> float:
    return record["after"][text]["nats_per_token"]


def table(models: dict[str, dict]) -> str:
    """A row for the start and for each arm: nats per token of both held-out texts, the mean over seeds and, in brackets, the seeds' range."""
    lines = [["model", *(f"held-out {name}, nats per token" for name in ARMS)], ["---", "---:", "---:"]]
    start = next(iter(models.values()))["before"]
    lines.append(["before", *(f"{start[name]['nats_per_token']:.3f}" for name in ARMS)])
    for arm in ARMS:
        found = [[_nats(record, name) for record in models.values() if record["identity"]["arm"] == arm] for name in ARMS]
        lines.append([f"trained on {arm} text", *(f"{statistics.fmean(f):.3f} ({min(f):.3f} to {max(f):.3f})" for f in found)])
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--legal", required=True, help="statutes: sections with a blank line between them, the number as first line")
    parser.add_argument("--other", required=True, help="text of another kind")
    parser.add_argument("--passages", required=True, help="the probe's passages, JSONL with a field `source`: D.C. Code § 22-3211")
    parser.add_argument("--out", type=Path, required=True, help="folder of the models; those that it holds are not trained again")
    parser.add_argument("--model", default="demo")
    parser.add_argument("--steps", type=int, default=250)
    parser.add_argument("--seeds", default="0,1,2", help="with commas between")
    parser.add_argument("--context", type=int, default=512, help="tokens of a window, also of a scored one")
    parser.add_argument("--batch-windows", type=int, default=4, help="windows of a step")
    parser.add_argument("--learning-rate", type=float, default=LEARNING_RATE, help="the highest")
    parser.add_argument("--held-out-tokens", type=int, default=65_536, help="score at most so many tokens of each text")
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    try:
        settings = _settings(args)
        quiet_libraries()
        torch.set_num_threads(args.threads)
        texts, sections = _texts(args, settings)
        machine = describe("cpu")
        models = train_all(args.model, texts, settings, args.out, machine, on_stderr)
    except (ValueError, OSError, ImportError) as problem:  # LoadingError, FileNotFoundError and FileExistsError are among them
        parser.exit(1, f"{' '.join(str(problem).split())}\n")
    except KeyboardInterrupt:
        parser.exit(130, "stopped; the same command keeps the models that are whole and trains the others.\n")
    record = {
        "command": _command(args), "model": displayed_name(args.model), "seeds": settings.seeds, "settings": _recorded(settings),
        "texts": {name: corpus.facts for name, corpus in texts.items()},
        "passages": {"name": Path(args.passages).name, "sha256": hashlib.sha256(Path(args.passages).read_bytes()).hexdigest(), "sections": sections},
        "models": models, "machine": machine, "versions": environment()["versions"],
    }  # fmt: skip
    write_whole(args.out / FILE, json.dumps(record, indent=1, allow_nan=False) + "\n")
    print(table(models))
    print(args.out / FILE, file=sys.stderr)


def _settings(args: argparse.Namespace) -> ArmSettings:
    """Raises: ValueError for what cannot be used, before anything is read."""
    try:
        seeds = tuple(int(seed) for seed in args.seeds.split(","))
    except ValueError:
        raise ValueError(f"--seeds is {args.seeds!r}; give whole numbers with commas between, such as 0,1,2.") from None
    if args.threads < 1:
        raise ValueError(f"--threads is {args.threads}; it must be at least 1.")
    if args.context < 2 or args.steps < 1:  # before their product
        raise ValueError(f"--context is {args.context}, --steps {args.steps}; at least 2 tokens and 1 step are needed.")
    results.check_folder("--out", args.out)
    return ArmSettings(
        weight_decay=(0.0,), train_tokens=args.steps * args.batch_windows * args.context, held_out_tokens=args.held_out_tokens, seeds=seeds,
        context_tokens=args.context, batch_windows=args.batch_windows, steps=args.steps, learning_rate=args.learning_rate, warmup_share=0.1,
    )  # fmt: skip


def _texts(args: argparse.Namespace, settings: ArmSettings) -> tuple[dict[str, Corpus], list[str]]:
    """Both texts in the model's tokens, and the sections that were left out of the legal one."""
    sections = passage_sections(args.passages)
    whole = {name: read_text([getattr(args, name)]) for name in ARMS}
    used = {name: whole_documents(text) for name, text in whole.items()}
    used["legal"] = without_sections(used["legal"], sections, Path(args.passages).name)
    model, tokenizer = new_start(args.model), load_tokenizer(args.model)
    check_context(settings.context_tokens, model.config)
    vocabulary = model.get_input_embeddings().weight.shape[0]
    return {name: Corpus.of(whole[name], used[name], tokenizer, vocabulary, settings) for name in ARMS}, sections


def _command(args: argparse.Namespace) -> str:
    """The command line that repeats this, without folders of this machine."""
    words = ["python", "bench/legal_training.py", "--model", displayed_name(args.model)]
    for name in ("legal", "other", "passages", "out"):
        words += [f"--{name}", Path(getattr(args, name)).name]
    for name in ("steps", "seeds", "context", "batch_windows", "learning_rate", "held_out_tokens", "threads"):
        words += [f"--{name.replace('_', '-')}", str(getattr(args, name))]
    return shlex.join(words)


if __name__ == "__main__":
    main()
