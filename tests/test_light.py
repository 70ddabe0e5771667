"""`import pydisp` and `pydisp --help` load nothing heavy, and pydisp_* models load through Auto* all the same."""

import subprocess
import sys

HEAVY = ("torch", "transformers", "numpy", "scipy", "matplotlib", "triton", "datasets", "peft", "lm_eval")


def modules_after(code: str) -> set[str]:
    code = f"{code}\nimport sys; print('MODULES', *sorted(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(done.stdout.split("MODULES")[1].split())


def test_import_pydisp_loads_nothing_heavy():
    assert not modules_after("import pydisp") & set(HEAVY)


def test_import_pydisp_over_torch_loads_no_family_and_no_method():
    loaded = modules_after("import torch, pydisp")
    assert not loaded & (set(HEAVY) - {"torch", "numpy"}), loaded & set(HEAVY)
    assert {m for m in loaded if m.startswith("pydisp")} == {"pydisp", "pydisp.registration"}


def test_help_loads_no_torch():
    code = "import sys; from pydisp.cli import app\ntry: app(['--help'])\nexcept SystemExit: pass"
    assert not modules_after(code) & set(HEAVY)
    assert not modules_after(code.replace("['--help']", "['prune', '--help']")) & set(HEAVY)


def test_families_are_made_on_first_use():
    code = "import pydisp\nfrom transformers import AutoConfig\nassert 'pydisp_llama' in AutoConfig.__init__.__globals__['CONFIG_MAPPING']"
    assert not {m for m in modules_after(code) if m.startswith("transformers.models.llama.modeling")}
    used = modules_after("import pydisp\nfrom transformers import AutoConfig\nprint(type(AutoConfig.for_model('pydisp_llama')).__name__)")
    assert "pydisp.modeling" in used and "transformers.models.llama.modeling_llama" in used


def test_registration_also_works_when_transformers_came_first():
    code = "from transformers import AutoConfig\nimport pydisp\nassert AutoConfig.for_model('pydisp_opt').model_type == 'pydisp_opt'"
    assert "pydisp.modeling" in modules_after(code)
