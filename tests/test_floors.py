"""Imports never point upwards, whatever their form, no files import each other in a circle, and methods do not import each other.

Each part of pydisp stands on a floor; `pydisp/__init__.py` alone has none, because its names are looked up when they are used. Parts of one
floor may import each other.
"""

import ast
from graphlib import CycleError, TopologicalSorter
from importlib.util import resolve_name
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FLOORS = [
    {"kernels", "workspace", "progress", "patch", "given_file", "given_value"},
    {"ops"},
    {
        "indices",
        "spec",
        "plan",
        "gates",
        "report",
        "evaluation",
        "token_nll",
        "distillation",
        "text",
        "text_source",
        "pythondoc",
        "demo",
        "distribution",
        "generation_config",
        "gguf",
        "loading",
        "loading_error",
        "checkpoint",
        "config_file",
        "sentencepiece_file",
        "origin",
        "memory",
        "placement",
        "environment",
        "cost",
        "shapes",
        "attention_support",
        "attention_recording",
        "intervals",
        "subject",
        "draws",
        "hub_bars",
        "transformers_bars",
        "program",
        "arguments",
        "torch_modes",
    },
    {"surgery", "modeling", "registration", "speed", "comparison"},
    {"pruning", "fairness", "legal_probe", "holobench", "toolken"},
    {"integrations"},
    {"commands"},
    {"cli", "__main__"},
]
FLOOR = {part: floor for floor, parts in enumerate(FLOORS) for part in parts}
METHOD_FLOOR = 4
METHODS = FLOORS[METHOD_FLOOR]
HIDES_A_NOUN = {"utils", "util", "helpers", "helper", "common", "misc"}


def imported(source: str, module: str, is_package: bool, *, for_types: bool = True) -> set[str]:
    """Every dotted name that `source`, the text of `module`, may import; `from a import b` gives a.b, for b may be a module.

    Without `for_types` what stands under `if TYPE_CHECKING` is left out: nothing is imported there when the module runs.
    """
    package = module if is_package else module.rpartition(".")[0]
    tree = ast.parse(source)
    if not for_types:
        tree = _WithoutTypes().visit(tree)
    importers = {"__import__", "import_module"}
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            origin = resolve_name("." * node.level + (node.module or ""), package)
            names |= {f"{origin}.{alias.name}" for alias in node.names}
            if origin == "importlib":
                importers |= {alias.asname for alias in node.names if alias.name == "import_module" and alias.asname}
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and getattr(node.func, "attr", getattr(node.func, "id", None)) in importers:
            literals = [a.value for a in [*node.args, *(k.value for k in node.keywords)] if isinstance(a, ast.Constant)]
            texts = [value for value in literals if isinstance(value, str)]
            if texts:
                names.add(resolve_name(texts[0], texts[1] if len(texts) > 1 else package))
    return names


class _WithoutTypes(ast.NodeTransformer):
    def visit_If(self, node: ast.If) -> ast.If | list:
        self.generic_visit(node)
        is_for_types = getattr(node.test, "id", getattr(node.test, "attr", None)) == "TYPE_CHECKING"
        return node.orelse if is_for_types else node


def wrong_imports(source: str, module: str, is_package: bool = False) -> set[str]:
    """The imports of `source` that point upwards, sideways into another method, or to pydisp itself from below the integrations."""
    here = module.split(".")[1]
    wrong = set()
    for name in imported(source, module, is_package):
        root, _, rest = name.partition(".")
        part = rest.partition(".")[0]
        if root == "kernels":  # that is another distribution's package; ours is pydisp.kernels
            wrong.add(name)
        elif root == "pydisp" and part != "__version__":
            sideways = here in METHODS and part in METHODS and part != here
            # pydisp itself and its names lead to every method, so they may be used above the methods only
            if sideways or FLOOR.get(part, METHOD_FLOOR + 1) > FLOOR.get(here, len(FLOORS)):
                wrong.add(name)
    return wrong


def modules() -> list[tuple[Path, str, bool]]:
    """Path, dotted name and whether it is a package, for every file but pydisp/__init__.py."""
    rows = []
    for path in sorted([*ROOT.glob("pydisp/**/*.py"), *ROOT.glob("kernels/**/*.py")]):
        parts = path.relative_to(ROOT).with_suffix("").parts
        parts = ("pydisp", *parts) if parts[0] == "kernels" else parts
        is_package = parts[-1] == "__init__"
        name = ".".join(parts[:-1] if is_package else parts)
        if name != "pydisp":
            rows.append((path, name, is_package))
    return rows


def circle(sources: dict[str, tuple[str, bool]]) -> list[str] | None:
    """Names of modules that import each other in a circle, if there is one; `sources`: the text of each, and whether it is a package."""
    graph = {}
    for module, (source, is_package) in sources.items():
        graph[module] = set()
        for name in imported(source, module, is_package, for_types=False):
            while name and name not in sources:  # a name inside a module is that module's
                name = name.rpartition(".")[0]
            if name != module:
                graph[module] |= {name} - {""}
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        return error.args[1]
    return None


def test_every_file_has_a_floor():
    assert len(modules()) > 10
    assert not [str(path) for path, name, _ in modules() if name.split(".")[1] not in FLOOR]


