"""Makes `pydisp_*` checkpoints loadable through transformers' Auto classes, at no cost until one is loaded.

`import pydisp` must stay light, so this module does not import transformers. Once transformers' auto module is imported (before or after
pydisp), a stand-in config is registered for every family; loading the first checkpoint makes the real classes. In the same way, peft is
told which modules its adapters change by default, and torch's FLOP counter how many products an op takes.
"""

import importlib.abc
import importlib.util
import sys

AUTO_MODULE = "transformers.models.auto.configuration_auto"
# The families of pydisp.spec by name, because that module imports torch (tests hold the two equal).
FAMILY_NAMES = ("gemma", "gemma2", "gemma3_text", "llama", "mistral", "olmo2", "opt", "phi", "phi3", "qwen2", "qwen3")


def _stand_in(model_type: str) -> type:
    """A config class in name only: when AutoConfig calls its `from_dict` or makes an instance, the real class answers."""

    class StandIn:
        def __new__(cls, *args, **kwargs):
            return cls.real()(*args, **kwargs)

        @staticmethod
        def real() -> type:
            from pydisp.modeling import classes_of

            return classes_of(model_type)[0]

        @classmethod
        def from_dict(cls, *args, **kwargs):
            return cls.real().from_dict(*args, **kwargs)

    StandIn.__name__ = StandIn.__qualname__ = f"StandIn_{model_type}"
    StandIn.model_type = model_type
    return StandIn


def _register(auto) -> None:
    for name in FAMILY_NAMES:
        auto.AutoConfig.register(f"pydisp_{name}", _stand_in(f"pydisp_{name}"), exist_ok=True)


def _copy_adapter_defaults(constants) -> None:
    """Give each pruned family the default modules of its stock family in all of peft's tables by model type; IA3 has two of them."""
    for name, table in vars(constants).items():
        if name.startswith("TRANSFORMERS_MODELS_TO_") and name.endswith("_MODULES_MAPPING") and isinstance(table, dict):
            table.update({f"pydisp_{family}": table[family] for family in FAMILY_NAMES if family in table})


def _count_flops(_counter) -> None:
    """Tell torch's FLOP counter what the ops multiply; ops that are not loaded yet do so themselves when they are loaded."""
    if "pydisp.ops.flops" in sys.modules:
        sys.modules["pydisp.ops.flops"].register_flops()


_AFTER_IMPORT = {AUTO_MODULE: _register, "peft.utils.constants": _copy_adapter_defaults, "torch.utils.flop_counter": _count_flops}


class _AfterImport(importlib.abc.MetaPathFinder):
    """An import hook for one module: the usual finders import it; once it has run, a function is called with it, one time."""

    def __init__(self, name: str):
        self.name = name
        self.is_asking = False

    def find_spec(self, fullname, path, target=None):
        if fullname != self.name or self.is_asking:
            return None
        self.is_asking = True
        try:
            spec = importlib.util.find_spec(fullname)
        finally:
            self.is_asking = False
        if spec is not None and spec.loader is not None:
            run = spec.loader.exec_module

            def run_and_call(module):  # not earlier: the caller may only be asking whether the module exists
                if self in sys.meta_path:
                    sys.meta_path.remove(self)
                run(module)
                _AFTER_IMPORT[fullname](module)

            spec.loader.exec_module = run_and_call
        return spec


def install() -> None:
    """For each module that matters: act now if it is loaded, else as soon as it is."""
    waiting = {finder.name for finder in sys.meta_path if isinstance(finder, _AfterImport)}
    for name, act in _AFTER_IMPORT.items():
        if name in sys.modules:
            act(sys.modules[name])
        elif name not in waiting:
            sys.meta_path.insert(0, _AfterImport(name))
