"""config.json: what would keep transformers busy, or be taken without a check, is refused in one sentence that names it."""

import json

import pytest

from pydisp.config_file import read_config_file

VALUES = {"model_type": "llama", "num_hidden_layers": 3, "hidden_size": 32, "vocab_size": 257, "num_key_value_heads": None}


def written(folder, values):
    (folder / "config.json").write_text(values if isinstance(values, str) else json.dumps(values))
    return folder


def test_what_stands_there_is_returned(tmp_path):
    values = VALUES | {
        "text_config": {"hidden_size": 8},
        "labels": {"0": "no"},
        "rope_theta": 1e30,
        "most": 2**63 - 1,
        "model_max_length": 10**30,
        "layer_types": ["full_attention"],
    }
    assert read_config_file(written(tmp_path, values), "model") == values


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"num_hidden_layers": -1}, "num_hidden_layers -1, and it must be a whole number above 0"),
        ({"hidden_size": 0}, "hidden_size 0, and it must be a whole number above 0"),
        ({"vocab_size": True}, "vocab_size True, and it must be a whole number above 0"),
        ({"n_embd": 2.5}, "n_embd 2.5, and it must be a whole number above 0"),
        ({"text_config": {"vocab_size": -5}}, "vocab_size -5, and it must be a whole number above 0"),
        ({"num_hidden_layers": 1001}, "num_hidden_layers 1001, and models have 1,000 layers at most"),
        ({"n_layer": 10**30}, f"n_layer {10**30}, and models have 1,000 layers at most"),
        ({"vision_config": {"encoder": {"num_layers": 10**9}}}, "num_layers 1000000000, and models have 1,000 layers at most"),
        ({"rope": {"factors": [1.0, -(2**64)]}}, f"{-(2**64)} for 'factors', which torch cannot hold as a number"),
        ({"sliding_window": 2**63}, f"{2**63} for 'sliding_window', which torch cannot hold as a number"),
        ({"a\nb": 2**63}, f"{2**63} for 'a\\nb', which torch cannot hold as a number"),
        ({"num_hidden_layers": float("inf")}, "num_hidden_layers inf, and it must be a whole number above 0"),
    ],
)
def test_sizes_that_no_model_has_are_refused(tmp_path, changed, words):
    with pytest.raises(ValueError) as error:
        read_config_file(written(tmp_path, VALUES | changed), "small")
    assert str(error.value) == f"the config.json of small has {words}; copy the whole folder again."


@pytest.mark.parametrize("content", ["[]", "5", "{}", '{"model_type": 3}', '{"model_type": null}'])
def test_what_names_no_type_is_refused(tmp_path, content):
    with pytest.raises(
        ValueError, match=r"^the config.json of small is no JSON that names a model_type; give the folder of a transformers"
    ):
        read_config_file(written(tmp_path, content), "small")
