"""The name under which pydisp is distributed, and what to install. `pip install pydisp` would install another project: no message may say that."""

import re
import shlex
from importlib import metadata

DISTRIBUTION = "pydisp-llm"
INSTALL = f"pip install . in a checkout of {DISTRIBUTION}"  # of pydisp itself, for who has only a pruned folder


def install_command(extra: str) -> str:
    """The command that installs what an extra brings, such as `pip install 'gguf>=0.10' 'accelerate>=1.1'`.

    It names the packages themselves, so it is right for a checkout as for a package of an index, and compiles nothing again. Where pydisp is
    not installed but only found, its packages are not known, and the extra is named.
    """
    try:
        required = metadata.requires(DISTRIBUTION) or []
    except metadata.PackageNotFoundError:
        required = []
    of_extra = re.compile(rf"""\bextra == (['"]){re.escape(extra)}\1""")
    packages = [name.strip() for name, _, marker in (one.partition(";") for one in required) if of_extra.search(marker)]
    return f"pip install {shlex.join(packages)}" if packages else f"pip install '.[{extra}]' in a checkout"
