"""Side: one of two models that are compared: the reports in its folders, and its size."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from pydisp.checkpoint import shortfall
from pydisp.given_file import read_text
from pydisp.given_value import first_line, json_value
from pydisp.loading import LoadingError, empty_model, load_config, stored_dtype
from pydisp.report import Report
from pydisp.speed.record import report_of
from pydisp.workspace import MOST_REPORT_BYTES, MOST_REPORT_VALUES

REPORT_FILE = "report.json"
SPEED = "Speed"
# The file by which a folder of each method is known, and the facts of its report that say which data its figures are of.
METHODS = {
    "Pruning": ("plan.safetensors", ("texts", "result.context_tokens", "result.scored_tokens")),
    SPEED: ("speed.json", ("result.device", "result.dtype", "result.threads", "result.prompt_tokens", "result.decode_tokens")),
    "Evaluation": ("evaluation.json", ("text.sha256", "result.context_tokens", "result.tokens")),
    "Fairness audit": ("audit.json", ("text.sha256", "result.context_tokens", "result.tokens", "result.unit", "result.counts_source")),
    "Fairness sweep": ("sweep.json", ("settings",)),
    "Legal probe": ("probe.json", ("result.concepts_file.sha256", "result.excluded", "result.queries", "result.against")),
    "HoloBench": ("holobench.json", ("benchmark.sha256", "predictions.form", "predictions.limit")),
    "Toolken+": ("toolken.json", ("problems", "result.problems", "result.tools")),
}
OTHER = "Other reports"
_GIVE = "give a folder that `pydisp prune`, `recover`, `eval`, `fairness`, `probe`, `holobench` or `toolken eval` wrote, or a model"


@dataclass(frozen=True)
class Side:
    """One of the two: its name on the page, its reports by method and folder, and what its config says of its size (None: it is no model)."""

    name: str
    reports: Mapping[tuple[str, str], Report]
    size: Mapping[str, float | str | None] | None


def read_side(given: str, name: str) -> Side:
    """The reports of a folder and of the folders in it, and the size of the model that it is.

    Raises: ValueError (LoadingError is one) with one sentence for what is neither.
    """
    reports, folder = {}, Path(given)
    if given and folder.is_dir():
        for place in (folder, *sorted(one for one in folder.iterdir() if one.is_dir())):
            inside = "" if place == folder else place.name
            if (place / REPORT_FILE).is_file():
                reports[_method(place), inside] = _read(place / REPORT_FILE)
            if (speed := _speed(place / METHODS[SPEED][0])) is not None:
                reports[SPEED, inside] = speed
        if not reports and not (folder / "config.json").is_file():
            raise ValueError(f"{given} holds no {REPORT_FILE} and no model; {_GIVE}.")
    return Side(name, reports, _size(given, bool(reports)))


def _method(folder: Path) -> str:
    return next((method for method, (file, _) in METHODS.items() if (folder / file).is_file()), OTHER)


def _read(file: Path) -> Report:
    needed = "write it again with the command that made the folder."
    text = read_text(file, needed, most_bytes=MOST_REPORT_BYTES)
    json_value(text, str(file), needed, most_values=MOST_REPORT_VALUES)
    try:
        return Report.from_json(text)
    except (ValueError, TypeError) as error:
        raise ValueError(f"{file}: {error}") from None


def _speed(file: Path) -> Report | None:
    """The times that a pruned folder states; None where none were measured."""
    if not file.is_file():
        return None
    needed = "delete it, or copy the folder again."
    found = json_value(read_text(file, needed, most_bytes=MOST_REPORT_BYTES), str(file), needed, strictly=True)
    if isinstance(found, dict) and "absent" in found:
        return None
    try:
        return report_of(found)
    except (KeyError, TypeError, ValueError, AttributeError, ZeroDivisionError) as error:
        raise ValueError(f"{file} holds no times as `pydisp prune` writes them ({first_line(error)}); {needed}") from None


def _size(given: str, has_reports: bool) -> dict | None:
    """Parameters, MiB, dtype and type of a model, from its config; None for a folder of reports that is no model."""
    if has_reports and not (Path(given) / "config.json").is_file():
        return None
    try:
        config = load_config(given)
        model = empty_model(config, given)
    except (LoadingError, ImportError) as error:
        raise LoadingError(
            f"{given or 'an empty name'} is neither a folder with a {REPORT_FILE} nor a model ({str(error).rstrip('.')}); {_GIVE}."
        ) from None
    is_quantized = getattr(config, "quantization_config", None) is not None
    if not is_quantized and (words := shortfall(model, Path(given))):
        raise LoadingError(f"{given} {words}")
    parameters, dtype = sum(p.numel() for p in model.parameters()), stored_dtype(config)
    return {
        "parameters": parameters,
        "MiB of weights": None if is_quantized else parameters * dtype.itemsize / 2**20,
        "dtype": str(dtype).removeprefix("torch."),
        "type": config.model_type,
    }
