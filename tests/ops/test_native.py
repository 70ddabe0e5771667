import os
import subprocess
import sys
from pathlib import Path

import pytest

from pydisp.ops import native

pytestmark = pytest.mark.skipif(not native.is_loaded(), reason="the C++ ops are not built")
# what Linux calls that which each set needs more than the one before it
NEEDED = {
    "generic": (),
    "avx2": ("avx2", "fma", "f16c"),
    "avx512": ("avx512f", "avx512bw", "avx512vl", "avx512dq"),
    "avx512bf16": ("avx512_bf16", "avx512_vbmi2"),
}


def in_a_fresh_process(wanted: str | None) -> subprocess.CompletedProcess:
    """The set in use there, on standard output."""
    environment = {name: value for name, value in os.environ.items() if name != "PYDISP_CPU_ISA"}
    environment["PYTHONPATH"] = str(Path(native.__file__).parents[2])
    if wanted:
        environment["PYDISP_CPU_ISA"] = wanted
    script = "from pydisp.ops import native; print(native.instruction_set())"
    return subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=True)


def test_the_newest_set_of_the_processor_serves():
    try:
        flags = set(Path("/proc/cpuinfo").read_text().split())
    except OSError:
        pytest.skip("the system does not say what the processor has")
    expected = []
    for name, needed in NEEDED.items():
        if not set(needed) <= flags:
            break
        expected.append(name)
    assert native.instruction_sets() == expected
    assert in_a_fresh_process(None).stdout.split() == expected[-1:]


def test_a_set_is_asked_for():
    for name in native.instruction_sets():
        assert in_a_fresh_process(name).stdout.split() == [name]
    refused = in_a_fresh_process("avx1024")
    assert refused.stdout.split() == native.instruction_sets()[-1:] and "avx1024 is not a set" in refused.stderr


def test_a_set_that_cannot_run_is_refused():
    with pytest.raises(ValueError, match="instruction set 'avx1024' cannot run here; choose among: generic"):
        native.use_instruction_set("avx1024")
