"""Matrices of heads are read from CSV as others write them, compared, and refused with the line that is wrong."""

import json

import numpy as np
import pytest

from pydisp.legal_probe.matrices import compare_matrices, read_matrix
from pydisp.legal_probe.moments import Moments

WANTED = [[0.25, -1.0, 2e-3], [0.0, 3.5, 1.0]]
PLAIN = "0.25,-1,2e-3\n0,3.5,1.0\n"
LABELLED = "0,0.25,-1,2e-3\n1,0,3.5,1.0\n"


def write(path, content):
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


@pytest.mark.parametrize(
    "content",
    [PLAIN, f"head 0,head 1,head 2\n{PLAIN}", f",0,1,2\n{LABELLED}", f"Layer,0,1,2\n{LABELLED}", f"layer,h0,h1,h2\n{LABELLED}",
     "first,0.25,-1,2e-3\nsecond,0,3.5,1.0\n", "name,h0,h1,h2\nfirst,0.25,-1,2e-3\nsecond,0,3.5,1.0",
     PLAIN.replace(",", ";"), PLAIN.replace(",", "\t"), f"layer\t0\t1\t2\n{LABELLED.replace(',', chr(9))}",
     PLAIN.replace("\n", "\r\n"), f"\n  \n{PLAIN}\n,,\n", b"\xef\xbb\xbf" + f",0,1,2\n{LABELLED}".encode(), ' "0.25", -1 ,2e-3\n0,3.5,1.0',
     f'"head\n0",h1,h2\n{PLAIN}'],
)  # fmt: skip
def test_a_matrix_is_read_from_any_such_file(tmp_path, content):
    matrix = read_matrix(write(tmp_path / "a.csv", content))
    assert matrix.dtype == np.float64 and matrix.tolist() == WANTED


def test_a_matrix_of_one_column_or_one_value_is_read(tmp_path):
    for content, wanted in (
        ("1\n2\n", [[1.0], [2.0]]),
        ("h\n1\n2", [[1.0], [2.0]]),
        ("layer,h\n0,1", [[1.0]]),
        ("layer\n7", [[7.0]]),
        ("\n\t0\n0\t1\n1\t2\n", [[1.0], [2.0]]),
    ):
        assert read_matrix(write(tmp_path / "a.csv", content)).tolist() == wanted


@pytest.mark.parametrize(
    "content, words",
    [("", "a.csv is empty; give a CSV file"), (" \n,\n", "a.csv is empty"), ("h0,h1\n", "a.csv has a header and no row"),
     ("1,2\n\n3\n", "a.csv, line 3: there are 1 cells, line 1 has 2"), ("a,b\n1,2,3\n", "line 2: there are 3 cells, line 1 has 2"),
     ("1,2\n3,x\n", "a.csv, line 2: cell 2 holds 'x'; it must be a number."), ("1,x\n3,4\n", "a.csv, line 1: cell 2 holds 'x'"),
     ("1,2,\n3,4,\n", "a.csv, line 1: cell 3 is empty; it must be a number."), ("1,1_0\n", "cell 2 holds '1_0'"),
     ("1,2\n,4\n", "a.csv, line 2: cell 1 is empty; it must be a number."),
     ("a,1\n3,4\n", "a.csv, line 1: cell 1 holds 'a'; it must be a number (labels of layers need a header that begins with layer)."),
     ("layer/head,0,1\n0,2,3\n", "line 1: cell 1 holds 'layer/head'"),
     ("0,5;0,25\n", "a.csv, line 1: cell 1 holds '0,5'; it must be a number (write a decimal point)."),
     ("1,nan\n", "a.csv, line 1: cell 2 is nan; it must be a finite number."), ("layer,0\n0,-inf\n", "line 2: cell 2 is -inf"),
     ("1,1e999\n", "cell 2 is 1e999"), ('1,"2\n3', "this is no CSV (unexpected end of data)"), (b"1,2\n\xff,3", "a.csv is not UTF-8 (byte 4, line 2)"),
     ("1,2".encode("utf-16"), "a.csv is UTF-16")],
)  # fmt: skip
def test_a_wrong_file_names_its_line(tmp_path, content, words):
    with pytest.raises(ValueError) as error:
        read_matrix(write(tmp_path / "a.csv", content))
    assert words in str(error.value) and str(error.value).endswith(".")


def test_what_is_no_file_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="there is no file .*none.csv; give a CSV file"):
        read_matrix(tmp_path / "none.csv")
    for path, words in ((tmp_path, "is a folder; give a CSV file"), ("a\0.csv", "cannot be read \\(embedded null")):
        with pytest.raises(ValueError, match=words):
            read_matrix(path)


def test_a_comparison_is_of_a_minus_b():
    a, b = np.array([[1.0, 2.0, 6.0], [0.0, 0.0, 0.0]]), np.array([[0.0, 1.0, 0.0], [1.0, 1.0, 1.0]])
    stats = compare_matrices(a, b)
    assert (stats.mean_a, stats.mean_b) == (1.5, pytest.approx(4 / 6))
    assert stats.layer_means == (pytest.approx(8 / 3), -1.0) and stats.layer_medians == (1.0, -1.0)
    assert stats.difference == Moments.of(a - b) and stats.difference.mean == pytest.approx(5 / 6)
    written = json.loads(json.dumps(stats.as_dict()))
    assert written["difference"] == stats.difference.as_dict() and written["layer_medians"] == [1.0, -1.0]
    assert list(written) == ["mean_a", "mean_b", "difference", "layer_means", "layer_medians"]


@pytest.mark.parametrize(
    "a, b, words",
    [(np.zeros((2, 3)), np.zeros((3, 2)), "the shapes 2 x 3 and 3 x 2; both must have the same layers"),
     (np.zeros(3), np.zeros(3), "the shapes 3 and 3"), (np.float64(1), np.float64(2), r"the shapes \(\) and \(\)"),
     (np.zeros((0, 3)), np.zeros((0, 3)), "there is no value"), (np.full((1, 1), np.inf), np.zeros((1, 1)), "a value is inf")],
)  # fmt: skip
def test_matrices_that_cannot_be_compared_are_refused(a, b, words):
    with pytest.raises(ValueError, match=words):
        compare_matrices(a, b)


def test_numbers_of_columns_are_a_header_and_a_list_of_heads_is_no_matrix(tmp_path):
    (tmp_path / "pandas.csv").write_text("0,1,2\n.1,.2,.3\n.4,.5,.6\n")
    assert read_matrix(tmp_path / "pandas.csv").tolist() == [[0.1, 0.2, 0.3], [0.4, 0.5, 0.6]]
    (tmp_path / "heads.csv").write_text("concept,layer,head,share\nx,0,0,.1\n")
    with pytest.raises(ValueError, match="heads.csv lists a head a row; give a CSV file with a row for each layer"):
        read_matrix(tmp_path / "heads.csv")
