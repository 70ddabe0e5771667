"""Free memory: within the limit of a container, of either kind of cgroup."""

import json

import pytest
import torch

from pydisp import memory

STATISTICS = "anon 100\ninactive_file 300\ntotal_inactive_file 400\n"


@pytest.mark.parametrize(
    ("files", "free"),
    [
        ({"memory.max": "1000\n", "memory.current": "900\n", "memory.stat": STATISTICS}, 400),
        ({"memory.max": "1000\n", "memory.current": "900\n"}, 100),
        ({"memory.max": "max\n", "memory.current": "900\n"}, float("inf")),
        (
            {"memory/memory.limit_in_bytes": "1000\n", "memory/memory.usage_in_bytes": "900\n", "memory/memory.stat": STATISTICS},
            500,
        ),
        ({}, float("inf")),
    ],
)
def test_files_that_can_be_dropped_count_as_free(tmp_path, monkeypatch, files, free):
    (tmp_path / "memory").mkdir()
    for name, content in files.items():
        (tmp_path / name).write_text(content)
    monkeypatch.setattr(memory, "_CGROUPS", tmp_path)
    assert memory._free_in_container() == free


def test_free_memory_is_told_of_a_cpu():
    free = memory.free_bytes(torch.device("cpu"))
    assert free is None or free > 0


@pytest.mark.parametrize(
    ("header", "values"),
    [
        ({"a": {"shape": [2, 3]}, "b": {"shape": []}, "__metadata__": {"shape": [9]}}, 7),
        ({"a": {"shape": [10**30, 10**30]}}, 0),  # more than the file has room for
        ({"a": {"shape": ["x", 2]}, "b": {"shape": [-5]}, "c": {"shape": [True, 2.5]}, "d": 3}, 0),
        ([1], 0),
        (None, 0),
    ],
)
def test_the_values_of_a_file_of_weights_are_counted_from_its_head(tmp_path, header, values):
    text = b"[" * 100_000 if header is None else json.dumps(header).encode()
    (tmp_path / "w.safetensors").write_bytes(len(text).to_bytes(8, "little") + text + bytes(28))
    assert memory.stored_values(tmp_path / "w.safetensors") == values
