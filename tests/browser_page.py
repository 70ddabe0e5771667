"""Pages as a browser lays them out: Chromium without a window measures each page in frames, of a phone and of a desk, light and dark.

require_readable({"report": html})
require_whole({"curve": svg})
printed_pages(html)
"""

import html
import json
import re
import shutil
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from pydisp.report import Picture, Report, Section

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
needs_chromium = pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium here")
PHONE, DESK = WIDTHS = (390, 1280)  # pixels
SCHEMES = ("light", "dark")


def measured(
    pages: Mapping[str, str], widths: Sequence[int] = WIDTHS, schemes: Sequence[str] = SCHEMES
) -> dict[tuple[str, int, str], dict]:
    """What Chromium finds in each page at each width in each scheme.

    Each finding has `wide` (pixels that the page is wider than the screen), `boxes` (title, scrolls, hint), `texts` (their number), `looked`
    (how many of them are in sight, so that their contrast is known), and the texts that are `small` (below 12 pixels), `cut` (by an edge
    of their picture), `broken` (within a short word) or `faint` (contrast below 4.5).
    """
    # Frames hold the pages: no window is as narrow as a phone, and the scheme of a frame is that of its element.
    frames = "".join(
        f'<iframe id="{name}:{width}:{scheme}" style="width:{width}px;height:600px;border:0;color-scheme:{scheme}" scrolling="no" '
        f'srcdoc="{html.escape(page)}"></iframe>'
        for name, page in pages.items()
        for width in widths
        for scheme in schemes
    )
    script = Path(__file__).with_suffix(".js").read_text()
    document = f'<!doctype html><meta charset="utf-8"><body>{frames}<script>{script}</script></body>'
    with tempfile.TemporaryDirectory() as folder:
        dump = shown(document, Path(folder), "--dump-dom")
    found = json.loads(html.unescape(re.search(r'<pre id="result">(.*?)</pre>', dump, re.DOTALL)[1]))
    parts = {tuple(key.rsplit(":", 2)): one for key, one in found.items()}
    return {(name, int(width), scheme): one for (name, width, scheme), one in parts.items()}


def shown(document: str, folder: Path, *arguments: str) -> str:
    """What Chromium writes to its standard output about a document of HTML; the folder takes its files."""
    path = folder / "frames.html"
    path.write_text(document, encoding="utf-8")
    usual = ["--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={folder}/profile", "--virtual-time-budget=30000"]
    return subprocess.run([CHROMIUM, *usual, *arguments, path.as_uri()], capture_output=True, text=True, check=True, timeout=300).stdout


def printed_pages(page: str) -> int:
    """The number of sheets that a page of HTML takes on paper."""
    with tempfile.TemporaryDirectory() as folder:
        paper = Path(folder) / "page.pdf"
        shown(page, Path(folder), "--no-pdf-header-footer", f"--print-to-pdf={paper}")
        return len(re.findall(rb"/Type\s*/Page\b", paper.read_bytes()))


def require_whole(pictures: Mapping[str, str]) -> None:
    """Assert of pictures, as SVG text, that no letter is cut by an edge or small."""
    parts = [Picture(f"{number} {name}", name, svg) for number, (name, svg) in enumerate(pictures.items())]
    ((_, one),) = measured({"pictures": Report("Pictures", sections=[Section("All", parts)]).to_html()}, [DESK], ["light"]).items()
    assert one["texts"] > len(parts) and not one["cut"] and not one["small"], (one["cut"], one["small"])


def require_readable(pages: Mapping[str, str]) -> dict[tuple[str, int, str], dict]:
    """Assert of each page that nothing is wider than it, small, faint, cut or broken, and that what scrolls has its hint and nothing else has one."""
    found = measured(pages)
    assert len(found) == len(pages) * len(WIDTHS) * len(SCHEMES)
    for place, one in found.items():
        assert one["dark"] == (place[2] == "dark"), place
        assert one["wide"] <= 0, place
        assert [box for box in one["boxes"] if box["scrolls"] != box["hint"]] == [], place
        wrong = {kind: one[kind][:5] for kind in ("small", "cut", "broken", "faint") if one[kind]}
        assert not wrong, (place, wrong)
        assert one["looked"] > (0.95 if place[1] == DESK else 0.5) * one["texts"] > 0, place
    return found
