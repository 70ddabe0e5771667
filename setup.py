"""Builds csrc/ into pydisp/_native.so on torch's stable ABI when torch is there, and puts kernels/ into the wheel as pydisp.kernels.

torch is never imported and never downloaded. It is looked up in PYDISP_TORCH_DIR (the folder `torch` of a site-packages), else in the
site-packages of the interpreter that builds. Under build isolation, pip still shows the packages of the target environment, but `python -m
build` and `uv` do not; for these give PYDISP_TORCH_DIR or --no-build-isolation. Without torch or a compiler the wheel is pure Python; with
PYDISP_REQUIRE_NATIVE=1 that is an error.
"""

import os
import platform
import shlex
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from setuptools import setup
from setuptools.command.bdist_wheel import bdist_wheel
from setuptools.command.build_py import build_py

NATIVE = Path("pydisp", "_native.so")
STABLE_HEADER = Path("include", "torch", "csrc", "stable", "library.h")
# The two math flags change no result; without them the float16 conversions stay scalar (2 times slower).
COMPILER_FLAGS = ["-O3", "-std=c++20", "-fno-trapping-math", "-fno-math-errno", "-fPIC", "-fvisibility=hidden"]
COMPILER_FLAGS += ["-DTORCH_TARGET_VERSION=0x020a000000000000"]  # torch 2.10, the oldest version that works
# Each csrc/*_isa.cpp is compiled once for every instruction set of the processor family; csrc/dispatch.cpp picks one at run time.
ISA_FLAGS = {"generic": []}
if platform.machine() in ("x86_64", "AMD64"):
    ISA_FLAGS["avx2"] = ["-mavx2", "-mfma", "-mf16c"]
    ISA_FLAGS["avx512"] = [*ISA_FLAGS["avx2"], *(f"-mavx512{part}" for part in ("f", "bw", "vl", "dq")), "-mprefer-vector-width=512"]
    ISA_FLAGS["avx512bf16"] = [*ISA_FLAGS["avx512"], "-mavx512bf16", "-mavx512vbmi2"]


class NotBuilt(Exception):
    """The reason why there is no native library, as the end of a sentence."""


def torch_dir() -> Path:
    """The folder of the torch to build against; NotBuilt if there is none with the stable ABI's headers."""
    given = os.environ.get("PYDISP_TORCH_DIR")
    if given:
        if not (Path(given) / STABLE_HEADER).is_file():
            sys.exit(f"error: PYDISP_TORCH_DIR={given} has no {STABLE_HEADER}; name the folder `torch` of a site-packages, torch >= 2.10.")
        return Path(given)
    for folder in dict.fromkeys([sysconfig.get_path("platlib"), sysconfig.get_path("purelib"), *sys.path]):
        if folder and (Path(folder, "torch") / STABLE_HEADER).is_file():
            return Path(folder, "torch")
    raise NotBuilt("torch >= 2.10 is not in this environment (PYDISP_TORCH_DIR names it elsewhere)")


def compile_native(out: Path) -> None:
    """Compile csrc/ into `out`. Raises NotBuilt, with the reason, if that fails.

    Objects are put into a temporary folder, or into PYDISP_BUILD_DIR; there, an object newer than its source and all headers is reused.
    MAX_JOBS, as in torch's own builds, limits how many compilers run at once.
    """
    if sys.platform == "win32":
        raise NotBuilt("csrc/ is not built on Windows yet")
    torch = torch_dir()
    compiler = shlex.split(os.environ.get("CXX") or "c++")
    if shutil.which(compiler[0]) is None:
        raise NotBuilt(f"there is no C++ compiler {compiler[0]!r} (CXX names another)")
    out.parent.mkdir(parents=True, exist_ok=True)
    command = [*compiler, *COMPILER_FLAGS, "-isystem", f"{torch}/include"]
    with tempfile.TemporaryDirectory() as temporary:
        build = Path(os.environ.get("PYDISP_BUILD_DIR") or temporary)
        build.mkdir(parents=True, exist_ok=True)
        newest_header = max(path.stat().st_mtime for path in [*Path("csrc").glob("*.h"), Path(__file__)])
        objects, stale = [], []
        for source in sorted(Path("csrc").glob("*.cpp")):
            for isa, flags in ISA_FLAGS.items() if source.stem.endswith("_isa") else [("generic", [])]:
                made = build / f"{source.stem}.{isa}.o"
                objects.append(str(made))
                if not made.is_file() or made.stat().st_mtime < max(newest_header, source.stat().st_mtime):
                    stale.append([*command, *flags, f"-DPYDISP_ISA={isa}", "-c", str(source), "-o", str(made)])
        jobs = os.environ.get("MAX_JOBS", "")
        with ThreadPoolExecutor(int(jobs) if jobs.isdecimal() and int(jobs) else os.cpu_count()) as pool:
            list(pool.map(_run, stale))
        _run([*compiler, "-shared", *objects, "-o", str(out), f"-L{torch}/lib", "-ltorch_cpu"])


def _run(command: list[str]) -> None:
    print(shlex.join(command), flush=True)
    run = subprocess.run(command, stderr=subprocess.PIPE, text=True)
    if run.returncode:
        print(run.stderr, file=sys.stderr)
        raise NotBuilt(f"{command[0]} failed with exit status {run.returncode}")


class BuildPy(build_py):
    """Also compiles csrc/ and copies kernels/; an editable install gets the library beside the sources and reads kernels/ in place."""

    def run(self):
        root = Path() if self.editable_mode else Path(self.build_lib)
        if not self.editable_mode:  # files of an earlier build would get into this wheel
            shutil.rmtree(root / "pydisp", ignore_errors=True)
        (root / NATIVE).unlink(missing_ok=True)
        super().run()
        if not self.editable_mode:
            for kernel in sorted(Path("kernels").glob("*.py")):
                self.copy_file(str(kernel), str(root / "pydisp" / "kernels" / kernel.name))
        try:
            compile_native(root / NATIVE)
        except NotBuilt as why:
            if os.environ.get("PYDISP_REQUIRE_NATIVE", "0") not in ("", "0"):
                sys.exit(f"error: PYDISP_REQUIRE_NATIVE is set, but the C++ ops cannot be built: {why}.")
            print(f"warning: the C++ ops of pydisp are not built, plain torch serves: {why}.", file=sys.stderr, flush=True)


class BdistWheel(bdist_wheel):
    """A wheel with the library works for any Python 3 on this platform; one without it works on any platform."""

    def run(self):
        self.run_command("build")
        if self._has_native():
            self.root_is_pure = False
            self.distribution.has_ext_modules = lambda: True  # so that the files go where the wheel's root says: platlib
        super().run()

    def get_tag(self):
        platform = sysconfig.get_platform().replace("-", "_").replace(".", "_") if self._has_native() else "any"
        return "py3", "none", platform

    def _has_native(self) -> bool:
        return Path(self.get_finalized_command("build").build_lib, NATIVE).is_file()


if __name__ == "__main__":
    setup(cmdclass={"build_py": BuildPy, "bdist_wheel": BdistWheel})
