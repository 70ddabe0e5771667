"""One decoder layer of a pruned model (all five sets half) against plain modules with the same smaller linears.

The limit is a stock layer with a residual stream as narrow as the sets: the same linears and attention, no selection, norms half as wide.
It shares the weights and biases, because the place of a copy in memory would change the time more than the code around the linears does.
"""

# M tokens, D hidden, I middle, K kept of D, J kept of I

import copy
from functools import partial

import torch
from cases import COMPILED, DENSE, EAGER, LIMIT, OURS, Candidate, Case, Work, compiled
from torch import Tensor, nn

from pydisp.indices import IndexSet
from pydisp.plan import AttentionPlan, LayerPlan, MLPPlan, PruningPlan
from pydisp.shapes import SHAPES
from pydisp.spec import ModelSpec
from pydisp.surgery import prune_model

CURVE_MODEL = "llama3.2_1b"
MODELS = {CURVE_MODEL: "llama-3.2-1b", "llama2_7b": "llama-2-7b", "qwen2.5_0.5b": "qwen2.5-0.5b"}  # named in pydisp.shapes
TOKENS = {"cpu": (1, 16, 256), "cuda": (1, 256, 4096)}
# For the models that are not on the curve: an unpruned layer of LLaMA-2-7B takes over a second for 256 tokens on one CPU core, 99 % of it
# in linears.
FEWER_TOKENS = {("llama2_7b", "cpu"): (1, 16), ("llama2_7b", "cuda"): (1, 4096), ("qwen2.5_0.5b", "cuda"): (1, 4096)}
NAMES = ("pydisp", "pydisp, compiled", "eager", "torch.compile", "same-shape dense", "unpruned dense")


def cases(device: str) -> list[Case]:
    import transformers  # noqa: F401  without it this suite is absent, and says so before anything is built

    listed = []
    for model, shape in MODELS.items():
        on_curve, (_, config) = model == CURVE_MODEL, SHAPES[shape]
        for dtype in (("f32", "bf16") if on_curve else ("f32",)) if device == "cpu" else ("bf16",):
            for tokens in FEWER_TOKENS.get((model, device), TOKENS[device]):
                listed.append(
                    Case(
                        suite="block",
                        op="block",
                        name=f"{model}-keep50-tokens{tokens}",
                        dtype=dtype,
                        device=device,
                        sizes={
                            "D": config["hidden_size"],
                            "I": config["intermediate_size"],
                            "H": config["num_attention_heads"],
                            "G": config["num_key_value_heads"],
                            "M": tokens,
                        },
                        build=partial(_build, shape=shape),
                        names=NAMES,
                        tiny={"M": 1, "D": 64, "I": 96},
                        axes=("M",) if on_curve else (),
                        is_quick=on_curve and dtype == "f32",
                        measures_memory=on_curve,
                    )
                )
    return listed


def _model(hidden: int, middle: int, case: Case, shape: str) -> nn.Module:
    """A stock model of one layer, with the heads of the whole shape."""
    from transformers import AutoConfig, AutoModelForCausalLM

    family, values = SHAPES[shape]
    head_size = values["hidden_size"] // values["num_attention_heads"]
    small = {"vocab_size": 16, "hidden_size": hidden, "intermediate_size": middle, "num_hidden_layers": 1, "head_dim": head_size}
    with torch.device(case.device):
        model = AutoModelForCausalLM.from_config(AutoConfig.for_model(family, **values | small), attn_implementation="sdpa")
    return model.to(case.torch_dtype)


def _layer(model: nn.Module) -> nn.Module:
    return model.model.layers[0].eval()


def _pruned(case: Case, shape: str, generator: torch.Generator) -> tuple[nn.Module, nn.Module, nn.Module]:
    """The unpruned layer, the pruned layer, and a rotary embedding, which all candidates share."""
    hidden, middle = case.sizes["D"], case.sizes["I"]
    dense = _model(hidden, middle, case, shape)
    for parameter in dense.parameters():
        values = torch.randn(parameter.shape, generator=generator, device=case.device)
        parameter.data.copy_(values * 0.02 if parameter.ndim == 2 else 1 + 0.1 * values)
    spec = ModelSpec.from_model(dense)

    def half(size: int) -> IndexSet:
        return IndexSet(case.draw_index(generator, size // 2, size), size)

    layer = LayerPlan(AttentionPlan(half(hidden), half(hidden)), MLPPlan(half(hidden), half(middle), half(hidden)))
    pruned = prune_model(dense, PruningPlan(SHAPES[shape][0], hidden, middle, (layer,), spec.digest), spec)
    return _layer(dense), _layer(pruned), dense.model.rotary_emb


class _Plain(nn.Module):
    """The pruned layer's forward in plain torch: its modules with torch's linears, on the same weights, and torch's ops around them."""

    def __init__(self, layer: nn.Module):
        super().__init__()
        self.layer = copy.deepcopy(layer, {id(tensor): tensor for tensor in layer.state_dict(keep_vars=True).values()})
        for module in self.layer.modules():
            if isinstance(module, nn.Linear):
                module.__class__ = nn.Linear
        # int64: torch's index_add is several times slower with int32
        self.places = [getattr(layer, name).index.long() for name in ("attention_input", "attention_output", "mlp_input", "mlp_output")]

    def forward(self, x: Tensor, **kwargs) -> Tensor:
        layer, (attention_input, attention_output, mlp_input, mlp_output) = self.layer, self.places
        selected = layer.input_layernorm(x).index_select(-1, attention_input)
        update = layer.self_attn(hidden_states=selected, **kwargs)[0]
        x = x.index_add(-1, attention_output, update)
        selected = layer.post_attention_layernorm(x).index_select(-1, mlp_input)
        return x.index_add(-1, mlp_output, layer.mlp(selected))


def _build(case: Case, shape: str) -> Work:
    generator, (d, i, tokens) = case.generator(), (case.sizes[letter] for letter in "DIM")
    dense, pruned, rotary = _pruned(case, shape, generator)
    narrow = _layer(_model(d // 2, i // 2, case, shape))
    linears = {name: module for name, module in pruned.named_modules() if isinstance(module, nn.Linear)}
    for name, module in linears.items():
        narrow.get_submodule(name).weight, narrow.get_submodule(name).bias = module.weight, module.bias
    x = case.draw(generator, 1, tokens, d)
    x_narrow = x[..., : d // 2].contiguous()
    positions = torch.arange(tokens, device=case.device)[None]
    with torch.no_grad():
        embeddings = rotary(x, positions)

    def run(module: nn.Module, inputs: Tensor):
        def call():
            with torch.no_grad():
                candidates = module(inputs, position_embeddings=embeddings, attention_mask=None)
            return candidates[0] if isinstance(candidates, tuple) else candidates

        return call

    def gold():
        # the norm of transformers computes in float32, also for float64
        return (run(_Plain(copy.deepcopy(pruned).double()), x.double())(),)

    plain = _Plain(pruned)
    candidates = {
        "pydisp": Candidate(run(pruned, x), OURS),
        "pydisp, compiled": Candidate(run(compiled(pruned), x), OURS),
        "eager": Candidate(run(plain, x), EAGER),
        "torch.compile": Candidate(run(compiled(plain), x), COMPILED),
        "same-shape dense": Candidate(run(narrow, x_narrow), LIMIT, checked=0),
        "unpruned dense": Candidate(run(dense, x), DENSE, checked=0),
    }
    return Work(candidates, gold)


def bench_block(timed, case, name):
    timed(case, name)
