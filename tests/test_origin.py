"""Origin: what a source model's card states is handed on, and nothing that nobody stated."""

import logging
import re
import shutil
import time

import pytest
import yaml
from tiny_gguf import write_gguf

from pydisp import origin as module
from pydisp.origin import LICENSES, Origin, read_origin


def folder_with(path, card: str | bytes):
    path.mkdir(parents=True)
    (path / "config.json").write_text("{}")
    (path / "README.md").write_bytes(card if isinstance(card, bytes) else card.encode())
    return str(path)


@pytest.mark.parametrize(
    ("card", "stated"),
    [
        ("---\nlicense: MIT\nlanguage: en\n---\n# Words", Origin(license="mit", language=("en",))),
        ("---\r\nlicense: mit\r\nlanguage:\r\n- no\r\n- DE\r\n---\r\n", Origin(license="mit", language=("no", "de"))),  # YAML's false
        (
            "---\nbase_model:\n- a/base\nlanguage: [English, code, zh-hant, 3]\n---",
            Origin(base_model="a/base", language=("code", "zh-hant")),
        ),
        ("---\nbase_model: [a/one, b/two]\n---\n", Origin()),  # a merge: neither of them is what this comes from
        ("---\nbase_model: ../weights of mine\nlicense: {a: b}\nlanguage:\n---\n", Origin()),
        ("---\nlicense: other\nlicense_name: ours\nlicense_link: LICENSE\n---\n", Origin(license="other", license_name="ours")),
        ("---\nlicense: [mit, apache-2.0]\n---\n", Origin(license="other", license_name="mit, apache-2.0")),  # both hold
        ("---\nlicense: Our Licence 1.0\n---\n", Origin(license="other", license_name="Our Licence 1.0")),  # the hub refuses other words
        ("---\nlicense: ours\nlicense_name: Ours\nlicense_link: https://x.org\n---\n", Origin(None, "other", (), "Ours", "https://x.org")),
        ("---\nlicense: Llama3.1\n---\n", Origin(license="llama3.1")),
        ("---\nlicense: other\nlicense_link: https://x.org/l\n---\n", Origin(license="other", license_link="https://x.org/l")),
        ("# Words only\n\n---\nlicense: mit\n---\n", Origin()),
        ("", Origin()),
    ],
)
def test_a_folders_card(tmp_path, card, stated, caplog):
    assert read_origin(folder_with(tmp_path / "model", card)) == stated
    assert not caplog.records


def test_the_hubs_names_are_whole():
    assert len(set(LICENSES)) == len(LICENSES) > 70 and all(re.fullmatch(r"[a-z][a-z0-9.+-]*[a-z0-9+]", name) for name in LICENSES)
    assert {"mit", "apache-2.0", "cc-by-nc-sa-4.0", "llama3.1", "gemma", "other"} <= set(LICENSES)


@pytest.mark.parametrize(
    "card", ["---\nlicense: [\n---\n", "---\n- mit\n---\n", b"---\nlicense: \xff\n---\n", "---\na: " + "[" * 5000 + "\n---\n"]
)
def test_a_card_that_cannot_be_read_states_nothing_and_is_named(tmp_path, card, caplog):
    with caplog.at_level(logging.WARNING, "pydisp"):
        assert read_origin(folder_with(tmp_path / "model", card)) == Origin()
    (record,) = caplog.records
    assert "the card of model cannot be read (" in record.getMessage() and "states no licence" in record.getMessage()


def test_front_matter_that_would_be_read_for_long_is_named(tmp_path, caplog):
    lines = "".join(f"- tag{number}\n" for number in range(40_000))
    started = time.process_time()
    with caplog.at_level(logging.WARNING, "pydisp"):
        assert read_origin(folder_with(tmp_path / "long", f"---\nlicense: mit\ntags:\n{lines}---\n")) == Origin()
    assert "(its front matter has more than 262,144 bytes)" in caplog.text and time.process_time() - started < 1


