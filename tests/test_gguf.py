"""GGUF files: the model that comes out is the one that went in, and what would end badly is refused before long work."""

import json

import gguf as library
import pytest
import torch
from command_line import call, refused
from tiny_gguf import TEMPLATE, gguf_llama, tensors_of, write_gguf
from tiny_text import write_text

from pydisp import gguf
from pydisp.loading import (
    LoadingError,
    displayed_name,
    load_config,
    load_model,
    load_pruned_config,
    load_tokenizer,
    resolved_name,
    stored_dtype,
)

CPU = torch.device("cpu")
IDS = torch.randint(1, 261, (2, 12), generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    return write_gguf(tmp_path_factory.mktemp("models") / "tiny.gguf")


@torch.no_grad()
def logits(model):
    return model(input_ids=IDS).logits


@torch.no_grad()
def rounded(model, kind):
    """The model with its matrices as a type of GGUF holds them."""
    wanted = library.GGMLQuantizationType[kind]
    for weight in model.parameters():
        if weight.dim() == 2:
            packed = library.quants.quantize(weight.numpy(), wanted)
            weight.copy_(torch.from_numpy(library.quants.dequantize(packed, wanted).copy()))
    return model


def test_the_model_is_the_one_that_was_written(file):
    model = load_model(str(file), device=CPU, dtype=torch.float32)
    torch.testing.assert_close(logits(model), logits(gguf_llama()), rtol=1e-5, atol=1e-6)
    config = load_config(str(file))
    assert (config.model_type, config.num_key_value_heads, config.max_position_embeddings) == ("llama", 2, 128)
    for values in (config, model.config):
        assert values._name_or_path.endswith("tiny.gguf") and getattr(values, "quantization_config", None) is None
        assert not hasattr(values, "_model_name_or_path")


def test_the_tokenizer_is_the_one_that_was_written(file):
    tokenizer = load_tokenizer(str(file))
    text = "the dog, then ø"
    ids = tokenizer(text)["input_ids"]
    assert tokenizer.convert_ids_to_tokens(ids)[:4] == ["the", "Ġ", "d", "og"] and tokenizer.decode(ids) == text
    assert (tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.pad_token_id) == (0, 0, 0)
    assert tokenizer.chat_template == TEMPLATE


@pytest.mark.parametrize(
    ("kind", "dtype"), [("F16", torch.float16), ("BF16", torch.bfloat16), ("F32", torch.float32), ("Q8_0", torch.bfloat16)]
)
def test_the_dtype_is_that_of_the_file_and_bfloat16_where_weights_are_packed(tmp_path, kind, dtype):
    file = str(write_gguf(tmp_path / "model.gguf", kind=kind))
    assert stored_dtype(load_config(file)) == dtype
    model = load_model(file, device=CPU, dtype=torch.float32)
    torch.testing.assert_close(logits(model), logits(rounded(gguf_llama(), kind)), rtol=1e-5, atol=1e-5)
    assert type(model.lm_head) is torch.nn.Linear and model.lm_head.weight.dtype == torch.float32  # unpacked
    assert load_model(file, device=CPU, dtype=torch.bfloat16).lm_head.weight.dtype == torch.bfloat16


def test_names(file, monkeypatch, tmp_path):
    assert displayed_name(str(file)) == "tiny.gguf" == displayed_name("folder/tiny.gguf") and resolved_name(str(file)) == str(file)
    (tmp_path / "folder.gguf").mkdir()
    assert not gguf.is_gguf(str(tmp_path / "folder.gguf")) and gguf.is_gguf("A.GGUF") and not gguf.is_gguf("gguf")
    for name in ("missing.gguf", "./a/b/missing.gguf", str(tmp_path / "missing.gguf")):
        with pytest.raises(
            LoadingError, match=r"there is no file .*missing.gguf; give the path of a GGUF file, or OWNER/REPOSITORY/FILE.gguf"
        ):
            load_config(name)
    calls = []
    monkeypatch.setattr("huggingface_hub.hf_hub_download", lambda repo, name, revision: calls.append((repo, name, revision)) or str(file))
    assert load_config("owner/models/parts/tiny.gguf", revision="v1").hidden_size == 32
    assert set(calls) == {("owner/models", "parts/tiny.gguf", "v1")}


def words_on(file) -> str:
    with pytest.raises(LoadingError) as error:
        load_config(str(file))
    assert "\n" not in str(error.value)
    return str(error.value)


@pytest.mark.parametrize("share", [0.0001, 0.01, 0.2, 0.5, 0.999])
def test_a_file_that_is_cut_off_is_refused(file, tmp_path, share):
    data = file.read_bytes()
    (tmp_path / "cut.gguf").write_bytes(data[: max(4, int(len(data) * share))])
    words = words_on(tmp_path / "cut.gguf")
    assert words.startswith("cut.gguf is damaged or cut off (") and words.endswith("copy or download it again.")


def test_other_files_are_refused(file, tmp_path):
    (tmp_path / "text.gguf").write_text("no model")
    assert words_on(tmp_path / "text.gguf").startswith("text.gguf is no GGUF file")
    unknown = write_gguf(tmp_path / "unknown.gguf", architecture="mamba9")
    assert "holds a model of the architecture 'mamba9', which transformers" in words_on(unknown)
    with pytest.raises(LoadingError, match="tiny.gguf is a model that is not pruned; give a folder that `pydisp prune` wrote"):
        load_pruned_config(file)


def test_a_part_of_a_model_is_refused(tmp_path):
    original = library.GGUFWriter.add_vocab_size

    def add_split(writer, size):
        original(writer, size)
        writer.add_uint16("split.count", 3)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(library.GGUFWriter, "add_vocab_size", add_split)
        file = write_gguf(tmp_path / "model-00001-of-00003.gguf")
    assert "is one of 3 parts of a model; merge them with `llama-gguf-split --merge`" in words_on(file)


def test_a_missing_weight_is_refused_not_drawn_at_random(tmp_path):
    file = write_gguf(tmp_path / "model.gguf", without="blk.1.ffn_up.weight")
    with pytest.raises(LoadingError, match=r"model.gguf lacks model.layers.1.mlp.up_proj.weight \(1 weight in all\)"):
        load_model(str(file), device=CPU, dtype=torch.float32)


@pytest.mark.parametrize("count", [1, 3, 2**31 - 1])
def test_another_number_of_layers_than_that_of_the_weights_is_refused(tmp_path, monkeypatch, count):
    write = library.GGUFWriter.add_block_count
    monkeypatch.setattr(library.GGUFWriter, "add_block_count", lambda writer, _: write(writer, count))
    words = words_on(write_gguf(tmp_path / "model.gguf"))
    assert f"model.gguf says that it has {count} layers, but holds weights of 2, numbered up to 1 from 0" in words


def test_layers_without_end_are_refused_where_no_weight_is_numbered(tmp_path, monkeypatch):
    write = library.GGUFWriter.add_block_count
    monkeypatch.setattr(library.GGUFWriter, "add_block_count", lambda writer, _: write(writer, 2**31))
    monkeypatch.setattr("tiny_gguf.tensors_of", lambda _: {"token_embd.weight": torch.ones(261, 32)})
    words = words_on(write_gguf(tmp_path / "model.gguf"))
    assert words == "model.gguf says that it has 2147483648 layers, and models have 1,000 at most; convert or download it again."


@pytest.mark.parametrize(
    ("name", "add", "shown"),
    [
        ("split.count", lambda writer: writer.add_string("split.count", "three"), "'three'"),
        ("tokenizer.ggml.unknown_token_id", lambda writer: writer.add_array("tokenizer.ggml.unknown_token_id", [1, 2]), "[1, 2]"),
        ("tokenizer.ggml.unknown_token_id", lambda writer: writer.add_float32("tokenizer.ggml.unknown_token_id", 0.5), "0.5"),
        (
            "llama.block_count",
            lambda writer: setattr(writer, "add_block_count", lambda _: writer.add_string("llama.block_count", "2")),
            "'2'",
        ),
    ],
)
def test_a_number_that_is_none_is_named(tmp_path, name, add, shown):
    words = words_on(write_gguf(tmp_path / "model.gguf", fields=add))
    assert words == f"model.gguf has {shown} for {name}, and it must be a whole number; copy or convert it again."


@pytest.mark.parametrize("size", [2**19, 2**31 - 1])
def test_a_size_of_another_model_is_refused_before_it_is_made(tmp_path, monkeypatch, size):
    write = library.GGUFWriter.add_feed_forward_length
    monkeypatch.setattr(library.GGUFWriter, "add_feed_forward_length", lambda writer, _: write(writer, size))
    monkeypatch.setattr("transformers.AutoModelForCausalLM.from_pretrained", lambda *_, **__: pytest.fail("it was made"))
    with pytest.raises(
        LoadingError, match=r"^model.gguf holds 35,296 weights, but its fields describe [0-9,]{11,}; copy or convert it again.$"
    ):
        load_model(str(write_gguf(tmp_path / "model.gguf")), device=CPU, dtype=torch.float32)


def test_a_gap_between_layers_is_refused(tmp_path):
    names = [name for name in tensors_of(gguf_llama()) if name.startswith("blk.1.")]
    tensors = {name.replace("blk.1.", "blk.2."): tensors_of(gguf_llama())[name] for name in names}
    with pytest.MonkeyPatch.context() as patch:
        kept = {name: tensor for name, tensor in tensors_of(gguf_llama()).items() if name not in names}
        patch.setattr("tiny_gguf.tensors_of", lambda _: kept)
        file = write_gguf(tmp_path / "model.gguf", **tensors)
    assert "says that it has 2 layers, but holds weights of 2, numbered up to 2 from 0" in words_on(file)


def test_rotary_factors_that_are_passed_over_are_told(tmp_path, caplog):
    file = write_gguf(tmp_path / "model.gguf", **{"rope_freqs.weight": torch.ones(4)})
    load_config(str(file))
    assert "transformers leaves out rope_freqs.weight" in caplog.text


def test_too_little_memory_is_told_before_the_weights_are_read(file, monkeypatch):
    monkeypatch.setattr("pydisp.loading.free_bytes", lambda device: 1000)
    with pytest.raises(LoadingError, match=r"there is no memory for .*tiny.gguf on cpu \(0.0 GiB of weights"):
        load_model(str(file), device=CPU, dtype=torch.float32)


@pytest.mark.parametrize("library", ["gguf", "accelerate"])
def test_a_missing_library_names_the_extra(file, monkeypatch, library):
    find = gguf.importlib.util.find_spec
    monkeypatch.setattr(gguf.importlib.util, "find_spec", lambda name: None if name == library else find(name))
    with pytest.raises(
        ImportError, match=rf"tiny.gguf needs the library {library}; install it with: pip install 'gguf>=0.10' 'accelerate>=1.1'"
    ):
        load_config(str(file))


def test_prune_eval_and_speed(file, tmp_path):
    text, out = write_text(tmp_path / "text.txt"), tmp_path / "pruned"
    options = ["--keep-ratio", "0.7", "--steps", "3", "--context", "64", "--text", text, "--json"]
    status, printed, err = call("prune", file, "--out", out, *options)
    assert status == 0, err
    assert "absent" not in json.loads(printed)["speed"]
    card, config = (out / "README.md").read_text(), json.loads((out / "config.json").read_text())
    assert "pydisp prune tiny.gguf" in card and str(file.parent) not in card
    assert config["model_type"] == "pydisp_llama" and config["dtype"] == "float32" and "quantization_config" not in config
    assert "gguf_file" not in (out / "tokenizer_config.json").read_text() and str(file.parent) not in (out / "config.json").read_text()
    assert load_tokenizer(str(out)).chat_template == TEMPLATE

    for model, name in ((file, "tiny.gguf"), (out, "pruned")):
        status, printed, err = call("eval", model, "--text", text, "--context", "64", "--json")
        figures = json.loads(printed)
        assert status == 0 and figures["model"] == name and 0 < figures["bits_per_byte"] < 20

    workload = ["--prompt-tokens", "16", "--decode-tokens", "2", "--rounds", "1", "--no-memory", "--json"]
    status, printed, err = call("speed", out, "--against", file, *workload)
    assert status == 0 and json.loads(printed)["against"] == "tiny.gguf", err


def test_commands_refuse_what_cannot_be_read_before_they_write(file, tmp_path):
    folder = tmp_path / "folder"
    folder.mkdir()
    (tmp_path / "cut.gguf").write_bytes(file.read_bytes()[:-100])
    unknown, text = write_gguf(tmp_path / "unknown.gguf", architecture="mamba9"), write_text(tmp_path / "text.txt")
    for bad, words in ((tmp_path / "cut.gguf", "cut.gguf is damaged or cut off"), (unknown, "of the architecture 'mamba9'")):
        commands = [("prune", bad, "--out", folder / "out", "--keep-ratio", "0.5", "--text", text), ("eval", bad, "--text", text)]
        refused([(command, words) for command in commands], folder)
    refused([(("speed", file), "tiny.gguf is a model that is not pruned")], folder)


def test_llama_cpp_order_of_rotary_pairs_is_not_the_identity():
    """Else the first test would not see whether it is undone."""
    weights = gguf_llama().state_dict()
    assert not torch.equal(tensors_of(gguf_llama())["blk.0.attn_q.weight"], weights["model.layers.0.self_attn.q_proj.weight"])
