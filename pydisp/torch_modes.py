"""The modes of torch in which a journey computes, whatever modes its caller is in.

@usual_modes()
def prune(model, ...): ...
"""

import contextlib
from collections.abc import Iterator

import torch


@contextlib.contextmanager
def usual_modes() -> Iterator[None]:
    """A region with gradients and normal tensors, without autocast, and with float32 and the CPU as torch's defaults.

    Notebooks and training loops change these modes. A search needs gradients, its logits are float32 (in bfloat16 most of them would be
    equal), and its generators are on the CPU. Afterwards the caller's modes are as before.
    """
    with contextlib.ExitStack() as region:
        region.enter_context(torch.inference_mode(False))
        region.enter_context(torch.enable_grad())
        for kind in _device_types():
            if torch.is_autocast_enabled(kind):
                region.enter_context(torch.autocast(kind, enabled=False))
        if (usual := torch.get_default_dtype()) is not torch.float32:
            torch.set_default_dtype(torch.float32)
            region.callback(torch.set_default_dtype, usual)
        if torch.get_default_device().type != "cpu":  # only then: inside such a region each call of torch goes through Python
            region.enter_context(torch.device("cpu"))
        yield


def _device_types() -> list[str]:
    accelerator = torch.accelerator.current_accelerator()
    return ["cpu"] if accelerator is None else ["cpu", accelerator.type]
