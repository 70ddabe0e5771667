"""Journal: the finished batches of an evaluation, for one that goes on after a stop or a kill.

{"format": "pydisp-toolken-journal-1", "model": "3f...", ...}
{"batch": "reject, seed 0, 3", "outcomes": [{"problem": "a-17", ...}]}

A kill leaves whole lines and perhaps a torn last one, which is dropped. What decides the outcomes stands in the first line; a run in which
any of it differs is refused, for its outcomes would not belong to these.
"""

import json
from pathlib import Path

from pydisp.given_value import json_value
from pydisp.toolken.evaluating.outcomes import Outcome, OutcomeError
from pydisp.workspace import lock_file

FORMAT = "pydisp-toolken-journal-1"


class JournalError(ValueError):
    """A run that cannot go on from this journal; the message is one sentence."""


class Journal:
    """The batches that were finished, and the file that receives more of them until the end of the `with`.

        with Journal("out/outcomes.partial", {"model": digest}) as journal:
            if "reject, seed 0, 3" not in journal.done:
                journal.append("reject, seed 0, 3", outcomes)

    Args:
        identity: plain values that decide the outcomes. resume: go on from the file that is there, if one is; else it is replaced.
    Raises: JournalError if the file is of another run or damaged, or another run writes it at this moment.
    """

    def __init__(self, path: Path | str, identity: dict, *, resume: bool = True):
        self.path, self.identity = Path(path), json.loads(json.dumps({"format": FORMAT, **identity}))
        self.done: dict[str, list[Outcome]] = {}
        self._resume, self._file = resume, None

    def __enter__(self) -> "Journal":
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._file = open(self.path, "a+b")  # noqa: SIM115  closed by __exit__; not "wb", another run may be at it
        try:
            try:
                lock_file(self._file.fileno())
            except BlockingIOError:
                raise JournalError(
                    f"another run is writing {self.path} at this moment; wait for its end, or choose another folder."
                ) from None
            self._file.seek(0)
            content = self._file.read() if self._resume else b""
            whole = content[: content.rfind(b"\n") + 1]
            self._take(whole)
            self._file.truncate(len(whole))
            if not whole:
                self._write(self.identity)
        except BaseException:
            self._file.close()
            raise
        return self

    def __exit__(self, *_error) -> None:
        self._file.close()

    def append(self, batch: str, outcomes: list[Outcome]) -> None:
        """Keep a finished batch, on the disk before this returns to the caller."""
        self.done[batch] = list(outcomes)
        self._write({"batch": batch, "outcomes": [one.as_dict() for one in outcomes]})

    def remove(self) -> None:
        """When the results are written."""
        self.path.unlink(missing_ok=True)

    def _write(self, record: dict) -> None:
        self._file.write((json.dumps(record, ensure_ascii=False, allow_nan=False) + "\n").encode())
        self._file.flush()

    def _take(self, whole: bytes) -> None:
        if not whole:
            return
        try:
            was, *lines = [json_value(line, "", "") for line in whole.split(b"\n") if line]
            if not isinstance(was, dict):
                raise TypeError
            self.done = {line["batch"]: [Outcome.from_dict(one) for one in line["outcomes"]] for line in lines}
        except (ValueError, TypeError, KeyError, OutcomeError):
            raise JournalError(f"{self.path} is damaged; start anew without resuming.") from None
        for key in sorted(was.keys() | self.identity.keys()):
            if was.get(key) != self.identity.get(key):
                raise JournalError(
                    f"the run of {self.path} had {key} {was.get(key)!r}, this one has {self.identity.get(key)!r}; repeat it as it was, or start "
                    "anew without resuming."
                )
