"""What goes wrong while a model is loaded, as one sentence."""

import contextlib
from collections.abc import Iterator

import torch

from pydisp.given_value import first_line


class LoadingError(ValueError):
    """A model or tokenizer cannot be loaded; the message is one sentence."""


@contextlib.contextmanager
def telling(what: str, name: str) -> Iterator[None]:
    """What goes wrong while transformers reads a part of a model is a LoadingError."""
    try:
        yield
    except LoadingError:
        raise
    except (MemoryError, torch.OutOfMemoryError) as error:
        raise LoadingError(no_memory(name, torch.device("cpu"), first_line(error))) from None
    except RuntimeError as error:
        if "not enough memory" in str(error):
            raise LoadingError(no_memory(name, torch.device("cpu"), "allocation failed")) from None
        if "above report" in str(error):  # a table that is written to the log
            raise LoadingError(f"the weights of {name} are not those that its config describes; copy or convert it again.") from None
        raise LoadingError(f"cannot load the {what} of {name}: {first_line(error)}") from None
    except (OSError, ValueError, KeyError, TypeError, ImportError) as error:
        if "trust_remote_code=True" in str(error):
            raise LoadingError(
                f"the {what} of {name} comes with code of its own, which runs only by leave; read it, then add --trust-remote-code "
                "(in Python: trust_remote_code=True)."
            ) from None
        raise LoadingError(f"cannot load the {what} of {name}: {first_line(error)}") from None
    except Exception as error:  # safetensors and tokenizers raise types of their own for damaged files
        if type(error).__module__.split(".")[0] in ("safetensors", "safetensors_rust", "tokenizers", "builtins", "huggingface_hub"):
            raise LoadingError(f"cannot load the {what} of {name}: {first_line(error)}; is a file damaged or cut off?") from None
        raise


def no_memory(name: str, device: torch.device, why: str) -> str:
    """What to say of a model for which a device has no memory."""
    return f"there is no memory for {name} on {device} ({why}); choose another --device, --device-map auto, --dtype bfloat16, or a smaller model."
