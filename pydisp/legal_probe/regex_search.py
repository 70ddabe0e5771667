"""Where regular expressions match, each found within a time: (a+)+b would search forty letters for longer than anyone waits.

with RegexSearch() as search:
    search.spans("banks?", "The bank and the banks.")     # [(4, 8), (17, 22)]

Nothing stops Python's `re` from within its own process. So a child process searches, and the system ends it when its time is over, also where
nobody waits for it any more; it starts with the first search.
"""

import json
import subprocess
import sys

MOST_SECONDS = 2  # of the processor, for each search: most take a millisecond
_PROGRAM = """\
import json, re, signal, sys
signal.signal(signal.SIGPROF, signal.SIG_DFL)
for line in sys.stdin:
    regex, text = json.loads(line)
    signal.setitimer(signal.ITIMER_PROF, float(sys.argv[1]))
    try:
        pattern = re.compile(regex)
        found = [match.span() for match in pattern.finditer(text)]
        answer = found + [(0, 0)] * (pattern.fullmatch("") is not None)
    except Exception as error:
        answer = str(error)
    print(json.dumps(answer), flush=True)
    signal.setitimer(signal.ITIMER_PROF, 0)
"""


class RegexSearch:
    """A process that searches, until the end of the `with`."""

    def __init__(self):
        self._child: subprocess.Popen | None = None

    def __enter__(self) -> "RegexSearch":
        return self

    def __exit__(self, *_error) -> None:
        if self._child is not None:
            self._child.kill()
            self._child.communicate()

    def spans(self, regex: str, text: str) -> list[tuple[int, int]]:
        """Start and end of each match, from left to right; an empty one among them if the expression matches the empty string.

        Raises: ValueError for what is no regular expression of Python; TimeoutError after MOST_SECONDS.
        """
        if self._child is None:
            # -I and -S: nothing of the user's starts with it
            command = [sys.executable, "-I", "-S", "-c", _PROGRAM, str(MOST_SECONDS)]
            pipes = dict(stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
            self._child = subprocess.Popen(command, encoding="ascii", **pipes)
        try:
            self._child.stdin.write(json.dumps([regex, text]) + "\n")
            self._child.stdin.flush()
            line = self._child.stdout.readline()
        except BrokenPipeError:
            line = ""
        if not line:
            raise TimeoutError(f"the search did not end within {MOST_SECONDS} s")
        answer = json.loads(line)
        if isinstance(answer, str):
            raise ValueError(answer)
        return [(start, end) for start, end in answer]
