"""What a user names is read if it is a regular file of no more than a limit; everything else is one sentence, at once."""

import gzip
import os
import socket

import pytest

from pydisp.given_file import check_folder, check_kind, decoded, first_bytes, read_bytes, read_lines, read_text

NEEDED = "give a file of words."


def test_a_file_and_its_gz_are_read(tmp_path):
    (tmp_path / "a").write_bytes(b"\xef\xbb\xbfone\n\ntwo")
    (tmp_path / "b.gz").write_bytes(gzip.compress(b"one\n\ntwo\n"))
    assert check_kind(tmp_path / "a", NEEDED) == 11
    assert read_text(tmp_path / "a", NEEDED, most_bytes=11) == "one\n\ntwo"
    assert read_bytes(tmp_path / "b.gz", NEEDED, most_bytes=9) == b"one\n\ntwo\n"
    assert first_bytes(tmp_path / "b.gz", NEEDED, most_bytes=2) == b"on"
    assert list(read_lines(tmp_path / "b.gz", NEEDED, most_bytes=3)) == [b"one", b"", b"two"]
    assert list(read_lines(tmp_path / "a", NEEDED, most_bytes=6)) == [b"\xef\xbb\xbfone", b"", b"two"]


def test_what_is_larger_than_the_limit_is_not_read(tmp_path):
    (tmp_path / "a").write_bytes(b"123456")
    (tmp_path / "bomb.gz").write_bytes(gzip.compress(bytes(1 << 24)))
    with pytest.raises(ValueError, match="a has more than 5 bytes, and no more are read; give a file of words.$"):
        read_bytes(tmp_path / "a", NEEDED, most_bytes=5)
    with pytest.raises(ValueError, match="bomb.gz has more than 1,000 bytes"):
        read_bytes(tmp_path / "bomb.gz", NEEDED, most_bytes=1000)
    with pytest.raises(ValueError, match="bomb.gz, line 1 has more than 1,000 bytes, and no longer line is read"):
        list(read_lines(tmp_path / "bomb.gz", NEEDED, most_bytes=1000))
    with open(tmp_path / "sparse", "wb") as file:  # a terabyte that takes no room
        file.truncate(1 << 40)
    with pytest.raises(ValueError, match="sparse has more than 1,000 bytes"):
        read_bytes(tmp_path / "sparse", NEEDED, most_bytes=1000)


READERS = {
    "kind": check_kind,
    "bytes": lambda *a: read_bytes(*a, most_bytes=10),
    "text": lambda *a: read_text(*a, most_bytes=10),
    "first": lambda *a: first_bytes(*a, most_bytes=10),
    "lines": lambda *a: list(read_lines(*a, most_bytes=10)),
}


@pytest.mark.parametrize("reader", READERS)
def test_what_is_no_regular_file_is_refused_at_once(tmp_path, monkeypatch, reader):
    monkeypatch.chdir(tmp_path)  # the name of a socket is short
    os.mkfifo("pipe")
    os.mkdir("folder")
    os.symlink("nowhere", "link")
    os.symlink("pipe", "linked_pipe")
    with socket.socket(socket.AF_UNIX) as bound:
        bound.bind("socket")
        for name, words in {"pipe": "a pipe", "folder": "a folder", "linked_pipe": "a pipe", "socket": "a socket"}.items():
            with pytest.raises(ValueError, match=f"^{name} is {words}; give a file of words.$"):
                READERS[reader](name, NEEDED)
    with pytest.raises(ValueError, match="^/dev/zero is a device; give"):
        READERS[reader]("/dev/zero", NEEDED)
    for name in ("nothing", "link", "/dev/zero/a"):
        with pytest.raises(FileNotFoundError, match=f"^there is no file {name}; give a file of words.$"):
            READERS[reader](name, NEEDED)
    for name in ("a\0b", "x" * 5000):
        with pytest.raises(ValueError, match="cannot be read .*; give a file of words.$"):
            READERS[reader](name, NEEDED)


def test_a_file_that_became_a_pipe_is_not_waited_for(tmp_path, monkeypatch):
    os.mkfifo(tmp_path / "pipe")
    monkeypatch.setattr("pydisp.given_file.check_kind", lambda *_: 0)
    with pytest.raises(ValueError, match="pipe is no regular file; give"):
        first_bytes(tmp_path / "pipe", NEEDED, most_bytes=10)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_that_may_not_be_read(tmp_path):
    (tmp_path / "a").write_bytes(b"a")
    (tmp_path / "a").chmod(0)
    with pytest.raises(ValueError, match="a cannot be read .Permission denied.; give"):
        read_bytes(tmp_path / "a", NEEDED, most_bytes=10)


def test_a_folder_with_a_pipe_is_refused(tmp_path):
    (tmp_path / "sub").mkdir()
    (tmp_path / "a").write_bytes(b"a")
    (tmp_path / "link").symlink_to("nowhere")
    check_folder(tmp_path, NEEDED)
    os.mkfifo(tmp_path / "model.safetensors")
    with pytest.raises(ValueError, match="model.safetensors is a pipe; give a file of words"):
        check_folder(tmp_path, NEEDED)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", ""),
        ("é".encode(), "é"),
        (b"\xef\xbb\xbfa", "a"),
    ],
)
def test_utf_8_is_decoded(data, words):
    assert decoded(data, "a.txt") == words


@pytest.mark.parametrize(
    ("data", "words"),
    [
        ("a".encode("utf-16"), "is UTF-16"),
        ("some words".encode("utf-16-be"), "is UTF-16"),
        ("some words".encode("utf-16-le"), "is UTF-16"),
        ("some words".encode("utf-32"), "is UTF-16"),
        (b"a\0b", r"is a binary file \(it holds NUL bytes\)"),
        (bytes(100), "is a binary file"),
        (b"a\n\xe9", r"is not UTF-8 \(byte 2, line 2\)"),
        (b"\xff\xff", r"is not UTF-8 \(byte 0, line 1\)"),
    ],
)
def test_other_bytes_are_told_apart(data, words):
    with pytest.raises(ValueError, match=f"^a.txt {words}"):
        decoded(data, "a.txt")
