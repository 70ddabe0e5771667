"""Confinement: what a process gives up, for good, before it runs a function that nobody has read.

On Linux, seccomp leaves it the system calls with which a program computes and reads: no new processes, programs, signals, sockets or timers, no
file opened for writing, none removed, no limit raised. Landlock keeps it from writing files once more, and from /proc, /sys and /dev, so from the
memory and the environment of other processes, the log of the kernel and all devices but those that give nothing, zeros or random bytes. Limits of memory, processor time, files and output hold on every POSIX system, and are all that holds elsewhere.

    confined = confine(memory_mib=256, seconds=2.0)       ("landlock", "seccomp", "rlimits")

Sources: Documentation/userspace-api/seccomp_filter.rst and landlock.rst of Linux; struct sock_filter of linux/filter.h.
"""

import ctypes
import math
import os
import platform
import resource
import signal
import struct
import sys

_PR_SET_PDEATHSIG, _PR_SET_SECCOMP, _PR_SET_NO_NEW_PRIVS = 1, 22, 38
_SECCOMP_MODE_FILTER = 2
_ALLOW, _KILL, _REFUSE, _UNKNOWN = 0x7FFF0000, 0x80000000, 0x00050001, 0x00050026  # the last two: EPERM, ENOSYS
_LOAD, _AND, _JUMP_EQUAL, _JUMP_AT_LEAST, _RETURN = 0x20, 0x54, 0x15, 0x35, 0x06
_NUMBER, _ARCHITECTURE, _FIRST_ARGUMENT = 0, 4, 16  # offsets in struct seccomp_data

# name: (number on x86_64, number on aarch64); None where the architecture has no such call
CALLS: dict[str, tuple[int | None, int | None]] = {
    "read": (0, 63), "write": (1, 64), "close": (3, 57), "stat": (4, None), "fstat": (5, 80), "lstat": (6, None), "poll": (7, None),
    "lseek": (8, 62), "mmap": (9, 222), "mprotect": (10, 226), "munmap": (11, 215), "brk": (12, 214), "rt_sigaction": (13, 134),
    "rt_sigprocmask": (14, 135), "rt_sigreturn": (15, 139), "pread64": (17, 67), "readv": (19, 65), "writev": (20, 66), "access": (21, None),
    "select": (23, None), "sched_yield": (24, 124), "mremap": (25, 216), "madvise": (28, 233), "dup": (32, 23), "nanosleep": (35, 101),
    "getpid": (39, 172), "exit": (60, 93), "uname": (63, 160), "getcwd": (79, 17), "readlink": (89, None), "gettimeofday": (96, 169),
    "getrusage": (98, 165), "sysinfo": (99, 179), "times": (100, 153), "getuid": (102, 174), "getgid": (104, 176), "geteuid": (107, 175),
    "getegid": (108, 177), "getppid": (110, 173), "sigaltstack": (131, 132), "arch_prctl": (158, None), "gettid": (186, 178),
    "futex": (202, 98), "sched_getaffinity": (204, 123), "getdents64": (217, 61), "set_tid_address": (218, 96), "restart_syscall": (219, 128),
    "clock_gettime": (228, 113), "clock_getres": (229, 114), "clock_nanosleep": (230, 115), "exit_group": (231, 94),
    "newfstatat": (262, 79), "readlinkat": (267, 78), "faccessat": (269, 48), "pselect6": (270, 72), "ppoll": (271, 73),
    "set_robust_list": (273, 99), "getrandom": (318, 278), "membarrier": (324, 283), "statx": (332, 291), "rseq": (334, 293),
    "faccessat2": (439, 439),
}  # fmt: skip
# Calls that are allowed where an argument, after a mask, is one value: (numbers, argument, mask, value)
_WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC
_ALL = 0xFFFFFFFF
_IS_THREAD = 0x00010000  # CLONE_THREAD
CALLS_WITH: dict[str, tuple[tuple[int | None, int | None], int, int, tuple[int, ...]]] = {
    "open": ((2, None), 1, _WRITES, (0,)),
    "openat": ((257, 56), 2, _WRITES, (0,)),
    "clone": ((56, 220), 0, _IS_THREAD, (_IS_THREAD,)),
    "fcntl": ((72, 25), 1, _ALL, (1, 2, 3, 4, 1030)),  # F_GETFD, F_SETFD, F_GETFL, F_SETFL, F_DUPFD_CLOEXEC
}
# Their arguments stand behind a pointer, which a filter cannot follow: the C library then uses the older call.
NEWER: dict[str, tuple[int, int]] = {"clone3": (435, 435), "openat2": (437, 437)}

_AUDIT_ARCHITECTURES = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
_LANDLOCK_CREATE_RULESET, _LANDLOCK_ADD_RULE, _LANDLOCK_RESTRICT_SELF = 444, 445, 446
_LANDLOCK_RULE_PATH_BENEATH = 1
_LANDLOCK_RIGHTS = (1 << 13) - 1  # all of its first version: execute, write, read, list, remove, and make files of every kind
_READ_FILE, _READ_FOLDER = 1 << 2, 1 << 3
_KERNEL_FOLDERS = {"proc", "sys", "dev"}
_DEVICES = ("/dev/null", "/dev/zero", "/dev/urandom", "/dev/random")


def _instruction(code: int, value: int, if_true: int = 0, if_false: int = 0) -> bytes:
    return struct.pack("=HBBI", code, if_true, if_false, value)


