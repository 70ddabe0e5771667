"""The C++ kernels without torch, for every instruction set: under the sanitizers, AVX-512 spelt out by SIMDe where the processor lacks it;
NEON cross-compiled, optimized and under qemu.

Each <name>.cpp of this folder is a program that checks csrc/<name>.h against plain loops, on buffers of exactly their size.
Debian's g++-aarch64-linux-gnu, qemu-user and libsimde-dev serve the last two; without them those cases are skipped.
"""

import platform
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest

FOLDER = Path(__file__).parent
CSRC = FOLDER.parents[1] / "csrc"
FLAGS = ["-std=c++20", "-fno-trapping-math", "-fno-math-errno", "-Wall", "-Wextra", "-Werror", "-Wno-psabi", "-Wno-unknown-pragmas"]
# Unoptimized: every access is checked as it is written, and the compiler takes a third of the time that -O1 -g does with its always_inline
# tiles. What optimization breaks shows in the NEON programs (-O2) and in the ops' own tests (-O3).
SANITIZED = ["-O0", "-fsanitize=address,undefined", "-fno-sanitize-recover=all"]
AVX2 = ["-mavx2", "-mfma", "-mf16c"]
AVX512 = [*AVX2, "-mavx512f", "-mavx512bw", "-mavx512vl", "-mavx512dq"]
ISAS = ["generic", "avx2", "avx512", "avx512bf16", "neon"]
PROGRAMS = sorted(path.stem for path in FOLDER.glob("*.cpp"))


def has(*flags: str) -> bool:
    """Whether this processor has the instruction sets `flags`, as Linux names them."""
    try:
        return set(flags) <= set(Path("/proc/cpuinfo").read_text().split())
    except OSError:
        return False


def toolchain(isa: str) -> tuple[list[str], list[str]]:
    """Compiler with its flags, and what runs the program; skips what this machine cannot do."""
    if isa == "neon":
        if platform.machine() == "aarch64":
            return ["c++", *SANITIZED, "-DPYDISP_ISA=generic"], []
        compiler, runner = shutil.which("aarch64-linux-gnu-g++"), shutil.which("qemu-aarch64")
        if not (compiler and runner):
            pytest.skip("needs g++-aarch64-linux-gnu and qemu-user")
        return [compiler, "-O2", "-static", "-DPYDISP_ISA=generic"], [runner]
    if shutil.which("c++") is None:
        pytest.skip("needs a C++ compiler")
    if isa == "generic":
        return ["c++", *SANITIZED, "-DPYDISP_ISA=generic"], []
    if not has("avx2", "fma", "f16c"):
        pytest.skip("this processor has no AVX2")
    if isa == "avx2":
        return ["c++", *SANITIZED, *AVX2, "-DPYDISP_ISA=avx2"], []
    has_avx512 = has("avx512f", "avx512bw", "avx512vl", "avx512dq")
    if isa == "avx512bf16":
        if not (has_avx512 and has("avx512_bf16", "avx512_vbmi2")):
            pytest.skip("this processor has not both AVX-512's bfloat16 instructions and VBMI2")
        return ["c++", *SANITIZED, *AVX512, "-mavx512bf16", "-mavx512vbmi2", "-DPYDISP_ISA=avx512bf16"], []
    if has_avx512:
        return ["c++", *SANITIZED, *AVX512, "-DPYDISP_ISA=avx512"], []
    if not Path("/usr/include/simde").is_dir():
        pytest.skip("this processor has no AVX-512; to spell it out, libsimde-dev is needed")
    return ["c++", *SANITIZED, *AVX2, "-DPYDISP_ISA=avx512", "-DPYDISP_SIMULATE_AVX512"], []


def run(name: str, isa: str, tmp_path: Path) -> subprocess.CompletedProcess:
    """Compile <name>.cpp with its kernels for `isa` and run it."""
    compiler, runner = toolchain(isa)
    kernels = CSRC / f"{name}_isa.cpp"
    sources = [str(FOLDER / f"{name}.cpp"), *([str(kernels)] if kernels.is_file() else [])]
    command = [*compiler, *FLAGS, *sources, "-o", str(tmp_path / name)]
    built = subprocess.run(command, capture_output=True, text=True)
    assert built.returncode == 0, f"{shlex.join(command)}\n{built.stderr[-4000:]}"
    return subprocess.run([*runner, str(tmp_path / name)], capture_output=True, text=True, timeout=300)


# avx512bf16 changes these two; the others are compiled from the same lines as for avx512
OWN = ("junction", "product")


@pytest.mark.parametrize(("name", "isa"), [(name, isa) for name in PROGRAMS for isa in ISAS if isa != "avx512bf16" or name in OWN])
def test_kernels_alone(name, isa, tmp_path):
    ran = run(name, isa, tmp_path)
    assert ran.returncode == 0, ran.stdout + ran.stderr[-4000:]


def test_every_kernel_has_a_program():
    assert {path.name.removesuffix("_isa.cpp") for path in CSRC.glob("*_isa.cpp")} <= set(PROGRAMS)


@pytest.mark.parametrize(
    ("mistake", "message"),
    [
        ("auto values = exactly<float>(3); return load(values.get())[0] > 0;", "heap-buffer-overflow"),
        ("return 0x7fffffff + count;", "signed integer overflow"),
    ],
    ids=["address", "undefined"],
)
def test_the_sanitizers_see_a_mistake(mistake, message, tmp_path):
    source = tmp_path / "mistake.cpp"
    includes = f'#include "{CSRC}/simd.h"\n#include "{FOLDER}/check.h"\nusing namespace pydisp::PYDISP_ISA;\n'
    source.write_text(f"{includes}int main(int count, char**) {{ (void)count; {mistake} }}\n")
    compiler, _ = toolchain("avx2" if has("avx2", "fma", "f16c") else "generic")
    subprocess.run([*compiler, *FLAGS, str(source), "-o", str(tmp_path / "mistake")], check=True)
    ran = subprocess.run([tmp_path / "mistake"], capture_output=True, text=True)
    assert ran.returncode != 0 and message in ran.stderr
