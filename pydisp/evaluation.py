"""How well a causal language model predicts a text: nats per token over windows that do not overlap.

    result = pydisp.evaluate(model, tokenizer, text=["notes.txt"])     # or pydisp.evaluate("demo", text=["pythondoc:heldout"])
    print(result.perplexity, result.bits_per_byte)
    result.report.write("out")

`text.py` describes how a text becomes windows. Perplexity depends on the tokenizer, on the length of the context and on the
beginning-of-text rule, so state a figure with its `context_tokens`; bits per byte can be compared between tokenizers.

`token_nll.py` describes how a window is scored: without its logits in memory, if the model allows it.
"""

import math
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, dataclass, field

import torch
from torch import Tensor, nn

from pydisp.arguments import BY_NAME, MODEL, RECEIVER, SOURCES, TOKENIZER, check, instance_of, optional, takes, whole
from pydisp.environment import run_facts
from pydisp.loading import choose_device, choose_dtype, displayed_name, load_config, load_model, load_tokenizer, stored_dtype
from pydisp.placement import refuse_empty
from pydisp.progress import Bar, on_stderr, silence
from pydisp.report import Metric, Report
from pydisp.spec import SMALL_MODEL_PARAMETERS
from pydisp.text import Text, Tokens, read_text, tokenize
from pydisp.token_nll import scorer, token_nll
from pydisp.torch_modes import usual_modes

_TOKENS_PER_FORWARD = 4096  # without a batch size; the memory of a forward grows with it
SIZES = {"context_tokens": optional(whole(2)), "batch_size": optional(whole(1)), "most_tokens": optional(whole(2))}  # as `takes` needs them
_MOST_LOGITS = 2**26  # values in the logits of one forward, if logits are used: 256 MiB in float32


@dataclass(frozen=True)
class TextLoss:
    """The loss of a model on a text.

    Args:
        nats_per_token: mean negative log-likelihood of a target token.
        standard_error: of nats_per_token, from the spread between windows; None for a single window.
        tokens: targets scored, context_tokens - 1 in each window.
        context_tokens: length of a window.
        bits_per_byte: nats_per_token x (tokens of the whole text without the beginning-of-text token / its bytes) / ln 2.
        window_nats: the mean of each window, to compare two models window by window; empty if it is not known.
    """

    nats_per_token: float
    standard_error: float | None
    tokens: int
    context_tokens: int
    bits_per_byte: float
    window_nats: tuple[float, ...] = field(default=(), repr=False, compare=False, kw_only=True)

    @property
    def perplexity(self) -> float:
        """exp(nats_per_token); infinite if it is too large for a float64."""
        return math.exp(self.nats_per_token) if self.nats_per_token < 709 else math.inf


@dataclass(frozen=True)
class Evaluation(TextLoss):
    """A `TextLoss` with the names of the model and the text, and the facts of the run (text, device, dtype, versions)."""

    model: str
    text: str
    facts: dict

    def as_dict(self) -> dict:
        """Plain values, as `pydisp eval --json` prints them; an infinite perplexity is None."""
        loss = {name: value for name, value in asdict(self).items() if name not in ("model", "text", "facts", "window_nats")}
        return {"model": self.model, "text": self.text, **loss, "perplexity": self.perplexity if math.isfinite(self.perplexity) else None}

    @property
    def report(self) -> Report:
        """The figures for people and programs; `report.write(folder)` makes report.json, report.md and report.html."""
        shared = dict(n=self.tokens, higher_is_better=False)
        metrics = [Metric("loss", self.nats_per_token, "nats per token", self.standard_error, **shared)]
        if math.isfinite(self.perplexity):
            metrics.append(Metric("perplexity", self.perplexity, f"at a context of {self.context_tokens} tokens", **shared))
        metrics.append(Metric("bits per byte", self.bits_per_byte, **shared))
        return Report(
            title=f"{self.model} on {self.text}",
            summary=[f"{self.in_words()}."],
            metrics=metrics,
            facts={"result": self.as_dict(), **self.facts},
        )

    def in_words(self) -> str:
        """The figures in one line."""
        error = "" if self.standard_error is None else f" ± {self.standard_error:.4f}"
        return (
            f"{self.model} on {self.text}: {self.nats_per_token:.4f}{error} nats per token, perplexity {self.perplexity:.3f}, "
            f"{self.bits_per_byte:.4f} bits per byte ({self.tokens:,} tokens, context {self.context_tokens})"
        )


