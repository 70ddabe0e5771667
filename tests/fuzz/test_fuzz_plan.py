"""A plan file of any content is the plan that it holds, or one sentence."""

import json
import os

import torch
from families import random_plan, tiny_model
from fuzzing import ODD, changed_bytes, changed_json, fuzz
from hypothesis import strategies as st
from safetensors.torch import save

from pydisp.plan import PruningPlan
from pydisp.spec import ModelSpec


def test_plans(tmp_path):
    spec = ModelSpec.from_model(tiny_model("llama"))
    plan = random_plan(spec, 1, no_attention=(0,), no_mlp=(2,))
    path, other = tmp_path / "plan.safetensors", tmp_path / "other.safetensors"
    plan.save(path)
    data, state = path.read_bytes(), plan.state_dict()

    def with_header(header: bytes) -> bytes:
        return save(state["tensors"], metadata={"pydisp": header.decode()})

    @st.composite
    def with_tensors(draw) -> bytes:
        tensors = dict(state["tensors"])
        for name in draw(st.lists(st.sampled_from(sorted(tensors)), min_size=1, max_size=2, unique=True)):
            one = tensors[name].clone()
            how = draw(st.sampled_from(["remove", "dtype", "value", "shape", "rename", "twice"]))
            if how == "value":
                one[draw(st.integers(0, len(one) - 1))] = draw(st.integers(-(2**31), 2**31 - 1) | st.integers(0, 80))
            elif how == "dtype":
                one = one.to(draw(st.sampled_from([torch.int64, torch.float32, torch.bool, torch.int16])))
            elif how == "shape":
                one = draw(st.sampled_from([one[None], one[:0], one[0], one.repeat(2)]))
            if how in ("remove", "rename"):
                del tensors[name]
            if how != "remove":
                tensors[f"{name}x" if how == "rename" else name] = one.contiguous()
            if how == "twice":
                tensors[draw(st.sampled_from(["layers.9.mlp_input", "layers.0.attention_input", "x"]))] = one.clone()
        return save(tensors, metadata={"pydisp": json.dumps(state["header"])})

    @st.composite
    def with_head(draw) -> bytes:
        """The head of the file itself: shapes, dtypes and places of the tensors."""
        length = int.from_bytes(data[:8], "little")
        head = draw(changed_json(json.loads(data[8 : 8 + length])))
        claimed = draw(st.sampled_from([len(head)] * 5 + [0, 2**40, 2**64 - 1]))
        return claimed.to_bytes(8, "little") + head + data[8 + length :]

    def outcome(content: bytes | str):
        path.unlink(missing_ok=True)
        if content == "pipe":
            os.mkfifo(path)
        elif content == "folder":
            return PruningPlan.load(tmp_path)
        elif content != "nothing":
            path.write_bytes(content)
        read = PruningPlan.load(path)
        read.save(other)
        assert PruningPlan.load(other) == read and all(type(size) is int for size in (read.hidden_size, read.middle_size))
        if content in right:
            assert read == right[content]

    plans = [plan, *(random_plan(spec, seed, no_attention=(seed % 4,)) for seed in range(20))]
    right = {save(one._tensors(), metadata={"pydisp": json.dumps(one._header(), sort_keys=True)}): one for one in plans}
    assert data in right
    header = changed_json(state["header"]).map(with_header)
    odd = st.dictionaries(st.sampled_from(sorted(state["header"])), ODD).map(lambda d: json.dumps({**state["header"], **d}).encode())
    kept = st.sampled_from([*right, "pipe", "folder", "nothing"])
    fuzz("plan file", st.one_of(header, odd.map(with_header), with_tensors(), with_head(), changed_bytes(data), kept, kept), outcome)