def filter_program(machine: str) -> bytes:
    """The filter in the kernel's own instructions, for "x86_64" or "aarch64"."""
    column = ("x86_64", "aarch64").index(machine)
    program = [
        _instruction(_LOAD, _ARCHITECTURE),
        _instruction(_JUMP_EQUAL, _AUDIT_ARCHITECTURES[machine], 1),
        _instruction(_RETURN, _KILL),
        _instruction(_LOAD, _NUMBER),
        # numbers of the x32 interface: the same calls once more
        _instruction(_JUMP_AT_LEAST, 0x40000000, 0, 1),
        _instruction(_RETURN, _REFUSE),
    ]
    for numbers, verdict in [(one, _ALLOW) for one in CALLS.values()] + [(one, _UNKNOWN) for one in NEWER.values()]:
        if numbers[column] is not None:
            program += [_instruction(_JUMP_EQUAL, numbers[column], 0, 1), _instruction(_RETURN, verdict)]
    for numbers, argument, mask, values in CALLS_WITH.values():
        if numbers[column] is not None:
            check = [_instruction(_LOAD, _FIRST_ARGUMENT + 8 * argument), _instruction(_AND, mask)]
            for value in values:
                check += [_instruction(_JUMP_EQUAL, value, 0, 1), _instruction(_RETURN, _ALLOW)]
            check.append(_instruction(_RETURN, _REFUSE))
            program += [_instruction(_JUMP_EQUAL, numbers[column], 0, len(check)), *check]
    return b"".join([*program, _instruction(_RETURN, _REFUSE)])


class _Program(ctypes.Structure):
    _fields_ = [("length", ctypes.c_ushort), ("instructions", ctypes.c_char_p)]


def _libc() -> ctypes.CDLL | None:
    return ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None


def die_with_parent() -> None:
    """Ask the kernel to kill this process when the one that forked it ends; does nothing elsewhere than on Linux."""
    if (libc := _libc()) is not None:
        libc.prctl(_PR_SET_PDEATHSIG, ctypes.c_ulong(signal.SIGKILL), 0, 0, 0)


def confine_files(libc: ctypes.CDLL) -> bool:
    """Give up writing files, and reading those in which the kernel shows processes and devices; False where it has no Landlock."""
    rights = ctypes.c_uint64(_LANDLOCK_RIGHTS)
    rules = libc.syscall(_LANDLOCK_CREATE_RULESET, ctypes.byref(rights), ctypes.c_size_t(8), 0)
    if rules < 0:
        return False
    for path in (*(entry.path for entry in os.scandir("/") if entry.name not in _KERNEL_FOLDERS), *_DEVICES):
        try:
            descriptor = os.open(path, os.O_PATH | os.O_CLOEXEC)
        except OSError:  # it has gone
            continue
        allowed = _READ_FILE | (_READ_FOLDER if os.path.isdir(path) else 0)
        rule = struct.pack("=Qi", allowed, descriptor)
        libc.syscall(_LANDLOCK_ADD_RULE, rules, _LANDLOCK_RULE_PATH_BENEATH, rule, 0)
        os.close(descriptor)
    done = libc.syscall(_LANDLOCK_RESTRICT_SELF, rules, 0)
    os.close(rules)
    return done == 0


def confine_calls(libc: ctypes.CDLL) -> bool:
    """Give up all system calls but those of the filter; False where the kernel or the processor has none."""
    if platform.machine() not in _AUDIT_ARCHITECTURES or struct.calcsize("P") != 8:
        return False
    instructions = filter_program(platform.machine())
    program = _Program(len(instructions) // 8, instructions)
    return libc.prctl(_PR_SET_SECCOMP, _SECCOMP_MODE_FILTER, ctypes.byref(program), 0, 0) == 0


def confine(memory_mib: int, seconds: float) -> tuple[str, ...]:
    """Give up for this process, and for good, what a pure function does not need.

    Args:
        memory_mib: that it may take beyond what it has. seconds: of processor time, rounded up; wall time is watched from outside.
    Returns: what holds now, of "landlock", "seccomp" and "rlimits".
    """
    limit(memory_mib, seconds)  # first: it reads /proc and sets limits, which the others refuse
    libc = _libc()
    if libc is None:
        return ("rlimits",)
    libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    held = {"landlock": confine_files(libc), "seccomp": confine_calls(libc)}
    return (*(name for name, holds in held.items() if holds), "rlimits")


def limit(memory_mib: int, seconds: float) -> None:
    """Set the limits that the kernel keeps: each is what it is at most from now on."""
    cpu_seconds = math.ceil(seconds) + 1
    limits = {resource.RLIMIT_CPU: cpu_seconds, resource.RLIMIT_FSIZE: 0, resource.RLIMIT_CORE: 0, resource.RLIMIT_NOFILE: 64}
    if sys.platform == "linux":
        with open("/proc/self/statm", encoding="ascii") as file:
            pages = int(file.read().split()[0])
        limits[resource.RLIMIT_AS] = pages * resource.getpagesize() + memory_mib * 2**20
    else:
        limits[resource.RLIMIT_NPROC] = 0  # on Linux it would count threads, and the filter refuses new processes
    for kind, value in limits.items():
        hard = resource.getrlimit(kind)[1]
        value = value if hard == resource.RLIM_INFINITY else min(value, hard)
        resource.setrlimit(kind, (value, value))
