"""A pruned folder whose config.json has any content is described rightly, or refused in one sentence."""

import json
import os
import shutil

import pytest
from families import random_plan, tiny_model
from fuzzing import changed_bytes, changed_json, fuzz
from hypothesis import strategies as st
from transformers import AutoModelForCausalLM

from pydisp.pruning.folder import describe
from pydisp.spec import ModelSpec
from pydisp.surgery import prune_model

pytestmark = pytest.mark.usefixtures("quiet_transformers")

FILES = ["config.json", "model.safetensors", "generation_config.json", "modeling_pydisp.py"]


def folder_of(path, family: str):
    model = tiny_model(family)
    spec = ModelSpec.from_model(model)
    prune_model(model, random_plan(spec, 1, no_attention=(0,), no_mlp=(2,)), spec).save_pretrained(path)
    return path


def test_configs(tmp_path):
    whole = {family: folder_of(tmp_path / family, family) for family in ("llama", "gemma2")}
    data = {family: (folder / "config.json").read_bytes() for family, folder in whole.items()}
    layers = {family: describe(folder)["layers"] for family, folder in whole.items()}
    broken = shutil.copytree(whole["llama"], tmp_path / "broken")

    def outcome(case):
        family, content = case
        if content in FILES:  # a pipe in its place
            for old in broken.iterdir():
                old.unlink()
            for file in whole["llama"].iterdir():
                os.mkfifo(broken / file.name) if file.name == content else shutil.copy(file, broken)
            return describe(broken)
        (whole[family] / "config.json").write_bytes(content)
        description = describe(whole[family])
        assert description["layers"] == layers[family] and description["params"]["pruned"] > 0

    def outcome_of_classes(case):
        """In Python, transformers reads the file and its own fields; ours are checked by the class."""
        family, content = case
        (whole[family] / "config.json").write_bytes(content)
        AutoModelForCausalLM.from_pretrained(whole[family])

    def changed(under: tuple = ()) -> st.SearchStrategy:
        return st.sampled_from(sorted(whole)).flatmap(
            lambda family: changed_json(json.loads(data[family]), under).map(lambda content: (family, content))
        )

    anything = st.sampled_from(sorted(whole)).flatmap(lambda family: changed_bytes(data[family]).map(lambda content: (family, content)))
    same = st.sampled_from(sorted(data.items()))
    pipes = st.sampled_from([("llama", name) for name in FILES])
    fuzz("config.json, pydisp info", st.one_of(changed(("pydisp",)), changed(), anything, same, pipes), outcome, share=0.7)
    ours = changed(("pydisp",)).filter(_is_read_by_transformers)
    fuzz("config.json, from_pretrained", st.one_of(ours, ours, same), outcome_of_classes, share=0.3)


def _is_read_by_transformers(case) -> bool:
    """Whether it is JSON that is not nested too deep for transformers, which reads it before our class sees it."""
    text = case[1].decode()
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return False
    return "[" * 100 not in text and '{"a":' * 100 not in text
