"""What kind of GPU Triton compiles for."""

import triton


def is_hip() -> bool:
    """Whether what Triton compiles for is AMD's; the interpreter has no driver to ask."""
    return not triton.knobs.runtime.interpret and triton.runtime.driver.active.get_current_target().backend == "hip"
