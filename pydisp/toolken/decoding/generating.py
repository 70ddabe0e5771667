"""Generate: texts of a model with toolkens, in a batch, with their traces.

    found = generate(model, tokenizer, toolkens, ["Question: What is 48 divided by 2?\\nAnswer:"], max_new_tokens=40)
    found.texts[0]                       # " 24"
    found.traces[0].steps[0].outcome     # "called"

It runs inside `model.generate` (its `custom_generate`), so settings, logits processors and stopping criteria are those of transformers.
A tool fires where it is above every word, by the raw logits; otherwise the plain model chooses the token, greedily or sampling. So where no
tool is called, ids and the state of the random generator are exactly those of `model.generate`.

Source: ToolkenGPT, https://arxiv.org/abs/2305.11554; Toolken+, https://arxiv.org/abs/2410.12004. Where the papers draw the next token from
words and tools together, here a tool fires or not, and only words are drawn [ours]: else a text without tools would differ from the plain
model's.
"""

import copy
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import wraps

import torch
from torch import Tensor, nn
from transformers import StoppingCriteriaList, StopStringCriteria

from pydisp.arguments import SWITCH, TEXT, TOKENIZER, Kind, check, instance_of, one_of, optional, plain, takes, whole
from pydisp.evaluation import evaluating, positions
from pydisp.modeling.cached_model import CachedModel
from pydisp.toolken.decisions import CONTROLS, MODES, Policy
from pydisp.toolken.decoding.calling_rows import CallingRows
from pydisp.toolken.decoding.choosing import Chooser
from pydisp.toolken.decoding.loop import Loop
from pydisp.toolken.decoding.put_in import written_text
from pydisp.toolken.decoding.tool_mode import ArgumentWriter
from pydisp.toolken.decoding.trace import Trace
from pydisp.toolken.documentation import Documentation
from pydisp.toolken.head import ToolkenHead
from pydisp.toolken.problems.labels import prompt_ids
from pydisp.toolken.toolkens import Toolkens

MOST_CALLS = 8
DOCUMENTATION_TOKENS = 40  # of each tool, for toolkens that do not say how many they were trained with
REFUSED = {
    "custom_generate", "streamer", "assistant_model", "synced_gpus", "past_key_values", "cache", "inputs_embeds", "position_ids",
    "token_type_ids", "negative_prompt_ids", "negative_prompt_attention_mask", "input_ids",
}  # fmt: skip


@dataclass(frozen=True, eq=False)
class Generated:
    """Texts of a batch.

    Args:
        sequences: (B, L) int64, the prompts as given, padding before them included, and what was written, padded behind; no ids of tools.
        texts: what was written, results included, special tokens left out. traces: the decisions of each text; empty for mode "none".
    """

    sequences: Tensor
    texts: tuple[str, ...]
    traces: tuple[Trace, ...]


def _with_tokenizer_named_twice(function: Callable[..., Generated]) -> Callable[..., Generated]:
    """`function` that takes a `tokenizer` by name too where one is given by position: beside `stop_strings`, transformers asks for that."""

    @wraps(function)
    def taken(*given, **named):
        if len(given) > 1 and "tokenizer" in named and named.pop("tokenizer") not in (None, given[1]):
            raise ValueError("two different tokenizers were given, one by position and one by name; give one.")
        return function(*given, **named)

    return taken