def test_imports_point_downwards():
    wrong = {str(path.relative_to(ROOT)): names for path, *module in modules() if (names := wrong_imports(path.read_text(), *module))}
    assert not wrong


def test_no_circle():
    assert circle({name: (path.read_text(), is_package) for path, name, is_package in modules()}) is None


@pytest.mark.parametrize(
    ("b", "is_circle"),
    [
        ("import pydisp.a", True),
        ("def f():\n    from .a import g", True),
        ("from pydisp import a", True),
        ("from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from pydisp.a import A", False),
        ("from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import os\nelse:\n    from pydisp.a import A", True),
        ("import os", False),
    ],
)
def test_a_circle_is_seen(b, is_circle):
    names = circle({"pydisp.a": ("from pydisp.c import x", False), "pydisp.b": (b, False), "pydisp.c": ("from pydisp.b import y", False)})
    assert (names is not None) == is_circle


def test_kernels_import_torch_triton_and_each_other_only():
    for path in ROOT.glob("kernels/**/*.py"):
        names = imported(path.read_text(), f"pydisp.kernels.{path.stem}", False)
        assert {name.split(".")[0] for name in names if not name.startswith("pydisp.kernels")} <= {"torch", "triton"}, path


def test_no_file_hides_its_noun():
    assert not [str(path) for path, name, _ in modules() if HIDES_A_NOUN & set(name.split("."))]


METHOD_FILE, METHOD, DEEPER = ("pydisp.fairness.audit", False), ("pydisp.fairness", True), ("pydisp.fairness.parts.audit", False)
PLAIN = ("pydisp.plan", False)


@pytest.mark.parametrize(
    ("source", "module"),
    [
        ("import pydisp.cli", METHOD_FILE),
        ("import os, pydisp.cli as x", METHOD_FILE),
        ("import pydisp.toolken.head as x", METHOD_FILE),
        ("import pydisp", METHOD_FILE),
        ("from pydisp import cli", METHOD_FILE),
        ("from pydisp import plan, cli as x", METHOD_FILE),
        ("from pydisp import prune", METHOD_FILE),  # a name of pydisp/__init__.py: it leads anywhere
        ("from pydisp import *", METHOD_FILE),
        ("from pydisp.cli import app", METHOD_FILE),
        ("from pydisp.toolken.head import Head", METHOD_FILE),
        ("from .. import cli", METHOD_FILE),
        ("from ..cli import app", METHOD_FILE),
        ("from ..toolken import head", METHOD_FILE),
        ("from ... import cli", DEEPER),
        ("from ...cli import app", DEEPER),
        ("from .. import cli", METHOD),  # in an __init__.py one dot is the package itself, two are pydisp
        ("from ..toolken import head", METHOD),
        ("from . import cli", PLAIN),
        ("from .cli import app", PLAIN),
        ("from . import surgery", PLAIN),
        ("def f():\n    from ..toolken import head", METHOD_FILE),
        ("class A:\n    def f(self):\n        if True:\n            import pydisp.cli", METHOD_FILE),
        ("try:\n    import pydisp.cli\nexcept ImportError:\n    pass", METHOD_FILE),
        ("import importlib\nimportlib.import_module('pydisp.cli')", METHOD_FILE),
        ("from importlib import import_module\nimport_module('pydisp.cli')", METHOD_FILE),
        ("load('pydisp.cli')\nfrom importlib import import_module as load", METHOD_FILE),
        ("import importlib\nimportlib.import_module(name='pydisp.cli')", METHOD_FILE),
        ("import importlib\nimportlib.import_module('..cli', __package__)", METHOD_FILE),
        ("import importlib\nimportlib.import_module('.cli', 'pydisp')", METHOD_FILE),
        ("__import__('pydisp.cli')", METHOD_FILE),
        ("import kernels.norm_select", ("pydisp.ops.norm_select", False)),
        ("from kernels import norm_select", ("pydisp.ops.norm_select", False)),
        ("from pydisp import ops", ("pydisp.kernels", True)),
    ],
)
def test_a_wrong_import_is_seen(source, module):
    assert wrong_imports(source, *module)


@pytest.mark.parametrize(
    ("source", "module"),
    [
        ("import pydisp.plan, torch, json.decoder", METHOD_FILE),
        ("from pydisp import plan, __version__", METHOD_FILE),
        ("from .. import plan", METHOD_FILE),
        ("from . import bins", METHOD_FILE),
        ("from . import audit", METHOD),
        ("from .audit import bins", METHOD),
        ("from ..plan import PruningPlan", METHOD),
        ("from . import bins", DEEPER),
        ("from .. import bins", DEEPER),
        ("from .indices import IndexSet", PLAIN),
        ("import importlib\nimportlib.import_module('pydisp.plan')\nimportlib.import_module(name)", METHOD_FILE),
        ("from pydisp.kernels.norm_select import norm_select", ("pydisp.ops.norm_select", False)),
        ("import pydisp", ("pydisp.integrations.lm_eval", False)),
        ("from pydisp import prune", ("pydisp.cli", False)),
    ],
)
def test_a_right_import_is_not(source, module):
    assert not wrong_imports(source, *module)
