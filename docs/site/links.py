"""What mkdocs asks while it builds: the pages that lie outside of docs/, and links to files of the repository.

The Markdown is written for the repository's own view, where `../CONTRIBUTING.md` is right. The site gets copies of the files in PAGES, and
links to them; another file outside of docs/ is named instead of linked. A link to a file that is not there is a warning, which --strict
makes an error.
"""

import logging
import posixpath
import re
from pathlib import Path

from mkdocs.structure.files import File

ROOT = Path(__file__).parents[2]
PAGES = {"CHANGELOG.md": "changelog.md", "CONTRIBUTING.md": "contributing.md", "pydisp/holobench/data/SCORING.md": "holobench-scoring.md"}
# A link or picture `[words](target#anchor)`; code between backticks is not searched.
_CODE_OR_LINK = re.compile(r"(?P<code>^(?P<fence>```+).*?^(?P=fence)|`[^`\n]*`)|(?P<bang>!?)\[(?P<words>[^]\n]*)\]\((?P<target>[^)#\s]+)(?P<anchor>#[^)\s]*)?\)", re.DOTALL | re.MULTILINE)  # fmt: skip

log = logging.getLogger("mkdocs.hooks.links")


def on_files(files, *, config):
    for path, page in PAGES.items():
        files.append(File.generated(config, page, content=(ROOT / path).read_text(encoding="utf-8")))
    return files


def on_page_markdown(markdown: str, *, page, config, files) -> str:
    """The page's text with links to files outside of docs/ changed; the links of a copied page are read from where it lies."""
    copied = {page: path for path, page in PAGES.items()}
    here = page.file.src_uri
    source = copied.get(here, f"docs/{here}")

    def changed(found: re.Match) -> str:
        if found["code"] or "://" in found["target"] or found["target"].startswith(("/", "mailto:")):
            return found[0]
        target = posixpath.normpath(posixpath.join(posixpath.dirname(source), found["target"]))
        anchor = found["anchor"] or ""
        if target in PAGES:
            return f"[{found['words']}]({_relative(PAGES[target], here)}{anchor})"
        if target.startswith("docs/"):
            return f"{found['bang']}[{found['words']}]({_relative(target.removeprefix('docs/'), here)}{anchor})"
        if not (ROOT / target).exists() or target.startswith(".."):
            log.warning("%s links to %s, which is not there.", source, target)
        return found["words"] if found["words"].strip("`") == target else f"{found['words']} (`{target}`)"

    return _CODE_OR_LINK.sub(changed, markdown)


def _relative(target: str, page: str) -> str:
    return posixpath.relpath(target, posixpath.dirname(page) or ".")
