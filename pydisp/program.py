"""The forward of a language model as a program of torch's own operators: it runs where neither pydisp nor transformers is installed.

    program = made_program(model)
    save_pt2(program, "model.pt2")         # torch.export.load("model.pt2").module()(input_ids, attention_mask)
    save_onnx(program, "model.onnx")       # onnxruntime.InferenceSession("model.onnx")

A program reads whole texts, without a key-value cache. The numbers of texts and of tokens stay open.
"""

# B texts, T tokens, V vocabulary

import importlib.util
import os
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram

from pydisp import ops
from pydisp.distribution import install_command
from pydisp.evaluation import evaluating

INPUTS, OUTPUT = ("input_ids", "attention_mask"), "logits"
_OWN = ("aten", "prims", "_operator", "builtins", "math")
_MOST_DIFFERENCE = 1e-4  # of the largest logit; float32 leaves 1e-6


class _Logits(nn.Module):
    """input_ids and attention_mask (B, T) int64 -> logits (B, T, V); padding may stand before or behind a text."""

    def __init__(self, model: nn.Module):
        super().__init__()
        self.model = model

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        positions = (attention_mask.cumsum(-1) - 1).clamp_min(0)
        return self.model(input_ids=input_ids, attention_mask=attention_mask, position_ids=positions, use_cache=False).logits


def made_program(model: nn.Module, told: Callable[[], None] = lambda: None) -> ExportedProgram:
    """The program of a causal language model in memory; it shares the model's weights.

    told: is called when the forward is traced, and when its operators are torch's own.
    Returns: a program of input_ids and attention_mask, (B, T) int64 each, that gives logits (B, T, V) in the model's dtype.
    Raises: ValueError if torch cannot export the model, or if an operator of another library (a quantizer's) stays in the program.
    """
    ids = torch.zeros(2, 8, dtype=torch.long, device=model.device)
    most = getattr(model.config, "max_position_embeddings", None)
    shape = {0: Dim("batch"), 1: Dim("tokens", max=most)}
    with evaluating(model), torch.no_grad():
        try:
            program = torch.export.export(_Logits(model), (ids, torch.ones_like(ids)), dynamic_shapes=(shape, shape), strict=False)
        except Exception as error:  # torch raises types of many modules here
            words = str(error).strip().splitlines()
            why = words[0] if words else type(error).__name__
            raise ValueError(f"torch.export cannot make a program of {type(model).__name__} ({why}); export the dense model.") from error
        told()
        program = program.run_decompositions(ops.decompositions())
        told()
    foreign = sorted({str(node.target) for node in program.graph.nodes if node.op == "call_function" and not _is_own(node.target)})
    if foreign:
        raise ValueError(f"the program would need {foreign[0]}, which torch alone does not have; load the model unquantized.")
    return program


def _is_own(target: Callable) -> bool:
    namespace = target.namespace if isinstance(target, torch._ops.OpOverload) else target.__module__
    return namespace in _OWN


def check_onnx() -> None:
    """Raise ImportError, before any work, if the libraries that write and run ONNX are not installed."""
    missing = [name for name in ("onnxscript", "onnxruntime") if importlib.util.find_spec(name) is None]
    if missing:
        raise ImportError(f"ONNX needs {' and '.join(missing)}; {install_command('onnx')}.")


def save_pt2(program: ExportedProgram, path: str | os.PathLike) -> None:
    """Write a program for `torch.export.load`."""
    torch.export.save(program, path)


def save_onnx(program: ExportedProgram, path: str | os.PathLike) -> None:
    """Write a program as ONNX, with the weights in a file beside it (`path` with .data added).

    Raises: ImportError if the libraries are missing.
    """
    check_onnx()
    torch.onnx.export(program, f=str(path), dynamo=True, verbose=False, input_names=INPUTS, output_names=(OUTPUT,))


def run_pt2(path: str | os.PathLike) -> Callable[[Tensor, Tensor], Tensor]:
    """The forward of a stored program."""
    return torch.export.load(path).module()


def run_onnx(path: str | os.PathLike) -> Callable[[Tensor, Tensor], Tensor]:
    """The forward of a stored ONNX model, on the CPU."""
    import onnxruntime

    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return lambda *inputs: torch.from_numpy(session.run([OUTPUT], {n: i.numpy() for n, i in zip(INPUTS, inputs, strict=True)})[0])


@torch.no_grad()
def largest_difference(forward: Callable[[Tensor, Tensor], Tensor], model: nn.Module) -> float:
    """The largest difference of a logit from the model's, divided by its largest logit, over random texts, one of them padded.

    Raises: ValueError if it is more than 1e-4.
    """
    generator, differences = torch.Generator().manual_seed(0), []
    for count, tokens in ((1, 5), (3, 9)):
        ids = torch.randint(model.config.vocab_size, (count, tokens), generator=generator)
        mask = torch.ones_like(ids)
        mask[1:2, :3] = 0
        wanted = _Logits(model)(ids, mask) * mask[..., None]
        differences.append((forward(ids, mask) * mask[..., None] - wanted).abs().max() / wanted.abs().max())
    found = torch.stack(differences).max().item()  # NaN if any is
    if not found <= _MOST_DIFFERENCE:
        raise ValueError(
            f"the program's logits differ by {found:.1e} of the largest from the model's; report it, and export the dense model."
        )
    return found