@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_long_words_after_the_front_matter_are_not_read(tmp_path, caplog, mark):
    assert read_origin(folder_with(tmp_path / "model", f"{mark}---\nlicense: mit\n---\n{'é' * (1 << 18)}")) == Origin(license="mit")
    assert read_origin(folder_with(tmp_path / "words", f"{mark}{'é' * (1 << 18)}\n---\n")) == Origin()
    assert not caplog.records


def test_aliases_do_not_grow(tmp_path):
    bomb = "\n".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9) if n else 'x'}]" for n in range(30))
    assert read_origin(folder_with(tmp_path / "model", f"---\n{bomb}\nlicense: mit\nlanguage: *a29\n---\n")) == Origin(license="mit")


def test_a_folder_without_a_card_states_nothing(tmp_path):
    shutil.copy(folder_with(tmp_path / "model", "") + "/config.json", tmp_path)
    assert read_origin(str(tmp_path)) == Origin()


def test_a_snapshot_of_the_hubs_cache_knows_its_name(tmp_path):
    folder = folder_with(
        tmp_path / "hub/models--Some-Lab--small-1.0/snapshots/0123", "---\nbase_model: x/y\nlicense_link: LICENSE\nlicense: other\n---\n"
    )
    link = "https://huggingface.co/Some-Lab/small-1.0/blob/main/LICENSE"
    assert read_origin(folder) == Origin("Some-Lab/small-1.0", "other", license_link=link)


@pytest.mark.parametrize("name", ["lab/model", "gpt2", "lab/model/model.Q4.gguf"])
def test_a_hub_name_is_the_base_model_and_its_card_is_asked_for(tmp_path, monkeypatch, name):
    asked = []
    card = folder_with(tmp_path / "cache", "---\nlicense: apache-2.0\nlanguage: en\nbase_model: other/base\n---\n") + "/README.md"
    monkeypatch.setattr("transformers.utils.cached_file", lambda *args, **options: asked.append((*args, options["revision"])) or card)
    monkeypatch.setattr(module, "_gguf_fields", lambda *_: {})
    repository = name.removesuffix("/model.Q4.gguf")
    assert read_origin(name, "main") == Origin(repository, "apache-2.0", ("en",))
    assert asked == [(repository, "README.md", "main")]


@pytest.mark.parametrize("answer", [None, OSError("offline"), ValueError("a bad name")])
def test_a_hub_that_does_not_answer_leaves_the_name(monkeypatch, answer):
    def cached_file(*_, **__):
        if answer is not None:
            raise answer

    monkeypatch.setattr("transformers.utils.cached_file", cached_file)
    assert read_origin("lab/model") == Origin("lab/model")


def test_a_gguf_file_has_fields_of_its_own(tmp_path):
    path = write_gguf(
        tmp_path / "tiny.gguf",
        fields=lambda writer: (
            writer.add_license("Apache-2.0"),
            writer.add_languages(["en", "fr"]),
            writer.add_source_repo_url("https://huggingface.co/lab/source"),
        ),
    )
    assert read_origin(str(path)) == Origin("lab/source", "apache-2.0", ("en", "fr"))
    (tmp_path / "README.md").write_text("---\nlicense: mit\nbase_model: lab/of-the-card\n---\n")  # what people wrote goes first
    assert read_origin(str(path)) == Origin("lab/of-the-card", "mit", ("en", "fr"))


def test_a_gguf_file_that_states_nothing(tmp_path):
    assert read_origin(str(write_gguf(tmp_path / "tiny.gguf"))) == Origin()


def test_the_demo_models_card_states_what_its_documentation_does():
    assert read_origin("demo") == Origin(license="apache-2.0", language=("en",))
    assert yaml.safe_load((module.Path(module.resolved_name("demo")) / "README.md").read_text().split("---")[1])["license"] == "apache-2.0"
