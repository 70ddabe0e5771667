"""A file that a user names: its kind, its size and its encoding are checked here, before anything is made of it.

read_text("pydisp.yaml", "give a YAML file of settings.", most_bytes=1 << 16)

What is no regular file is refused, for reading a pipe waits and a device has no end. A file that ends in .gz is unpacked, and its limit
holds for what comes out. Each error is one sentence that ends in the words of the caller on what was needed.
"""

import contextlib
import gzip
import os
import stat
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

_KINDS = {stat.S_IFDIR: "a folder", stat.S_IFIFO: "a pipe", stat.S_IFSOCK: "a socket", stat.S_IFCHR: "a device", stat.S_IFBLK: "a device"}
_UTF_16 = (b"\xff\xfe", b"\xfe\xff")  # how such a file begins; UTF-32 begins so too or has more zeros
_SAMPLE_BYTES = 1 << 12


def check_kind(path: str | os.PathLike, needed: str) -> int:
    """Refuse what is no regular file.

    Args:
        needed: what to give instead, as the end of a sentence with its full stop.
    Returns: its size in bytes.
    Raises: FileNotFoundError if nothing is there; ValueError for a folder, a pipe, a device or a socket.
    """
    try:
        status = os.stat(path)
    except (FileNotFoundError, NotADirectoryError):
        raise FileNotFoundError(f"there is no file {path}; {needed}") from None
    except (OSError, ValueError) as error:  # ValueError: a null character in the name
        raise ValueError(f"{str(path)!r} cannot be read ({getattr(error, 'strerror', None) or error}); {needed}") from None
    if not stat.S_ISREG(status.st_mode):
        raise ValueError(f"{path} is {_KINDS.get(stat.S_IFMT(status.st_mode), 'no regular file')}; {needed}")
    return status.st_size


def check_folder(folder: str | os.PathLike, needed: str) -> None:
    """Refuse a folder that holds a pipe, a device or a socket: whatever reads its files would wait at it.

    Raises: ValueError naming it.
    """
    for entry in sorted(os.scandir(folder), key=lambda entry: entry.name):
        with contextlib.suppress(FileNotFoundError):  # a link to nothing
            if not stat.S_ISDIR(os.stat(entry).st_mode):
                check_kind(entry.path, needed)


def read_bytes(path: str | os.PathLike, needed: str, *, most_bytes: int) -> bytes:
    """The content of a regular file.

    Raises: FileNotFoundError; ValueError for another kind of file, for one of more than `most_bytes`, and for a damaged .gz.
    """
    is_large = check_kind(path, needed) > most_bytes and not _is_packed(path)
    data = b"" if is_large else first_bytes(path, needed, most_bytes=most_bytes + 1)
    if is_large or len(data) > most_bytes:
        raise ValueError(f"{path} has more than {most_bytes:,} bytes, and no more are read; {needed}")
    return data


def first_bytes(path: str | os.PathLike, needed: str, *, most_bytes: int) -> bytes:
    """The first `most_bytes` of a regular file, or all if it has fewer.

    Raises: as `read_bytes`, but for the size.
    """
    with _opened(path, needed) as stream:
        return stream.read(most_bytes)


def read_lines(path: str | os.PathLike, needed: str, *, most_bytes: int, digest=None) -> Iterator[bytes]:
    """The lines of a regular file, one after the other, without their ends.

    Args:
        most_bytes: of a line.
        digest: of hashlib; gets every byte that is read.
    Raises: as `read_bytes`; ValueError, naming the line, for one that is too long.
    """
    with _opened(path, needed) as stream:
        number = 0
        while line := stream.readline(most_bytes + 2):
            number += 1
            if digest is not None:
                digest.update(line)
            line = line.removesuffix(b"\n")
            if len(line) > most_bytes:
                raise ValueError(f"{path}, line {number} has more than {most_bytes:,} bytes, and no longer line is read; {needed}")
            yield line


def read_text(path: str | os.PathLike, needed: str, *, most_bytes: int) -> str:
    """The text of a regular file in UTF-8, without its byte order mark.

    Raises: as `read_bytes` and `decoded`.
    """
    return decoded(read_bytes(path, needed, most_bytes=most_bytes), path)


def decoded(data: bytes, place: str | os.PathLike) -> str:
    """The text of bytes in UTF-8, without its byte order mark.

    Args:
        place: where they stand, for messages.
    Raises: ValueError for another encoding and for binary data; UTF-16 is told apart from these.
    """
    if _is_utf_16(data):
        raise ValueError(f"{place} is UTF-16, as some programs of Windows write text; save it as UTF-8.")
    if b"\0" in data:
        raise ValueError(f"{place} is a binary file (it holds NUL bytes); text must be UTF-8.")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = 1 + data.count(b"\n", 0, error.start)
        raise ValueError(
            f"{place} is not UTF-8 (byte {error.start}, line {line}); convert it, or leave it out if it is a binary file."
        ) from None


def _is_utf_16(data: bytes) -> bool:
    """Whether the bytes begin as UTF-16 or UTF-32 does, or have zeros at every second place, as Latin letters in UTF-16 do."""
    if data.startswith(_UTF_16):
        return True
    sample = data[: _SAMPLE_BYTES & ~1]
    zeros = sample[::2].count(0), sample[1::2].count(0)
    return len(sample) >= 8 and max(zeros) > 0.4 * len(sample) / 2 > 10 * min(zeros)


def _is_packed(path: str | os.PathLike) -> bool:
    return Path(path).suffix.lower() == ".gz"


@contextlib.contextmanager
def _opened(path: str | os.PathLike, needed: str) -> Iterator[BinaryIO]:
    """A stream of the file's content, unpacked if it ends in .gz; what goes wrong while it is read is told in one sentence."""
    check_kind(path, needed)
    try:
        # Not blocking, for what was a file a moment ago may be a pipe now.
        with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK), "rb") as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise ValueError(f"{path} is no regular file; {needed}")
            if not _is_packed(path):
                yield file
                return
            with gzip.open(file) as unpacked:
                yield unpacked
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise ValueError(f"{path} is no whole gzip file ({error}); compress it again or give the plain text.") from None
    except OSError as error:
        raise ValueError(f"{path} cannot be read ({error.strerror or error}); {needed}") from None
