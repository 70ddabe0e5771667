"""attention_mass and attention_key_mass, against float64."""

import math

import pytest
import torch
from gold import assert_as_good, use_placeless_products
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pydisp.kernels import attention_mass as module
from pydisp.ops.attention_mass import reference

# B batch, H query heads, Hk key heads, Tq queries, Tk keys, Dh head dimension, C groups

DTYPES = {"f32": torch.float32, "bf16": torch.bfloat16, "f16": torch.float16}


@pytest.fixture(params=DTYPES.values(), ids=DTYPES)
def dtype(request):
    return request.param


@pytest.fixture(autouse=True)
def small_tiles(request, device, monkeypatch):
    """Under the interpreter, which pays for every element: several tiles of every kind in a small problem."""
    if device.type == "cpu" and "real_tiles" not in request.fixturenames:
        tile = {"BLOCK_N": 32, "BLOCK_K": 16, "num_warps": 4, "num_stages": 2}
        monkeypatch.setattr(module, "tile_config", lambda *_: dict(tile))
        monkeypatch.setattr(module, "SPLIT_KEYS", 32)


@pytest.fixture
def real_tiles():
    """Asked for by a test that takes the tiles that GPUs take."""


@pytest.fixture
def placeless(device, monkeypatch):
    if device.type == "cpu":
        use_placeless_products(monkeypatch)


def problem(
    generator, dtype, batch, heads, kv_heads, queries, keys, size, num_groups=5, *,
    causal=True, window=0, softcap=0.0, sinks=False, key_mask=None, query_mask=False, per_query=True, strided=False,
):  # fmt: skip
    """The arguments of attention_mass, on the CPU; key_mask "left", "right" or "some" says which keys are padding."""

    def draw(*shape):
        values = torch.randn(shape, generator=generator).to(dtype)
        return values.transpose(1, 2).contiguous().transpose(1, 2) if strided else values

    groups = torch.randint(-(2**63), 2**63 - 1, (batch, keys), generator=generator)
    if num_groups < 64:
        groups &= (1 << num_groups) - 1
    real = None
    if key_mask is not None:
        length = torch.randint(1, keys + 1, (batch, 1), generator=generator)
        key = torch.arange(keys)
        masks = {"left": key >= keys - length, "right": key < length, "some": torch.rand(batch, keys, generator=generator) < 0.5}
        real = masks[key_mask]
    return (
        draw(batch, heads, queries, size), draw(batch, kv_heads, keys, size), groups, num_groups, causal, window, size**-0.5, softcap,
        torch.randn(heads, generator=generator) if sinks else None, real,
        torch.rand(batch, queries, generator=generator) < 0.7 if query_mask else None, per_query,
    )  # fmt: skip


