"""Makes `pydisp_*` checkpoints loadable through transformers' Auto classes, at no cost until one is loaded.

`import pydisp` must stay light, so nothing of transformers is imported here: when transformers' own auto module is imported
(before or after pydisp), a stand-in config is registered for every family, and the first checkpoint makes the real classes.
"""

import importlib.abc
import importlib.util
import sys

AUTO_MODULE = "transformers.models.auto.configuration_auto"
# The families of pydisp.spec by name, because that module imports torch (tests hold the two equal).
FAMILY_NAMES = ("gemma", "gemma2", "gemma3_text", "llama", "mistral", "olmo2", "opt", "phi", "phi3", "qwen2", "qwen3")


def _stand_in(model_type: str) -> type:
    """A config class in name only: AutoConfig asks it for `from_dict` or an instance and gets the real class's."""

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


class _AfterAutoModule(importlib.abc.MetaPathFinder):
    """Lets the usual finders find transformers' auto module, and registers once it has run."""

    def find_spec(self, fullname, path, target=None):
        if fullname != AUTO_MODULE:
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(fullname)
        if spec is not None and spec.loader is not None:
            run = spec.loader.exec_module

            def run_and_register(module):
                run(module)
                _register(module)

            spec.loader.exec_module = run_and_register
        return spec


def install() -> None:
    """Register now if transformers' auto module is loaded, else as soon as it is."""
    if AUTO_MODULE in sys.modules:
        _register(sys.modules[AUTO_MODULE])
    elif not any(isinstance(finder, _AfterAutoModule) for finder in sys.meta_path):
        sys.meta_path.insert(0, _AfterAutoModule())
