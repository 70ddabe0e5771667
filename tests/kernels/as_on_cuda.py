"""The ops as CUDA tensors get them, without a GPU: what is registered for CUDA runs on any tensor, its kernels in the interpreter."""

import torch
import triton
from torch.utils._python_dispatch import TorchDispatchMode

INTERPRETED = triton.knobs.runtime.interpret


class AsOnCuda(TorchDispatchMode):
    """Every op of pydisp runs what is registered for CUDA, whatever its tensors are."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if func.namespace != "pydisp":
            return func(*args, **(kwargs or {}))
        return func.redispatch(torch._C.DispatchKeySet(torch._C.DispatchKey.CUDA), *args, **(kwargs or {}))
