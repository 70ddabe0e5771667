"""Train the demo model: a 2.8 M parameter Llama on public-domain PEPs and the docstrings of this Python.

    OMP_NUM_THREADS=1 python -m pydisp.demo.train --peps PEPS.txt.gz --peps-heldout HELD.txt --out build/demo-model

PEPS is UTF-8 text (.txt or .txt.gz): the prose of the Python Enhancement Proposals that are in the public domain or CC0.
The docstrings are the `train` part of `pydisp.pythondoc`; the model never sees pydoc's topics or the other parts. The log
beside the shipped model (`model/training.json`) has the digests of the texts, the versions and the held-out figures.
Matrices are trained by Muon, everything else by AdamW; the schedule counts steps, so one seed and one thread give one model.
"""

import argparse
import gzip
import hashlib
import json
import math
import sys
import time
from dataclasses import asdict
from pathlib import Path

import torch
from torch import Tensor, nn

from pydisp.pythondoc import documents, python_version

END = "<|endoftext|>"
MODEL = dict(
    hidden_size=192,
    intermediate_size=512,
    num_hidden_layers=6,
    num_attention_heads=6,
    num_key_value_heads=3,
    max_position_embeddings=512,
    tie_word_embeddings=True,
    rms_norm_eps=1e-6,
    initializer_range=0.02,
)
VOCAB_SIZE = 2048
TOKENS_PER_STEP = 4096
CONTEXTS = (256, 512)  # alternating from step to step
MUON_LR, MUON_MOMENTUM, MUON_WEIGHT_DECAY = 0.02, 0.95, 0.05
ADAMW_LR = 0.004
WARMUP_STEPS, CONSTANT_SHARE, LAST_LR_SHARE = 30, 0.3, 0.02


def read(path: str) -> str:
    """The text of a UTF-8 file, which is unzipped if its name ends in .gz."""
    data = Path(path).read_bytes()
    return (gzip.decompress(data) if path.endswith(".gz") else data).decode("utf-8")


def train_tokenizer(texts: list[str]):
    """A byte-level BPE tokenizer of VOCAB_SIZE tokens, learned on `texts`."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    trainer = trainers.BpeTrainer(vocab_size=VOCAB_SIZE, special_tokens=[END], initial_alphabet=alphabet, show_progress=False)
    tokenizer.train_from_iterator(texts, trainer)
    return tokenizer


def orthogonalised(gradient: Tensor, steps: int = 5) -> Tensor:
    """The Newton-Schulz iteration of Muon in float32. (torch.optim.Muon uses bfloat16, which is slow on CPUs without such instructions.)"""
    x = gradient.T if gradient.shape[0] > gradient.shape[1] else gradient
    x = x / (x.norm() + 1e-7)
    for _ in range(steps):
        gram = x @ x.T
        x = 3.4445 * x + (-4.7750 * gram + 2.0315 * (gram @ gram)) @ x
    return x.T if gradient.shape[0] > gradient.shape[1] else x


class Muon:
    """Momentum, orthogonalised, for 2-d weights (Jordan et al. 2024); steps in place."""

    def __init__(self, weights: list[nn.Parameter]):
        self.weights = weights
        self.momenta = [torch.zeros_like(w) for w in weights]

    @torch.no_grad()
    def step(self, lr: float) -> None:
        for weight, momentum in zip(self.weights, self.momenta, strict=True):
            momentum.mul_(MUON_MOMENTUM).add_(weight.grad)
            update = orthogonalised(weight.grad + MUON_MOMENTUM * momentum)
            scale = max(1, weight.shape[0] / weight.shape[1]) ** 0.5
            weight.mul_(1 - lr * MUON_WEIGHT_DECAY).add_(update, alpha=-lr * scale)
            weight.grad = None


def lr_share(step: int, steps: int) -> float:
    """The learning rate at a step as a share of the highest: warm-up, then constant, then falling in a line."""
    done = step / steps
    decay = 1.0 if done < CONSTANT_SHARE else max(LAST_LR_SHARE, (1 - done) / (1 - CONSTANT_SHARE))
    return min(1.0, (step + 1) / WARMUP_STEPS) * decay


def windows(ids: Tensor, context_tokens: int, generator: torch.Generator):
    """Yield shuffled windows without end, one token longer than the context; every epoch cuts them anew from a random offset."""
    while True:
        offset = int(torch.randint(0, context_tokens, (), generator=generator))
        starts = torch.arange(offset, len(ids) - context_tokens - 1, context_tokens)
        for start in starts[torch.randperm(len(starts), generator=generator)].tolist():
            yield ids[start : start + context_tokens + 1]


def mean_nll(model: nn.Module, batch: Tensor) -> Tensor:
    """Mean loss in nats of (B, T + 1) token ids; every token except the first is a target."""
    logits = model(input_ids=batch[:, :-1], use_cache=False).logits
    return nn.functional.cross_entropy(logits.flatten(0, 1), batch[:, 1:].flatten())


def heldout_figures(folder: Path, texts: dict[str, str]) -> dict[str, list[dict]]:
    """The loss of the saved model (bfloat16 weights) on each text at each context, computed in float32."""
    from pydisp.evaluation import evaluate_text
    from pydisp.loading import load_model, load_tokenizer
    from pydisp.text import Text, tokenize

    model = load_model(str(folder), device=torch.device("cpu"), dtype=torch.float32)
    tokenized = {name: tokenize(Text(name, (text,)), load_tokenizer(str(folder))) for name, text in texts.items()}
    return {name: [_as_dict(evaluate_text(model, tokens, context)) for context in CONTEXTS] for name, tokens in tokenized.items()}


def _as_dict(loss) -> dict:
    return {name: value for name, value in asdict(loss).items() if name != "window_nats"} | {"perplexity": loss.perplexity}


def new_model() -> nn.Module:
    """A model with random weights from torch's global seed; projections that write to the residual stream are scaled down by the depth."""
    from transformers import LlamaConfig, LlamaForCausalLM

    ids = dict(vocab_size=VOCAB_SIZE, bos_token_id=0, eos_token_id=0)
    model = LlamaForCausalLM(LlamaConfig(**MODEL, **ids, attn_implementation="sdpa"))
    for name, parameter in model.named_parameters():
        if name.endswith(("o_proj.weight", "down_proj.weight")):
            parameter.data.mul_(1 / math.sqrt(2 * MODEL["num_hidden_layers"]))
    return model


