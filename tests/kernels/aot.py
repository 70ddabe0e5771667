"""Compiles the Triton kernels for GPUs that this machine does not have, reads the machine code and holds it to committed budgets.

    python tests/kernels/aot.py                     # the hot cases, for each target, against budgets/*.json; exit status 1 if one is exceeded
    python tests/kernels/aot.py --full              # every case
    python tests/kernels/aot.py --full --write      # after a deliberate change: write the budgets anew (the claims below still hold)
    python tests/kernels/aot.py --only norm_select --targets sm_90 --show    # what the compiler made of some

A case is a call of a kernel's own wrapper with tensors on torch's meta device: what the wrapper would launch is compiled under a driver
that only pretends, with the wrapper's own blocks, warps and flags, so budgets hold what users get. Other files add cases: each
`aot_<name>.py` in this folder has a list CASES, and its budgets lie in `budgets/<name>.json`.

Budgets are upper bounds: registers (of one thread), spills (instructions that touch local memory), shared memory (bytes), loads and stores
of global memory narrower than 128 bit (instructions). Where wide loads, wide stores or tensor-core instructions were found they must stay.
No budget allows a register that is read before it is set: `unset_reads` finds them for NVIDIA's targets.
Never in one process with the interpreter: TRITON_INTERPRET must not be set.
"""

import argparse
import collections
import concurrent.futures
import contextlib
import importlib
import json
import multiprocessing
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
import triton
from triton.backends.compiler import GPUTarget
from triton.runtime import autotuner, driver, jit

HERE = Path(__file__).parent
TARGETS = {
    "sm_80": GPUTarget("cuda", 80, 32),
    "sm_90": GPUTarget("cuda", 90, 32),
    "sm_100": GPUTarget("cuda", 100, 32),
    "gfx942": GPUTarget("hip", "gfx942", 64),
}
CI_COMPILES = 300  # at most so many in all: minutes on two cores


@dataclass(frozen=True)
class Case:
    """One call to compile.

    Args:
        name: op, model or shape, dtype and what else tells it from the others, without spaces: "norm_select-llama3.2-1b-bf16".
        call: calls a wrapper of kernels/ with tensors made by `meta`; all that it launches is compiled.
        hot: compiled in CI as well, and must not spill.
        tensor_cores: at least one of its kernels must hold tensor-core instructions.
        wide: at least one of its kernels must load 128 bit at a time.
    """

    name: str
    call: Callable[[], object]
    hot: bool = True
    tensor_cores: bool = False
    wide: bool = True


@dataclass(frozen=True)
class Figures:
    """What the machine code of one kernel says: registers of a thread, instructions that spill, bytes of shared memory, accesses by width,
    and what it reads before it is set (`unset_reads`)."""

    registers: int
    spills: int
    shared: int
    narrow_loads: int
    narrow_stores: int
    wide_loads: int
    wide_stores: int
    tensor_core_instructions: int
    unset_reads: tuple[str, ...] = ()


def meta(*shape: int, dtype: torch.dtype = torch.bfloat16, unaligned: bool = False) -> torch.Tensor:
    """A tensor without memory for the compiler; `unaligned`: its address is one element past a multiple of 16 bytes."""
    if not unaligned:
        return torch.empty(shape, dtype=dtype, device="meta")
    size = torch.Size(shape).numel()
    return torch.empty(size + 1, dtype=dtype, device="meta")[1:].view(shape)


class PretendedDriver:
    """Enough of a driver for a compilation: it says what to compile for, and has nothing to launch on."""

    def __init__(self, target: GPUTarget):
        self.target = target

    def get_current_target(self) -> GPUTarget:
        return self.target

    def get_current_device(self) -> int:
        return 0

    def get_current_stream(self, device=None) -> int:
        return 0

    def get_active_torch_device(self) -> torch.device:
        return torch.device("meta")


@contextlib.contextmanager
def compiling(target: str) -> Iterator[list]:
    """Inside, a launch compiles for `target` instead; gives the list of (kernel's name, compiled kernel)."""
    compiled: list = []
    seen: set[int] = set()
    jit_run, autotuner_run = jit.JITFunction.run, autotuner.Autotuner.run

    def compile_only(self, *args, grid, warmup, **kwargs):
        if id(self) not in seen:  # compiled kernels are kept by device, and each target is device 0
            seen.add(id(self))
            self.device_caches.clear()
        kernel = jit_run(self, *args, grid=grid, warmup=True, **kwargs)
        compiled.append((self.fn.__name__, kernel))
        return kernel

    def compile_each(self, *args, **kwargs):
        self.nargs = dict(zip(self.arg_names, args, strict=False))
        for config in self.prune_configs(kwargs):
            self.fn.run(*args, **kwargs, **config.all_kwargs())

    before = driver._active  # the public property would look for a GPU
    driver.set_active(PretendedDriver(TARGETS[target]))
    jit.JITFunction.run, autotuner.Autotuner.run = compile_only, compile_each
    try:
        yield compiled
    finally:
        jit.JITFunction.run, autotuner.Autotuner.run = jit_run, autotuner_run
        driver._active = before


