"""A settings file of any content gives settings that PruneSettings takes, or one sentence."""

import os

from fuzzing import VALUES, changed_bytes, fuzz
from hypothesis import strategies as st

from pydisp.commands.settings_file import read_settings
from pydisp.pruning import PruneSettings

GOOD = b"""\
# The settings of this run
model: demo
keep_ratio: 0.5
steps: 120
seed: 3
method: random
learning_rate: 1.0e-3
"""
NAMES = sorted(PruneSettings.__dataclass_fields__)
SCALARS = ["0.5", "120", "1.0e-3", "1e-3", "'a'", "null", "~", "yes", ".nan", "-.inf", "0x1F", "1_000", "1:30", "2024-01-01", "2024-13-45",
           "!!int '3'", "!!binary x", "!!set {a}", "!!python/name:os.system x", "!!float .", "9" * 5000, "&a 1", "*a", "[]", "{}", "<<", "=",
           "|\n  text", ">-\n  text", '"\\ud800"', "? x", "- 1", "[1, [2]]", "{a: {b: 1}}", "%TAG", "é", "\x07", "\u2028", ""]  # fmt: skip
DEPTHS = st.integers(1, 4000)
STRANGE = st.one_of(
    DEPTHS.map(lambda depth: "steps: " + "[" * depth + "]" * depth),
    DEPTHS.map(lambda depth: "{a: " * depth),
    DEPTHS.map(lambda depth: "- " * depth),
    DEPTHS.map(lambda depth: "? " * depth),
    DEPTHS.map(lambda depth: "".join(" " * n + "a:\n" for n in range(min(depth, 300)))),
    st.integers(1, 40).map(lambda n: "a0: &a0 [x]\n" + "".join(f"a{i}: &a{i} [{f'*a{i - 1}, ' * 9}]\n" for i in range(1, n))),
    st.sampled_from(["a: &a [*a]", "<<: {steps: 3}", "steps: 1\nsteps: 2", "---\na\n---\nb", "\t", "# " + "x" * (1 << 17), "a: " * 20_000]),
    st.text(alphabet="&*[]{}:,-?!|>%@`'\"#~ \n\tab0.", max_size=60),
)


@st.composite
def lines(draw) -> str:
    value = st.sampled_from(SCALARS) | VALUES.map(repr) | st.floats().map(str) | st.integers().map(str)
    name = st.sampled_from(NAMES) | st.sampled_from(["model", "stepz", "", "steps "])
    return "".join(f"{draw(name)}: {draw(value)}\n" for _ in range(draw(st.integers(1, 5))))


# Values of the right type, in and out of their ranges
RIGHT = {
    "keep_ratio": st.floats(0, 1.2, allow_subnormal=False), "steps": st.integers(-1, 10**6), "seed": st.integers(-2, 2**40),
    "learning_rate": st.floats(0, 1, allow_subnormal=False), "method": st.sampled_from(["learned", "random", "magnitude"]), "model": st.just("demo"),
}  # fmt: skip
RIGHT_LINES = st.fixed_dictionaries({}, optional=RIGHT).map(lambda found: "".join(f"{name}: {value}\n" for name, value in found.items()))


def test_settings(tmp_path):
    path = tmp_path / "c.yaml"

    def outcome(content):
        path.unlink(missing_ok=True)
        if content == "pipe":
            os.mkfifo(path)
        elif content != "nothing":
            path.write_bytes(content if isinstance(content, bytes) else content.encode(errors="surrogatepass"))
        read = read_settings(path)
        PruneSettings(**{"keep_ratio": 0.5, **read})
        if content == GOOD:
            assert read == {"keep_ratio": 0.5, "steps": 120, "seed": 3, "method": "random", "learning_rate": 1e-3}

    fuzz(
        "settings file",
        st.one_of(lines(), lines(), RIGHT_LINES, STRANGE, changed_bytes(GOOD), st.sampled_from([GOOD, "pipe", "nothing"])),
        outcome,
    )
