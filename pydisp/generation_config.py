"""Keeps a model's generation_config.json as it was published, whichever version of transformers saves it."""

from functools import cache
from pathlib import Path

from torch import nn


def keep_generation_config_(model: nn.Module) -> None:
    """Change how `model` saves its generation_config.json: as it was published, even if transformers considers it wrong.

    transformers 5.17 to 5.22 refuse to save a temperature without do_sample (as in Llama-2-chat and Vicuna), and the refusal would come
    only after a whole search. Later versions save what they loaded unchanged, as this does.
    """
    config = getattr(model, "generation_config", None)
    if config is None:
        return
    try:
        config.validate(strict=True)
    except ValueError:
        config.__class__ = _as_published(type(config))


@cache
def _as_published(stock: type) -> type:
    def save_pretrained(self, save_directory, config_file_name=None, **_kwargs):
        Path(save_directory).mkdir(parents=True, exist_ok=True)
        self.to_json_file(Path(save_directory, config_file_name or "generation_config.json"), use_diff=True)

    def __reduce__(self):  # a class made at run time cannot be pickled by its name
        return _restored, (stock, vars(self))

    return type(stock.__name__, (stock,), {"save_pretrained": save_pretrained, "__reduce__": __reduce__})


def _restored(stock: type, values: dict):
    config = stock.__new__(_as_published(stock))
    vars(config).update(values)
    return config
