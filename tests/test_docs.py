"""The documentation site: every public name is in the reference, our docstrings become Markdown, a broken link is an error, nothing is fetched."""

import importlib
import importlib.util
import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml
from browser_page import needs_chromium, require_whole

from pydisp.pruning.settings import METHODS

ROOT = Path(__file__).parents[1]
PACKAGES = ["pydisp", *(f"pydisp.{name}" for name in ("pruning", "fairness", "legal_probe", "holobench", "toolken", "ops"))]
NEEDED = ("mkdocs", "material", "mkdocstrings", "griffe")
has_mkdocs = all(importlib.util.find_spec(name) for name in NEEDED)
needs_mkdocs = pytest.mark.skipif(not has_mkdocs, reason="mkdocs is not installed (the extra 'docs')")


@pytest.mark.parametrize("package", PACKAGES)
def test_every_public_name_is_in_the_reference(package):
    page = (ROOT / "docs" / "reference" / f"{package.rpartition('.')[2]}.md").read_text()
    named = {path.rpartition(".")[2] for path in re.findall(r"^::: (\S+)$", page, re.MULTILINE)}
    linked = set(re.findall(rf"`{re.escape(package)}\.(\w+)` is \[", page))
    assert set(importlib.import_module(package).__all__) - {"native"} <= named | linked  # `native` is a module


def test_every_name_of_the_reference_is_there():
    for page in (ROOT / "docs" / "reference").glob("*.md"):
        for path in re.findall(r"^::: (\S+)$", page.read_text(), re.MULTILINE):
            module, _, name = path.rpartition(".")
            assert hasattr(importlib.import_module(module), name), path


def test_the_citation_file_names_the_version_and_the_five_papers():
    cited = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert cited["cff-version"] == "1.2.0" and cited["version"] == project["version"] and cited["license"] == project["license"]
    assert cited["authors"] == [{"name": "pydisp contributors"}] and cited["message"] and cited["title"] and cited["type"] == "software"
    papers = {reference["url"].removeprefix("https://arxiv.org/abs/") for reference in cited["references"]}
    methods = {re.search(r"arxiv\.org/abs/([\d.]+\d)", importlib.import_module(package).__doc__)[1] for package in PACKAGES[1:-1]}
    assert papers == methods and len(papers) == 5
    for reference in cited["references"]:
        assert reference["type"] == "article" and reference["title"] and reference["year"] == 2024
        assert all(set(author) == {"given-names", "family-names"} for author in reference["authors"])


def test_the_changelog_keeps_a_changelogs_form():
    lines = (ROOT / "CHANGELOG.md").read_text().splitlines()
    sections = [line.removeprefix("### ") for line in lines if line.startswith("### ")]
    assert lines[0] == "# Changelog" and "## [Unreleased]" in lines
    assert sections and set(sections) <= {"Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"}


def test_the_table_of_extras_is_whole():
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    table = re.findall(r"^\| (`.*?) \| ", (ROOT / "docs" / "install.md").read_text(), re.MULTILINE)
    assert sorted(name for row in table for name in re.findall(r"`(\w+)`", row)) == sorted(extras)


def test_the_readme_counts_the_methods():
    others = {"five": 5, "six": 6, "seven": 7, "eight": 8}
    for file, pattern in (("README.md", r"DISP-LLM, and (\w+) baselines"), ("CHANGELOG.md", r"masks \(DISP-LLM\) .*, (\w+) other methods")):
        assert others[re.search(pattern, (ROOT / file).read_text())[1]] == len(METHODS) - 1, file


PICTURES = {path.relative_to(ROOT / "docs").as_posix(): path for path in sorted((ROOT / "docs").rglob("*.svg"))}


def test_every_picture_is_on_a_page():
    pages = "\n".join(page.read_text() for page in (ROOT / "docs").rglob("*.md"))
    assert PICTURES and [name for name in PICTURES if f"]({name})" not in pages] == []


@pytest.mark.parametrize("name", PICTURES)
def test_every_picture_has_a_white_ground_and_letters_of_9_points(name):
    """Pages with a light and a dark mode show it as it is: letters that follow a mode would be white on white."""
    text = PICTURES[name].read_text()
    assert "prefers-color-scheme" not in text and "var(--" not in text
    assert re.search(r'<path d="[^"]*"\s*style="fill: (\S+)"', text)[1] == "#ffffff"
    width, inner = re.search(r'width="([\d.]+)pt"[^>]*viewBox="0 0 ([\d.]+) ', text).groups()
    sizes = [float(size) * float(width) / float(inner) for size in re.findall(r"font[^;]*?([\d.]+)px", text)]
    assert sizes and min(sizes) >= 9


