import importlib

import pytest
import torch
from torch import Tensor

from pydisp import ops
from pydisp.ops.features import _check_forms


def test_a_small_set_written_out():
    kept = ops.features(torch.tensor([0, 2, 9], dtype=torch.int32), 12)
    assert kept.inverse.tolist() == [0, -1, 1, -1, -1, -1, -1, -1, -1, 2, -1, -1] and kept.inverse.dtype == torch.int32
    assert kept.mask.tolist() == [0b00000101, 0b00000010] and kept.mask.dtype == torch.uint8


@pytest.mark.parametrize(("kept", "size"), [(0, 0), (0, 5), (1, 1), (8, 8), (5, 9), (40, 129), (129, 129)])
def test_forms_agree(kept, size, draw_index):
    index = draw_index(kept, size)
    forms = ops.features(index, size)
    bits = [d for d in range(size) if forms.mask[d // 8] >> (d % 8) & 1]
    assert bits == index.tolist() and forms.mask.shape == (-(-size // 8),)
    assert [d for d in range(size) if forms.inverse[d] >= 0] == bits
    assert forms.inverse[index.long()].tolist() == list(range(kept))


@pytest.mark.parametrize(
    ("index", "message"),
    [([1, 0], "not sorted"), ([1, 1], "repeats"), ([-1, 2], "runs from -1 to 2"), ([0, 4], "run from 0 to 3")],
)
def test_wrong_values_are_refused(index, message):
    with pytest.raises(ValueError, match=message):
        ops.features(torch.tensor(index, dtype=torch.int32), 4)


@pytest.mark.parametrize(
    ("index", "size", "error", "message"),
    [
        ([0, 1], 4, TypeError, "index is of type list"),
        (torch.zeros(0, dtype=torch.int32), -1, ValueError, "size is -1"),
        (torch.zeros(0, dtype=torch.int32), 2**62, ValueError, "size is 4611686018427387904, .* from 0 to 2\\*\\*31"),
        (torch.tensor(0, dtype=torch.int32), 4, ValueError, r"index has dtype torch.int32 and shape \(\), it must be a vector"),
        (torch.zeros(1, dtype=torch.int32), 40.5, TypeError, "size is 40.5"),
        (torch.zeros(1, dtype=torch.int32), None, TypeError, "size is None"),
        (torch.zeros(1, dtype=torch.int32), True, TypeError, "size is True"),
    ],
)
def test_other_arguments_are_refused(index, size, error, message):
    with pytest.raises(error, match=f"features: {message}"):
        ops.features(index, size)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda kept: kept._replace(inverse=None), r"index\.inverse is of type NoneType"),
        (lambda kept: kept._replace(mask=None), r"index\.mask is of type NoneType"),
        (lambda kept: kept._replace(index=[0, 1]), r"index\.index is of type list"),
        (lambda kept: ops.Features(kept.index, None, None), r"index\.inverse is of type NoneType"),
        (tuple, "index is of type tuple"),
        (lambda kept: kept.index.tolist(), "index is of type list"),
        (lambda kept: None, "index is of type NoneType"),
    ],
)
def test_what_is_no_index_is_refused(change, message, draw, draw_index):
    with pytest.raises(TypeError, match=f"norm_select: {message}, it must be a tensor"):
        ops.norm_select(draw(2, 8), None, None, change(ops.features(draw_index(3, 8), 8)), 1e-6)


def test_another_dtype_is_refused():
    with pytest.raises(ValueError, match="vector of torch.int32"):
        ops.features(torch.tensor([0, 1]), 4)


def test_features_of_another_width_are_refused(draw, draw_index):
    with pytest.raises(ValueError, match="index is of 9 dimensions, x has 8"):
        ops.norm_select(draw(2, 8), None, None, ops.features(draw_index(3, 9), 9), 1e-6)


def test_an_index_on_another_device_is_refused(draw, draw_index):
    with pytest.raises(ValueError, match="index is on meta, x on cpu"):
        ops.index_select(draw(2, 8), draw_index(3, 8).to("meta"))


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (lambda kept: kept._replace(mask=kept.mask.to("meta")), ValueError, r"index\.mask is on meta, x on cpu"),
        (lambda kept: kept._replace(inverse=kept.inverse.to("meta")), ValueError, r"index\.inverse is on meta, x on cpu"),
        (lambda kept: kept._replace(inverse=kept.inverse.numpy()), TypeError, r"index\.inverse is of type ndarray"),
        (lambda kept: kept._replace(mask=kept.mask.numpy()), TypeError, r"index\.mask is of type ndarray"),
        (lambda kept: kept._replace(inverse=kept.inverse[0]), ValueError, r"index\.inverse has shape \(\), it must be \(8,\)"),
        (lambda kept: kept._replace(inverse=kept.inverse[None]), ValueError, r"index\.inverse has shape \(1, 8\), it must be \(8,\)"),
    ],
)
def test_features_made_by_hand_are_refused_by_the_name_of_their_part(change, error, message, draw, draw_index):
    with pytest.raises(error, match=f"index_select: {message}"):
        ops.index_select(draw(2, 8), change(ops.features(draw_index(3, 8), 8)))


