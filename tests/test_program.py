"""A pruned model as a program of torch's own operators: the same logits where pydisp is not, in .pt2 and in ONNX."""

import functools
import subprocess
import sys

import pytest
import torch
from families import MODELS, random_plan, tiny_model
from torch import nn

from pydisp import ops, program
from pydisp.spec import ModelSpec
from pydisp.surgery import prune_model

KINDS = ["llama", "gemma2", "opt-350m", "phi"]  # one of each kind of layer
LOAD = """
import sys, torch
for folder in sys.argv[1:]:
    forward, calls = torch.export.load(f"{folder}/model.pt2").module(), torch.load(f"{folder}/calls.pt")
    for ids, mask, logits in calls:
        off = ((forward(ids, mask) - logits) * mask[..., None]).abs().max().item()
        assert off < 1e-4, (folder, off)
print(*[name for name in sys.modules if name.split(".")[0] in ("pydisp", "transformers")], "done")
"""


def tiny_pruned(name: str) -> nn.Module:
    """Of two layers, because each takes a second to trace; one block of each kind is removed."""
    windowed = {"layer_types": ["sliding_attention", "full_attention"]} if "layer_types" in MODELS[name][1] else {}
    dense = tiny_model(name, dtype=torch.float32, num_hidden_layers=2, **windowed)
    return prune_model(dense, random_plan(ModelSpec.from_model(dense), 1, (0,), (1,)))


@functools.cache
def model_and_program(name: str) -> tuple[nn.Module, torch.export.ExportedProgram]:
    model = tiny_pruned(name)
    return model, program.made_program(model)


@torch.no_grad()
def calls_of(model: nn.Module) -> list[tuple[torch.Tensor, torch.Tensor, torch.Tensor]]:
    """Texts of other numbers and lengths than those of the trace, padded at the beginning and at the end, with the model's own logits."""
    calls = []
    for count, tokens, before, behind in ((1, 1, 0, 0), (1, 30, 0, 0), (3, 17, 4, 0), (2, 9, 0, 3)):
        ids, mask = torch.randint(3, 97, (count, tokens)), torch.ones(count, tokens, dtype=torch.long)
        mask[0, :before] = 0
        mask[0, tokens - behind :] = 0
        positions = (mask.cumsum(-1) - 1).clamp_min(0)
        calls.append((ids, mask, model(input_ids=ids, attention_mask=mask, position_ids=positions, use_cache=False).logits))
    return calls


def largest_difference(forward, calls) -> float:
    return max(((forward(ids, mask) - logits) * mask[..., None]).abs().max().item() for ids, mask, logits in calls)


@pytest.mark.parametrize("name", MODELS)
def test_a_program_has_torch_s_operators_only_and_the_model_s_logits(name):
    model, made = model_and_program(name)
    namespaces = {node.target.namespace for node in made.graph.nodes if isinstance(node.target, torch._ops.OpOverload)}
    assert namespaces == {"aten"}
    with torch.no_grad():
        assert largest_difference(made.module(), calls_of(model)) < 1e-4
    assert program.largest_difference(made.module(), model) < 1e-5


def test_a_stored_program_runs_where_pydisp_is_not_imported(tmp_path):
    folders = []
    for name in KINDS:
        folders.append(tmp_path / name)
        folders[-1].mkdir()
        model, made = model_and_program(name)
        program.save_pt2(made, folders[-1] / "model.pt2")
        torch.save(calls_of(model), folders[-1] / "calls.pt")
    done = subprocess.run([sys.executable, "-c", LOAD, *map(str, folders)], capture_output=True, text=True)
    assert done.stdout.split() == ["done"], done.stderr


@pytest.mark.parametrize("name", KINDS)
def test_onnx_runs_with_the_same_logits(name, tmp_path):
    for library in ("onnxscript", "onnxruntime"):
        pytest.importorskip(library, reason=f"{library} is not installed (the extra 'onnx')")
    model, made = model_and_program(name)
    program.save_onnx(made, tmp_path / "model.onnx")
    assert largest_difference(program.run_onnx(tmp_path / "model.onnx"), calls_of(model)) < 1e-4


def test_an_operator_of_another_library_is_refused():
    @torch.library.custom_op("of_a_test::twice", mutates_args=())
    def twice(x: torch.Tensor) -> torch.Tensor:
        return 2 * x

    twice.register_fake(torch.empty_like)
    model = tiny_pruned("llama")
    model.lm_head.forward = lambda x: twice(nn.functional.linear(x, model.lm_head.weight))
    with pytest.raises(ValueError, match="would need of_a_test.twice.default, which torch alone does not have"):
        program.made_program(model)


def test_a_model_that_cannot_be_traced_is_told_in_one_sentence():
    model = tiny_pruned("llama")
    model.lm_head.forward = lambda x: x[:, : int(x.sum())]
    with pytest.raises(ValueError, match="torch.export cannot make a program of PydispLlamaForCausalLM") as refused:
        program.made_program(model)
    assert "\n" not in str(refused.value)


def test_a_program_that_computes_otherwise_is_refused():
    model = tiny_pruned("llama")
    with pytest.raises(ValueError, match="logits differ by"):
        program.largest_difference(lambda ids, mask: 1.01 * model(ids, attention_mask=mask).logits, model)
    with pytest.raises(ValueError, match="logits differ by nan"):
        program.largest_difference(lambda ids, mask: torch.nan * model(ids, attention_mask=mask).logits, model)


@pytest.mark.parametrize("name", ops.MODEL_OPS)
def test_every_op_of_a_model_has_a_decomposition(name):
    kept = ops.features(torch.tensor([0, 2, 5, 8], dtype=torch.int32), 10)
    x, update, weight = torch.randn(3, 10), torch.randn(3, 4), torch.randn(10)
    half = torch.randn(5, 10).half()
    called = {
        "index_select": lambda x, update: ops.index_select(x, kept),
        "index_add": lambda x, update: ops.index_add(x, update, kept),
        "norm_select": lambda x, update: ops.norm_select(x, weight, weight, kept, 1e-6, weight_offset=1.0, center=True),
        "add_norm_select": lambda x, update: ops.add_norm_select(x, update, kept, weight, None, kept, 1e-6),
        "upcast_linear": lambda x, update: ops.upcast_linear(x.half(), half),
    }[name]

    class Called(nn.Module):
        def forward(self, x, update):
            return called(x, update)

    made = torch.export.export(Called(), (x, update), strict=False)
    assert f"pydisp.{name}.default" in str(made.graph)
    made = made.run_decompositions(ops.decompositions())
    assert "pydisp" not in str(made.graph)
    torch.testing.assert_close(made.module()(x, update), called(x, update))