# --- reading machine code ---------------------------------------------------------------------------------------------

_SASS_OPCODE = re.compile(r"^\s*(?:/\*[0-9a-f]+\*/)?\s*(?:@!?U?P\w+\s+)?([A-Z][A-Z0-9_]*(?:\.[A-Za-z0-9_]+)*)\s", re.M)
_SASS_LINE = re.compile(r"^\s*/\*([0-9a-f]+)\*/\s+(?:@!?U?P\w+\s+)?([A-Z][\w.]*)\s*([^;]*);", re.M)
_PREDICATE = re.compile(r"!?U?P(?:\d+|T|R)$")
_READS_ITS_FIRST = re.compile(r"\w*SETP$|UR2UP$|U?PLOP3$|BRXU?$|JMXU?$|BAR$|WARPSYNC$|NANOSLEEP$")  # opcodes with no uniform destination
_SETS_TWO = re.compile(r"\.(64|WIDE)(\.|$)")
_SETS_FOUR = re.compile(r"\.128(\.|$)")
_NVIDIA_TOOLS = Path(triton.__file__).parent / "backends" / "nvidia" / "bin"


def figures(kernel, target: str) -> Figures:
    """Read a compiled kernel."""
    read = _figures_of_hsaco if target.startswith("gfx") else _figures_of_cubin
    return read(kernel)


def _figures_of_cubin(kernel) -> Figures:
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(kernel.asm["cubin"])
        file.flush()
        usage = _output(_NVIDIA_TOOLS / "cuobjdump", "-res-usage", file.name)
        sass = _output(_NVIDIA_TOOLS / "nvdisasm", "-c", file.name)
    registers = re.search(r"REG:(\d+)", usage)
    if registers is None or "EXIT" not in sass:
        raise RuntimeError(f"the disassembler gave no code for {kernel.metadata.name}: {usage[-300:]} {sass[-300:]}")
    count: collections.Counter[str] = collections.Counter()
    for opcode in _SASS_OPCODE.findall(sass):
        head = opcode.partition(".")[0]
        wide = re.search(r"\.(128|256)\b", opcode) is not None
        if head in ("LDG", "LDGSTS", "LD"):
            count["wide_loads" if wide else "narrow_loads"] += 1
        elif head in ("STG", "ST"):
            count["wide_stores" if wide else "narrow_stores"] += 1
        elif head in ("UTMALDG", "UBLKCP"):
            count["wide_loads"] += 1
        elif head == "UTMASTG":
            count["wide_stores"] += 1
        elif head in ("LDL", "STL"):
            count["spills"] += 1
        elif "MMA" in head:
            count["tensor_core_instructions"] += 1
    return _figures(count, int(registers.group(1)), kernel.metadata.shared, unset_reads(sass))


def unset_reads(sass: str) -> tuple[str, ...]:
    """The uniform registers that code for an NVIDIA GPU reads before any instruction above has set them, each in words.

    ptxas 12.8, which Triton 3.6 and 3.7 bring along, leaves such registers in some kernels for sm_90: on an H100 they were an illegal read
    of shared memory or a silently wrong result. Order is that of the text, because in a loop the faulty instruction sets its own register.
    """
    known: set[int] = set()
    wrong: dict[int, str] = {}
    for address, opcode, operands in _SASS_LINE.findall(sass):
        head = opcode.partition(".")[0]
        parts = [part.strip() for part in operands.split(",")]
        first = next((at for at, part in enumerate(parts) if not _PREDICATE.match(part)), None)
        own = re.fullmatch(r"UR(\d+)", parts[first]) if first is not None and not _READS_ITS_FIRST.match(head) else None
        for at, part in enumerate(parts):
            # a product with rows in registers reads half of its gdesc alone, so the other half may be unset
            if (own is not None and at == first) or (head == "HGMMA" and "gdesc" in part):
                continue
            for register in map(int, re.findall(r"\bUR(\d+)", part)):
                if register not in known and register not in wrong:
                    wrong[register] = (
                        f"reads UR{register} before it is set (at {address}, {opcode}): a fault of ptxas; give it another form"
                    )
        if own is not None:
            width = 4 if _SETS_FOUR.search(opcode) else 2 if _SETS_TWO.search(opcode) else 1
            known |= set(range(int(own[1]), int(own[1]) + width))
    return tuple(wrong.values())


