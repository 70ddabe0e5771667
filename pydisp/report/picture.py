"""Picture: one drawing of a report, as SVG; `pydisp.report.drawing` gives all of them the same look."""

import re
from dataclasses import dataclass
from xml.etree import ElementTree

from pydisp.given_value import short
from pydisp.report.values import require_text


@dataclass(frozen=True)
class Picture:
    """A drawing as SVG text, with a title and a caption that says in words what it shows (screen readers read it).

    Raises: ValueError, naming the picture, for text that is not SVG, and for SVG that runs a script or fetches something.
    """

    title: str
    caption: str
    svg: str

    def __post_init__(self):
        require_text(self.title, "the title of a picture")
        place = f"picture {short(self.title)}"
        require_text(self.caption, f"{place}: caption")
        try:
            root = ElementTree.fromstring(self.svg)
        except (ElementTree.ParseError, TypeError, ValueError) as error:
            raise ValueError(f"{place}: no valid XML ({error}); give the text of an SVG file.") from error
        if root.tag not in ("svg", "{http://www.w3.org/2000/svg}svg"):
            raise ValueError(f"{place}: the outermost element is <{root.tag}>; it must be <svg>.")
        for element in root.iter():
            if _is_active(element) or any(_is_foreign(name, value) for name, value in element.attrib.items()):
                raise ValueError(f"{place}: it runs a script or fetches a file; a picture must stand alone.")


def _is_active(element: ElementTree.Element) -> bool:
    """Whether an element runs a script, or is a style that fetches something."""
    kind = element.tag.rpartition("}")[2]
    return kind in ("script", "foreignObject") or (kind == "style" and _fetches(element.text or ""))


def _is_foreign(name: str, value: str) -> bool:
    name = name.rpartition("}")[2]
    if name == "href":
        return not value.startswith(("#", "data:image/"))
    return name.startswith("on") or _fetches(value)


def _fetches(style: str) -> bool:
    return "@import" in style or bool(re.search(r"url\(\s*['\"]?(?!#)", style))