@_with_tokenizer_named_twice
@takes(
    model=instance_of(nn.Module, "give a transformers causal language model"), tokenizer=TOKENIZER,
    toolkens=optional(instance_of(Toolkens, "give Toolkens, such as Toolkens.load(DIR) returns")), mode=one_of(MODES + CONTROLS),
    k=optional(whole(1)), caller=optional(Kind("give a Caller", lambda value: hasattr(value, "call"), error=TypeError)),
    documentation=optional(instance_of(Documentation, "give Documentation")),
    writer=optional(Kind("give an ArgumentWriter", lambda value: hasattr(value, "write"), error=TypeError)), most_calls=whole(0), is_checked=SWITCH,
    attention_mask=optional(instance_of(Tensor, "give a tensor of (texts, tokens)")),
)  # fmt: skip
def generate(
    model: nn.Module,
    tokenizer,
    toolkens: Toolkens | None,
    inputs: str | Sequence[str] | Tensor | Mapping,
    *,
    mode: str = "calibrated",
    k: int | None = None,
    caller=None,
    documentation: Documentation | None = None,
    writer: ArgumentWriter | None = None,
    most_calls: int = MOST_CALLS,
    is_checked: bool = False,
    told: Callable[[int], None] = lambda _tokens: None,
    attention_mask: Tensor | None = None,
    **generate_kwargs,
) -> Generated:
    """Write on, calling tools.

    Args:
        model: a transformers causal language model with a key-value cache; stock, pruned, in any dtype; not changed.
        tokenizer: its fast tokenizer; it may be given a second time by name, as transformers asks for beside `stop_strings`.
        toolkens: made for this model; may be None for mode "none".
        inputs: prompts as texts, or as `input_ids` (B, S) padded at their beginning, or a mapping with `input_ids` and `attention_mask`.
        mode, k: see `pydisp.toolken.decisions`; by default the k of the toolkens; of another the log warns once.
        caller: runs the calls (`pydisp.toolken.tools.calling.Caller`); by default one that ends with this function.
        documentation, writer: to be used again in many calls; by default new ones, the documentation with the room it had in training.
        most_calls: of one text, failed ones and those broken off included, 0 or more. What failed in a text is not run in it again (`calling_rows`).
        is_checked: whether `toolkens.check` was done for this model, which takes a moment each time.
        told: receives the number of new tokens (of the longest text, results included) after each step.
        attention_mask: (B, S) for `input_ids`.
        generate_kwargs: as of `model.generate`: max_new_tokens, do_sample, temperature, stop_strings, generation_config, ... Neither beams,
            nor assistants, nor streamers, nor caches of other kinds than DynamicCache. A stop string ends a text behind a result, never
            inside it. Where results made texts unequally long, logits processors and stopping criteria are called once for each length
            in a step; what they give for a text of another length is not used, and such a text is cut or filled behind its prompt.
    Raises: ValueError with one sentence for what cannot be done, such as a prompt and `max_new_tokens` that are longer together than what the
        model reads; ToolkensError (one too) for toolkens of another model.
    """
    for name in sorted(REFUSED & generate_kwargs.keys()):
        if generate_kwargs[name] is not None:
            raise ValueError(f"{name} was given, which decoding with tools does not take; leave it out.")
    if "max_new_tokens" in generate_kwargs:
        generate_kwargs["max_new_tokens"] = check("max_new_tokens", generate_kwargs["max_new_tokens"], optional(whole(1)))
    reader = CachedModel(model)
    filler = next((one for one in (tokenizer.pad_token_id, tokenizer.eos_token_id) if one is not None), 0)
    ids, mask = _prompts(inputs, attention_mask, tokenizer, filler, reader.device)
    check_room(model, ids.shape[1] if mask is None else int(mask.sum(-1).max()), generate_kwargs.get("max_new_tokens"))
    with ExitStack() as opened:
        opened.enter_context(evaluating(model))
        tools = None
        if mode != "none":
            policy = _policy(model, tokenizer, toolkens, mode, k, is_checked)
            tools = opened.enter_context(
                _tools_in_the_loop(opened, reader, tokenizer, toolkens, policy, documentation, writer, caller, most_calls)
            )
        loop = Loop(reader, tools, filler, _stand_in(tokenizer, filler, model.get_input_embeddings().weight.shape[0]), told)
        settings = opened.enter_context(_stop_strings(model, tokenizer, generate_kwargs))
        if mask is not None:  # without one, transformers looks for padding itself
            settings["attention_mask"] = mask
        model.generate(ids, custom_generate=loop, **settings)
    return _generated(loop, tokenizer, tools.traces if tools is not None else None)


def check_room(model: nn.Module, prompt_tokens: int, max_new_tokens: int | None) -> None:
    """Refuse a prompt and an answer that are longer together than what the model reads.

    Raises: ValueError.
    """
    context = positions(model.config)
    if context is None:
        return
    if prompt_tokens >= context:
        raise ValueError(
            f"the prompt has {prompt_tokens:,} tokens, and the model reads {context:,} at most, its answer included; shorten it."
        )
    if max_new_tokens is not None and prompt_tokens + max_new_tokens > context:
        raise ValueError(
            f"up to {max_new_tokens:,} new tokens were asked for, but behind a prompt of {prompt_tokens:,} tokens the model has room for "
            f"{context - prompt_tokens:,}, for it reads {context:,} at most; ask for no more than these."
        )


def _policy(model, tokenizer, toolkens, mode: str, k: int | None, is_checked: bool) -> Policy:
    """The policy of toolkens that are for this model."""
    if toolkens is None:
        raise ValueError(f"the mode is {mode!r}, but there are no toolkens; give them, or choose the mode 'none'.")
    policy = toolkens.policy(mode, k)
    if not is_checked:
        toolkens.check(model, tokenizer)
    return policy


def _tools_in_the_loop(
    opened: ExitStack, reader, tokenizer, toolkens, policy: Policy, documentation, writer, caller, most_calls
) -> CallingRows:
    """The tools beside the loop; the head is attached as long as `opened` is."""
    if policy.reads_documentation and documentation is None:
        room = toolkens.calibration.get("documentation_tokens", DOCUMENTATION_TOKENS)
        documentation = Documentation(tokenizer, toolkens.tools, policy.documentation, room)
    if policy.reads_documentation and documentation.kind != policy.documentation:
        raise ValueError(
            f"the mode {policy.mode!r} reads documentation of kind {policy.documentation!r}, that given is of kind {documentation.kind!r}; "
            "leave it out."
        )
    head = opened.enter_context(ToolkenHead(reader.model, toolkens.rows, toolkens.vocabulary))
    chooser = Chooser(policy, reader, head, toolkens.rerank_rows, documentation, positions(reader.model.config))
    writer = writer or ArgumentWriter(reader, tokenizer, toolkens.tools)
    return CallingRows(chooser, writer, toolkens.tools, tokenizer, caller, most_calls)


