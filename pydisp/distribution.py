"""The name under which pydisp is published. `pip install pydisp` would install another project, so no message may say that."""

DISTRIBUTION = "pydisp-llm"


def install_command(extra: str | None = None) -> str:
    """The command to type: `pip install pydisp-llm`, or `pip install 'pydisp-llm[eval]'` for an extra."""
    return f"pip install '{DISTRIBUTION}[{extra}]'" if extra else f"pip install {DISTRIBUTION}"
