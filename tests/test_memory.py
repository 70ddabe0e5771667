"""Free memory: within the limit of a container, of either kind of cgroup."""

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
