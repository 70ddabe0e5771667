"""The baselines: plans to compare with learned masks, each at the same exact budget.

`random`; `magnitude` (norms of the weights that multiply a feature); `wanda` (those norms times the norm of the feature's activations,
after Wanda, https://arxiv.org/abs/2306.11695); `flap` (squared norms of the weights times the variance of the activations, after FLAP,
https://arxiv.org/abs/2312.11983, z-scores within each mask under one threshold); `layerdrop` (whole layers, least block influence first, after ShortGPT,
https://arxiv.org/abs/2403.03853; the rest of the budget comes from the MLP middle of the next layer). The first three keep the same share
of every mask. `gradient` (no search, the scores it would start from) is in `start.py`. `constrained` is a search with tied masks and lives in `search.py`.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from pydisp.evaluation import evaluating
from pydisp.gates import LayerGates
from pydisp.indices import IndexSet
from pydisp.placement import values
from pydisp.plan import AttentionPlan, LayerPlan, MLPPlan, PruningPlan
from pydisp.pruning.conversion import convert, ranked, untied
from pydisp.spec import ModelSpec, decoder_layers


def random_plan(spec: ModelSpec, budget: int, round_to: int, generator: torch.Generator) -> PruningPlan:
    """Features at random."""
    sizes = [spec.middle_size if name == "mlp_middle" else spec.hidden_size for name in LayerGates._fields]
    layers = [[ranked(torch.rand(size, generator=generator)) for size in sizes] for _ in spec.costs]
    return convert(untied(layers), spec, budget, round_to)


def _column_norms(linears: Iterable[nn.Linear]) -> Tensor:
    return torch.stack([values(m).float().square().sum(0) for m in linears]).sum(0).sqrt()


def _row_norms(linear: nn.Linear) -> Tensor:
    return values(linear).float().norm(dim=1)


@torch.no_grad()
def magnitude_plan(model: nn.Module, spec: ModelSpec, budget: int, round_to: int) -> PruningPlan:
    """Features by the norm of their weights: columns of the projections that read (times the norm's gain), rows of those that write."""
    family, layers = spec.family, []
    for layer in decoder_layers(model, spec.family):
        reads = [layer.get_submodule(n) for n in family.attention_reads]
        mlp_reads = [layer.get_submodule(n) for n in family.mlp_reads]
        write, mlp_write = layer.get_submodule(family.attention_write), layer.get_submodule(family.mlp_write)
        rows = torch.cat([values(m).float().square().sum(1) for m in mlp_reads]).view(-1, spec.middle_size).sum(0)
        scores = (
            _column_norms(reads) * _gain(layer, "attention", spec),
            _row_norms(write),
            _column_norms(mlp_reads) * _gain(layer, "mlp", spec),
            (rows + values(mlp_write).float().square().sum(0)).sqrt(),
            _row_norms(mlp_write),
        )
        layers.append([ranked(s.cpu()) for s in scores])
    return convert(untied(layers), spec, budget, round_to)


def _gain(layer: nn.Module, block: str, spec: ModelSpec) -> Tensor:
    norm = spec.family.norms(block).before
    if norm is None:  # the block reads the residual stream itself
        return torch.ones(())
    module = layer.get_submodule(norm)
    is_plain = getattr(module, "weight", None) is None
    return torch.ones(()) if is_plain else (values(module).float() + spec.family.norm_offset).abs()


@dataclass(frozen=True)
class Activations:
    """The measurements of one pass over the calibration windows: norms and variances over all tokens, and the influence of each layer.

    `norms[layer]`, `variances[layer]`: five (width,) float64 tensors in the order of LayerGates; `influence[layer]`: mean of
    1 - cos(input, output) over tokens.
    """

    norms: tuple[LayerGates, ...]
    variances: tuple[LayerGates, ...]
    influence: tuple[float, ...]


@torch.no_grad()
def record_activations(
    model: nn.Module, spec: ModelSpec, batches: Iterable[Tensor], *, after_batch: Callable[[int], None] = lambda _done: None
) -> Activations:
    """Run (B, T) batches of token ids through the dense model with hooks, which are removed even after an error.

    after_batch: receives the number of batches that are done.
    """
    family, handles = spec.family, []
    squares, sums = ([[torch.zeros((), dtype=torch.float64)] * 5 for _ in spec.costs] for _ in range(2))
    counts = [[0] * 5 for _ in spec.costs]
    influence = [[0.0, 0] for _ in spec.costs]

    def add(number: int, place: int, tensor: Tensor) -> None:
        rows = tensor.flatten(0, -2).double()
        squares[number][place] = squares[number][place] + rows.square().sum(0).cpu()
        sums[number][place] = sums[number][place] + rows.sum(0).cpu()
        counts[number][place] += len(rows)

    def on_input(number: int, place: int):
        def hook(_module, args, kwargs):
            add(number, place, kwargs["hidden_states"] if "hidden_states" in kwargs else args[0])

        return hook

    def on_output(number: int, place: int):
        return lambda _module, _args, output: add(number, place, output)

    def on_layer(number: int):
        def hook(_module, args, output):
            output = output[0] if isinstance(output, tuple) else output
            change = 1 - nn.functional.cosine_similarity(args[0].float(), output.float(), dim=-1)
            influence[number][0] += change.sum().item()
            influence[number][1] += change.numel()

        return hook

    try:
        for number, layer in enumerate(decoder_layers(model, family)):
            handles.append(layer.register_forward_hook(on_layer(number)))
            for place, module in ((0, family.attention), (2, family.mlp_entry), (3, family.mlp_write)):
                handles.append(layer.get_submodule(module).register_forward_pre_hook(on_input(number, place), with_kwargs=True))
            for place, module in ((1, family.attention_write), (4, family.mlp_write)):
                handles.append(layer.get_submodule(module).register_forward_hook(on_output(number, place)))
        with evaluating(model):
            for done, batch in enumerate(batches, 1):
                model(input_ids=batch.to(model.device), use_cache=False)
                after_batch(done)
    finally:
        for handle in handles:
            handle.remove()
    norms = tuple(LayerGates(*(s.sqrt() for s in layer)) for layer in squares)
    variances = tuple(
        LayerGates(*((square - total.square() / n).clamp_min(0) / max(1, n - 1) for square, total, n in zip(*layer, strict=True)))
        for layer in zip(squares, sums, counts, strict=True)
    )
    return Activations(norms, variances, tuple(total / count for total, count in influence))


@torch.no_grad()
def wanda_scores(model: nn.Module, spec: ModelSpec, seen: Activations) -> list[LayerGates]:
    """Features that a block reads by weight norm times activation norm; features that it writes by activation norm. float64, CPU."""
    return [
        LayerGates(
            reads * norms.attention_input,
            norms.attention_output,
            mlp_reads * norms.mlp_input,
            mlp_write * norms.mlp_middle,
            norms.mlp_output,
        )
        for (reads, mlp_reads, mlp_write), norms in zip(_read_norms(model, spec), seen.norms, strict=True)
    ]


@torch.no_grad()
def flap_scores(model: nn.Module, spec: ModelSpec, seen: Activations) -> list[LayerGates]:
    """As `wanda_scores`, but squared weight norms times the variance over tokens: what a constant in the feature's place would lose."""
    return [
        LayerGates(
            reads.square() * variances.attention_input,
            variances.attention_output,
            mlp_reads.square() * variances.mlp_input,
            mlp_write.square() * variances.mlp_middle,
            variances.mlp_output,
        )
        for (reads, mlp_reads, mlp_write), variances in zip(_read_norms(model, spec), seen.variances, strict=True)
    ]


def _read_norms(model: nn.Module, spec: ModelSpec) -> Iterable[tuple[Tensor, Tensor, Tensor]]:
    """For each layer the norms of the columns that read the attention's input, the MLP's input and its middle; float64, CPU."""
    family = spec.family
    for layer in decoder_layers(model, family):
        projections = (family.attention_reads, family.mlp_reads, (family.mlp_write,))
        yield tuple(_column_norms(layer.get_submodule(n) for n in names).cpu().double() for names in projections)


def wanda_plan(model: nn.Module, spec: ModelSpec, seen: Activations, budget: int, round_to: int) -> PruningPlan:
    """The best features by `wanda_scores`, the same share of every mask."""
    layers = [[ranked(s) for s in layer] for layer in wanda_scores(model, spec, seen)]
    return convert(untied(layers), spec, budget, round_to)


def flap_plan(model: nn.Module, spec: ModelSpec, seen: Activations, budget: int, round_to: int) -> PruningPlan:
    """The best features by the z-scores, within each mask, of `flap_scores`, under one threshold."""
    layers = [[standardised(s) for s in layer] for layer in flap_scores(model, spec, seen)]
    return convert(untied(layers), spec, budget, round_to)


def standardised(scores: Tensor) -> Tensor:
    """z-scores: mean 0, standard deviation 1 (all 0 where all scores are equal); float64."""
    centred = scores.double() - scores.double().mean()
    return centred / centred.square().mean().sqrt().clamp_min(torch.finfo(torch.float64).tiny)


@torch.no_grad()
def layerdrop_plan(model: nn.Module, spec: ModelSpec, seen: Activations, budget: int, round_to: int) -> PruningPlan:
    """Drop whole layers, least influence first, as long as the budget requires; take the rest from the MLP middle of the next layer.

    If even that whole MLP is too small, it is removed, and the MLP after it gives the rest. Middle features are chosen by Wanda score.
    """
    full = LayerPlan(
        AttentionPlan(IndexSet.full(spec.hidden_size), IndexSet.full(spec.hidden_size)),
        MLPPlan(IndexSet.full(spec.hidden_size), IndexSet.full(spec.middle_size), IndexSet.full(spec.hidden_size)),
    )
    layers = [full] * len(spec.costs)
    order = sorted(range(len(layers)), key=lambda n: (seen.influence[n], n))
    excess = spec.parameters_block - budget

    def drop(number: int, planned: LayerPlan) -> int:
        saved = spec.costs[number].of(layers[number]) - spec.costs[number].of(planned)
        layers[number] = planned
        return saved

    nothing = LayerPlan(None, None)
    while excess > 0 and len(order) > 1 and spec.costs[order[0]].of(full) - spec.costs[order[0]].of(nothing) <= excess:
        excess -= drop(order.pop(0), nothing)
    for number in order:
        if excess <= 0:
            break
        cost, width = spec.costs[number], spec.middle_size
        per_feature = cost.mlp_input_middle * spec.hidden_size + cost.mlp_middle + spec.hidden_size
        away = -(-excess // per_feature)  # rounded up
        keep = (width - away) // round_to * round_to
        if keep <= 0:
            excess -= drop(number, LayerPlan(full.attention, None))
            continue
        mlp_write = decoder_layers(model, spec.family)[number].get_submodule(spec.family.mlp_write)
        best = (seen.norms[number].mlp_middle * _column_norms([mlp_write]).cpu()).sort(descending=True, stable=True).indices[:keep]
        middle = IndexSet(best.sort().values.to(torch.int32), width)
        excess -= drop(number, LayerPlan(full.attention, MLPPlan(full.mlp.input, middle, full.mlp.output)))
    if excess > 0:
        raise ValueError("dropping layers and MLPs cannot reach this keep ratio; choose a larger one, or another method.")
    return PruningPlan(spec.family.model_type, spec.hidden_size, spec.middle_size, tuple(layers), spec.digest)
