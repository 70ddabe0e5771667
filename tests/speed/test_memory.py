"""The peak of a run in a process of its own, and the pages that weights lie in."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from pydisp.speed import PRUNED, Source, Workload, memory


def test_weights_lie_in_huge_pages_where_the_system_grants_them():
    enabled = Path("/sys/kernel/mm/transparent_hugepage/enabled")
    if not enabled.exists() or "[madvise]" not in enabled.read_text():
        pytest.skip("the system gives huge pages to all or to none")
    code = """
import torch
from pydisp.speed import memory
memory.ask_for_huge_pages()
weight = torch.ones(64 << 20)
print(memory.huge_page_share())
"""
    shares = [
        float(subprocess.run([sys.executable, "-c", code], env={**os.environ, **given}, capture_output=True, text=True, check=True).stdout)
        for given in ({"THP_MEM_ALLOC_ENABLE": "0"}, {})
    ]
    assert shares[0] < 0.1 < 0.3 < shares[1] <= 1  # the libraries' own memory stays small pages; what the user said stands


def test_the_memory_of_a_process_is_that_of_its_run():
    class Hungry(nn.Module):
        def __init__(self, count):
            super().__init__()
            self.weight = nn.Parameter(torch.zeros(8))
            self.count, self.device = count, torch.device("cpu")
            self.config = type("Config", (), {"vocab_size": 5})()

        def forward(self, _ids, **_kwargs):
            torch.ones(self.count << 18)  # MiB
            return type("Out", (), {"past_key_values": None})()

    before = torch.ones(300 << 18)
    del before  # a peak of the past, which must not count
    small, large = (memory._peak_mib(Hungry(count), Workload(1, 1, 1)) for count in (1, 200))
    assert 150 < large - small < 250


def test_a_peak_that_takes_too_long_is_given_up(folder):
    with pytest.raises(TimeoutError, match="the memory of pruned was not done after 0 s"):
        memory.peak_mib(Source(str(folder[0])), PRUNED, Workload(4, 1, 1), 1, 0.1)


def test_without_proc_the_peak_of_the_whole_process_serves():
    assert memory._peak_since_start_mib() > 50
