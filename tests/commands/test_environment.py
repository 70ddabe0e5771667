"""`pydisp env` says what is there and what will run."""

import json

import pytest
import torch
from command_line import one_sentence


def test_env_names_versions_and_implementations(run):
    status, printed, _ = run("env", "--json")
    facts = json.loads(printed)
    assert status == 0 and facts["versions"]["torch"] == torch.__version__
    assert facts["ops"]["norm_select"]["cpu"] in ("c++", "torch") and facts["cpu"]["threads"] >= 1
    assert "norm_select" in run("env")[1]


def test_env_says_what_serves(run, monkeypatch):
    from pydisp import ops
    from pydisp.ops import native

    def section(name, key):
        return json.loads(run("env", "--json")[1])[name][key]

    for variable in ("PYDISP_BF16_MM", "PYDISP_TRITON"):
        monkeypatch.delenv(variable, raising=False)
    assert section("cpu", "c++") == (native.instruction_set() or "none: plain torch serves")
    assert section("cuda", "triton") == ops.cuda.status()
    monkeypatch.setattr(native, "is_loaded", lambda: True)
    for isa, wanted in (("avx2", "upcast: the C++ ops run"), ("avx512bf16", "native: AVX-512's")):
        monkeypatch.setattr(native, "instruction_set", lambda isa=isa: isa)
        assert section("loss", "bfloat16").startswith(wanted)
    monkeypatch.setenv("PYDISP_BF16_MM", "upcast")
    assert section("loss", "bfloat16") == "upcast: PYDISP_BF16_MM=upcast"
    monkeypatch.setenv("PYDISP_BF16_MM", "fast")
    status, out, err = run("env")
    assert (status, out) == (1, "") and "PYDISP_BF16_MM is 'fast'; set it to native" in one_sentence(err)
    monkeypatch.setenv("PYDISP_BF16_MM", "auto")
    monkeypatch.setenv("PYDISP_TRITON", "1")
    monkeypatch.setattr("importlib.util.find_spec", lambda name: name == "triton" or None)
    assert section("cuda", "triton") == "serves unchecked: PYDISP_TRITON=1"
    monkeypatch.setenv("PYDISP_TRITON", "yes")
    status, out, err = run("env")
    assert (status, out) == (1, "") and "PYDISP_TRITON is 'yes'; set it to 0 (plain torch" in one_sentence(err)
    monkeypatch.setenv("PYDISP_TRITON", "auto")
    monkeypatch.setattr("importlib.util.find_spec", lambda _name: None)
    assert section("cuda", "triton") == "off: triton is not installed"
    monkeypatch.setattr(native, "is_loaded", lambda: False)
    monkeypatch.setattr(native, "instruction_set", lambda: None)
    assert section("loss", "bfloat16").startswith("torch: ") and section("cpu", "c++").startswith("none: ")


def test_env_says_in_what_the_loss_multiplies(run, monkeypatch, generator):
    from pydisp import ops

    if not ops.native.is_loaded():
        pytest.skip("the C++ ops are not built")
    hidden, weight = (torch.randn(n, 64, generator=generator).bfloat16() for n in (200, 300))

    def loss(wanted):
        monkeypatch.setenv("PYDISP_BF16_MM", wanted)
        return ops.linear_cross_entropy(hidden, weight, torch.arange(200))

    losses = {wanted: loss(wanted) for wanted in ("native", "upcast", "auto")}  # auto last: `env` is asked under it
    assert not torch.equal(losses["native"], losses["upcast"])
    said = json.loads(run("env", "--json")[1])["loss"]["bfloat16"].partition(":")[0]
    assert torch.equal(losses["auto"], losses[said])
