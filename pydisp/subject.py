"""Subject: a model under audit or probe, by name or in memory, whose weights are loaded only while it is scored."""

import gc
import hashlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch
from torch import nn

from pydisp.evaluation import check_in_memory
from pydisp.loading import DEMO, choose_device, choose_dtype, displayed_name, load_config, load_model, load_tokenizer, stored_dtype
from pydisp.progress import silence


@dataclass(frozen=True, eq=False)
class Subject:
    """A model, its tokenizer, and how to load it.

    Args:
        name: what people read. is_demo: whether it is the packaged model.
        tokenizer: a fast transformers tokenizer. config: of the model.
        model: in memory; None for one that `loaded` loads from `source`.
    """

    name: str
    tokenizer: object
    config: object
    model: nn.Module | None = None
    is_demo: bool = False
    source: dict = field(default_factory=dict)

    @classmethod
    def of(cls, model, tokenizer=None, *, device=None, dtype=None, revision=None, trust_remote_code=False) -> "Subject":
        """The subject of a transformers model with its tokenizer, or of a name that `pydisp.loading` knows.

        Raises: ValueError (LoadingError is one) or TypeError with one sentence.
        """
        given = {"device": device, "dtype": dtype, "revision": revision, "trust_remote_code": trust_remote_code or None}
        if not isinstance(model, str) and not hasattr(model, "__fspath__"):
            check_in_memory(model, tokenizer, [name for name, value in given.items() if value is not None])
            name = displayed_name(getattr(model.config, "_name_or_path", "") or model.config.model_type)
            return cls(name, tokenizer, model.config, model)
        name = str(model)
        source = dict(revision=revision, trust_remote_code=trust_remote_code)
        chosen = choose_device(device)
        config = load_config(name, **source)
        dtype = choose_dtype(dtype, chosen, stored_dtype(config))
        return cls(
            displayed_name(name), tokenizer or load_tokenizer(name, **source), config, None, name == DEMO,
            {"name": name, "device": chosen, "dtype": dtype, **source},
        )  # fmt: skip

    @property
    def vocabulary(self) -> int:
        """One more than the largest id of the tokenizer."""
        return max(self.tokenizer.get_vocab().values()) + 1

    @property
    def digest(self) -> str:
        return tokenizer_digest(self.tokenizer)

    @property
    def padding_id(self) -> int | None:
        """The id of padding, if it has no other meaning: many tokenizers pad with the end-of-text token."""
        tokenizer = self.tokenizer
        others = (tokenizer.eos_token_id, tokenizer.bos_token_id, tokenizer.unk_token_id)
        return None if tokenizer.pad_token_id in others else tokenizer.pad_token_id

    @contextmanager
    def loaded(self, say: Callable[[str], None] = silence) -> Iterator[nn.Module]:
        """The model; one loaded here is let go afterwards. `say` receives the progress of loading it."""
        if self.model is not None:
            yield self.model
            return
        source = dict(self.source)
        model = load_model(source.pop("name"), say=say, **source)
        try:
            yield model
        finally:
            del model
            gc.collect()
            if torch.cuda.is_available():
                torch.cuda.empty_cache()


def tokenizer_digest(tokenizer) -> str:
    """Of a tokenizer's ids and texts: equal for two tokenizers of one vocabulary."""
    items = sorted(tokenizer.get_vocab().items(), key=lambda item: (item[1], item[0]))
    return hashlib.sha256("\n".join(f"{number} {text}" for text, number in items).encode("utf-8", "surrogatepass")).hexdigest()[:16]
