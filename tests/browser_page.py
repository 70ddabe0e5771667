"""Pages as a browser lays them out: Chromium without a window measures each page in frames, of a phone and of a desk, light and dark.

require_readable({"report": html})
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

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
needs_chromium = pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium here")
PHONE, DESK = WIDTHS = (390, 1280)  # pixels
SCHEMES = ("light", "dark")


def measured(
    pages: Mapping[str, str], widths: Sequence[int] = WIDTHS, schemes: Sequence[str] = SCHEMES
) -> dict[tuple[str, int, str], dict]:
    """What Chromium finds in each page at each width in each scheme.

    Each finding has `wide` (pixels that the page is wider than the screen), `boxes` (title, scrolls, hint), `texts` (their number), `looked`
    (how many of them are in sight, so that their contrast is known), and the texts that are `small` (below 12 pixels), `broken` (within a
    short word) or `faint` (contrast below 4.5).
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
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "frames.html"
        path.write_text(f'<!doctype html><meta charset="utf-8"><body>{frames}<script>{script}</script></body>', encoding="utf-8")
        command = [
            CHROMIUM,
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            f"--user-data-dir={folder}/profile",
            "--virtual-time-budget=30000",
        ]
        done = subprocess.run([*command, "--dump-dom", path.as_uri()], capture_output=True, text=True, check=True, timeout=300)
    found = json.loads(html.unescape(re.search(r'<pre id="result">(.*?)</pre>', done.stdout, re.DOTALL)[1]))
    parts = {tuple(key.rsplit(":", 2)): one for key, one in found.items()}
    return {(name, int(width), scheme): one for (name, width, scheme), one in parts.items()}


def require_readable(pages: Mapping[str, str]) -> dict[tuple[str, int, str], dict]:
    """Assert of each page that nothing is wider than it, small, faint or broken, and that what scrolls has its hint and nothing else has one."""
    found = measured(pages)
    assert len(found) == len(pages) * len(WIDTHS) * len(SCHEMES)
    for place, one in found.items():
        assert one["dark"] == (place[2] == "dark"), place
        assert one["wide"] <= 0, place
        assert [box for box in one["boxes"] if box["scrolls"] != box["hint"]] == [], place
        assert not any(one[kind] for kind in ("small", "broken", "faint")), (place, one["small"][:5], one["broken"][:5], one["faint"][:5])
        assert one["looked"] > (0.95 if place[1] == DESK else 0.5) * one["texts"] > 0, place
    return found
