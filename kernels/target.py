"""What kind of GPU Triton compiles for."""

import triton


def is_hip() -> bool:
    """Whether Triton compiles for an AMD GPU; false under the interpreter, which has no driver to ask."""
    return not triton.knobs.runtime.interpret and triton.runtime.driver.active.get_current_target().backend == "hip"
