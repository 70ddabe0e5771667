"""The public functions and dataclasses with arguments that each takes, and where its long work begins: what a hostile argument is put into."""

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from families import random_plan
from tiny_text import tiny_tokenizer, write_text
from toolken_training import TOOLS, problems, tiny
from toolken_writing import toolkens_of

import pydisp
from pydisp import fairness, holobench, legal_probe, pruning, toolken
from pydisp.evaluation import evaluate_text
from pydisp.fairness.callback import FrequencyLossCallback
from pydisp.indices import IndexSet
from pydisp.plan import AttentionPlan, LayerPlan, MLPPlan, PruningPlan
from pydisp.progress import silence
from pydisp.report import Metric, Report, Section
from pydisp.spec import ModelSpec
from pydisp.text import Text, tokenize
from pydisp.toolken.evaluating.answering import AnswerSettings
from pydisp.toolken.peft_tokens import export_peft, import_peft
from pydisp.toolken.tools.limits import Limits
from pydisp.toolken.tools.tool import Example, Parameter
from pydisp.toolken.training.fitting import FitSettings


@dataclass
class Case:
    """A call that is right.

    Args:
        work: "module:name" of what is called first when all arguments are right, before any model is read; "" for what ends in no time.
        words: by argument what else a sentence may call it.
    """

    function: Callable
    arguments: dict
    work: str = ""
    words: dict[str, tuple[str, ...]] = field(default_factory=dict)


