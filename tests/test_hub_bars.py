"""Downloads have our bar: in bytes, with the time left; as lines where no terminal is; none that is silent."""

import io
import re
import subprocess
import sys
import threading
from contextlib import contextmanager

import pytest
from huggingface_hub import file_download
from huggingface_hub.utils import are_progress_bars_disabled, disable_progress_bars, enable_progress_bars
from huggingface_hub.utils import tqdm as hub_tqdm

from pydisp import progress
from pydisp.hub_bars import hub_as_ours
from pydisp.progress import silence

MIB = 2**20


@pytest.fixture
def clock(monkeypatch):
    now = [100.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    return now


class Answer:
    """What the hub would send: eight pieces of a mebibyte, one each four seconds."""

    status_code = 200

    def __init__(self, clock):
        self.clock, self.headers = clock, {"Content-Length": str(8 * MIB)}

    def raise_for_status(self):
        pass

    def iter_bytes(self, chunk_size=None):
        for _ in range(8):
            self.clock[0] += 4.0
            yield b"x" * MIB


def download(monkeypatch, clock):
    """huggingface_hub's own function, with an answer of ours."""

    @contextmanager
    def answer(**_request):
        yield Answer(clock)

    monkeypatch.setattr(file_download, "http_stream_backoff", answer)
    monkeypatch.setattr(file_download, "hf_raise_for_status", lambda _response: None)
    got = io.BytesIO()
    file_download.http_get("https://nowhere.invalid/model.safetensors", got, displayed_filename="model.safetensors")
    assert len(got.getvalue()) == 8 * MIB


def test_a_download_is_told_in_mebibytes_with_the_time_left(monkeypatch, clock, capsys):
    said = []
    with hub_as_ours(said.append):
        download(monkeypatch, clock)
    assert said == [
        "downloading model.safetensors: 1.0 of 8.0 MiB, about 28 s left",
        "downloading model.safetensors: 4.0 of 8.0 MiB, about 16 s left",
        "downloading model.safetensors: 7.0 of 8.0 MiB, about 4 s left",
        "downloading model.safetensors: 8.0 of 8.0 MiB, in 32 s",
    ]
    assert capsys.readouterr().err == ""


def test_a_silent_download_shows_nothing(monkeypatch, clock, capsys):
    for has_terminal in (True, False):
        monkeypatch.setattr(sys.stderr, "isatty", lambda has_terminal=has_terminal: has_terminal, raising=False)
        with hub_as_ours(silence):
            download(monkeypatch, clock)
    assert capsys.readouterr().err == ""


def test_on_a_terminal_a_bar_of_bytes(monkeypatch, clock, capsys):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    monkeypatch.setattr(progress, "FIRST_LINE_SECONDS", 0.0)
    said = []
    with hub_as_ours(said.append):
        download(monkeypatch, clock)
    shown = capsys.readouterr().err
    assert not said and "downloading model.safetensors: 100%" in shown and "8.00M/8.00M" in shown and "B/s" in shown


def test_a_terminal_shows_no_bar_of_what_takes_less_than_two_seconds(monkeypatch, clock, capsys):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    with hub_as_ours([].append):
        download(monkeypatch, clock)  # at once, for tqdm's clock
    assert "downloading" not in capsys.readouterr().err


def test_files_side_by_side_are_one_bar_whose_size_grows(clock):
    """As `snapshot_download` does for a model in several files: a bar of their bytes, one of the transfer, one of the files."""
    said = []
    with hub_as_ours(said.append):
        bars = [
            hub_tqdm(desc=desc, total=0, initial=0, unit=unit, unit_scale=True, name="huggingface_hub.snapshot_download", disable=None)
            for desc, unit in (("Downloading bytes", "B"), ("Reconstructing (incomplete total...)", "B"), ("Fetching 2 files", "it"))
        ]
        for _file in (1, 2):
            bars[1].total += 10 * MIB
            bars[1].refresh()
            for bar in bars[:2]:
                bar.set_postfix_str("1 B/s", refresh=False)
            clock[0] += 20.0
            work = [threading.Thread(target=lambda bar=bar: [bar.update(MIB) for _ in range(10)]) for bar in bars]
            for one in work:
                one.start()
            for one in work:
                one.join()
        for bar in bars:
            bar.set_description("done")
            bar.close()
    assert said[0] == "downloading: 1.0 of 10.0 MiB, about 3 min 00 s left" and said[-1] == "downloading: 20.0 of 20.0 MiB, in 40 s"


def test_a_download_of_unknown_size_has_no_time_left(clock):
    said = []
    with hub_as_ours(said.append), hub_tqdm(desc="vocab.json", total=None, unit="B") as bar:
        clock[0] += 3.0
        bar.update(MIB // 2)
    assert said == ["downloading vocab.json: 0.5 MiB, in 3 s"]


def test_a_data_set_is_told_by_examples(clock):
    of_data_sets = pytest.importorskip("datasets.utils").tqdm
    said = []
    with hub_as_ours(said.append, data_sets=True):
        with of_data_sets(unit=" examples", total=40, desc="Generating train split") as bar:
            clock[0] += 3.0
            bar.update(10)
        assert list(of_data_sets([1, 2, 3], desc="Resolving data files")) == [1, 2, 3]
    assert said == ["generating train split: example 10 of 40, about 9 s left"]


@pytest.fixture
def shown(request):
    """The hub's bars are on, though a command before this test may have switched them off."""
    if are_progress_bars_disabled():
        request.addfinalizer(disable_progress_bars)
    enable_progress_bars()


def test_a_bar_that_was_begun_before_goes_on(shown):
    with hub_tqdm(total=3, file=io.StringIO(), disable=False) as bar:
        with hub_as_ours([].append):
            bar.update(3)
        assert bar.n == 3


def test_afterwards_the_bars_are_the_libraries_own(capsys, shown):
    before = {name: vars(hub_tqdm).get(name) for name in ("__init__", "update", "close")}
    with pytest.raises(KeyError), hub_as_ours([].append):
        with hub_as_ours(silence):
            pass
        assert vars(hub_tqdm)["update"] is not before["update"]
        raise KeyError
    assert {name: vars(hub_tqdm).get(name) for name in before} == before
    with hub_tqdm(total=3, desc="theirs", disable=False) as bar:
        bar.update(3)
    assert "theirs: 100%" in capsys.readouterr().err


def test_the_variable_of_the_hub_that_forbids_bars_holds_for_ours():
    code = (
        "import pydisp.progress as p; p.FIRST_LINE_SECONDS = 0\n"
        "from pydisp.hub_bars import hub_as_ours; from huggingface_hub.utils import tqdm\n"
        "with hub_as_ours(print), tqdm(total=3, unit='B', desc='f') as bar: bar.update(3)"
    )
    for value, told in (("1", False), ("", True)):
        done = subprocess.run([sys.executable, "-c", code], env={"HF_HUB_DISABLE_PROGRESS_BARS": value}, capture_output=True, text=True)
        assert not done.stderr and bool(re.match("downloading f: ", done.stdout)) is told
