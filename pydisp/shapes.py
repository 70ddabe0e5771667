"""Models of named shapes with random weights, and random plans: enough to measure time and memory, without a checkpoint.

dense = random_model("llama-3.2-1b", torch.float32, torch.device("cpu"))
plan = random_plan(ModelSpec.from_model(dense), keep_ratio=0.5)
"""

import torch
from torch import Tensor, nn

from pydisp.indices import IndexSet
from pydisp.plan import AttentionPlan, LayerPlan, MLPPlan, PruningPlan
from pydisp.spec import FAMILIES, ModelSpec

# Of the checkpoints' config.json: https://huggingface.co/meta-llama/Llama-3.2-1B, meta-llama/Llama-2-7b-hf, Qwen/Qwen2.5-0.5B.
SHAPES = {
    "llama-3.2-1b": ("llama", dict(
        vocab_size=128256, hidden_size=2048, intermediate_size=8192, num_hidden_layers=16, num_attention_heads=32, num_key_value_heads=8,
        head_dim=64, max_position_embeddings=131072, tie_word_embeddings=True,
    )),
    "llama-2-7b": ("llama", dict(
        vocab_size=32000, hidden_size=4096, intermediate_size=11008, num_hidden_layers=32, num_attention_heads=32, num_key_value_heads=32,
        max_position_embeddings=4096, tie_word_embeddings=False,
    )),
    "qwen2.5-0.5b": ("qwen2", dict(
        vocab_size=151936, hidden_size=896, intermediate_size=4864, num_hidden_layers=24, num_attention_heads=14, num_key_value_heads=2,
        max_position_embeddings=32768, tie_word_embeddings=True,
    )),
}  # fmt: skip
_DRAWN = 1 << 20  # random values, repeated to fill every weight: drawing a billion of them would take longer than the measurement


def config_of(shape: str):
    """The stock config of a named shape."""
    import transformers

    model_type, values = SHAPES[shape]
    return getattr(transformers, FAMILIES[model_type].class_names[0])(**values)


def random_model(shape: str, dtype: torch.dtype, device: torch.device, seed: int = 0) -> nn.Module:
    """A stock model of a named shape with random weights, in evaluation mode; the rows of a weight repeat one draw of 2^20 values."""
    import transformers

    config = config_of(shape)
    with torch.device("meta"):
        model = transformers.AutoModelForCausalLM.from_config(config, dtype=dtype)
    drawn = torch.randn(_DRAWN, generator=torch.Generator().manual_seed(seed)).mul_(0.02).to(device, dtype)
    made: dict[int, nn.Parameter] = {}  # tied weights stay one tensor
    for module in model.modules():
        for name, parameter in module._parameters.items():
            if parameter is not None:
                if id(parameter) not in made:
                    made[id(parameter)] = nn.Parameter(_filled(parameter, drawn), requires_grad=False)
                module._parameters[name] = made[id(parameter)]
    base = model.base_model
    base.rotary_emb = type(base.rotary_emb)(config).to(device)  # its frequencies are in no weight
    model.tie_weights()
    return model.eval()


def _filled(like: Tensor, drawn: Tensor) -> Tensor:
    if like.dim() == 1:  # gains and biases
        return torch.ones(like.shape, dtype=drawn.dtype, device=drawn.device)
    filled = torch.empty(like.numel(), dtype=drawn.dtype, device=drawn.device)
    for part in filled.split(len(drawn)):
        part.copy_(drawn[: len(part)])
    return filled.view(like.shape)


def random_plan(spec: ModelSpec, keep_ratio: float, seed: int = 0) -> PruningPlan:
    """A plan of random features with the same widths in every layer and about the same share of each set.

    Its block parameters are just below the keep ratio. Widths are multiples of 64, or of 16 if the hidden size is below 1024.
    Raises: ValueError for a keep ratio below that of the narrowest blocks.
    """
    step = 64 if spec.hidden_size >= 1024 else 16
    budget = spec.block_budget(keep_ratio, "block")

    def kept(width: int, middle: int) -> int:
        return sum(c.attention(width, width) + c.mlp(width, middle, width) + c.either_fixed + c.always_fixed for c in spec.costs)

    def middle_of(width: int) -> int:
        return max(step, width * spec.middle_size // spec.hidden_size // step * step)

    fitting = [w for w in range(step, spec.hidden_size + 1, step) if kept(w, middle_of(w)) <= budget]
    if not fitting:
        raise ValueError(f"the keep ratio is {keep_ratio}, but even blocks of width {step} keep more; choose a larger one.")
    width = fitting[-1]
    middle = max(m for m in range(step, spec.middle_size + 1, step) if kept(width, m) <= budget)
    generator = torch.Generator().manual_seed(seed)

    def draw(count: int, size: int) -> IndexSet:
        return IndexSet(torch.randperm(size, generator=generator)[:count].sort().values.to(torch.int32), size)

    hidden = spec.hidden_size
    layers = tuple(
        LayerPlan(
            AttentionPlan(draw(width, hidden), draw(width, hidden)),
            MLPPlan(draw(width, hidden), draw(middle, spec.middle_size), draw(width, hidden)),
        )
        for _ in spec.costs
    )
    return PruningPlan(spec.family.model_type, hidden, spec.middle_size, layers, spec.digest)
