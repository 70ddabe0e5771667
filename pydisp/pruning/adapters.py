"""Low-rank adapters (LoRA, https://arxiv.org/abs/2106.09685) for a recovery, by peft: put beside each projection, trained, merged."""

import torch
from torch import nn

from pydisp.distribution import install_command


def check_adapters() -> None:
    """Raises: ImportError with one sentence if peft is not installed."""
    try:
        import peft  # noqa: F401
    except ImportError as error:
        raise ImportError(f"LoRA needs the library peft; install it with: {install_command('peft')}, or train all weights.") from error


def adapter_parameters(model: nn.Module, rank: int) -> int:
    """How many values the adapters of a model would have."""
    head = model.get_output_embeddings()
    linears = (module for module in model.modules() if isinstance(module, nn.Linear) and module is not head)
    return sum(rank * (module.in_features + module.out_features) for module in linears)


def add_adapters_(model: nn.Module, rank: int, seed: int) -> list[tuple[str, nn.Parameter]]:
    """Put an adapter beside each linear but the head, in place; before training it changes no output.

    Args:
        model: a dense or pruned model of a family in `pydisp.spec.FAMILIES`; its own weights are frozen.
        rank: of the adapters; they are scaled by 2 (lora_alpha is twice the rank).
        seed: decides the first values.
    Returns: names and parameters of the adapters.
    """
    check_adapters()
    from peft import LoraConfig, inject_adapter_in_model

    head = model.get_output_embeddings()
    names = [name for name, module in model.named_modules() if type(module) is nn.Linear and module is not head]
    with torch.random.fork_rng(devices=[]):  # peft draws from torch's own generator
        torch.manual_seed(seed)
        inject_adapter_in_model(LoraConfig(target_modules=names, r=rank, lora_alpha=2 * rank), model)
    return [(name, parameter) for name, parameter in model.named_parameters() if parameter.requires_grad]


@torch.no_grad()
def merge_adapters_(model: nn.Module) -> None:
    """Add each adapter's product to the weight beside it, in place, and remove the adapters; the model then has its own classes again."""
    from peft.tuners.tuners_utils import BaseTunerLayer

    for name, module in list(model.named_modules()):
        if isinstance(module, BaseTunerLayer):
            module.merge()
            model.set_submodule(name, module.get_base_layer())
    if hasattr(model, "peft_config"):
        del model.peft_config