def _figures_of_hsaco(kernel) -> Figures:
    assembly = kernel.asm["amdgcn"]

    def number(name: str) -> int:
        match = re.search(rf"\.{name}:\s*(\d+)", assembly)
        return int(match.group(1)) if match else 0

    count: collections.Counter[str] = collections.Counter()
    for kind, width in re.findall(r"\b(?:global|buffer|flat)_(load|store)_(\w+)", assembly):
        wide = width.startswith(("dwordx4", "b128", "lds_dwordx4"))
        count[f"{'wide' if wide else 'narrow'}_{kind}s"] += 1
    count["spills"] = number("vgpr_spill_count")  # scalar registers spill to vector registers, not to memory
    count["tensor_core_instructions"] = len(re.findall(r"v_s?mf", assembly))
    return _figures(count, number("vgpr_count"), kernel.metadata.shared)


def _figures(count: collections.Counter[str], registers: int, shared: int, unset: tuple[str, ...] = ()) -> Figures:
    rest = ("spills", "narrow_loads", "narrow_stores", "wide_loads", "wide_stores", "tensor_core_instructions")
    return Figures(registers=registers, shared=shared, unset_reads=unset, **{name: count[name] for name in rest})


def _output(*command: object) -> str:
    ran = subprocess.run([str(part) for part in command], capture_output=True, text=True)
    return ran.stdout + ran.stderr


# --- cases and budgets ------------------------------------------------------------------------------------------------


def groups() -> list[str]:
    """The names of the case files."""
    return sorted(file.stem.removeprefix("aot_") for file in HERE.glob("aot_*.py"))


def cases(group: str) -> list[Case]:
    """The cases of aot_<group>.py; ValueError if two have one name."""
    own_cases = importlib.import_module(f"aot_{group}").CASES
    names = collections.Counter(case.name for case in own_cases)
    twice = [name for name, times in names.items() if times > 1]
    if twice:
        raise ValueError(f"aot_{group}.py: {', '.join(twice)} names two cases; budgets are kept by name.")
    return own_cases


def budget_file(group: str) -> Path:
    return HERE / "budgets" / f"{group}.json"


