"""Predictions: what a model answered to each item, and the JSONL file that holds it.

{"id": "512-0003-2", "answer": "7", "finished": true}
{"id": "512-0003-2", "log_likelihoods": [-0.4, -2.5, -3.1, -2.9], "choice_tokens": [1, 1, 1, 1]}
{"id": "8192-0001-0", "skipped": "7,951 tokens and 64 for the answer are more than the model's 4,096 positions"}

One object an item, in the order of the items; an answer and log-likelihoods may stand in one. Files of other programs need "id" and "answer"
only, in any order. FILE.manifest.json, where it is there, says of which model and benchmark the predictions are.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass

from pydisp.holobench.item_file import items_sha256
from pydisp.holobench.items import Item
from pydisp.holobench.sealed_file import manifest_path, read_manifest, read_records, shown, write_sealed

FORMAT = "pydisp-holobench-predictions-1"


class PredictionsError(ValueError):
    """Predictions that cannot be read, or that are not of these items; the message is one sentence."""


@dataclass(frozen=True)
class Prediction:
    """What came of one item.

    Args:
        id: of the item. answer: the text; None if none was asked for. finished: False if the room for the answer ran out.
        log_likelihoods: of each choice in nats, the sum over its tokens. choice_tokens: how many tokens each sum has.
        skipped: why the item was not asked; None if it was.
    """

    id: str
    answer: str | None = None
    finished: bool = True
    log_likelihoods: tuple[float, ...] | None = None
    choice_tokens: tuple[int, ...] | None = None
    skipped: str | None = None

    def as_dict(self) -> dict:
        values: dict = {"id": self.id}
        if self.answer is not None:
            values |= {"answer": self.answer, "finished": self.finished}
        for name in ("log_likelihoods", "choice_tokens"):
            if getattr(self, name) is not None:
                values[name] = list(getattr(self, name))
        if self.skipped is not None:
            values["skipped"] = self.skipped
        return values

    @classmethod
    def from_dict(cls, values: dict) -> "Prediction":
        """Other programs' fields are left out.

        Raises: PredictionsError for a value that no prediction has.
        """
        known = {name: values[name] for name in cls.__dataclass_fields__ if name in values}
        for name, value in known.items():
            is_right, needed = _FIELDS.get(name, (lambda one: isinstance(one, str), "a text"))
            if not is_right(value):
                raise PredictionsError(f"{name!r} is {shown(value)}; it must be {needed}.")
        return cls(**{name: tuple(value) if isinstance(value, list) else value for name, value in known.items()})


@dataclass(frozen=True, eq=False)
class Predictions:
    """All predictions of one run.

    Args:
        predictions: in the order of the items. manifest: "model", "form", "facts" and so on; empty if a file came without one.
    """

    predictions: tuple[Prediction, ...]
    manifest: dict

    @property
    def by_id(self) -> dict[str, Prediction]:
        return {one.id: one for one in self.predictions}

    @property
    def skipped(self) -> dict[str, str]:
        """The reasons, by the item's id."""
        return {one.id: one.skipped for one in self.predictions if one.skipped is not None}

    def write(self, path: str | os.PathLike) -> dict:
        """Write the file and its manifest; each appears whole. Returns the manifest as written."""
        return write_sealed(path, [one.as_dict() for one in self.predictions], {**self.manifest, "format": FORMAT})


def read_predictions(path: str | os.PathLike, items: Sequence[Item], data_sha256: str | None = None) -> Predictions:
    """The predictions of these items, in their order.

    A file whose manifest says that it is of the first items only ("limit") has to have these.

    Args:
        data_sha256: of the benchmark's file; by default that of the file that `write_items` makes of the items.
    Raises: PredictionsError.
    """
    records, sha256 = read_records(path, "predictions", PredictionsError)
    by_id = {item.id: item for item in items}
    found: dict[str, Prediction] = {}
    for number, record in records:
        place = f"{path}, line {number}"
        _check_record(record, by_id, place)
        if record["id"] in found:
            raise PredictionsError(f"{place} has a second prediction of item {record['id']!r}; each item has one.")
        found[record["id"]] = Prediction.from_dict(record)
    manifest = read_manifest(path, PredictionsError) or {}
    if manifest:
        _check_manifest(manifest, path, sha256, data_sha256 or items_sha256(items))
    asked = items[: manifest.get("limit")]
    missing = [item.id for item in asked if item.id not in found]
    if missing:
        raise PredictionsError(
            f"{path} lacks {len(missing)} of {len(asked)} items, the first is {missing[0]!r} (mismatched predictions); "
            'add a line for each, with an empty "answer" where there is none.'
        )
    return Predictions(tuple(found[item.id] for item in items if item.id in found), manifest)


def _check_manifest(manifest: dict, path, sha256: str, data_sha256: str) -> None:
    place, limit = manifest_path(path), manifest.get("limit")
    if manifest.get("format") != FORMAT:
        found = shown(manifest.get("format"))
        raise PredictionsError(f"{place} has the format {found}, this version of pydisp reads {FORMAT!r}; run the model anew.")
    if manifest.get("sha256") != sha256:
        raise PredictionsError(f"{path} was changed after it was written, its SHA-256 is not the manifest's; copy both files again.")
    if manifest.get("data_sha256") != data_sha256:
        known = manifest.get("data_sha256")
        raise PredictionsError(f"{path} has predictions of another benchmark; give the one whose SHA-256 is {known!r:.70}.")
    if limit is not None and (isinstance(limit, bool) or not isinstance(limit, int) or limit < 1):
        raise PredictionsError(f"{place}: 'limit' is {shown(limit)}; it must be a number of items, or null.")


def _check_record(record: dict, by_id: dict[str, Item], place: str) -> None:
    name = record.get("id")
    if not isinstance(name, str):
        raise PredictionsError(f"{place}: 'id' is {shown(name)}; it must be the id of an item.")
    if name not in by_id:
        raise PredictionsError(f"{place} is of item {name!r}, which the benchmark does not have; give the predictions of this benchmark.")
    for field, (is_right, needed) in _FIELDS.items():
        if field in record and not is_right(record[field]):
            raise PredictionsError(f"{place}: {field!r} is {shown(record[field])}; it must be {needed}.")
    scored = "log_likelihoods" in record
    if "skipped" in record and ("answer" in record or scored):
        raise PredictionsError(f"{place} is both skipped and answered; leave one of them out.")
    if not ("skipped" in record or "answer" in record or scored):
        raise PredictionsError(f"{place} has no 'answer', 'log_likelihoods' or 'skipped'; it needs one of them.")
    choices = len(by_id[name].choices or ())
    for field in ("log_likelihoods", "choice_tokens"):
        if field in record and len(record[field]) != choices:
            raise PredictionsError(f"{place} has {len(record[field])} {field}, the item has {choices} choices; give one for each.")


def _is_text(value) -> bool:
    return isinstance(value, str)


def _is_sum(value) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and -1e300 < value <= 0  # an int may be beyond floats


def _is_count(value) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value > 0


_FIELDS = {
    "answer": (_is_text, "a text"),
    "finished": (lambda value: isinstance(value, bool), "true or false"),
    "log_likelihoods": (lambda value: isinstance(value, list) and all(map(_is_sum, value)), "a list of numbers of 0 or less"),
    "choice_tokens": (lambda value: isinstance(value, list) and all(map(_is_count, value)), "a list of whole numbers of 1 or more"),
    "skipped": (_is_text, "a text"),
}