def _prompts(inputs, attention_mask, tokenizer, filler: int, device) -> tuple[Tensor, Tensor | None]:
    """Ids and mask (B, S), padded at the beginning."""
    inputs = plain(inputs) if not isinstance(inputs, Tensor) else inputs
    if isinstance(inputs, Mapping):
        if not isinstance(inputs.get("input_ids"), Tensor):
            raise ValueError("inputs is a mapping without a tensor input_ids; give what the tokenizer returns with return_tensors='pt'.")
        inputs, attention_mask = inputs["input_ids"], inputs.get("attention_mask", attention_mask)
    if isinstance(inputs, Tensor):
        if inputs.dim() != 2 or not inputs.numel() or inputs.is_floating_point() or inputs.dtype == torch.bool:
            raise ValueError(
                f"the input ids are {inputs.dtype} of shape {tuple(inputs.shape)}; they must be whole numbers of shape (texts, tokens), at least one "
                "of each."
            )
        if attention_mask is None:
            return inputs.to(device), None
        if attention_mask.shape != inputs.shape or (attention_mask.sum(-1) == 0).any():
            raise ValueError(
                f"the attention mask is of shape {tuple(attention_mask.shape)}; it must be {tuple(inputs.shape)}, with a one in each row."
            )
        return inputs.to(device), attention_mask.to(device)
    given = [inputs] if isinstance(inputs, str) or not isinstance(inputs, Iterable) else list(inputs)
    others = sorted({type(one).__name__ for one in given if not isinstance(one, str)})
    if others:
        raise ValueError(
            f"among the prompts are values of type {', '.join(others)}; give a text, a list of texts, or input ids as a tensor."
        )
    for number, text in enumerate(given):
        check(f"inputs[{number}]", text, TEXT)
    texts = [prompt_ids(text, tokenizer) for text in given]
    if not texts or not all(texts):
        raise ValueError("there is no prompt, or one without tokens; give texts that are not empty.")
    longest = max(map(len, texts))
    ids = torch.tensor([[filler] * (longest - len(text)) + text for text in texts], device=device)
    return ids, torch.tensor([[0] * (longest - len(text)) + [1] * len(text) for text in texts], device=device)


def _stand_in(tokenizer, filler: int, vocabulary: int) -> int:
    """An id for places without a token, where padding would not do: it may be the end of text, which lm-eval takes for a stop string."""
    # the byte 0x80, of byte level vocabularies and of SentencePiece, which alone is no character; else the token for what is unknown
    for found in (*map(tokenizer.convert_tokens_to_ids, ("\u0122", "<0x80>")), tokenizer.unk_token_id):
        if found is not None and found < vocabulary and found not in (filler, tokenizer.eos_token_id):
            return found
    return filler


@contextmanager
def _stop_strings(model: nn.Module, tokenizer, settings: dict) -> Iterator[dict]:
    """The settings with criteria instead of stop strings: transformers hands no tokenizer on to a custom loop, and stops there without one.

    Stop strings of the model's own settings are put aside meanwhile.
    """
    settings, own = dict(settings), model.generation_config
    given = settings.get("generation_config")
    strings = settings.pop("stop_strings", None) or getattr(given, "stop_strings", None) or own.stop_strings
    if not strings:
        yield settings
        return
    settings["stopping_criteria"] = StoppingCriteriaList(
        [*(settings.get("stopping_criteria") or ()), StopStringCriteria(tokenizer, strings)]
    )
    if given is not None:
        settings["generation_config"] = copy.deepcopy(given)
        settings["generation_config"].stop_strings = None
    if own.stop_strings is not None:
        model.generation_config = copy.deepcopy(own)
        model.generation_config.stop_strings = None
    try:
        yield settings
    finally:
        model.generation_config = own


def _generated(loop: Loop, tokenizer, traces: Sequence[Trace] | None) -> Generated:
    rows = loop.rows
    written = [rows.ids[row, added : added + end] for row, (added, end) in enumerate(zip(rows.added, loop.ends, strict=True))]
    sequences = rows.ids.new_full((len(written), max(map(len, written))), loop.padding)
    for row, one in enumerate(written):
        sequences[row, : len(one)] = one
    texts = tuple(
        written_text(tokenizer, one[padding:].tolist(), loop.prompt_tokens - padding)
        for one, padding in zip(written, rows.padding, strict=True)
    )
    return Generated(sequences, texts, tuple(traces or (Trace() for _ in written)))
