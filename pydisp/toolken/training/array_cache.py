"""ArrayCache: arrays on disk that one pass over a model fills batch by batch; a stopped pass goes on and ends with the same bytes.

    cache = ArrayCache(folder, identity, count=1200)
    arrays = cache.filled(batches, read, say=say, title="hidden states")     # {"hidden": (1200, D), ...}, memory-mapped

The batches are the same whatever was done before, and each writes the rows of its own items only.
"""

import hashlib
import json
import os
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from pydisp.progress import Bar, Interrupted, stop_requests
from pydisp.workspace import write_whole

_PROGRESS = "progress.json"


class ArrayCache:
    """A folder with one .npy file an array.

    Args:
        folder: made if need be; what stands there under another identity is replaced.
        identity: plain values that decide the content, such as digests and the seed. count: items, the rows of each array.
    Raises: ValueError if there are none.
    """

    def __init__(self, folder: str | os.PathLike, identity: dict, count: int):
        if count < 1:
            raise ValueError("there is nothing to read: no text has a position at which a word or a tool is chosen; give other problems.")
        self.folder, self.count = Path(folder), count
        self.identity = json.loads(json.dumps({**identity, "count": count}))
        self._arrays: dict[str, np.ndarray] = {}
        self.done = self._found()

    def filled(
        self,
        batches: Sequence[Sequence[int]],
        read: Callable[[Sequence[int]], dict[str, Tensor]],
        *,
        say: Callable[[str], None],
        title: str,
        commit_every: int = 8,
    ) -> dict[str, Tensor]:
        """All arrays as float32 tensors on the disk, after the batches that are missing.

        Args:
            batches: numbers of items, each in one batch. read: gives the rows (items, ...) of a batch, for each array.
            commit_every: after so many batches the progress is noted, so that a kill loses no more.
        Raises: Interrupted after a stop request; ValueError for values that are not finite.
        """
        with stop_requests() as is_stop_requested, Bar(len(batches), say, self.done, title=title, unit="batch") as bar:
            for number in range(self.done, len(batches)):
                self._write(batches[number], read(batches[number]))
                if (number + 1) % commit_every == 0 or number + 1 == len(batches) or is_stop_requested():
                    self._commit(number + 1)
                bar(number + 1)
                if is_stop_requested():  # behind the last batch too: other passes follow, and the request would be forgotten
                    raise Interrupted(f"stopped after batch {number + 1} of {len(batches)} of {title}; repeat the command with --resume.")
        return {name: torch.from_numpy(np.load(self._path(name), mmap_mode="c")) for name in self._names()}

    def _found(self) -> int:
        """How many batches an earlier pass of this identity has done; leftovers of another one are removed."""
        try:
            progress = json.loads((self.folder / _PROGRESS).read_text())
            if progress["identity"] == self.identity and all(self._path(name).is_file() for name in progress["arrays"]):
                self._arrays = {name: np.load(self._path(name), mmap_mode="r+") for name in progress["arrays"]}
                return progress["done"]
        except (OSError, ValueError, KeyError, TypeError):
            pass
        self.folder.mkdir(parents=True, exist_ok=True)
        for path in (self.folder / _PROGRESS, *self.folder.glob("*.npy")):
            path.unlink(missing_ok=True)
        return 0

    def _write(self, items: Sequence[int], values: dict[str, Tensor]) -> None:
        for name, rows in values.items():
            rows = rows.float().cpu()
            if not torch.isfinite(rows).all():
                raise ValueError(
                    f"{name} of item {items[0]} and those beside it are not finite; the model is damaged, or overflows in its dtype."
                )
            if name not in self._arrays:
                shape = (self.count, *rows.shape[1:])
                self._arrays[name] = np.lib.format.open_memmap(self._path(name), mode="w+", dtype=np.float32, shape=shape)
            self._arrays[name][list(items)] = rows.numpy()

    def _commit(self, done: int) -> None:
        for array in self._arrays.values():
            array.flush()
        progress = {"identity": self.identity, "arrays": self._names(), "done": done}
        write_whole(self.folder / _PROGRESS, json.dumps(progress, indent=1, sort_keys=True))

    def _names(self) -> list[str]:
        return sorted(self._arrays)

    def _path(self, name: str) -> Path:
        return self.folder / f"{name}.npy"


def batches_of_similar_length(lengths: Sequence[int], most_tokens: int) -> list[list[int]]:
    """Numbers of texts, short texts first, so that a batch padded to its longest has at most `most_tokens` (or holds one text)."""
    batches: list[list[int]] = []
    for number in sorted(range(len(lengths)), key=lambda number: lengths[number]):
        if not batches or (len(batches[-1]) + 1) * lengths[number] > most_tokens:
            batches.append([])
        batches[-1].append(number)
    return batches


def digest_of(*values) -> str:
    """16 hexadecimal digits of tensors and plain values."""
    digest = hashlib.sha256()
    for value in values:
        digest.update(value.contiguous().numpy().tobytes() if isinstance(value, Tensor) else json.dumps(value).encode())
        digest.update(b"\0")
    return digest.hexdigest()[:16]
