"""The name pydisp is published under. `pip install pydisp` would bring another project of that name, so no message may say it."""

DISTRIBUTION = "pydisp-llm"


def install_command(extra: str | None = None) -> str:
    """What to type: `pip install pydisp-llm`, or `pip install 'pydisp-llm[eval]'` for an extra."""
    return f"pip install '{DISTRIBUTION}[{extra}]'" if extra else f"pip install {DISTRIBUTION}"
