"""Loop: decoding step by step as `GenerationMixin._sample` of transformers does, with a place for tools in each step.

`model.generate(..., custom_generate=Loop(...))` prepares the settings, the logits processors, the stopping criteria and the cache as
always, then it hands over to this loop. It runs the same forwards, applies the same processors and draws one multinomial for the whole
batch. So where no tool is called, the ids and the state of the random generator are those of `model.generate(...)`. Only on MPS does
transformers run one step more than it needs, which moves the generator there.
"""

# B texts, S tokens so far, V words, T tools

from collections.abc import Callable
from contextlib import nullcontext
from typing import Protocol

import torch
from torch import Tensor
from transformers import DynamicCache

from pydisp.modeling.cached_model import CachedModel, can_join
from pydisp.toolken.decoding.batch_rows import BatchRows


class ToolsInTheLoop(Protocol):
    """What stands beside the loop; None for a loop without tools."""

    def begin(self, rows: BatchRows, max_length: int) -> None:
        """Called once, before the first forward."""

    def words(self, logits: Tensor) -> Tensor:
        """The plain model's logits (B, .) among those of a head with tools (B, .)."""

    def closed(self, rows: BatchRows) -> dict[int, Tensor]:
        """For each row that stands directly behind something put in: the ids of words that would lengthen it."""

    def put_in(self, logits: Tensor, rows: BatchRows, is_unfinished: Tensor) -> dict[int, list[int]]:
        """For each row that does not go on with the plain model's token: the tokens it goes on with; of a text that ends here, none."""


class Loop:
    """A decoding method for `custom_generate`; one for each `generate`.

    Args:
        tools: None for the plain model. filler, stand_in: ids, see `BatchRows`. told: receives the new tokens of the longest text after each step.

    After the run `rows` holds the texts and `ends` the tokens of each up to its end, given padding included; `prompt_tokens` and `padding`
    (an id) are what was given.
    """

    def __init__(
        self,
        reader: CachedModel,
        tools: ToolsInTheLoop | None,
        filler: int,
        stand_in: int | None = None,
        told: Callable[[int], None] = lambda _tokens: None,
    ):
        self.reader, self.tools, self.filler, self.stand_in, self.told = reader, tools, filler, stand_in, told
        self.rows: BatchRows | None = None
        self.ends: list[int] = []
        self.padding = filler
        self.prompt_tokens = 0

    def __call__(self, model, input_ids, logits_processor, stopping_criteria, generation_config, **model_kwargs) -> Tensor:
        check_settings(generation_config, model_kwargs, model.config, input_ids)
        is_padded_at_end = any(hasattr(criteria, "eos_token_id") for criteria in stopping_criteria)
        padding = generation_config._pad_token_tensor
        padding = None if padding is None else padding.to(input_ids.device)
        self.prompt_tokens, self.padding = input_ids.shape[1], self.filler if padding is None else int(padding)
        rows = self.rows = BatchRows(
            self.reader, input_ids, model_kwargs, self.filler, stand_in=self.stand_in, max_length=generation_config.max_length
        )
        unfinished = torch.ones(len(rows), dtype=torch.long, device=input_ids.device)
        ends: list[int | None] = [None] * len(rows)
        if self.tools is not None:
            self.tools.begin(rows, generation_config.max_length)
        inputs = model.prepare_inputs_for_generation(input_ids, is_first_iteration=True, **model_kwargs)
        logits = self._forward(model, inputs)
        with getattr(model, "_optimize_model_for_decode", nullcontext)():  # experts of a mixture are served otherwise here
            while True:
                words = logits if self.tools is None else self.tools.words(logits)
                words = words.to(copy=True, dtype=torch.float32, device=input_ids.device)
                closed = {} if self.tools is None else self.tools.closed(rows)
                tokens = _next_tokens(_scores(rows, logits_processor, words, closed), generation_config.do_sample)
                if is_padded_at_end:
                    tokens = tokens * unfinished + padding * (1 - unfinished)
                put_in = {} if self.tools is None else self.tools.put_in(logits, rows, unfinished.bool())
                for row in [row for row, one in put_in.items() if not one]:
                    ends[row], unfinished[row], put_in[row] = rows.lengths[row], 0, [self.padding]
                rows.append_(tokens, put_in)
                self.told(max(rows.lengths) - self.prompt_tokens)
                unfinished = unfinished & ~rows.by_length(lambda ids: stopping_criteria(ids, None))
                if is_padded_at_end:
                    ends = [
                        end or (None if goes_on else length)
                        for end, goes_on, length in zip(ends, unfinished.tolist(), rows.lengths, strict=True)
                    ]
                if unfinished.max() == 0:
                    break
                inputs = model.prepare_inputs_for_generation(rows.ids, next_sequence_length=1, **rows.arguments)
                logits = self._forward(model, inputs)
        # without an end-of-text token transformers lets a text that has ended run on until all have
        self.ends = [min(end or length, generation_config.max_length) for end, length in zip(ends, rows.lengths, strict=True)]
        return rows.ids

    def _forward(self, model, inputs: dict) -> Tensor:
        """(B, .) the logits of the next token."""
        outputs = model(**inputs, return_dict=True)
        self.rows.arguments = model._update_model_kwargs_for_generation(outputs, self.rows.arguments, is_encoder_decoder=False)
        return outputs.logits[:, -1]


