"""Models and configs of classes made at run time unpickle in a process that has made none of them, whatever it imported before."""

import copy
import multiprocessing
import pickle
import subprocess
import sys

import pytest
import torch
from families import MODELS, random_plan, tiny_model

from pydisp.modeling import classes_of, classifier_of, layers, plain
from pydisp.modeling.plain import plain_model
from pydisp.spec import FAMILIES, ROWS, ModelSpec
from pydisp.surgery import prune_model

IDS = torch.randint(3, 97, (2, 14), generator=torch.Generator().manual_seed(0))
LOAD = """
import sys
{imports}
import torch
for path in sys.argv[1:]:
    stored = torch.load(path, weights_only=False)
    for model, logits in stored["models"]:
        with torch.no_grad():
            assert torch.equal(model(input_ids=stored["ids"].clone(), use_cache=False).logits, logits), path
    print(*(type(model).__name__ for model, _ in stored["models"]), type(stored["config"]).__name__)
"""


def pruned_and_plain(name):
    dense = tiny_model(name, dtype=torch.float32)
    pruned = prune_model(dense, random_plan(ModelSpec.from_model(dense), 1, (0,), (2,)))
    return pruned, plain_model(pruned, dense.config)


@pytest.fixture(scope="module")
def stored(tmp_path_factory):
    """A file a model, and the names of the classes in it."""
    folder, names = tmp_path_factory.mktemp("pickles"), []
    for name in MODELS:
        with torch.no_grad():
            models = [(model, model(input_ids=IDS.clone(), use_cache=False).logits) for model in pruned_and_plain(name)]
        torch.save({"ids": IDS, "models": models, "config": models[0][0].config}, folder / f"{name}.pt")
        names.append([type(model).__name__ for model, _ in models] + [type(models[0][0].config).__name__])
    return [str(folder / f"{name}.pt") for name in MODELS], names


@pytest.mark.parametrize("imports", ["", "import pydisp", "import transformers"], ids=["nothing", "pydisp", "transformers"])
def test_every_family_unpickles_in_a_fresh_process(stored, imports):
    paths, names = stored
    ran = subprocess.run([sys.executable, "-c", LOAD.format(imports=imports), *paths], capture_output=True, text=True)
    assert [line.split() for line in ran.stdout.splitlines()] == names, ran.stderr


def test_a_config_alone_unpickles_in_a_fresh_process(tmp_path):
    config = pruned_and_plain("gemma2")[0].config
    (tmp_path / "config.pkl").write_bytes(pickle.dumps(config))
    code = "import pickle, sys\nconfig = pickle.load(open(sys.argv[1], 'rb'))\nprint(type(config).__name__, config.pydisp['plan_digest'])"
    ran = subprocess.run([sys.executable, "-c", code, str(tmp_path / "config.pkl")], capture_output=True, text=True)
    assert ran.stdout.split() == ["PydispGemma2Config", config.pydisp["plan_digest"]], ran.stderr


def test_a_spawned_process_takes_a_model_and_gives_one_back():
    model = pruned_and_plain("llama")[0]
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        back = pool.apply(copy.copy, (model,))
    with torch.no_grad():
        assert type(back) is type(model) and torch.equal(back(input_ids=IDS).logits, model(input_ids=IDS).logits)


def test_every_class_is_what_its_module_has_under_its_name():
    made = [cls for name in FAMILIES for cls in classes_of(f"pydisp_{name}")]
    made += [classifier_of(f"pydisp_{name}") for name in FAMILIES]
    made += [module.layer_class(family) for module in (layers, plain) for family in ROWS]
    assert len({(cls.__module__, cls.__qualname__) for cls in made}) == len(made)
    assert all(getattr(sys.modules[cls.__module__], cls.__qualname__) is cls and cls.__name__ == cls.__qualname__ for cls in made)


@pytest.mark.parametrize("module", ["pydisp.modeling", "pydisp.modeling.layers", "pydisp.modeling.plain"])
def test_another_name_is_an_attribute_error(module):
    with pytest.raises(AttributeError, match="has no attribute 'PydispMambaModel'"):
        _ = sys.modules[module].PydispMambaModel