def cases(folder: Path) -> dict[str, Case]:
    """The calls by name; files they read are made in `folder`."""
    model, tokenizer = tiny(), tiny_tokenizer()
    named = str(folder / "model")
    model.save_pretrained(named), tokenizer.save_pretrained(named)
    text = str(write_text(folder / "text.txt"))
    spec = ModelSpec.from_model(model)
    plan = random_plan(spec)
    plan.save(folder / "plan.safetensors")
    toolkens = toolkens_of(model, tokenizer, torch.zeros(len(TOOLS), 32), tools=TOOLS)
    toolkens.save(folder / "toolkens")
    export_peft(toolkens, model, tokenizer, folder / "tokens")
    values = fairness.UnitValues(*(np.linspace(0.1, 0.9, 40) for _ in range(5)))
    types = np.repeat(np.arange(20), 2)
    stats = fairness.TokenStats.of("token", types, values)
    counts = {str(number): number + 1 for number in range(257)}
    (folder / "counts.json").write_text(json.dumps(counts))
    records = [{"id": "a", "text": "the bank pays", "spans": [{"concept": "role", "phrase": "bank"}]}]
    (folder / "concepts.jsonl").write_text(json.dumps(records[0]))
    concepts = legal_probe.concept_set(records)
    built = holobench.build(folder / "bench.jsonl", lengths=[900], per_length=1, tokenizer=tokenizer, say=silence)
    (folder / "answers.jsonl").write_text("\n".join(json.dumps({"id": one.id, "answer": ""}) for one in built.items))
    by_name = {"device": "cpu", "dtype": "float32", "revision": None, "trust_remote_code": False}
    sizes = {"context_tokens": 32, "most_tokens": 64, "batch_size": 2}
    runs = {"resume": False, "overwrite": False}
    kept = IndexSet.full(4)
    attention, mlp = AttentionPlan(kept, kept), MLPPlan(kept, IndexSet.full(6), kept)
    settings = pruning.PruneSettings(keep_ratio=0.6, ratio_of="block", method="random", round_to=4, context_tokens=32).resolved(spec, 128)
    found = {
        "evaluate a name": Case(pydisp.evaluate, {"model": named, "tokenizer": None, "text": [text], **sizes, **by_name, "say": silence}, "pydisp.evaluation:load_model"),
        "evaluate a model": Case(pydisp.evaluate, {"model": model, "tokenizer": tokenizer, "text": text, **sizes, "say": silence}, "pydisp.evaluation:scorer"),
        "evaluate_text": Case(evaluate_text, {"context_tokens": 32, "model": model, "tokens": tokenize(Text("t", ("some words " * 40,)), tokenizer)}, "pydisp.evaluation:scorer"),
        "prune": Case(
            pydisp.prune,
            {"model": model, "tokenizer": tokenizer, "text": [text], "keep_ratio": 0.5, "ratio_of": "block", "method": "random", "plan": None, "recover": False,
             "minutes": None, "say": silence, "seed": 0, "context_tokens": 32, "round_to": 4},
            "pydisp.pruning.run:Run.announce",
        ),
        "prune with a plan": Case(pydisp.prune, {"model": model, "tokenizer": tokenizer, "text": text, "plan": plan, "recover": True, "say": silence, "context_tokens": 32}, "pydisp.pruning.run:Run.announce"),
        "recover": Case(
            pydisp.recover,
            {"model": pydisp.surgery.prune_model(model, plan, spec), "tokenizer": tokenizer, "teacher": model, "text": [text], "say": silence, "steps": 2, "context_tokens": 32, "seed": 0},
            "pydisp.pruning.recover_journey:check_memory_for_recovery",
        ),
        "PruneSettings": Case(pruning.PruneSettings, settings.as_dict(), words={"keep_ratio": ("ratio",)}),
        "RecoverySettings": Case(pruning.RecoverySettings, pruning.RecoverySettings(steps=3).as_dict(), words={"trains_head": ("head",)}),
        "make_plan": Case(
            pruning.make_plan,
            {"model": model, "spec": spec, "windows": torch.ones(2, 32, dtype=torch.long), "settings": settings, "say": silence},
        ),
        "FolderRequest": Case(
            pruning.FolderRequest,
            {"model": named, "out": "out", "settings": settings, "text": (text,), "plan_file": None, **by_name, "device_map": None, **runs, "context_tokens": 32,
             "evaluation_tokens": 0, "measures_speed": False, "recovery": None},
        ),
        "RecoverRequest": Case(
            pruning.RecoverRequest,
            {"folder": "pruned", "out": "out", "settings": pruning.RecoverySettings(), "teacher": named, "text": (text,), **by_name, **runs},
        ),
        "prune_to_folder": Case(
            pruning.prune_to_folder,
            {"request": pruning.FolderRequest(named, folder / "out", settings, (text,)), "say": silence, "checkpoint_seconds": 1.0},
            "pydisp.pruning.journey:load_model",
        ),
        "recover_to_folder": Case(
            pruning.recover_to_folder,
            {"request": pruning.RecoverRequest("pruned", folder / "out", pruning.RecoverySettings()), "say": silence},
            "pydisp.pruning.recover_journey:_recovered_folder",
        ),
        "IndexSet": Case(IndexSet, {"indices": torch.tensor([0, 2], dtype=torch.int32), "size": 4}, words={"indices": ("index", "set")}),
        "IndexSet.full": Case(IndexSet.full, {"size": 4}),
        "IndexSet.from_mask": Case(IndexSet.from_mask, {"mask": torch.tensor([True, False])}, words={"mask": ("set",)}),
        "LayerPlan": Case(LayerPlan, {"attention": attention, "mlp": mlp}),
        "AttentionPlan": Case(AttentionPlan, {"input": kept, "output": kept}),
        "PruningPlan": Case(
            PruningPlan, {"family": "llama", "hidden_size": 4, "middle_size": 6, "layers": (LayerPlan(attention, mlp),), "model_digest": "d"},
            words={"hidden_size": ("the model has",), "middle_size": ("the model has",)},
        ),
        "PruningPlan.load": Case(PruningPlan.load, {"path": folder / "plan.safetensors"}, words={"path": ("file", "plan")}),
        "ModelSpec.from_model": Case(ModelSpec.from_model, {"model": model}),
        "Gates": Case(pydisp.Gates, {"layers": pydisp.Gates.from_plan(plan, spec).layers, "spec": spec}),
        "Gates.from_plan": Case(pydisp.Gates.from_plan, {"plan": plan, "spec": spec, "dtype": torch.float32}),
        "Metric": Case(Metric, {"name": "a", "value": 1.0, "unit": "s", "standard_error": 0.1, "interval": (0, 2), "n": 4, "higher_is_better": True, "note": "", "decimals": 1}),
        "Report": Case(Report, {"title": "t", "summary": ["a"], "metrics": [], "sections": [Section("s", ["a"])], "facts": {}}),
        "Report.from_json": Case(Report.from_json, {"text": Report("t", ["a"]).to_json()}, words={"text": ("JSON",)}),
        "audit": Case(
            fairness.audit,
            {"model": named, "tokenizer": None, "text": [text], "against": named, "against_tokenizer": None, "mode": "id", "counts": None, "counts_text": text, **sizes,
             **by_name, "seed": 0, "say": silence},
            "pydisp.subject:Subject.loaded", words={"counts_text": ("a text to count",)},
        ),
        "audit with counts": Case(fairness.audit, {"model": model, "tokenizer": tokenizer, "text": text, "mode": "id", "counts": counts, "seed": 0, "say": silence}, "pydisp.subject:Subject.loaded"),
        "slope_of": Case(fairness.slope_of, {"stats": stats, "counts": np.arange(5, 25), "least_count": 5, "draws": 20, "seed": 0}, words={"stats": ("types",), "counts": ("types",)}),
        "TokenStats.of": Case(fairness.TokenStats.of, {"unit": "token", "types": types, "values": values, "vocabulary": "d"}),
        "TokenStats": Case(fairness.TokenStats, {name: getattr(stats, name) for name in fairness.TokenStats.__dataclass_fields__}, words=dict.fromkeys(fairness.TokenStats.__dataclass_fields__, ("TokenStats",))),
        "Counts": Case(fairness.Counts, {"source": "mine", "unit": "token", "by_type": {1: 2}, "is_biased": False}),
        "Counts.given": Case(fairness.Counts.given, {"values": counts, "unit": "token"}, words={"values": ("counts",), "unit": ("word",)}),
        "Counts.read": Case(fairness.Counts.read, {"path": folder / "counts.json", "unit": "token"}, words={"path": ("file",), "unit": ("word",)}),
        "FrequencyProbe": Case(
            fairness.FrequencyProbe,
            {"tokenizer": tokenizer, "text": [text], "counts": None, "counts_text": text, "context_tokens": 32, "most_tokens": 64, "batch_size": 1},
        ),
        "FrequencyLossCallback": Case(FrequencyLossCallback, {"probe": print, "every": 3, "trainer": None}),
        "sweep": Case(
            fairness.sweep,
            {"config": {"train": [text], "held_out": [text], "vocabulary_size": 300, "train_tokens": 640, "weight_decay": [0], "steps": 2, "batch_windows": 2, "held_out_tokens": 640, "curve_tokens": 128}, "out": folder / "swept", **runs,
             "workers": 1, "say": silence, "checkpoint_seconds": 1.0},
            "pydisp.fairness.weight_decay.journey:read_sweep_text", words={"config": ("settings",), "out": ("output",)},
        ),
        "concept_set": Case(legal_probe.concept_set, {"records": records, "name": "mine"}, words={"records": ("passage",)}),
        "read_concepts": Case(legal_probe.read_concepts, {"path": folder / "concepts.jsonl"}, words={"path": ("file", "jsonl")}),
        "ConceptSet": Case(legal_probe.ConceptSet, {name: getattr(concepts, name) for name in concepts.__dataclass_fields__}),
        "ConceptSet.selected": Case(concepts.selected, {"names": ["role"]}, words={"names": ("concept",)}),
        "Passage": Case(legal_probe.Passage, {"id": "a", "text": "some words", "spans": (legal_probe.Span("role", 0, 4),), "source": "", "place": ""}),
        "Span": Case(legal_probe.Span, {"concept": "role", "start": 1, "end": 3}),
        "Exclusion": Case(legal_probe.Exclusion, {"rules": ("first",), "tokens": ("x",)}, words={"rules": ("rule",)}),
        "Exclusion.parse": Case(legal_probe.Exclusion.parse, {"rules": "first,space", "tokens": ()}, words={"rules": ("rule",)}),
        "probe": Case(
            legal_probe.probe,
            {"model": named, "tokenizer": None, "passages": concepts, "against": [named], "against_tokenizer": None, "concepts": ["role"], "queries": "all", "exclusion": None,
             "windows": False, "null_spans": 10, "seed": 0, **by_name, "say": silence},
            "pydisp.subject:Subject.loaded", words={"concepts": ("concept",), "passages": ("passage",), "against": ("configuration",)},
        ),
        "build": Case(
            holobench.build,
            {"out": folder / "b.jsonl", "database": "generated:shop", "questions": None, "lengths": [900], "amounts": [], "densities": [0.5], "placements": ["uniform"],
             "tokenizer": tokenizer, "template": "plain", "answer": "direct", "room": 0, "per_length": 1, "questions_per_context": 1, "seed": 0, "overwrite": False,
             "revision": None, "trust_remote_code": False, "say": silence},
            "pydisp.holobench.contexts.building:open_databases", words={"questions": ("file",), "room": ("tokens",), "densities": ("relevant",)},
        ),
        "run": Case(
            holobench.run,
            {"model": named, "data": (built.items, built.manifest), "tokenizer": None, "out": folder / "p.jsonl", "form": "likelihood", "batch_tokens": 100,
             "without_context": True, "any_tokenizer": True, **runs, "limit": 1, **by_name, "say": silence},
            "pydisp.subject:Subject.loaded", words={"data": ("bench",), "without_context": ("items",)},
        ),
        "score": Case(
            holobench.score, {"data": folder / "bench.jsonl", "predictions": folder / "answers.jsonl", "against": None, "seed": 0},
            "pydisp.holobench.figures.scored:results", words={"data": ("file",), "predictions": ("file",), "against": ("file",)},
        ),
        "ask": Case(
            toolken.ask,
            {"model": model, "toolkens": toolkens, "question": "What?", "mode": "reject", "as_it_is": False, "max_new_tokens": 4, "tokenizer": tokenizer, "say": silence},
            "pydisp.subject:Subject.loaded",
        ),
        "generate": Case(
            toolken.generate,
            {"model": model, "tokenizer": tokenizer, "toolkens": toolkens, "inputs": ["a"], "mode": "reject", "k": 2, "caller": None, "most_calls": 2, "is_checked": False,
             "attention_mask": None, "max_new_tokens": 4},
            "pydisp.toolken.decoding.generating:Loop", words={"inputs": ("prompt", "input")},
        ),
        "train": Case(
            toolken.train,
            {"model": model, "tools": TOOLS, "problems": problems(12), "tokenizer": tokenizer, "name": None, "settings": toolken.TrainSettings(documentation_tokens=4), "work": None, "say": silence},
            "pydisp.toolken.training.training:logit_form",
        ),
        "train_to_folder": Case(
            toolken.train_to_folder,
            {"model": named, "out": folder / "trained", "tools": "builtin", "data": "builtin", "count": 4, "settings": toolken.TrainSettings(), "tokenizer": None, **runs,
             **by_name, "say": silence},
            "pydisp.toolken.training_run:_checked", words={"data": ("problem",)},
        ),
        "evaluate_to_folder": Case(
            toolken.evaluate_to_folder,
            {"model": named, "toolkens": [folder / "toolkens"], "out": folder / "report", "data": "builtin:b", "modes": ["reject"], "count": 4, "answers": 0, "k": 2, "seed": 0,
             "settings": AnswerSettings(), "tokenizer": None, **runs, **by_name, "say": silence},
            "pydisp.subject:Subject.loaded", words={"data": ("problem",), "toolkens": ("folder",)},
        ),
        "Policy": Case(toolken.Policy, {"mode": "reject", "k": 2, "temperature": 1.0, "threshold": 0.5}),
        "AnswerSettings": Case(AnswerSettings, {name: getattr(AnswerSettings(), name) for name in AnswerSettings.__dataclass_fields__}),
        "TrainSettings": Case(toolken.TrainSettings, {name: getattr(toolken.TrainSettings(), name) for name in toolken.TrainSettings.__dataclass_fields__}),
        "FitSettings": Case(FitSettings, {name: getattr(FitSettings(), name) for name in FitSettings.__dataclass_fields__}),
        "Limits": Case(Limits, {name: getattr(Limits(), name) for name in Limits.__dataclass_fields__}),
        "ToolkenHead": Case(toolken.ToolkenHead, {"model": model, "rows": torch.zeros(2, 32), "vocabulary": 257}),
        "Toolkens": Case(toolken.Toolkens, {name: getattr(toolkens, name) for name in toolkens.__dataclass_fields__}, words={"tools": ("rows",), "base": ("hidden size",)}),
        "Toolkens.load": Case(toolken.Toolkens.load, {"folder": folder / "toolkens"}),
        "Toolkens.policy": Case(toolkens.policy, {"mode": "reject", "k": 2}),
        "Toolkens.check": Case(toolkens.check, {"model": model, "tokenizer": tokenizer}),
        "Caller": Case(toolken.Caller, {"tools": TOOLS, "limits": Limits()}),
        "Tool": Case(toolken.Tool, {"name": "a", "documentation": "Does a.", "parameters": (Parameter("x"),), "examples": (Example("a", "1"),), "function": None}),
        "Parameter": Case(Parameter, {"name": "a", "type": "string", "choices": (), "is_required": True, "documentation": ""}),
        "Example": Case(Example, {"text": "a", "arguments": "1"}),
        "Tools": Case(toolken.Tools, {"tools": list(TOOLS)}, words={"tools": ("tool",)}),
        "export_peft": Case(export_peft, {"toolkens": toolkens, "model": model, "tokenizer": tokenizer, "folder": folder / "peft"}, words={"model": ("head",)}),
        "import_peft": Case(import_peft, {"folder": folder / "tokens"}),
    }  # fmt: skip
    return found