@takes(model=MODEL, tokenizer=optional(TOKENIZER), text=SOURCES, **SIZES, **BY_NAME, say=RECEIVER)
@usual_modes()
def evaluate(
    model: nn.Module | str | os.PathLike,
    tokenizer=None,
    *,
    text: Sequence[str] | str,
    context_tokens: int | None = None,
    most_tokens: int | None = None,
    batch_size: int | None = None,
    device: str | None = None,
    dtype: str | None = None,
    revision: str | None = None,
    trust_remote_code: bool = False,
    say: Callable[[str], None] = on_stderr,
) -> Evaluation:
    """Score a causal language model, dense or pruned, in memory or by name, on a text.

    Args:
        model: a transformers model, which runs on its own device and is not changed; or a folder, a GGUF file, a hub name or "demo".
        tokenizer: the model's tokenizer; required for a model in memory.
        text: files, folders, JSONL, `pythondoc` or `hub:NAME`, see `pydisp.text`.
        context_tokens: tokens per window; by default `usual_context_tokens`.
        most_tokens: score at most so many tokens, see `evaluate_text`.
        batch_size: windows per forward, see `evaluate_text`.
        device, dtype, revision, trust_remote_code: only for a model by name; without a dtype, a CPU computes half precision in float32.
        say: a function that receives progress lines, see `evaluate_text`.
    Returns: an Evaluation: the figures, and a `report` of them.
    Raises: ValueError (LoadingError is one), TypeError or FileNotFoundError with one sentence, if possible before the model is loaded; and
        the errors of `evaluate_text`.
    """
    check_most(most_tokens, context_tokens)
    corpus = read_text(text, say)
    if isinstance(model, str | os.PathLike):
        name = displayed_name(str(model))
        model, tokens = _load(str(model), tokenizer, corpus, context_tokens, device, dtype, revision, trust_remote_code, say)
    else:
        given = {"device": device, "dtype": dtype, "revision": revision, "trust_remote_code": trust_remote_code or None}
        check_in_memory(model, tokenizer, [name for name, value in given.items() if value is not None])
        name = displayed_name(getattr(model.config, "_name_or_path", "") or model.config.model_type)
        tokens = tokenize(corpus, tokenizer, say)
        check_token_ids(tokens, _vocabulary(model), tokenizer)
    context_tokens = usual_context_tokens(model) if context_tokens is None else context_tokens
    loss = evaluate_text(model, tokens, context_tokens, most_tokens=most_tokens, batch_size=batch_size, say=say)
    facts = {
        "text": {"name": corpus.name, "sha256": corpus.sha256, "bytes": corpus.bytes, "tokens": len(tokens)},
        **run_facts(model),
    }
    return Evaluation(**asdict(loss), model=name, text=corpus.name, facts=facts)


def usual_context_tokens(model: nn.Module) -> int:
    """The default length of a window: 256 tokens below 50 M parameters, else 2,048, and at most the number of positions of the model."""
    usual = 256 if sum(p.numel() for p in model.parameters()) < SMALL_MODEL_PARAMETERS else 2048
    return min(usual, positions(model.config) or usual)


@takes(
    model=instance_of(nn.Module, "give a transformers causal language model"),
    tokens=instance_of(Tokens, "give Tokens"),
    context_tokens=whole(2),
    most_tokens=SIZES["most_tokens"],
    batch_size=SIZES["batch_size"],
)
def evaluate_text(
    model: nn.Module,
    tokens: Tokens,
    context_tokens: int,
    *,
    most_tokens: int | None = None,
    batch_size: int | None = None,
    say: Callable[[str], None] = silence,
    bar: Bar | None = None,
) -> TextLoss:
    """Score the windows of a text. The model is in eval mode meanwhile; afterwards its modes are as before.

    Args:
        model: any transformers causal language model; it runs on its own device, in its own dtype. The loss is computed in float32
            (float64 for a float64 model) and summed in float64.
        tokens: the text, tokenized with the model's own tokenizer.
        context_tokens: tokens per window, at most the positions of the model.
        most_tokens: score only as many windows as have at most so many tokens together, evenly over the text (`Tokens.windows`); by
            default all of them. `TextLoss.tokens` says how many were scored.
        batch_size: windows per forward; by default as many as make 4,096 tokens, or fewer where logits are used and would take more than
            256 MiB in float32. It changes the result by rounding only.
        say: a function that receives the lines of a `Bar`; on a terminal a bar is drawn instead.
        bar: of a longer evaluation, which then shows the windows that are scored.
    Raises: ValueError for a text shorter than one window, a context longer than the model's, token ids outside the model's
        vocabulary, a batch size below 1, and a loss that is not finite (it names the window); TypeError for a model without logits.
    """
    check_most(most_tokens, context_tokens)
    windows = tokens.windows(context_tokens, most_tokens)
    check_context(context_tokens, model.config)
    check_token_ids(tokens, _vocabulary(model))
    device = model.get_input_embeddings().weight.device
    means = torch.empty(len(windows), dtype=torch.float64)
    bar = nullcontext(bar) if bar else Bar(len(windows), say, title="evaluation", unit="window")
    with torch.no_grad(), evaluating(model), bar as shown:
        score = scorer(model, windows[:1].to(device))
        batch_size = batch_size or windows_per_forward(model, context_tokens, has_logits=score is not token_nll)
        for start in range(0, len(windows), batch_size):
            batch = windows[start : start + batch_size]
            means[start : start + len(batch)] = score(model, batch.to(device)).double().mean(1).cpu()
            _check_finite(means[: start + len(batch)], tokens.name, len(windows))
            shown.advance(len(batch))
    mean = means.mean().item()
    return TextLoss(
        nats_per_token=mean,
        standard_error=means.std().item() / math.sqrt(len(means)) if len(means) > 1 else None,
        tokens=len(means) * (context_tokens - 1),
        context_tokens=context_tokens,
        bits_per_byte=mean * tokens.tokens_per_byte / math.log(2),
        window_nats=tuple(means.tolist()),
    )