def attend(arguments, dtype):
    """Every result of attention_mass and attention_key_mass in plain torch, by the whole matrix of probabilities."""
    q, k, groups, num_groups, causal, window, scale, softcap, sinks, key_mask, query_mask, _ = arguments
    queries, keys = q.shape[2], k.shape[2]
    k = k.repeat_interleave(q.shape[1] // k.shape[1], 1)
    s = q.to(dtype) @ k.to(dtype).transpose(2, 3) * scale
    if softcap:
        s = softcap * torch.tanh(s / softcap)
    position, key = torch.arange(keys - queries, keys)[:, None], torch.arange(keys)
    seen = torch.ones(queries, keys, dtype=torch.bool)
    if causal:
        seen &= key <= position
    if window:
        seen &= key > position - window
    seen = seen.expand(q.shape[0], 1, -1, -1)
    if key_mask is not None:
        seen = seen & key_mask[:, None, None, :]
    s = torch.where(seen, s, -torch.inf)
    maximum = s.amax(-1)
    if sinks is not None:
        s = torch.cat([s, sinks.to(dtype)[None, :, None, None].expand(*s.shape[:3], 1)], -1)
    lse = s.logsumexp(-1)
    p = torch.where(s == -torch.inf, 0.0, (s - lse[..., None]).exp())
    entropy = -(p * torch.where(p == 0, 0.0, p.log())).sum(-1)
    p = p[..., :keys]
    mass = p @ (groups[:, :, None] >> torch.arange(num_groups) & 1).to(dtype)[:, None]
    counted = torch.ones(q.shape[0], queries) if query_mask is None else query_mask
    weight = counted.to(dtype)[:, None, :, None]
    return mass, (mass * weight).sum(2), entropy, lse, maximum, (p * weight).sum(2)


def on(device, arguments):
    return [one.to(device) if isinstance(one, torch.Tensor) else one for one in arguments]


def run(device, arguments):
    """The five results of attention_mass and the one of attention_key_mass."""
    arguments = on(device, arguments)
    spread = module.attention_mass(*arguments)
    q, k, _, _, causal, window, scale, softcap, _, key_mask, query_mask, _ = arguments
    return *spread, module.attention_key_mass(q, k, spread[3], causal, window, scale, softcap, key_mask, query_mask)


def check(device, arguments):
    results = run(device, arguments)
    gold, reference = attend(arguments, torch.float64), attend(arguments, torch.float32)
    if not arguments[-1]:
        assert results[0].numel() == 0
        results, gold, reference = results[1:], gold[1:], reference[1:]
    for one, other, best in zip(results, reference, gold, strict=True):
        assert one.dtype == torch.float32
        assert_as_good(one, other, best)


CASES = {
    "minimal": ("bf16", (1, 1, 1, 1, 1, 1), {"num_groups": 1}),
    "decode": ("f16", (2, 6, 2, 1, 70, 24), {"sinks": True}),
    "decode-window-padded": ("bf16", (2, 3, 1, 5, 75, 16), {"window": 41, "key_mask": "left", "query_mask": True, "num_groups": 33}),
    "prefill": ("f32", (1, 2, 2, 64, 64, 16), {}),
    "chunk-of-prefill": ("bf16", (2, 2, 1, 37, 70, 20), {"key_mask": "right", "query_mask": True}),
    "window-sinks": ("f16", (1, 2, 1, 60, 60, 16), {"window": 21, "sinks": True, "per_query": False}),
    "window-of-one": ("f32", (1, 1, 1, 40, 50, 16), {"window": 1, "key_mask": "some"}),
    "not-causal": ("f32", (1, 2, 1, 33, 50, 16), {"causal": False, "softcap": 2.0, "num_groups": 64}),
    "not-causal-window": ("bf16", (1, 1, 1, 33, 50, 16), {"causal": False, "window": 20, "query_mask": True}),
    "strided": ("f16", (2, 2, 1, 33, 34, 24), {"strided": True, "softcap": 0.5, "key_mask": "some", "sinks": True}),
}


@pytest.mark.parametrize("case", CASES)
def test_masses_are_as_good_as_float32(device, generator, case):
    dtype, shape, options = CASES[case]
    check(device, problem(generator, DTYPES[dtype], *shape, **options))


@pytest.mark.parametrize("queries", [3, 129])
def test_the_tiles_of_gpus(dtype, device, generator, queries, real_tiles):
    check(device, problem(generator, dtype, 1, 1, 1, queries, 150, 40, window=110, key_mask="some"))


@settings(max_examples=5, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    heads=st.tuples(st.integers(1, 2), st.integers(1, 3)),
    queries=st.integers(1, 40),
    before=st.integers(0, 40),
    size=st.integers(1, 20),
    num_groups=st.integers(1, 64),
    causal=st.booleans(),
    window=st.integers(0, 60),
    softcap=st.sampled_from([0.0, 1.5]),
    sinks=st.booleans(),
    key_mask=st.sampled_from([None, "left", "right", "some"]),
    dtype=st.sampled_from(list(DTYPES.values())),
    seed=st.integers(0, 2**31),
)
def test_any_shape(device, heads, queries, before, size, num_groups, dtype, seed, **options):
    generator = torch.Generator().manual_seed(seed)
    shape = (2, heads[0] * heads[1], heads[0], queries, queries + before, size)
    check(device, problem(generator, dtype, *shape, num_groups, **options))


@pytest.mark.parametrize("visible", [True, False])
@pytest.mark.parametrize("queries", [2, 20])
@pytest.mark.parametrize("sink", [-math.inf, math.inf, math.nan, 1e30])
def test_any_sink_is_the_references(device, generator, sink, queries, visible):
    arguments = list(problem(generator, torch.float32, 1, 2, 1, queries, 40, 16, key_mask="some", sinks=True))
    arguments[8][0] = sink
    arguments[9][:, -3:] = visible
    arguments[9][:, :-3] = False
    results, wanted = module.attention_mass(*on(device, arguments)), reference(*arguments)
    for one, other in zip(results, wanted, strict=True):
        torch.testing.assert_close(one.cpu(), other, rtol=1e-5, atol=1e-5, equal_nan=True)
    assert results[3][:, 0].isnan().all() == (not sink < math.inf)


@pytest.mark.parametrize("queries", [2, 20])
def test_rows_without_a_key(device, generator, queries):
    arguments = list(problem(generator, torch.bfloat16, 1, 2, 1, queries, 40, 16, key_mask="some", sinks=True))
    arguments[9][:] = False
    check(device, arguments)  # only the sink is left: its logit is the LSE
    arguments[8] = None
    mass, mass_sum, entropy, lse, maximum, key_mass = run(device, arguments)
    assert not any(one.any() for one in (mass, mass_sum, entropy, key_mass))
    assert (lse == -torch.inf).all() and (maximum == -torch.inf).all()


def test_nothing_to_do(device, generator):
    arguments = problem(generator, torch.float32, 2, 2, 1, 0, 3, 8)
    results = run(device, arguments)
    assert [tuple(one.shape) for one in results] == [(2, 2, 0, 5), (2, 2, 5), (2, 2, 0), (2, 2, 0), (2, 2, 0), (2, 2, 3)]
    assert not results[1].any() and not results[5].any()
    assert [tuple(one.shape) for one in run(device, problem(generator, torch.float32, 0, 2, 1, 3, 3, 8))][1:3] == [(0, 2, 5), (0, 2, 3)]


@pytest.mark.parametrize("queries", [2, 40])
def test_large_and_equal_scores(device, generator, queries):
    q, k, *rest = problem(generator, torch.float32, 1, 1, 1, queries, 50, 16, 64)
    # products without a rounding, logits from -36 to 36: probabilities far below float16's smallest
    check(device, ((q * 3).round().clamp(-3, 3), (k * 3).round().clamp(-3, 3), *rest))
    mass, _, entropy, *_ = run(device, (q * 0, k, *rest))
    position = torch.arange(50 - queries, 50, device=entropy.device)
    assert_as_good(entropy[0, 0], (position + 1.0).log().cpu(), (position + 1.0).double().log().cpu())
    assert (mass >= 0).all() and (mass <= 1.000001).all()


@pytest.mark.parametrize("apart", ["tile", "tiles", "cuts", "sink"])
@pytest.mark.parametrize("queries", [2, 40])
def test_logits_further_apart_than_the_largest_float(device, queries, apart):
    """-inf, their difference in float32, times the 0 that it is the logarithm of."""
    keys, high = 64, {"tile": 60, "tiles": 48, "cuts": 32, "sink": 0}[apart]
    q, k = torch.full((1, 1, queries, 1), 1e19), torch.where(torch.arange(keys) < high, -2e19, 2e19)[None, None, :, None]
    sinks = torch.tensor([-2e38]) if apart == "sink" else None
    groups = torch.ones(1, keys, dtype=torch.int64)
    results = run(device, (q, k, groups, 1, False, 0, 1.0, 0.0, sinks, None, None, True))
    rows = {"rtol": 2e-6, "atol": 2e-6, "check_device": False}
    torch.testing.assert_close(results[0], torch.ones(1, 1, queries, 1), **rows)
    torch.testing.assert_close(results[2], torch.full((1, 1, queries), keys - high).log(), **rows)
    torch.testing.assert_close(results[3], torch.full((1, 1, queries), 2e38), **rows)
    low = run(device, (q, -k.abs(), groups, 1, False, 0, 1.0, 0.0, None, None, None, True))
    torch.testing.assert_close(low[0], torch.ones(1, 1, queries, 1), **rows)
    torch.testing.assert_close(low[3], torch.full((1, 1, queries), -2e38), **rows)


@pytest.mark.parametrize("queries", [2, 40])
def test_a_nan_stays_in_its_rows(device, generator, queries):
    arguments = problem(generator, torch.bfloat16, 1, 2, 1, queries, 50, 16, key_mask="some")
    arguments[9][:] = True
    arguments[0][0, 1, 1, 3] = torch.nan
    for one in run(device, arguments)[2:5]:
        assert one.isnan().nonzero().tolist() == [[0, 1, 1]]
    arguments[0][0, 1, 1, 3] = 0
    arguments[1][0, 0, 7] = torch.nan
    arguments[9][0, 7] = False  # padding may hold anything
    assert not any(one.isnan().any() for one in run(device, arguments))


def test_more_than_one_float16_term_is_kept(device, generator):
    """Many small probabilities: one float16 or bfloat16 term would lose 1e-4 of them."""
    q, k, groups, *rest = problem(generator, torch.float32, 1, 1, 1, 20, 300, 8, 1, causal=False)
    groups[:] = torch.arange(300) % 2
    check(device, (q * 3, k * 3, groups, *rest))


@pytest.mark.parametrize("queries", [3, 40])
def test_same_bits_twice_and_in_another_batch(device, generator, queries, placeless):
    options = {"window": 30, "key_mask": "some", "query_mask": True, "sinks": True}
    arguments = problem(generator, torch.bfloat16, 3, 2, 1, queries, 50, 16, **options)
    results = run(device, arguments)
    for one, again in zip(results, run(device, arguments), strict=True):
        assert torch.equal(one, again)
    alone = [one[1:2] if i in (0, 1, 2, 9, 10) else one for i, one in enumerate(arguments)]
    for one, other in zip(results, run(device, alone), strict=True):
        assert torch.equal(one[1:2], other)


def test_a_query_has_the_same_bits_beside_other_queries(device, generator, placeless):
    q, k, groups, *rest = problem(generator, torch.bfloat16, 1, 1, 1, 70, 90, 16)
    full, last = run(device, (q, k, groups, *rest)), run(device, (q[:, :, 45:], k, groups, *rest))
    for i in (0, 2, 3, 4):
        assert torch.equal(full[i][:, :, 45:], last[i])


def test_each_key_is_read_once_for_all_heads_that_share_it(device, generator, launches):
    run(device, problem(generator, torch.bfloat16, 1, 8, 2, 1, 128, 16))
    if launches is not None:
        traffic = next(one for one in launches if one.name == "_attention_mass_split_kernel").traffic["k"]
        assert traffic.useful_loaded == 2 * 128 * 16 * 2


# --- the bytes that they move: slack 1.1 is for what is there once a block, and for sectors that are not full

REACH = {"all": {"causal": False}, "causal": {}, "window": {"window": 20}}


@pytest.mark.parametrize("reach", REACH)
def test_a_block_reads_only_what_it_sees_and_once(device, generator, counted, reach):
    heads, length, size, num_groups = 2, 96, 16, 16
    run(device, problem(generator, torch.bfloat16, 1, heads, 1, length, length, size, num_groups, **REACH[reach]))
    queries_stay, block_sum, keys_stay = counted
    staying, streaming = 32, 16  # small_tiles
    starts = range(0, length, staying)
    # others that some row of a block sees; a window's edge lies inside a tile of them
    seen = {
        "all": length * len(starts),
        "causal": sum(start + staying for start in starts),
        "window": sum(min(start, 20 - 1 + streaming - 1) + staying for start in starts),
    }[reach]
    row, numbers = size * 2, heads * length * 4
    rows = heads * length * row
    assert queries_stay.traffic["q"].loaded <= rows and queries_stay.traffic["k"].loaded <= heads * seen * row
    sums = heads * len(starts) * num_groups * 4
    results = numbers * (3 + num_groups)
    assert queries_stay.moved <= 1.1 * (rows + heads * seen * (row + 8) + results + sums)  # 8: the mask of a key's groups
    assert queries_stay.unique_moved <= 1.1 * (rows + length * (row + 8) + results + sums)
    assert block_sum.moved <= 1.1 * (sums + heads * num_groups * 4)
    assert keys_stay.traffic["k"].loaded <= rows and keys_stay.traffic["q"].loaded <= heads * seen * row
    assert keys_stay.moved <= 1.1 * (rows + heads * seen * (row + 4) + numbers)  # 4: the log-sum-exp of a query
    assert keys_stay.unique_moved <= 1.1 * (rows + length * row + 2 * numbers)


def test_cut_keys_are_read_once_and_so_are_the_parts(device, generator, counted):
    heads, kv_heads, queries, keys, size, num_groups = 8, 2, 16, 96, 16, 16
    module.attention_mass(*on(device, problem(generator, torch.bfloat16, 1, heads, kv_heads, queries, keys, size, num_groups)))
    split, merge = counted
    cuts = keys // module.SPLIT_KEYS
    numbers, row = heads * queries * 4, size * 2
    parts = cuts * numbers * (3 + num_groups)
    assert split.traffic["k"].loaded <= kv_heads * keys * row
    assert split.moved <= 1.1 * (cuts * heads * queries * row + kv_heads * keys * (row + 8) + parts)
    assert merge.moved <= 1.1 * (parts + numbers * (3 + num_groups) + heads * num_groups * 4)
    assert cuts > 1
