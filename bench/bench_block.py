"""One decoder layer of a pruned Llama (all five sets half) against plain modules with the same smaller linears.

The limit is a stock layer whose residual stream is as narrow as the sets: the same linears (the very weights: where a copy of them lies in
memory would tell more than what stands around them) and attention, no selection, norms half as wide.
"""

# M tokens, D hidden, I middle, K kept of D, J kept of I

import copy

import torch
from cases import COMPILED, DENSE, EAGER, LIMIT, OURS, Candidate, Case, Work, compiled
from torch import Tensor, nn

from pydisp.indices import IndexSet
from pydisp.plan import AttentionPlan, LayerPlan, MLPPlan, PruningPlan
from pydisp.spec import ModelSpec
from pydisp.surgery import prune_model

# Llama-3.2-1B: hidden 2048, middle 8192, 32 heads and 8 key heads of 64.
SIZES = {"D": 2048, "I": 8192, "H": 32, "G": 8}
HEAD_SIZE = 64
TOKENS = {"cpu": (1, 16, 256), "cuda": (1, 256, 4096)}
NAMES = ("pydisp", "pydisp, compiled", "eager", "torch.compile", "same-shape dense", "unpruned dense")


def cases(device: str) -> list[Case]:
    import transformers  # noqa: F401  without it this suite is absent, and says so before anything is built

    return [
        Case(
            suite="block",
            op="block",
            name=f"llama3.2_1b-keep50-tokens{tokens}",
            dtype=dtype,
            device=device,
            sizes=SIZES | {"M": tokens},
            build=_build,
            names=NAMES,
            tiny={"M": 1, "D": 64, "I": 96},
            axes=("M",),
            is_quick=dtype == "f32",
            measures_memory=True,
        )
        for dtype in (("f32", "bf16") if device == "cpu" else ("bf16",))
        for tokens in TOKENS[device]
    ]


def _config(hidden: int, middle: int, case: Case):
    from transformers import LlamaConfig

    return LlamaConfig(
        vocab_size=16,
        hidden_size=hidden,
        intermediate_size=middle,
        num_hidden_layers=1,
        num_attention_heads=case.sizes["H"],
        num_key_value_heads=case.sizes["G"],
        head_dim=HEAD_SIZE,
        attn_implementation="sdpa",
    )


def _layer(model: nn.Module) -> nn.Module:
    return model.model.layers[0].eval()


def _pruned(case: Case, generator: torch.Generator) -> tuple[nn.Module, nn.Module, nn.Module]:
    """The unpruned layer, the pruned one, and a rotary embedding (the same for all)."""
    from transformers import LlamaForCausalLM

    hidden, middle = case.sizes["D"], case.sizes["I"]
    with torch.device(case.device):
        dense = LlamaForCausalLM(_config(hidden, middle, case)).to(case.torch_dtype)
    for parameter in dense.parameters():
        values = torch.randn(parameter.shape, generator=generator, device=case.device)
        parameter.data.copy_(values * 0.02 if parameter.ndim == 2 else 1 + 0.1 * values)
    spec = ModelSpec.from_model(dense)

    def half(size: int) -> IndexSet:
        return IndexSet(case.draw_index(generator, size // 2, size), size)

    layer = LayerPlan(AttentionPlan(half(hidden), half(hidden)), MLPPlan(half(hidden), half(middle), half(hidden)))
    pruned = prune_model(dense, PruningPlan("llama", hidden, middle, (layer,), spec.digest), spec)
    return _layer(dense), _layer(pruned), dense.model.rotary_emb


class _Plain(nn.Module):
    """The pruned layer's forward with its modules and plain torch around them."""

    def __init__(self, layer: nn.Module):
        super().__init__()
        self.layer = layer
        # int64: torch's index_add is several times slower with int32
        self.places = [getattr(layer, name).index.long() for name in ("attention_input", "attention_output", "mlp_input", "mlp_output")]

    def forward(self, x: Tensor, position_embeddings: tuple[Tensor, Tensor]) -> Tensor:
        layer, (attention_input, attention_output, mlp_input, mlp_output) = self.layer, self.places
        selected = layer.input_layernorm(x).index_select(-1, attention_input)
        update = layer.self_attn(hidden_states=selected, position_embeddings=position_embeddings, attention_mask=None)[0]
        x = x.index_add(-1, attention_output, update)
        selected = layer.post_attention_layernorm(x).index_select(-1, mlp_input)
        return x.index_add(-1, mlp_output, layer.mlp(selected))


def _build(case: Case) -> Work:
    from transformers import LlamaForCausalLM

    generator, (d, i, tokens) = case.generator(), (case.sizes[letter] for letter in "DIM")
    dense, pruned, rotary = _pruned(case, generator)
    with torch.device(case.device):
        narrow = _layer(LlamaForCausalLM(_config(d // 2, i // 2, case)).to(case.torch_dtype))
    linears = {name: module for name, module in pruned.named_modules() if isinstance(module, nn.Linear)}
    for name, module in linears.items():
        narrow.get_submodule(name).weight = module.weight
    x = case.draw(generator, 1, tokens, d)
    x_narrow = x[..., : d // 2].contiguous()
    positions = torch.arange(tokens, device=case.device)[None]
    with torch.no_grad():
        embeddings = rotary(x, positions)

    def run(module: nn.Module, inputs: Tensor):
        def call():
            with torch.no_grad():
                found = module(inputs, position_embeddings=embeddings)
            return found[0] if isinstance(found, tuple) else found

        return call

    def gold():
        # transformers' norm takes float32 on its way, also in float64
        plain = _Plain(copy.deepcopy(pruned).double())
        return (run(plain, x.double())(),)

    plain = _Plain(pruned)
    found = {
        "pydisp": Candidate(run(pruned, x), OURS),
        "pydisp, compiled": Candidate(run(compiled(pruned), x), OURS),
        "eager": Candidate(run(plain, x), EAGER),
        "torch.compile": Candidate(run(compiled(plain), x), COMPILED),
        "same-shape dense": Candidate(run(narrow, x_narrow), LIMIT, checked=0),
        "unpruned dense": Candidate(run(dense, x), DENSE, checked=0),
    }
    return Work(found, gold)


def bench_block(timed, case, name):
    timed(case, name)