@pytest.mark.parametrize("op", [ops.index_add, ops.index_add_])
def test_features_without_a_dimension_are_refused(op, draw, draw_index):
    kept = ops.features(draw_index(3, 8), 8)
    with pytest.raises(ValueError, match=rf"{op.__name__}: index\.index has dtype torch.int32 and shape \(\), it must be a vector"):
        op(draw(2, 8), draw(2, 3), kept._replace(index=kept.index[0]))


@pytest.mark.skipif(not ops.native.is_loaded(), reason="csrc/ was not built here")
def test_a_mask_of_another_index_is_refused(draw, draw_index, isa):
    x = draw(2, 40, dtype=torch.float32)
    one, other = ops.features(draw_index(20, 40), 40), ops.features(torch.arange(20, dtype=torch.int32), 40)
    for wrong in (other.mask, one.mask ^ 1, one.mask.new_zeros(5), one.mask.new_full((5,), 255)):
        with pytest.raises(ValueError, match="keeps other dimensions than the index"):
            ops.index_select(x, ops.Features(one.index, one.inverse, wrong))
        with pytest.raises(ValueError, match="index_add_: the mask of index keeps other dimensions"):
            ops.index_add_(x.clone(), x[:, :20], ops.Features(one.index, one.inverse, wrong))
        with pytest.raises(ValueError, match="add_norm_select_: the mask of add_index keeps other dimensions"):
            ops.add_norm_select_(x.clone(), x[:, :20], ops.Features(one.index, one.inverse, wrong), None, None, one, 1e-6)
    beyond = ops.features(torch.arange(3, dtype=torch.int32), 3)
    with pytest.raises(ValueError, match="keeps other dimensions than the index"):  # a bit behind the last dimension
        ops.index_select(x[:, :3], beyond._replace(mask=beyond.mask | 16))
    with pytest.raises(ValueError, match="index_select: the mask of index must be 5 bytes"):
        ops.index_select(x, one._replace(mask=one.mask[:4]))
    with pytest.raises(ValueError, match=r"index_select: index must be a vector of int32"):
        ops.index_select(x, one._replace(index=one.index.long()))


@pytest.mark.parametrize(
    ("part", "change", "message"),
    [
        ("index", Tensor.long, r"index\.index has dtype torch.int64"),
        ("inverse", Tensor.long, r"index\.inverse has dtype torch.int64 and shape \(40,\), it must have torch.int32 and \(40,\)"),
        ("mask", Tensor.bool, r"index\.mask has dtype torch.bool and shape \(5,\), it must have torch.uint8"),
        ("mask", lambda mask: mask[:4], r"index\.mask has dtype torch.uint8 and shape \(4,\)"),
    ],
)
def test_forms_are_looked_at_where_no_op_of_ours_does(part, change, message, draw, draw_index):
    x, kept = draw(2, 40).to("meta"), ops.features(draw_index(20, 40), 40)
    kept = kept._replace(**{part: change(getattr(kept, part))})
    with pytest.raises(ValueError, match=f"index_select: {message}"):
        ops.index_select(x, ops.Features(*(form.to("meta") for form in kept)))


@pytest.mark.parametrize("part", ["inverse", "mask"])
def test_values_of_other_devices_are_looked_at_on_request(part, draw_index, monkeypatch):
    one, other = ops.features(draw_index(20, 40), 40), ops.features(torch.arange(20, dtype=torch.int32), 40)
    wrong = one._replace(**{part: getattr(other, part)})
    _check_forms("op", "index", *one, 40)
    with pytest.raises(ValueError, match=r"op: index\.inverse or index\.mask keeps other dimensions than index\.index"):
        _check_forms("op", "index", *wrong, 40)
    monkeypatch.setattr(importlib.import_module("pydisp.ops.features"), "may_read_values", lambda tensor: False)
    _check_forms("op", "index", *wrong, 40)
    with pytest.raises(ValueError, match="not sorted"):  # a kernel would read beyond its row: always
        ops.features(torch.tensor([3, 1], dtype=torch.int32), 4)


@pytest.mark.parametrize("index", [[3, 1], [1, 1], [0, 40], [-1, 3]])
def test_a_bare_index_is_checked_on_the_cpu(index, draw):
    index, problem = torch.tensor(index, dtype=torch.int32), "index (is not sorted or repeats a value|runs from .* to .*; indices of 40)"
    with pytest.raises(ValueError, match=f"index_select: {problem}"):
        ops.index_select(draw(2, 40), index)
    if ops.native.is_loaded():  # below the edge, where compiled code arrives
        with pytest.raises(RuntimeError, match="indices must be sorted, unique and between 0 and 39"):
            torch.ops.pydisp.index_select(draw(2, 40), index, None, None)