def _scores(rows: BatchRows, logits_processor, words: Tensor, closed: dict[int, Tensor]) -> Tensor:
    """(B, V) the processed logits, -inf at the ids that are closed in a row, unless the processors leave no others."""
    if not closed:
        return rows.by_length(_processed(logits_processor, words))
    left = words.clone()
    for row, ids in closed.items():
        left[row, ids.to(left.device)] = -torch.inf
    scores = rows.by_length(_processed(logits_processor, left))
    is_stuck = scores.amax(-1, keepdim=True) <= torch.finfo(scores.dtype).min
    return torch.where(is_stuck, rows.by_length(_processed(logits_processor, words)), scores) if is_stuck.any() else scores


def _processed(logits_processor, words: Tensor) -> Callable[[Tensor], Tensor]:
    return lambda ids: logits_processor(ids, words.clone())


def _next_tokens(scores: Tensor, do_sample: bool) -> Tensor:
    """(B,) int64, of scores (B, V)."""
    if do_sample:
        return torch.multinomial(torch.softmax(scores, -1), num_samples=1).squeeze(1)
    return scores.argmax(-1)


def check_settings(settings, arguments: dict, config, input_ids: Tensor) -> None:
    """Refuse what this loop does not do.

    Raises: ValueError.
    """
    named = {
        "num_beams": settings.num_beams not in (None, 1),
        "use_cache": settings.use_cache is False,
        "prefill_chunk_size": settings.prefill_chunk_size is not None,
        "return_dict_in_generate": bool(settings.return_dict_in_generate),
        "guidance_scale": settings.guidance_scale not in (None, 1),
        "token_healing": bool(settings.token_healing),
        "prompt_lookup_num_tokens": settings.prompt_lookup_num_tokens is not None,
    }
    for name, is_wrong in named.items():
        if is_wrong:
            raise ValueError(
                f"{name} is {getattr(settings, name)!r}, which decoding with tools does not do; leave it out: texts are written greedily "
                "or sampled, with a cache."
            )
    cache = arguments.get("past_key_values", arguments.get("cache"))
    if type(cache) is not DynamicCache or cache.offloading:
        raise ValueError(
            f"the model's cache is a {type(cache).__name__}{' that is offloaded' if getattr(cache, 'offloading', False) else ''}; "
            "tools need a DynamicCache: leave cache_implementation out, or take a model with attention in every layer."
        )
    mask = arguments.get("attention_mask")
    if mask is not None and (mask[:, 1:] < mask[:, :-1]).any():
        raise ValueError("the attention mask has zeros behind ones; texts are padded at their beginning only: set padding_side='left'.")
    if not can_join(config) and (len(input_ids) > 1 or (mask is not None and not mask.all())):
        raise ValueError(f"a {config.model_type} model keeps states that padding would change; give one text at a time, without padding.")
