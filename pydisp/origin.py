"""Origin: the licence, languages and hub name that a model's own card states, to hand them on to the card of a model made from it.

    >>> read_origin("HuggingFaceTB/SmolLM2-135M")  # doctest: +SKIP
    Origin(base_model='HuggingFaceTB/SmolLM2-135M', license='apache-2.0', language=('en',), license_name=None, license_link=None)

A card is the README.md beside the weights, in a folder or on the hub; a GGUF file has its own fields. What nobody states stays None.
"""

import logging
import re
from dataclasses import dataclass
from pathlib import Path

from pydisp.gguf import is_gguf, local_file, read_head
from pydisp.loading import displayed_name, resolved_name

logger = logging.getLogger("pydisp")

_CARD_FILE = "README.md"
_MOST_BYTES = 1 << 18  # of front matter: yaml takes 4 s for as much, and that of a card with the results of 100 tasks has 60 KB
_BEGINNING = re.compile(rb"(?:\xef\xbb\xbf)?\s*---[ \t]*\r?\n")
_FRONT_MATTER = re.compile(_BEGINNING.pattern + rb"(.*?)\r?\n---[ \t]*(?:\r?\n|$)", re.DOTALL)
_LANGUAGE = re.compile(r"[a-z]{2,3}(-[a-z]{2,4})?|code|multilingual")  # of ISO 639, and the two words that the hub knows
_GGUF_LICENSE = (("", ""), ("_name", ".name"), ("_link", ".link"))
_HUB = "https://huggingface.co/"
_SNAPSHOT = re.compile(r"models--([^/]+?)--([^/]+)/snapshots/")  # in the hub's cache

# The short names that the hub knows. It refuses any other word for a licence, unless that is `other` with the word as its name.
LICENSES = (
    "apache-2.0", "mit", "openrail", "openrail++", "bigscience-openrail-m", "creativeml-openrail-m", "bigscience-bloom-rail-1.0",
    "bigcode-openrail-m", "afl-3.0", "artistic-2.0", "bsl-1.0", "bsd", "bsd-2-clause", "bsd-3-clause", "bsd-3-clause-clear", "c-uda",
    "cc", "cc0-1.0", "cc-by-2.0", "cc-by-2.5", "cc-by-3.0", "cc-by-4.0", "cc-by-sa-3.0", "cc-by-sa-4.0", "cc-by-nc-2.0", "cc-by-nc-3.0",
    "cc-by-nc-4.0", "cc-by-nd-4.0", "cc-by-nc-nd-3.0", "cc-by-nc-nd-4.0", "cc-by-nc-sa-2.0", "cc-by-nc-sa-3.0", "cc-by-nc-sa-4.0",
    "cdla-sharing-1.0", "cdla-permissive-1.0", "cdla-permissive-2.0", "wtfpl", "ecl-2.0", "epl-1.0", "epl-2.0", "etalab-2.0", "eupl-1.1",
    "eupl-1.2", "agpl-3.0", "gfdl", "gpl", "gpl-2.0", "gpl-3.0", "lgpl", "lgpl-2.1", "lgpl-3.0", "lgpl-lr", "isc", "h-research",
    "intel-research", "lppl-1.3c", "ms-pl", "apple-ascl", "apple-amlr", "mpl-2.0", "odc-by", "odbl", "openmdw-1.0", "osl-3.0",
    "postgresql", "ofl-1.1", "ncsa", "unlicense", "zlib", "pddl", "deepfloyd-if-license", "fair-noncommercial-research-license", "llama2",
    "llama3", "llama3.1", "llama3.2", "llama3.3", "llama4", "grok2-community", "gemma", "unknown", "other",
)  # fmt: skip


@dataclass(frozen=True)
class Origin:
    """What a source model states of itself.

    Args:
        base_model: the hub name to derive from: the source's own, or else the one that its card says it was made from.
        license: the hub's short name of the licence, such as `apache-2.0`. A licence that the hub has no name for is `other`.
        license_name, license_link: of one that is `other`: what the card calls it, and where it is.
        language: codes of ISO 639, `code` or `multilingual`.
    """

    base_model: str | None = None
    license: str | None = None
    language: tuple[str, ...] = ()
    license_name: str | None = None
    license_link: str | None = None


