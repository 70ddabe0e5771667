"""Journal: FILE.partial, the finished batches of a run that writes FILE, for a run that goes on after a stop or a kill.

{"format": "pydisp-holobench-journal-1", "model": "SMOLLM2", ...}
{"batch": 0, "predictions": [{"id": "512-0003-2", "answer": "7", "finished": true}]}

A kill leaves whole lines and perhaps a torn last one, which is dropped.
"""

from pathlib import Path

from pydisp.given_value import json_value
from pydisp.holobench.answers.predictions import Prediction
from pydisp.holobench.sealed_file import json_line, read_file, shown
from pydisp.workspace import lock_file

FORMAT = "pydisp-holobench-journal-1"


class JournalError(ValueError):
    """A run that cannot go on from this journal; the message is one sentence."""


class Journal:
    """The batches that were finished, and the file that receives more of them from `begin` to the end of the `with`.

    Args:
        out: FILE. identity: plain values that decide the predictions. resume: go on from the file that is there, else it is replaced.
    Raises: JournalError if there is nothing to go on from, or the journal is of another run.
    """

    def __init__(self, out: Path, identity: dict, *, resume: bool):
        self.path, self.identity = out.with_name(f"{out.name}.partial"), {"format": FORMAT, **identity}
        self.done: dict[int, list[Prediction]] = {}
        self._whole, self._file = b"", None
        if resume:
            content = read_file(self.path, "a run that was stopped, or leave out --resume", JournalError)
            self._whole = content[: content.rfind(b"\n") + 1]
        if self._whole:
            self._take()

    def begin(self) -> None:
        """Open the file and keep other runs out of it; what an older run left is replaced only now.

        Raises: JournalError if another run has it.
        """
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._file = open(self.path, "r+b" if self._whole else "ab")  # noqa: SIM115  closed by __exit__; not "wb", another run may be at it
        try:
            lock_file(self._file.fileno())
        except BlockingIOError:
            raise JournalError(f"another run is writing {self.path} at this moment; wait for its end, or choose another --out.") from None
        self._file.truncate(len(self._whole))
        self._file.seek(len(self._whole))
        if not self._whole:
            self._write(self.identity)

    def append(self, batch: int, predictions: list[Prediction]) -> None:
        self.done[batch] = predictions
        self._write({"batch": batch, "predictions": [one.as_dict() for one in predictions]})

    def __enter__(self) -> "Journal":
        return self

    def __exit__(self, *_error) -> None:
        if self._file is not None:
            self._file.close()

    def remove(self) -> None:
        """When FILE is there."""
        self._file.close()
        self.path.unlink(missing_ok=True)

    def _write(self, record: dict) -> None:
        self._file.write(json_line(record))
        self._file.flush()

    def _take(self) -> None:
        try:
            was, *lines = [json_value(line, "", "") for line in self._whole.split(b"\n") if line]
            if not isinstance(was, dict):
                raise TypeError
            self.done = {line["batch"]: [Prediction.from_dict(one) for one in line["predictions"]] for line in lines}
        except (ValueError, TypeError, KeyError):
            raise JournalError(f"{self.path} is damaged; start anew without --resume.") from None
        for key in sorted(was.keys() | self.identity.keys()):
            if was.get(key) != self.identity.get(key):
                raise JournalError(
                    f"the run of {self.path} had {key} {shown(was.get(key))}, this one has {shown(self.identity.get(key))}; "
                    "repeat its command with --resume, or start anew without."
                )
