"""The reading of machine code in aot.py, each claim with a kernel that breaks it, and the committed budgets themselves."""

import json
from dataclasses import replace

import aot
import pytest
import torch
import triton
import triton.language as tl

FIGURES = aot.Figures(
    registers=40, spills=0, shared=8192, narrow_loads=1, narrow_stores=0, wide_loads=4, wide_stores=1, tensor_core_instructions=2
)


@triton.jit
def copy_kernel(x, out, N, BLOCK: tl.constexpr):
    n = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    tl.store(out + n, tl.load(x + n, mask=n < N), mask=n < N)


@triton.jit
def spilling_kernel(x, out, BLOCK: tl.constexpr):
    n = tl.arange(0, BLOCK)
    value = tl.load(x + n)
    tl.store(out + n, value - tl.sum(value, 0))  # every value is needed again after the sum of all


@triton.jit
def product_kernel(x, y, out, TENSOR_CORES: tl.constexpr, N: tl.constexpr):
    n = tl.arange(0, N)
    a = tl.load(x + n[:, None] * N + n[None, :])
    b = tl.load(y + n[:, None] * N + n[None, :])
    product = tl.dot(a, b) if TENSOR_CORES else (a * tl.trans(b)).to(tl.float32)
    tl.store(out + n[:, None] * N + n[None, :], product)


def kernels_of(case: aot.Case, target: str) -> dict[str, aot.Figures]:
    with aot.compiling(target) as compiled:
        case.call()
    return {name: aot.figures(kernel, target) for name, kernel in compiled}


def copy(unaligned: bool = False) -> aot.Case:
    x, out = (aot.meta(1024, dtype=torch.float32, unaligned=unaligned) for _ in range(2))
    return aot.Case("copy", lambda: copy_kernel[(1,)](x, out, 1024, BLOCK=1024))


def spilling(options: dict[str, int]) -> aot.Case:
    """128 values in each lane of one warp, and too few registers for them."""
    x, out = (aot.meta(8192, dtype=torch.float32) for _ in range(2))
    return aot.Case("spilling", lambda: spilling_kernel[(1,)](x, out, BLOCK=8192, num_warps=1, **options))


def product(tensor_cores: bool) -> aot.Case:
    x, y, out = aot.meta(64, 64), aot.meta(64, 64), aot.meta(64, 64, dtype=torch.float32)
    return aot.Case("product", lambda: product_kernel[(1,)](x, y, out, TENSOR_CORES=tensor_cores, N=64), tensor_cores=True)


@pytest.mark.parametrize("target", aot.TARGETS)
def test_a_plain_copy_is_wide_and_an_unaligned_one_is_caught(target):
    aligned, unaligned = kernels_of(copy(), target), kernels_of(copy(unaligned=True), target)
    assert aot.broken_claims(copy(), aligned) == []
    assert aligned["copy_kernel"].narrow_loads == aligned["copy_kernel"].narrow_stores == 0
    assert aot.broken_claims(copy(), unaligned) == ["no kernel loads 128 bit at a time"]
    excess = aot.over_budget(unaligned["copy_kernel"], aot.budget(aligned["copy_kernel"]))
    assert {"no wide loads", "no wide stores"} <= set(excess) and any(one.startswith("narrow_loads") for one in excess)


@pytest.mark.parametrize("target", aot.TARGETS)
def test_spills_are_caught(target):
    crowded = spilling({"waves_per_eu": 8} if target == "gfx942" else {"maxnreg": 32})
    assert "spilling_kernel is hot and spills" in aot.broken_claims(crowded, kernels_of(crowded, target))[0]


@pytest.mark.parametrize("target", aot.TARGETS)
def test_lost_tensor_cores_are_caught(target):
    assert aot.broken_claims(product(True), kernels_of(product(True), target)) == []
    assert "no kernel uses tensor cores" in aot.broken_claims(product(False), kernels_of(product(False), target))


# Code as nvdisasm writes it: every register is set before it is read.
SOUND = """
        /*0000*/                   S2UR UR5, SR_CTAID.X ;
        /*0010*/                   ULDC.64 UR6, c[0x0][0x208] ;
        /*0020*/                   UIMAD.WIDE UR8, UR5, 0x4, UR6 ;
        /*0030*/                   R2UR UR10, R4 ;
        /*0040*/                   LDG.E.128 R8, desc[UR6][R2.64] ;
        /*0050*/                   UISETP.NE.AND UP0, UPT, UR9, URZ, UPT ;
        /*0060*/              @UP0 ULEA UR22, UR10, UR7, 0x18 ;
        /*0070*/                   LDCU.128 UR12, c[0x0][0x380] ;
.L_x_1:
        /*0080*/                   UIADD3 UR22, UP1, UR22, UR15, URZ ;
        /*0090*/                   HGMMA.64x16x16.F32.BF16 R24, R4, gdesc[UR20], R24 ;
        /*00a0*/               @P0 BRA `(.L_x_1) ;
        /*00b0*/                   EXIT ;
"""


