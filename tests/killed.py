"""Kill a process before each of its steps on the file system: what Ctrl-C, a full machine or a queue's time limit may do at any moment."""

import os
import signal
import sys
import warnings
from collections.abc import Callable

STEPS = {"open", "os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.listdir", "os.scandir", "fcntl.flock", "shutil.rmtree"}


def is_killed_at(step: int, action: Callable[[], None]) -> bool:
    """Run `action` in a process of its own that is killed right before its file-system step `step`; False where it ended before that.

    Steps are audit events of Python. The action must use no threads (torch's do not survive a fork).
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # Python 3.12: this process has threads; the child uses none of their locks
        child = os.fork()
    if child == 0:
        left = step

        def count(event, _args):
            nonlocal left
            if event in STEPS:
                left -= 1
                if left < 0:
                    os.kill(os.getpid(), signal.SIGKILL)

        sys.addaudithook(count)
        try:
            action()
        finally:
            os._exit(0)
    _, status = os.waitpid(child, 0)
    return os.WIFSIGNALED(status)
