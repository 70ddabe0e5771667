"""The filter has the numbers of the kernel's own headers, and says no by default."""

import re
import struct
from pathlib import Path

import pytest

from pydisp.toolken.tools.confinement import CALLS, CALLS_WITH, NEWER, filter_program

HEADERS = (Path("/usr/include/x86_64-linux-gnu/asm/unistd_64.h"), Path("/usr/include/asm-generic/unistd.h"))
NUMBERS = {**CALLS, **{name: one[0] for name, one in CALLS_WITH.items()}, **NEWER}


@pytest.mark.parametrize("column, header", list(enumerate(HEADERS)), ids=["x86_64", "aarch64"])
def test_numbers_are_those_of_the_headers(column, header):
    if not header.is_file():
        pytest.skip("no headers of the kernel here")
    found = {name: int(number) for name, number in re.findall(r"#define __NR(?:3264)?_(\w+)\s+(\d+)", header.read_text())}
    found.setdefault("newfstatat", found.get("fstatat"))
    assert {name: numbers[column] for name, numbers in NUMBERS.items()} == {name: found.get(name) for name in NUMBERS}


def verdict(machine: str, number: int, arguments: tuple[int, ...] = (0,) * 6, architecture: int | None = None) -> int:
    """What the kernel would do: the few instructions that the filter has, run here."""
    architecture = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}[machine] if architecture is None else architecture
    data = struct.pack("=IIQ6Q", number, architecture, 0, *arguments)
    program, place, value = list(struct.iter_unpack("=HBBI", filter_program(machine))), 0, 0
    while True:
        code, if_true, if_false, constant = program[place]
        place += 1
        if code == 0x06:
            return constant
        if code == 0x20:
            (value,) = struct.unpack_from("=I", data, constant)
        elif code == 0x54:
            value &= constant
        else:
            holds = value == constant if code == 0x15 else value >= constant
            place += if_true if holds else if_false


ALLOW, REFUSE, UNKNOWN, KILL = 0x7FFF0000, 0x00050001, 0x00050026, 0x80000000


@pytest.mark.parametrize("column, machine", list(enumerate(["x86_64", "aarch64"])))
def test_only_what_is_listed_is_allowed(column, machine):
    allowed = {numbers[column] for numbers in CALLS.values()}
    unknown = {numbers[column] for numbers in NEWER.values()}
    conditional = {one[0][column] for one in CALLS_WITH.values()}
    for number in range(600):
        if number not in conditional:
            assert verdict(machine, number) == (ALLOW if number in allowed else UNKNOWN if number in unknown else REFUSE)
    assert verdict(machine, 0, architecture=0x40000003) == KILL, "calls of another architecture"
    assert verdict(machine, 0x40000000) == REFUSE, "calls of x32"


@pytest.mark.parametrize("machine, openat, clone, fcntl", [("x86_64", 257, 56, 72), ("aarch64", 56, 220, 25)])
def test_files_open_for_reading_and_clones_are_threads(machine, openat, clone, fcntl):
    assert verdict(machine, openat, (0, 0, 0o2000000, 0, 0, 0)) == ALLOW  # O_CLOEXEC
    for flag in (1, 2, 0o100, 0o1000):  # to write, to read and write, to make, to empty
        assert verdict(machine, openat, (0, 0, flag | 0o2000000, 0, 0, 0)) == REFUSE
    assert verdict(machine, clone, (0x003D0F00, 0, 0, 0, 0, 0)) == ALLOW
    for flags in (17, 0x4111, 0x01200011):  # fork, vfork, fork as the C library writes it
        assert verdict(machine, clone, (flags, 0, 0, 0, 0, 0)) == REFUSE
    assert verdict(machine, fcntl, (0, 1, 0, 0, 0, 0)) == ALLOW
    assert verdict(machine, fcntl, (0, 8, 0, 0, 0, 0)) == REFUSE  # to have signals sent
