"""uniform_received: against the matrix of uniform causal attention."""

import numpy as np
import pytest
from attention_cases import causal_weights

from pydisp.legal_probe.uniform import uniform_received


@pytest.mark.parametrize("window", [None, 1, 2, 5, 12, 100])
@pytest.mark.parametrize("tokens", [1, 2, 12])
def test_it_is_the_column_sums_of_uniform_attention(tokens, window):
    weights = causal_weights(np.zeros((tokens, tokens)), window)
    np.testing.assert_allclose(uniform_received(tokens, window), weights.sum(0), rtol=0, atol=1e-14)
    np.testing.assert_allclose(uniform_received(tokens, window).sum(), tokens, atol=1e-12)
    np.testing.assert_allclose(uniform_received(tokens, window, later=True), np.tril(weights, -1).sum(0), rtol=0, atol=1e-14)


def test_no_later_query_sees_the_last_token():
    assert uniform_received(7, later=True)[-1] == 0 < uniform_received(7, later=True)[:-1].min()
    assert (uniform_received(7, 1, later=True) == 0).all()
