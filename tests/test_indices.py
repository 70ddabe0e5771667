import pytest
import torch

from pydisp.indices import IndexSet


def indices(*values):
    return torch.tensor(values, dtype=torch.int32)


def test_mask_and_back():
    mask = torch.tensor([True, False, False, True])
    kept = IndexSet.from_mask(mask)
    assert kept.indices.tolist() == [0, 3] and kept.indices.dtype == torch.int32 and len(kept) == 2
    assert torch.equal(kept.mask(), mask)
    assert not kept.is_full and IndexSet.full(4).is_full


def test_equality_is_of_contents():
    assert IndexSet(indices(1, 3), 5) == IndexSet(indices(1, 3), 5)
    assert hash(IndexSet(indices(1, 3), 5)) == hash(IndexSet(indices(1, 3), 5))
    assert IndexSet(indices(1, 3), 5) != IndexSet(indices(1, 3), 6)
    assert IndexSet(indices(1, 3), 5) != IndexSet(indices(1, 4), 5)


def test_the_caller_keeps_its_own_tensor():
    mine = indices(0, 1)
    kept = IndexSet(mine, 3)
    mine[0] = 2
    assert kept.indices.tolist() == [0, 1]


@pytest.mark.parametrize(
    ("values", "size", "error", "message"),
    [
        (indices(), 4, ValueError, "the set is empty"),
        (indices(2, 1), 4, ValueError, r"not sorted \(2 stands before 1\)"),
        (indices(1, 1), 4, ValueError, "index 1 is repeated"),
        (indices(0, 4), 4, ValueError, "index 4 is outside a space of size 4; indices run from 0 to 3"),
        (indices(-1, 0), 4, ValueError, "index -1 is outside"),
        (torch.tensor([0, 1]), 4, TypeError, "torch.int32"),
        (indices(0)[None], 4, TypeError, "one dimension"),
        (indices(0), 0, ValueError, "size is 0; it must be a whole number"),
    ],
)
def test_wrong_indices_are_refused(values, size, error, message):
    with pytest.raises(error, match=message):
        IndexSet(values, size)
