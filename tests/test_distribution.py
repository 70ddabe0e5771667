"""The name to install is pydisp-llm everywhere: PyPI's `pydisp` is somebody else's."""

import re
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from families import random_plan
from tiny_text import tiny_llama

from pydisp import distribution
from pydisp.distribution import DISTRIBUTION, INSTALL, install_command
from pydisp.spec import ModelSpec
from pydisp.surgery import prune_model

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def test_the_project_bears_the_name():
    assert PROJECT["name"] == DISTRIBUTION and DISTRIBUTION in INSTALL


def test_the_packages_of_an_extra_are_named(monkeypatch):
    """So the command is right in a checkout too, where no index has pydisp; and it does not compile again."""
    used = {extra for path in ROOT.glob("pydisp/**/*.py") for extra in re.findall(r"install_command\(['\"](\w+)['\"]\)", path.read_text())}
    assert {"gguf", "eval", "onnx"} <= used
    for extra in used:
        assert shlex.split(install_command(extra)) == ["pip", "install", *PROJECT["optional-dependencies"][extra]]
    monkeypatch.setattr(
        distribution.metadata, "requires", lambda name: [f'{name}[bench]; extra == "gguff"', "torch>=2", 'a>=1; extra == "other"']
    )
    assert install_command("gguf") == "pip install '.[gguf]' in a checkout"

    def absent(name):
        raise distribution.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(distribution.metadata, "requires", absent)
    assert install_command("gguf") == "pip install '.[gguf]' in a checkout"


def test_nobody_is_sent_to_the_other_pydisp():
    files = [ROOT / "README.md", ROOT / "pyproject.toml", ROOT / "setup.py", *ROOT.glob("docs/**/*.md"), *ROOT.glob("pydisp/**/*.py")]
    wrong = re.compile(r"""(install|download)\s+(-\S+\s+)*['"]?pydisp(?!-llm)|['"]pydisp\[""")
    assert not {str(path): lines for path in files if (lines := wrong.findall(path.read_text())) and path.name != "distribution.py"}


@pytest.fixture(scope="module")
def pruned(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pruned")
    dense = tiny_llama()
    prune_model(dense, random_plan(ModelSpec.from_model(dense), 1)).save_pretrained(folder)
    return folder


# Whose `pydisp` the process finds: none, or a package of that name with nothing of ours in it.
@pytest.mark.parametrize("stranger", [None, "__version__ = '0.0.1'\n"], ids=["none", "another"])
@pytest.mark.parametrize("auto_class", ["AutoConfig", "AutoModelForCausalLM"])
def test_without_the_package_the_folder_names_the_right_one(pruned, tmp_path, stranger, auto_class):
    if stranger:
        (tmp_path / "pydisp").mkdir()
        (tmp_path / "pydisp" / "__init__.py").write_text(stranger)
    code = (
        "import importlib.util, sys\n"
        "class OnlyThis:\n"  # an installed pydisp, and one on PYTHONPATH, are not to be found
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name.partition('.')[0] != 'pydisp': return None\n"
        "        if name != 'pydisp' or not sys.argv[2]: raise ModuleNotFoundError(f'No module named {name!r}', name=name)\n"
        "        return importlib.util.spec_from_file_location(name, sys.argv[2], submodule_search_locations=[])\n"
        "sys.meta_path.insert(0, OnlyThis())\n"
        f"from transformers import {auto_class}\n"
        f"{auto_class}.from_pretrained(sys.argv[1], trust_remote_code=True)"
    )
    where = str(tmp_path / "pydisp" / "__init__.py") if stranger else ""
    environment = {"HF_MODULES_CACHE": str(tmp_path / "modules"), "HF_HUB_OFFLINE": "1", "PATH": "/usr/bin:/bin"}
    done = subprocess.run([sys.executable, "-c", code, str(pruned), where], capture_output=True, text=True, env=environment)
    assert done.returncode != 0
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith("ImportError: this model needs pydisp-llm (No module named 'pydisp")
    assert last.endswith("uninstall any other package called pydisp, then pip install . in a checkout of pydisp-llm.")
    assert "pip install pydisp`" not in done.stderr
