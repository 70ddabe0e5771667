"""Section: a heading of a report and the parts under it, in the author's order."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass

from pydisp.given_value import short
from pydisp.report.metric import Metric
from pydisp.report.picture import Picture
from pydisp.report.table import Table
from pydisp.report.values import require_distinct, require_text, slug

MOST_DEEP = 4  # levels of sections: HTML has six levels of headings, and the title and the tables take one each


@dataclass(frozen=True)
class Section:
    """A title and its parts: a text is a paragraph, consecutive metrics are cards side by side, and a section may hold sections.

    A table or a picture that has the title of the section gets no heading of its own.

    Raises: ValueError or TypeError, naming the section, for any other part; if there is no part; for two metrics, tables, pictures or
        sections of one name; and for sections nested more than MOST_DEEP deep.
    """

    title: str
    parts: tuple["str | Metric | Table | Picture | Section", ...]

    def __post_init__(self):
        require_text(self.title, "the title of a section")
        place = f"section {short(self.title)}"
        if isinstance(self.parts, str):
            raise TypeError(f"{place}: parts is one text; it must be a list of parts.")
        object.__setattr__(self, "parts", tuple(str(part) if isinstance(part, str) else part for part in self.parts))
        if not self.parts:
            raise ValueError(f"{place} is empty; give it a sentence, a metric, a table, a picture or a section.")
        for part in self.parts:
            if isinstance(part, str):
                require_text(part, f"{place}: a sentence")
            elif not isinstance(part, Metric | Table | Picture | Section):
                raise TypeError(f"{place} holds {part!r}; a part is a text, a Metric, a Table, a Picture or a Section.")
        require_distinct([part.name for part in self.parts if isinstance(part, Metric)], f"metrics of {place}")
        require_distinct([part.title for part in self.parts if isinstance(part, Table)], f"tables of {place}")
        require_distinct([slug(part.title) for part in self.parts if isinstance(part, Picture)], f"pictures of {place} (by file name)")
        require_distinct([part.anchor for part in self.parts if isinstance(part, Section)], f"sections of {place} (by address)")
        if self.depth > MOST_DEEP:
            raise ValueError(f"{place} holds sections {self.depth} deep; {MOST_DEEP} is the most: put some side by side.")

    @property
    def anchor(self) -> str:
        """Its name in addresses of the page, which follows the names of the sections around it."""
        return slug(self.title)

    @property
    def depth(self) -> int:
        return 1 + max((part.depth for part in self.parts if isinstance(part, Section)), default=0)

    def as_json(self) -> dict:
        """The title and the parts: a text as it is, any other part as an object with one entry, from the kind of part to its fields."""
        return {"title": self.title, "parts": [_part_as_json(part) for part in self.parts]}

    @classmethod
    def from_json(cls, fields: dict) -> "Section":
        """The section from the value that `as_json` returned.

        Raises: KeyError, TypeError or ValueError for anything else.
        """
        if set(fields) != {"title", "parts"}:
            raise TypeError(f"a section has {sorted(fields)}; it must have 'parts' and 'title'")
        return cls(fields["title"], tuple(map(_part_from_json, fields["parts"])))


def picture_files(sections: Sequence[Section]) -> dict[Picture, str]:
    """A file name for each picture: from its title, and also from the titles of its sections if another picture has the same title."""
    places = {}
    for anchors, picture in _pictures(sections, ()):
        places.setdefault(picture, (*anchors, slug(picture.title)))
    shared = Counter(place[-1] for place in places.values())
    return {picture: f"{'--'.join(place if shared[place[-1]] > 1 else place[-1:])}.svg" for picture, place in places.items()}


def _pictures(sections: Sequence[Section], anchors: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], Picture]]:
    """Each picture with the anchors of the sections around it, outermost first."""
    for section in sections:
        inside = (*anchors, section.anchor)
        for part in section.parts:
            if isinstance(part, Picture):
                yield inside, part
            elif isinstance(part, Section):
                yield from _pictures([part], inside)


_KINDS = {"metric": Metric, "table": Table, "picture": Picture}


def _part_as_json(part) -> str | dict:
    if isinstance(part, str):
        return part
    return {type(part).__name__.lower(): part.as_json() if isinstance(part, Section) else asdict(part)}


def _part_from_json(value):
    if isinstance(value, str):
        return value
    if not isinstance(value, dict) or len(value) != 1:
        raise TypeError(f"a part of a section is {value!r}; it must be a text or an object of one entry")
    ((kind, fields),) = value.items()
    return Section.from_json(fields) if kind == "section" else _KINDS[kind](**fields)