def budget(figures: Figures) -> dict[str, int | bool]:
    """What is written for a kernel: its figures as bounds; registers in steps of 8, as the hardware hands them out."""
    return {
        "registers": -(-figures.registers // 8) * 8,
        "spills": figures.spills,
        "shared": figures.shared,
        "narrow_loads": figures.narrow_loads,
        "narrow_stores": figures.narrow_stores,
        "wide_loads": figures.wide_loads > 0,
        "wide_stores": figures.wide_stores > 0,
        "tensor_cores": figures.tensor_core_instructions > 0,
    }


def over_budget(figures: Figures, bounds: dict[str, int | bool]) -> list[str]:
    """What exceeds the bounds, in words; empty if nothing does."""
    upper = ("registers", "spills", "shared", "narrow_loads", "narrow_stores")
    wrong = [f"{name} {getattr(figures, name)} > {bounds[name]}" for name in upper if getattr(figures, name) > bounds[name]]
    here = {"wide_loads": figures.wide_loads, "wide_stores": figures.wide_stores, "tensor_cores": figures.tensor_core_instructions}
    return wrong + [f"no {name.replace('_', ' ')}" for name, number in here.items() if bounds[name] and not number]


def broken_claims(case: Case, kernels: dict[str, Figures]) -> list[str]:
    """What the case claims, or every case must hold, and its kernels do not, in words."""
    wrong = [f"{name} {fault}" for name, one in kernels.items() for fault in one.unset_reads]
    wrong += [f"{name} is hot and spills ({one.spills} instructions)" for name, one in kernels.items() if case.hot and one.spills]
    if case.wide and not any(one.wide_loads for one in kernels.values()):
        wrong.append("no kernel loads 128 bit at a time")
    if case.tensor_cores and not any(one.tensor_core_instructions for one in kernels.values()):
        wrong.append("no kernel uses tensor cores")
    return wrong


def compile_case(group: str, name: str, target: str) -> tuple[dict[str, Figures], float]:
    """Figures of each kernel that the case launches, by the kernel's name (name#2 for a second form), and the seconds it took."""
    start = time.perf_counter()
    case = next(case for case in cases(group) if case.name == name)
    with compiling(target) as compiled:
        case.call()
    kernels: dict[str, Figures] = {}
    done: dict[str, str] = {}
    for kernel_name, kernel in compiled:
        if kernel.hash in done:
            continue
        same = sum(one == kernel_name for one in done.values())
        done[kernel.hash] = kernel_name
        kernels[f"{kernel_name}#{same + 1}" if same else kernel_name] = figures(kernel, target)
    if not kernels:
        raise RuntimeError(f"{group}: {name} launched nothing.")
    return kernels, time.perf_counter() - start


def one_kernel_a_line(budgets: dict) -> str:
    lines = [
        f"  {json.dumps(f'{name} {target} {kernel}')}: {json.dumps(bounds)}"
        for name, targets in budgets.items()
        for target, kernels in sorted(targets.items())
        for kernel, bounds in kernels.items()
    ]
    return "{\n" + ",\n".join(lines) + "\n}\n"


def read_budgets(group: str) -> dict[str, dict[str, dict[str, dict]]]:
    """Bounds by case, target and kernel; empty where none were written yet."""
    file = budget_file(group)
    budgets: dict[str, dict[str, dict[str, dict]]] = {}
    for key, bounds in (json.loads(file.read_text()) if file.exists() else {}).items():
        name, target, kernel = key.split()
        budgets.setdefault(name, {}).setdefault(target, {})[kernel] = bounds
    return budgets


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--full", action="store_true", help="every case, not only the hot ones")
    parser.add_argument("--write", action="store_true", help="write the budgets of what is compiled")
    parser.add_argument("--show", action="store_true", help="print the figures")
    parser.add_argument("--only", default="", metavar="PART", help="cases with PART in group/name")
    parser.add_argument("--targets", default=",".join(TARGETS), metavar="A,B")
    parser.add_argument("--jobs", type=int, default=2, help="processes")
    options = parser.parse_args()
    chosen = options.targets.split(",")
    unknown = sorted(set(chosen) - set(TARGETS))
    if unknown:
        parser.error(f"unknown target {', '.join(unknown)}; known: {', '.join(TARGETS)}.")
    jobs = [
        (group, case, target)
        for group in groups()
        for case in cases(group)
        for target in chosen
        if (options.full or case.hot) and options.only in f"{group}/{case.name}"
    ]
    if not jobs:
        parser.error(f"no case has {options.only!r} in its name.")
    budgets = {group: read_budgets(group) for group in groups()}
    wrong: list[str] = []
    compiles = 0
    start = time.perf_counter()
    with concurrent.futures.ProcessPoolExecutor(options.jobs, mp_context=multiprocessing.get_context("spawn")) as pool:
        running = [pool.submit(compile_case, group, case.name, target) for group, case, target in jobs]
        for (group, case, target), one in zip(jobs, running, strict=True):
            place = f"{group}/{case.name} {target}"
            try:
                kernels, seconds = one.result()
            except Exception as error:  # the compiler's errors have no class in common; the others still run
                wrong.append(f"{place}: {type(error).__name__}: {str(error).strip()[-500:]}")
                continue
            compiles += len(kernels)
            wrong += [f"{place}: {claim}" for claim in broken_claims(case, kernels)]
            bounds = budgets[group].setdefault(case.name, {})
            if options.write:
                bounds[target] = {name: budget(figures) for name, figures in kernels.items()}
            for name, figures in kernels.items():
                if options.show:
                    print(f"{place} {name} {seconds:.1f} s {asdict(figures)}", flush=True)
                if name not in bounds.get(target, {}):
                    wrong.append(f"{place}: {name} has no budget; write it with --write.")
                else:
                    wrong += [f"{place}: {name}: {excess}" for excess in over_budget(figures, bounds[target][name])]
    if options.write:
        for group in {group for group, _, _ in jobs}:
            known = [case.name for case in cases(group)]
            kept = {name: budgets[group][name] for name in known if name in budgets[group]}
            budget_file(group).parent.mkdir(exist_ok=True)
            budget_file(group).write_text(one_kernel_a_line(kept))
    print("\n".join(wrong))
    print(
        f"{compiles} compiles of {len(jobs)} calls in {time.perf_counter() - start:.0f} s by triton {triton.__version__}; {len(wrong)} wrong"
    )
    if not options.full and compiles > CI_COMPILES:
        print(f"{compiles} compiles are more than the {CI_COMPILES} that CI has time for; make some cases not hot.")
        return 1
    return 1 if wrong else 0


if __name__ == "__main__":
    if os.environ.get("TRITON_INTERPRET", "0") not in ("", "0"):
        sys.exit("error: TRITON_INTERPRET is set; the compiler needs a process without it.")
    sys.path[:0] = [str(HERE.parents[1])] if str(HERE.parents[1]) not in sys.path else []  # pydisp of this checkout
    sys.exit(main())