def fit(model: nn.Module, ids: Tensor, steps: int, generator: torch.Generator) -> list[dict]:
    """Train in place; returns the smoothed loss every 100 steps."""
    matrices = [p for n, p in model.named_parameters() if p.ndim == 2 and "embed" not in n]
    others = [p for n, p in model.named_parameters() if p.ndim != 2 or "embed" in n]
    muon = Muon(matrices)
    adamw = torch.optim.AdamW(others, lr=ADAMW_LR, betas=(0.9, 0.95), weight_decay=0.0)
    streams = {c: windows(ids, c, generator) for c in CONTEXTS}
    curve, smooth, start = [], None, time.time()
    for step in range(steps):
        context = CONTEXTS[step % len(CONTEXTS)]
        loss = mean_nll(model, torch.stack([next(streams[context]) for _ in range(TOKENS_PER_STEP // context)]))
        loss.backward()
        if not math.isfinite(loss.item()):
            sys.exit(f"the loss is {loss.item()} at step {step + 1}; lower MUON_LR or ADAMW_LR.")
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        share = lr_share(step, steps)
        adamw.param_groups[0]["lr"] = ADAMW_LR * share
        adamw.step()
        muon.step(MUON_LR * share)
        adamw.zero_grad(set_to_none=True)
        smooth = loss.item() if smooth is None else 0.97 * smooth + 0.03 * loss.item()
        if (step + 1) % 100 == 0 or step + 1 == steps:
            curve.append(
                {
                    "step": step + 1,
                    "tokens": (step + 1) * TOKENS_PER_STEP,
                    "train_nats_per_token": smooth,
                    "seconds": round(time.time() - start),
                }
            )
            print(json.dumps(curve[-1]), flush=True)
    return curve


def main() -> None:
    """Train tokenizer and model, write both with the log and the held-out figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--peps", required=True)
    parser.add_argument("--peps-heldout", required=True)
    parser.add_argument("--out", required=True)
    parser.add_argument("--steps", type=int, default=2300)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    torch.manual_seed(args.seed)
    generator = torch.Generator().manual_seed(args.seed)

    from transformers import PreTrainedTokenizerFast

    peps = read(args.peps)
    modules = [d.text for d in documents("docstrings", "train")]
    tokenizer = train_tokenizer([peps, *modules])
    encoded = [tokenizer.encode(t).ids for t in (peps, *modules)]
    train_ids = torch.tensor([i for ids in encoded for i in (0, *ids)])  # 0 is END
    heldout = {
        "docstrings heldout": "\n\n".join(d.text for d in documents("docstrings", "heldout")),
        "pydoc topics": "\n\n".join(d.text for d in documents("topics")),
        "peps heldout": read(args.peps_heldout),
    }

    model = new_model()
    header = {
        "command": f"python -m pydisp.demo.train --steps {args.steps} --seed {args.seed} --threads {args.threads}",
        "python": python_version(),
        "torch": torch.__version__,
        "parameters": sum(p.numel() for p in model.parameters()),
        "train_tokens": len(train_ids),
        "sha256": {
            k: hashlib.sha256(v.encode()).hexdigest()
            for k, v in {"peps": peps, "docstrings train": "\n\n".join(modules), **heldout}.items()
        },
    }
    print(json.dumps(header), flush=True)
    curve = fit(model, train_ids, args.steps, generator)
    out = Path(args.out)
    model.to(torch.bfloat16).save_pretrained(out)
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token=END, eos_token=END, pad_token=END, model_max_length=MODEL["max_position_embeddings"]
    ).save_pretrained(out)
    figures = heldout_figures(out, heldout)
    (out / "training.json").write_text(json.dumps({**header, "curve": curve, "heldout": figures}, indent=1) + "\n")
    print(json.dumps(figures, indent=1))


if __name__ == "__main__":
    main()