@needs_chromium
def test_no_letter_of_a_picture_is_cut():
    require_whole({name: path.read_text() for name, path in PICTURES.items()})


@pytest.fixture
def site_module():
    def load(name: str):
        spec = importlib.util.spec_from_file_location(f"site_{name}", ROOT / "docs" / "site" / f"{name}.py")
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module

    return load


@needs_mkdocs
@pytest.mark.parametrize(
    ("docstring", "markdown"),
    [
        ("One line.", "One line."),
        (
            "Does it.\n\nArgs:\n    x: (T, D) floats,\n        any strides. dim: of it.\n    a, *b: more.\nReturns: y, x's\n    dtype.\nRaises: ValueError.",
            "Does it.\n\n**Args**\n\n- `x`: (T, D) floats, any strides.\n- `dim`: of it.\n- `a`, `*b`: more.\n\n**Returns:** y, x's dtype.\n\n**Raises:** ValueError.\n",
        ),
        (
            "The results.\n\nmass: (B, H) of `a<b`.\n    And so on.\nlse: [ours]",
            "The results.\n\n- `mass`: (B, H) of `a<b`. And so on.\n- `lse`: \\[ours]",
        ),
        ("2 * x <unk>, `2 * x`", "2 \\* x &lt;unk>, `2 * x`"),
        ("A module.\n\n    code(*here)\n\nWords.", "A module.\n\n    code(*here)\n\nWords."),
    ],
)
def test_docstrings_become_markdown(site_module, docstring, markdown):
    assert site_module("docstrings").as_markdown(docstring) == markdown


@pytest.fixture(scope="module")
def checkout(tmp_path_factory) -> Path:
    """A checkout of which docs/ may be changed."""
    folder = tmp_path_factory.mktemp("checkout")
    shutil.copytree(ROOT / "docs", folder / "docs", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pydisp", "kernels", "bench", "CHANGELOG.md", "CONTRIBUTING.md", "LOG.md", "README.md", "mkdocs.yml"):
        (folder / name).symlink_to(ROOT / name)
    return folder


def build(checkout: Path) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--config-file", str(checkout / "mkdocs.yml")]
    return subprocess.run(command, env=os.environ | {"NO_MKDOCS_2_WARNING": "1"}, capture_output=True, text=True)


@needs_mkdocs
def test_the_site_is_whole_and_fetches_nothing(checkout):
    run = build(checkout)
    assert run.returncode == 0, run.stderr
    site = checkout / "build" / "docs"
    for page in ("index", "guides/prune", "pruning", "holobench-scoring", "changelog", "contributing", "reference/ops"):
        assert (site / f"{page}.html").is_file(), page
    page = (site / "reference" / "pydisp.html").read_text()
    assert "<strong>Args</strong>" in page and "Args:" not in page and 'id="pydisp.prune"' in page
    fetched = re.compile(
        r"<(?:script|img|iframe)[^>]*\ssrc=\"?(?:https?:)?//|<link[^>]*rel=\"?(?:stylesheet|preconnect|icon)[^>]*href=\"?(?:https?:)?//"
    )
    for path in site.rglob("*.html"):
        assert not fetched.search(path.read_text()), path.name
        assert not re.search(r'href="(?:\.\./)*[^":]+\.md["#]', path.read_text()), path.name
    for path in site.rglob("*.css"):
        assert "url(http" not in path.read_text() and "@import" not in path.read_text(), path.name


@needs_mkdocs
def test_a_broken_link_is_an_error(checkout):
    index = checkout / "docs" / "index.md"
    words = index.read_text()
    index.write_text(f"{words}\n[a](nothing.md) [b](pruning.md#nothing) [c](../bench/nothing.py) ![d](nothing.svg)\n")
    try:
        run = build(checkout)
    finally:
        index.write_text(words)
    assert run.returncode != 0
    for target in ("nothing.md", "#nothing", "bench/nothing.py", "nothing.svg"):
        assert any(target in line for line in run.stderr.splitlines() if "WARNING" in line), target