def check_token_ids(tokens: Tokens, vocabulary: int, tokenizer=None) -> None:
    """Refuse a text with a token for which the model has no embedding, before the model runs; with a tokenizer the message names the token.

    Raises: ValueError.
    """
    largest = int(tokens.ids.max())
    if largest >= vocabulary:
        name = "" if tokenizer is None else f" ({tokenizer.convert_ids_to_tokens(largest)!r})"
        raise ValueError(
            f"{tokens.name}: token id {largest}{name} is outside the model's vocabulary of {vocabulary}; tokenize with the model's own "
            "tokenizer, or add rows for added tokens with model.resize_token_embeddings(len(tokenizer))."
        )


def _load(name, tokenizer, corpus: Text, context_tokens, device, dtype, revision, trust_remote_code, say) -> tuple[nn.Module, Tokens]:
    """The model of this name and the text's tokens; anything that the config alone shows to be wrong is refused before weights are read."""
    chosen = choose_device(device)
    source = dict(revision=revision, trust_remote_code=trust_remote_code)
    config = load_config(name, **source)
    if context_tokens is not None:
        check_context(context_tokens, config)
    tokenizer = tokenizer or load_tokenizer(name, **source)
    tokens = tokenize(corpus, tokenizer, say)
    if context_tokens is not None:
        tokens.windows(context_tokens)  # refuses a text that is too short
    check_token_ids(tokens, getattr(config.get_text_config(), "vocab_size", None) or math.inf, tokenizer)
    return load_model(name, device=chosen, dtype=choose_dtype(dtype, chosen, stored_dtype(config)), say=say, **source), tokens


def check_in_memory(model, tokenizer, given: Sequence[str]) -> None:
    """Refuse a model that is none or has no values, what is not its tokenizer, and arguments (`given`, by name) that go with a model's name.

    Raises: TypeError or ValueError.
    """
    if not isinstance(model, nn.Module) or not hasattr(model, "get_input_embeddings"):
        wrapped = "; if it wraps a model, give that one (model.module)" if isinstance(model, nn.Module) else ""
        raise TypeError(
            f"model is a {type(model).__name__}; give a transformers causal language model, a folder, a hub name, or 'demo'{wrapped}."
        )
    check_tokenizer(tokenizer)
    if given:
        raise ValueError(f"{given[0]} goes with the name of a model, but this model is in memory and runs on its own device; leave it out.")
    refuse_empty(model)


def check_tokenizer(tokenizer) -> None:
    """Refuse what does not turn text into tokens as a tokenizer of transformers does.

    Raises: ValueError or TypeError.
    """
    if tokenizer is None:
        raise ValueError("a model in memory was given without its tokenizer; give both.")
    check("tokenizer", tokenizer, TOKENIZER)


def positions(config) -> int | None:
    """The longest text that a model of this config can read, in tokens; None without a limit."""
    return getattr(config.get_text_config(), "max_position_embeddings", None)


def _vocabulary(model: nn.Module) -> int:
    return model.get_input_embeddings().weight.shape[0]


def check_most(most_tokens: int | None, context_tokens: int | None) -> None:
    """Refuse a limit that leaves nothing to score.

    Raises: ValueError.
    """
    if most_tokens is not None and most_tokens < (context_tokens or 2):
        raise ValueError(f"most_tokens is {most_tokens}, one window has {context_tokens or 2} or more; allow more tokens.")


def check_context(context_tokens: int, config) -> None:
    """Refuse a context longer than the model's positions.

    Raises: ValueError.
    """
    most = positions(config)
    if most is not None and context_tokens > most:
        raise ValueError(f"a context of {context_tokens} tokens was asked for, the model has {most} positions; ask for fewer.")


def windows_per_forward(model: nn.Module, context_tokens: int, *, has_logits: bool) -> int:
    """Windows that make 4,096 tokens; with logits (`has_logits`) fewer, if these would take more than 256 MiB in float32."""
    tokens = min(_TOKENS_PER_FORWARD, _MOST_LOGITS // _vocabulary(model)) if has_logits else _TOKENS_PER_FORWARD
    return max(1, tokens // context_tokens)


def _check_finite(means: Tensor, name: str, count: int) -> None:
    if not means.isfinite().all():
        window = int((~means.isfinite()).nonzero()[0])
        raise ValueError(
            f"{name}: the loss of window {window + 1} of {count} is {means[window].item()}; "
            "check the weights, or run in float32 if the model runs in half precision."
        )


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Evaluation mode inside the `with`; afterwards every module has its own mode again, even after an error."""
    modes = {module: module.training for module in model.modules()}
    model.eval()
    try:
        yield
    finally:
        for module, mode in modes.items():
            module.training = mode