def read_origin(name: str, revision: str | None = None) -> Origin:
    """The origin of a model that was loaded by this name: a folder, a GGUF file, a hub name, or `demo`.

    Nothing is raised: a card that cannot be read is named in a warning, and states nothing.
    """
    card = _card(name, revision)
    fields = _gguf_fields(name, revision) if is_gguf(name) else {}
    hub_name = _hub_name(name, revision)
    named = [card.get("base_model"), *(_of_url(fields.get(url)) for url in ("source.repo_url", "repo_url", "base_model.0.repo_url"))]
    licence = card if card.get("license") else {f"license{key}": fields.get(f"license{dot}") for key, dot in _GGUF_LICENSE}
    link = _word(licence.get("license_link"))
    if link and not re.match(r"https?://", link):  # a file beside the source model
        link = f"{_HUB}{hub_name}/blob/main/{link}" if hub_name else None
    stated = ", ".join(_words(licence.get("license"))) or None  # of several licences, all are named
    known = stated is None or stated.lower() in LICENSES
    languages = _words(card.get("language")) or _words(fields.get("languages"))
    return Origin(
        base_model=hub_name or next((found for value in named if (found := _repository(_word(value)))), None),
        license=(stated or "").lower() or None if known else "other",
        language=tuple(code for code in map(str.lower, languages) if _LANGUAGE.fullmatch(code)),
        license_name=_word(licence.get("license_name")) or (None if known else stated),
        license_link=link,
    )


def _card(name: str, revision: str | None) -> dict:
    """The front matter of a model's card, every scalar as text (YAML takes the language `no` for false); empty without one."""
    import yaml

    path = _card_file(name, revision)
    if path is None or not path.is_file():
        return {}
    try:
        with path.open("rb") as file:
            head = file.read(_MOST_BYTES)
        found = _FRONT_MATTER.match(head)
        if found is None and len(head) == _MOST_BYTES and _BEGINNING.match(head):
            raise ValueError(f"its front matter has more than {_MOST_BYTES:,} bytes")
        values = yaml.load(found[1].decode(), Loader=yaml.BaseLoader) if found else {}
        if not isinstance(values, dict):
            raise ValueError("its front matter is no list of names and values")
        return values
    except (OSError, ValueError, RecursionError, yaml.YAMLError) as error:
        why = str(error).splitlines()[0] if str(error) else type(error).__name__
        logger.warning("the card of %s cannot be read (%s), so the new card states no licence of it.", displayed_name(name), why)
        return {}


def _card_file(name: str, revision: str | None) -> Path | None:
    """The file of a model's card; one of the hub is downloaded where that can be done."""
    from transformers.utils import cached_file

    if is_gguf(name):
        beside = Path(name).expanduser()
        if beside.is_file():
            return beside.parent / _CARD_FILE
        name = name.rpartition("/")[0] if name.count("/") == 2 else "/".join(name.split("/")[:2])
    place = Path(resolved_name(name))
    if place.is_dir():
        return place / _CARD_FILE
    quiet = {f"_raise_exceptions_for_{case}": False for case in ("missing_entries", "connection_errors", "gated_repo")}
    try:
        found = cached_file(name, _CARD_FILE, revision=revision, **quiet)
    except (OSError, ValueError):
        return None
    return None if found is None else Path(found)


def _gguf_fields(name: str, revision: str | None) -> dict:
    return read_head(local_file(name, revision)).card


def _hub_name(name: str, revision: str | None) -> str | None:
    """The hub name of a model that was loaded from the hub, or from a folder or file of the hub's cache."""
    path = Path(resolved_name(name)).expanduser()
    if path.exists():
        found = _SNAPSHOT.search(f"{path.absolute().as_posix()}/")
        return _repository("/".join(found.groups())) if found else None
    return _repository("/".join(name.split("/")[:2]))


def _of_url(value) -> str | None:
    url = _word(value)
    return "/".join(url.removeprefix(_HUB).split("/")[:2]) if url and url.startswith(_HUB) else None


def _repository(name: str | None) -> str | None:
    """The name, if the hub would accept it for a repository."""
    if name is None:
        return None
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils import validate_repo_id

    try:
        validate_repo_id(name)
    except HFValidationError:
        return None
    return name


def _words(value) -> tuple[str, ...]:
    return tuple(v.strip() for v in (value if isinstance(value, list) else [value]) if isinstance(v, str) and v.strip())


def _word(value) -> str | None:
    """The value, if it is a single word or line."""
    words = _words(value)
    return words[0] if len(words) == 1 else None