def test_a_uniform_register_that_is_read_unset_is_caught():
    assert aot.unset_reads(SOUND) == ()
    for gone, register, address, opcode in (
        ("@UP0 ULEA UR22, UR10, UR7, 0x18", 22, "0080", "UIADD3"),  # what ptxas 12.8 did: it is read only where it is counted up
        ("R2UR UR10, R4", 10, "0060", "ULEA"),
        ("S2UR UR5, SR_CTAID.X", 5, "0020", "UIMAD.WIDE"),
        ("UIMAD.WIDE UR8, UR5, 0x4, UR6", 9, "0050", "UISETP.NE.AND"),
        ("LDCU.128 UR12, c[0x0][0x380]", 15, "0080", "UIADD3"),
    ):
        assert gone in SOUND
        (wrong,) = aot.unset_reads(SOUND.replace(gone, "NOP"))
        assert wrong.startswith(f"reads UR{register} before it is set (at {address}, {opcode}): a fault of ptxas")
    assert len(aot.unset_reads(SOUND.replace("ULDC.64 UR6", "ULDC UR6"))) == 1  # without .64 it sets one register
    assert len(aot.unset_reads(SOUND.replace("ULDC.64 UR6", "USHF.L.U64.HI UR6"))) == 1


@pytest.mark.parametrize("hot", [True, False])
def test_an_unset_register_is_wrong_in_every_case(hot):
    unset = replace(FIGURES, unset_reads=("reads UR22 before it is set",))
    case = aot.Case("any", lambda: None, hot=hot, wide=False)
    assert aot.broken_claims(case, {"a_kernel": FIGURES}) == []
    assert aot.broken_claims(case, {"a_kernel": unset}) == ["a_kernel reads UR22 before it is set"]
    assert aot.budget(unset) == aot.budget(FIGURES)


@pytest.mark.parametrize(
    ("worse", "words"),
    [
        ({"registers": 41}, "registers 41 > 40"),
        ({"spills": 1}, "spills 1 > 0"),
        ({"shared": 8193}, "shared 8193 > 8192"),
        ({"narrow_loads": 2}, "narrow_loads 2 > 1"),
        ({"narrow_stores": 1}, "narrow_stores 1 > 0"),
        ({"wide_loads": 0}, "no wide loads"),
        ({"wide_stores": 0}, "no wide stores"),
        ({"tensor_core_instructions": 0}, "no tensor cores"),
    ],
)
def test_each_bound_holds(worse, words):
    assert aot.over_budget(FIGURES, aot.budget(FIGURES)) == []
    assert aot.over_budget(replace(FIGURES, **worse), aot.budget(FIGURES)) == [words]


def test_a_launch_outside_is_no_compilation():
    run = triton.runtime.jit.JITFunction.run
    with aot.compiling("sm_90"):
        assert triton.runtime.jit.JITFunction.run is not run
    assert triton.runtime.jit.JITFunction.run is run


@pytest.mark.parametrize("group", aot.groups())
def test_every_hot_case_has_budgets_and_every_budget_a_case(group):
    budgets = {name: set(targets) for name, targets in aot.read_budgets(group).items()}
    cases = {case.name: case for case in aot.cases(group)}
    assert set(budgets) <= set(cases)
    missing = [name for name, case in cases.items() if case.hot and budgets.get(name) != set(aot.TARGETS)]
    assert not missing, f"write them with `aot.py --only {group}/ --write`"


@pytest.mark.parametrize("group", aot.groups())
def test_committed_budgets_keep_the_claims(group):
    cases = {case.name: case for case in aot.cases(group)}
    for name, targets in aot.read_budgets(group).items():
        case = cases[name]
        for target, kernels in targets.items():
            assert not case.hot or not any(bounds["spills"] for bounds in kernels.values()), (name, target)
            assert not case.wide or any(bounds["wide_loads"] for bounds in kernels.values()), (name, target)
            assert not case.tensor_cores or any(bounds["tensor_cores"] for bounds in kernels.values()), (name, target)


def test_ci_compiles_no_more_than_it_has_time_for():
    hot = [(group, case.name) for group in aot.groups() for case in aot.cases(group) if case.hot]
    compiles = sum(len(kernels) for group, name in hot for kernels in aot.read_budgets(group)[name].values())
    assert 0 < compiles <= aot.CI_COMPILES


def test_the_file_of_budgets_is_read_as_it_was_written(tmp_path, monkeypatch):
    budgets = {
        "norm": {"sm_80": {"a_kernel": aot.budget(FIGURES)}, "sm_90": {"a_kernel": aot.budget(FIGURES), "b_kernel#2": {"spills": 0}}}
    }
    (tmp_path / "norm.json").write_text(aot.one_kernel_a_line(budgets))
    monkeypatch.setattr(aot, "budget_file", lambda group: tmp_path / f"{group}.json")
    assert aot.read_budgets("norm") == budgets
    assert len(json.loads((tmp_path / "norm.json").read_text())) == 3
