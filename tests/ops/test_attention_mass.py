"""attention_mass and attention_key_mass against a full softmax in float64, on every instruction set this processor has."""

import math
import sys

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pydisp.ops import native
from pydisp.ops.attention_mass import AttentionMass, attention_key_mass, attention_mass, key_reference, reference
from pydisp.ops.library import has_kernel

# name -> (B, H, Hk, Tq, Tk, Dh, C, keyword arguments); "mask" and "sinks" are drawn.
CASES = {
    "one": (1, 1, 1, 1, 1, 1, 1, {}),
    "odd": (2, 3, 3, 37, 37, 13, 5, {}),
    "grouped": (2, 6, 2, 70, 70, 20, 9, {}),
    "blocks": (1, 4, 2, 200, 200, 64, 16, {}),
    "most_groups": (1, 2, 1, 65, 65, 8, 64, {}),
    "longer_keys": (2, 4, 2, 5, 131, 33, 3, {}),
    "decode": (3, 8, 2, 1, 77, 16, 4, {}),
    "decode_in_runs": (2, 2, 1, 1, 2500, 8, 4, {}),
    "decode_one_lane": (2, 3, 3, 1, 150, 37, 6, {}),
    "decode_three_lanes": (2, 3, 1, 1, 70, 19, 6, dict(softcap=4.0)),
    "four_lanes_window": (3, 2, 1, 2, 300, 24, 6, dict(window=100, mask=True, sinks=True)),
    "seven_rows_in_runs": (3, 14, 2, 1, 2300, 20, 3, dict(window=2100, mask=True)),
    "sixteen_rows": (2, 16, 2, 2, 200, 36, 3, dict(softcap=4.0, window=60)),
    "few_in_runs": (1, 4, 1, 5, 3000, 8, 4, dict(window=1500)),
    "window": (2, 4, 2, 150, 150, 24, 6, dict(window=17)),
    "window_one": (1, 2, 2, 40, 40, 8, 3, dict(window=1)),
    "window_decode": (1, 2, 1, 1, 90, 8, 3, dict(window=7)),
    "both_ways": (2, 4, 2, 90, 90, 8, 3, dict(causal=False)),
    "both_ways_window": (1, 2, 2, 90, 90, 8, 3, dict(causal=False, window=11)),
    "softcap": (1, 4, 2, 130, 130, 24, 5, dict(softcap=3.0)),
    "softcap_window": (2, 2, 1, 80, 80, 24, 5, dict(softcap=50.0, window=33, scale=0.7)),
    "scale": (1, 2, 2, 66, 66, 7, 2, dict(scale=-1.3)),
    "sinks": (2, 4, 2, 66, 66, 16, 5, dict(sinks=True)),
    "padding": (3, 4, 2, 140, 140, 16, 5, dict(mask=True)),
    "all": (3, 6, 2, 90, 211, 12, 7, dict(mask=True, sinks=True, window=60, softcap=5.0)),
    "decode_all": (3, 6, 2, 1, 1300, 12, 7, dict(mask=True, sinks=True, window=1200, softcap=5.0)),
}
MODULE = sys.modules[AttentionMass.__module__]  # pydisp.ops.attention_mass is the function
TOLERANCE = 4e-6  # of the largest value: float32 sums run in another order


@pytest.fixture
def case(draw, generator):
    """`case(name, dtype)`: q, k, groups, num_groups and the keyword arguments of a case."""

    def make(name: str, dtype=torch.float32):
        batch, heads, key_heads, queries, keys, width, count, options = CASES[name]
        q, k = draw(batch, heads, queries, width, dtype=dtype), draw(batch, key_heads, keys, width, dtype=dtype)
        groups = torch.randint(0, 2, (batch, keys, count), generator=generator)
        groups[:, :, 0] = 1
        groups = (groups << torch.arange(count)).sum(-1)
        options = dict(options)
        if options.pop("mask", False):
            real = torch.ones(batch, keys, dtype=torch.bool)
            real[0, : keys // 3] = False  # padding on the left,
            real[1, keys - keys // 4 :] = False  # on the right,
            real[2] = torch.rand(keys, generator=generator) > 0.3  # and anywhere
            options |= dict(key_mask=real, query_mask=real[:, keys - queries :])
        if options.pop("sinks", False):
            options["sinks"] = draw(heads, dtype=torch.float32)
        return q, k, groups, count, options

    return make


def naive(q, k, groups, count, *, causal=True, window=None, scale=None, softcap=None, sinks=None, key_mask=None, query_mask=None):
    """The whole matrix of probabilities in float64, and what is asked of it: AttentionMass and the mass of each key."""
    q, k = q.double(), k.double()
    queries, keys = q.shape[2], k.shape[2]
    s = torch.einsum("bhqd,bhkd->bhqk", q, k.repeat_interleave(q.shape[1] // k.shape[1], 1)) * (scale or q.shape[3] ** -0.5)
    if softcap is not None:
        s = softcap * torch.tanh(s / softcap)
    hidden = torch.zeros(queries, keys, dtype=torch.bool)
    for i in range(queries):
        position = keys - queries + i
        if causal:
            hidden[i, position + 1 :] = True
        if window is not None:
            hidden[i, : max(0, position - window + 1)] = True
    s = s.masked_fill(hidden, -math.inf)
    if key_mask is not None:
        s = s.masked_fill(~key_mask[:, None, None], -math.inf)
    sink = torch.full((q.shape[1],), -math.inf) if sinks is None else sinks
    joined = torch.cat([s, sink.double()[None, :, None, None].expand(*s.shape[:3], 1)], -1)
    p = joined.softmax(-1).nan_to_num(0)  # NaN: nothing is visible
    entropy = torch.special.entr(p).sum(-1)
    p = p[..., :-1]
    indicator = (groups[:, :, None] >> torch.arange(count) & 1).double()
    mass = torch.einsum("bhqk,bkc->bhqc", p, indicator)
    counted = p if query_mask is None else p * query_mask[:, None, :, None]
    mass_sum = torch.einsum("bhqk,bkc->bhc", counted, indicator)
    return AttentionMass(mass, mass_sum, entropy, joined.logsumexp(-1), s.amax(-1)), counted.sum(2)


def assert_near(ours, same_dtype, gold):
    """No further from float64 than the reference in the same dtype is, plus TOLERANCE of the largest value; infinities in the same places."""
    assert ours.dtype == same_dtype.dtype and ours.shape == gold.shape and not ours.isnan().any()
    assert torch.equal(ours.isinf(), gold.isinf()) and torch.equal(ours[ours.isinf()].double(), gold[gold.isinf()])
    ours, same_dtype, gold = (x.double().nan_to_num(0, 0, 0) for x in (ours, same_dtype, gold))
    if gold.numel():
        own = (same_dtype - gold).abs().amax().item()
        assert (ours - gold).abs().amax().item() <= own + TOLERANCE * max(1.0, gold.abs().amax().item())


def positional(q, options, per_query=True):
    """The op's arguments behind num_groups."""
    return (
        options.get("causal", True),
        options.get("window") or 0,
        options.get("scale") or q.shape[3] ** -0.5,
        options.get("softcap") or 0.0,
        options.get("sinks"),
        options.get("key_mask"),
        options.get("query_mask"),
        per_query,
    )


def without_sinks(options):
    return {name: value for name, value in options.items() if name != "sinks"}


def key_positional(q, options):
    arguments = positional(q, options)
    return *arguments[:4], *arguments[5:7]


@pytest.mark.parametrize("name", CASES)
def test_is_the_softmax_in_float64(case, name, dtype, isa):
    q, k, groups, count, options = case(name, dtype)
    gold, gold_keys = naive(q, k, groups, count, **options)
    ours = attention_mass(q, k, groups, count, **options)
    same_dtype = reference(q, k, groups, count, *positional(q, options))
    for one, plain, exact in zip(ours, same_dtype, gold, strict=True):
        assert_near(one, plain, exact)
    lse = gold.lse.float()
    assert_near(attention_key_mass(q, k, lse, **without_sinks(options)), key_reference(q, k, lse, *key_positional(q, options)), gold_keys)


@pytest.mark.parametrize("plain", [False, True], ids=["op", "reference"])
@pytest.mark.parametrize("name", CASES)
def test_float64_is_exact(case, name, plain):
    q, k, groups, count, options = case(name, torch.float64)
    gold, gold_keys = naive(q, k, groups, count, **options)
    if plain:
        ours = reference(q, k, groups, count, *positional(q, options))
        keys = key_reference(q, k, gold.lse, *key_positional(q, options))
    else:
        ours = attention_mass(q, k, groups, count, **options)
        keys = attention_key_mass(q, k, gold.lse, **without_sinks(options))
    for one, exact in zip((*ours, keys), (*gold, gold_keys), strict=True):
        torch.testing.assert_close(one, exact, rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize("name", ["grouped", "all", "decode_in_runs"])
def test_sum_alone_has_the_same_bits(case, name, isa):
    q, k, groups, count, options = case(name)
    ours, alone = attention_mass(q, k, groups, count, **options), attention_mass(q, k, groups, count, per_query=False, **options)
    assert alone.mass is None
    for one, other in zip(alone[1:], ours[1:], strict=True):
        assert torch.equal(one, other)
    counted = ours.mass if "query_mask" not in options else ours.mass * options["query_mask"][:, None, :, None]
    torch.testing.assert_close(ours.mass_sum, counted.sum(2), rtol=1e-5, atol=1e-5)


def test_mass_of_everything_is_one_and_the_keys_hold_it_all(case, isa):
    q, k, _, _, options = case("padding")
    ours = attention_mass(q, k, torch.ones(k.shape[0], k.shape[2], dtype=torch.int64), 1, **options)
    seen = ours.lse > -math.inf
    assert not seen.all()
    torch.testing.assert_close(ours.mass[..., 0], seen.float(), rtol=0, atol=2e-6)
    by_key = attention_key_mass(q, k, ours.lse, **options)
    torch.testing.assert_close(by_key.sum(-1), ours.mass_sum[..., 0], rtol=2e-6, atol=0)
    assert (by_key[~options["key_mask"][:, None].expand_as(by_key)] == 0).all()


@pytest.mark.parametrize("name", ["grouped", "all", "decode_all", "decode_in_runs", "seven_rows_in_runs"])
def test_same_bits_twice_in_another_batch_and_with_two_threads(case, name, isa):
    q, k, groups, count, options = case(name)

    def both(rows=slice(None)):
        mine = {key: v[rows] if key.endswith("_mask") else v for key, v in options.items()}
        ours = attention_mass(q[rows], k[rows], groups[rows], count, **mine)
        return *ours, attention_key_mass(q[rows], k[rows], ours.lse, **without_sinks(mine))

    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        first, again, alone = both(), both(), both(slice(1, 2))
        torch.set_num_threads(2)
        two = both()
    finally:
        torch.set_num_threads(threads)
    for one, same, row, other in zip(first, again, alone, two, strict=True):
        assert torch.equal(one, same) and torch.equal(one[1:2], row) and torch.equal(one, other)


def test_padding_does_not_change_a_bit(draw, isa):
    """The keys behind the mask are left out before they are cut into blocks."""
    q, k = draw(1, 4, 100, 16, dtype=torch.float32), draw(1, 2, 100, 16, dtype=torch.float32)
    groups = torch.arange(100)[None] % 4
    short = attention_mass(q, k, groups, 2)
    left = [torch.cat([draw(*x.shape[:2], 30, 16, dtype=torch.float32), x], 2) for x in (q, k)]
    real = (torch.arange(130) >= 30)[None]
    long = attention_mass(*left, torch.cat([torch.ones(1, 30, dtype=torch.int64), groups], 1), 2, key_mask=real, query_mask=real)
    for name in ("mass", "entropy", "lse", "maximum"):
        assert torch.equal(getattr(long, name)[:, :, 30:], getattr(short, name))
    torch.testing.assert_close(long.mass_sum, short.mass_sum, rtol=1e-6, atol=0)


def test_strides_of_a_model(draw, isa):
    """Heads beside each other in memory, keys as a slice of a longer cache, and a transposed head dimension."""
    q = draw(2, 50, 6, 16, dtype=torch.float32).transpose(1, 2)
    k = draw(2, 3, 90, 16, dtype=torch.float32)[:, :, 10:60]
    groups, mask = torch.arange(200).view(2, 100)[:, ::2] % 8, (torch.arange(200).view(2, 100) % 5 > 0)[:, ::2]
    swapped = draw(2, 3, 50, 16, dtype=torch.float32, strided=True)
    for keys in (k, swapped):
        ours = attention_mass(q, keys, groups, 3, key_mask=mask)
        dense = attention_mass(q.contiguous(), keys.contiguous(), groups.contiguous(), 3, key_mask=mask.contiguous())
        for one, other in zip(ours, dense, strict=True):
            assert torch.equal(one, other)
        key_mass = attention_key_mass(q, keys, ours.lse, key_mask=mask)
        assert torch.equal(key_mass, attention_key_mass(q.contiguous(), keys.contiguous(), ours.lse, key_mask=mask.contiguous()))


@pytest.mark.parametrize(("batch", "queries", "keys"), [(0, 3, 3), (2, 0, 3), (2, 0, 0)])
def test_empty(draw, batch, queries, keys, isa):
    q, k = draw(batch, 2, queries, 8, dtype=torch.float32), draw(batch, 1, keys, 8, dtype=torch.float32)
    ours = attention_mass(q, k, torch.zeros(batch, keys, dtype=torch.int64), 3)
    assert ours.mass.shape == (batch, 2, queries, 3) and ours.lse.shape == (batch, 2, queries)
    assert torch.equal(ours.mass_sum, torch.zeros(batch, 2, 3))
    assert torch.equal(attention_key_mass(q, k, ours.lse), torch.zeros(batch, 2, keys))


@pytest.mark.parametrize("queries", [3, 90])
def test_rows_without_a_key(draw, queries, isa):
    q, k = draw(1, 2, queries, 8, dtype=torch.float32), draw(1, 2, queries, 8, dtype=torch.float32)
    nothing, groups = torch.zeros(1, queries, dtype=torch.bool), torch.ones(1, queries, dtype=torch.int64)
    ours = attention_mass(q, k, groups, 1, key_mask=nothing)
    assert (ours.mass == 0).all() and (ours.entropy == 0).all() and (ours.lse == -math.inf).all() and (ours.maximum == -math.inf).all()
    assert (ours.mass_sum == 0).all() and (attention_key_mass(q, k, ours.lse, key_mask=nothing) == 0).all()
    last = (torch.arange(queries) == queries - 1)[None]
    ours = attention_mass(q, k, groups, 1, key_mask=last)
    seen = last[0].float().expand(1, 2, queries)
    torch.testing.assert_close(ours.mass[..., 0], seen, rtol=1e-6, atol=0)
    torch.testing.assert_close(attention_key_mass(q, k, ours.lse, key_mask=last), seen, rtol=1e-6, atol=0)
    sinks = torch.tensor([0.5, -2.0])
    ours = attention_mass(q, k, groups, 1, key_mask=nothing, sinks=sinks)
    assert (ours.mass == 0).all() and (ours.entropy == 0).all() and (ours.maximum == -math.inf).all()
    assert torch.equal(ours.lse, sinks[None, :, None].expand(1, 2, queries))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("visible", ["all", "last", "none"])
@pytest.mark.parametrize("queries", [1, 90])
@pytest.mark.parametrize("sink", [-math.inf, math.inf, math.nan, 1e30])
def test_any_sink_as_in_the_reference(draw, sink, queries, visible, dtype, isa):
    q, k = draw(1, 2, queries, 8, dtype=dtype), draw(1, 2, 90, 8, dtype=dtype)
    groups, sinks = torch.ones(1, 90, dtype=torch.int64), torch.tensor([sink, 0.5])
    first = {"all": 0, "last": 85, "none": 90}[visible]
    options = dict(sinks=sinks, key_mask=(torch.arange(90) >= first)[None])
    ours = attention_mass(q, k, groups, 1, **options)
    plain = reference(q, k, groups, 1, *positional(q, options))
    keys = attention_key_mass(q, k, ours.lse, **without_sinks(options))
    plain_keys = key_reference(q, k, plain[3], *key_positional(q, options))
    for one, other in zip((*ours, keys), (*plain, plain_keys), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-5, equal_nan=True)
    assert not ours.maximum.isnan().any()
    is_number = sink < math.inf
    assert ours.lse[:, 0].isnan().all() != is_number and ours.mass[:, 0].isnan().all() != is_number


@pytest.mark.parametrize("options", [{}, dict(softcap=4.0), dict(window=2)], ids=["plain", "softcap", "window"])
@pytest.mark.parametrize("queries", [1, 2, 3, 7, 90])
@pytest.mark.parametrize("where", ["q", "k"])
def test_nan_shows_in_its_rows_and_in_no_other(draw, where, queries, options, isa):
    q, k = draw(1, 1, queries, 8, dtype=torch.float32), draw(1, 1, 90, 8, dtype=torch.float32)
    groups, keys, position = torch.ones(1, 90, dtype=torch.int64), torch.arange(90), torch.arange(90 - queries, 90)[:, None]
    visible = (keys <= position) & (keys > position - options.get("window", 90))
    row = queries // 2
    place = 90 - queries + row
    (q[0, 0, row] if where == "q" else k[0, 0, place])[3] = math.nan
    touched = torch.arange(queries) == row if where == "q" else visible[:, place]
    ours = attention_mass(q, k, groups, 1, **options)
    for one in (ours.mass[0, 0, :, 0], ours.entropy[0, 0], ours.lse[0, 0], ours.maximum[0, 0]):
        assert torch.equal(one.isnan(), touched)
    plain = key_reference(q, k, ours.lse, *key_positional(q, options))
    for key_mass in (attention_key_mass(q, k, ours.lse, **options), plain):
        assert torch.equal(key_mass[0, 0].isnan(), visible[touched].any(0))


@pytest.mark.parametrize("queries", [1, 2, 3, 7, 90])
def test_a_softcap_bounds_huge_and_infinite_logits(queries, isa):
    q = torch.full((1, 1, queries, 1), 1e30)
    q[:, :, 1::2] = -math.inf
    k = torch.tensor([1e30, -1e30, math.inf, -math.inf, 1e-30, -3e-30]).repeat(15)[None, None, :, None]
    groups, options = 1 << torch.arange(90)[None] % 6, dict(softcap=4.0, scale=1.0)
    gold, gold_keys = naive(q, k, groups, 6, **options)
    ours = attention_mass(q, k, groups, 6, **options)
    keys = attention_key_mass(q, k, ours.lse, **options)
    plain = reference(q, k, groups, 6, *positional(q, options))
    plain_keys = key_reference(q, k, plain[3], *key_positional(q, options))
    assert gold.maximum.abs().max() <= 4
    for results in ((*ours, keys), (*plain, plain_keys)):
        for one, exact in zip(results, (*gold, gold_keys), strict=True):
            torch.testing.assert_close(one, exact.float(), rtol=1e-5, atol=1e-5)


def test_autocast_does_not_round_the_products(case):
    q, k, groups, count, options = case("all")

    def everything():
        plain = reference(q, k, groups, count, *positional(q, options))
        ours = attention_mass(q, k, groups, count, **options)
        keys = attention_key_mass(q, k, ours.lse, **without_sinks(options))
        return *plain, key_reference(q, k, plain[3], *key_positional(q, options)), *ours, keys

    expected = everything()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        ours = everything()
    for one, other in zip(ours, expected, strict=True):
        assert one.dtype == other.dtype and torch.equal(one, other)


def test_large_logits_do_not_overflow(draw, isa):
    q, k = 40 * draw(1, 2, 70, 16, dtype=torch.float32), 40 * draw(1, 2, 70, 16, dtype=torch.float32)
    groups = torch.arange(70)[None] % 4
    gold, _ = naive(q, k, groups, 2)
    ours = attention_mass(q, k, groups, 2)
    assert gold.lse.max() > 1000
    torch.testing.assert_close(ours.mass, gold.mass.float(), rtol=0, atol=2e-3)  # a logit of 1000s is only known to 1e-4
    torch.testing.assert_close(ours.lse, gold.lse.float(), rtol=2e-6, atol=1e-3)


@pytest.mark.parametrize("apart", ["blocks", "runs", "sink"])
@pytest.mark.parametrize("queries", [1, 90])
def test_logits_further_apart_than_the_largest_float(queries, apart, isa):
    """-inf, their difference in float32, times the 0 that it is the logarithm of."""
    keys, high = 2500, 2400 if apart == "runs" else 1000
    q = torch.full((1, 1, queries, 1), 1e19)
    k = torch.where(torch.arange(keys) < high, -2e19, 2e19)[None, None, :, None]
    options = dict(scale=1.0, causal=False, window=None)
    if apart == "sink":
        options["sinks"] = torch.tensor([-3e38])
    groups = torch.ones(1, keys, dtype=torch.int64)
    plain = reference(q, k, groups, 1, False, 0, 1.0, 0.0, options.get("sinks"), None, None, True)
    for ours in (attention_mass(q, k, groups, 1, **options), AttentionMass(*plain)):
        torch.testing.assert_close(ours.entropy, torch.full((1, 1, queries), math.log(keys - high)), rtol=2e-6, atol=0)
        torch.testing.assert_close(ours.mass, torch.ones(1, 1, queries, 1), rtol=2e-6, atol=0)


@pytest.mark.parametrize("window", [2**31 - 1, sys.maxsize])
def test_a_window_of_more_than_the_keys_is_none(draw, window, monkeypatch):
    """For every backend: a Triton kernel's integers would overflow."""
    q, k = draw(1, 2, 5, 8, dtype=torch.float32), draw(1, 2, 9, 8, dtype=torch.float32)
    groups, passed = torch.ones(1, 9, dtype=torch.int64), []

    def noting(op, place):
        return lambda *arguments: passed.append(arguments[place]) or op(*arguments)

    monkeypatch.setattr(MODULE, "_op", noting(MODULE._op, 5))
    monkeypatch.setattr(MODULE, "_key_op", noting(MODULE._key_op, 4))
    want, ours = attention_mass(q, k, groups, 1), attention_mass(q, k, groups, 1, window=window)
    attention_mass(q, k, groups, 1, window=8)
    assert torch.equal(ours.mass, want.mass)
    assert torch.equal(attention_key_mass(q, k, want.lse, window=window), attention_key_mass(q, k, want.lse))
    assert passed == [0, 0, 8, 0, 0]


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    key_heads=st.integers(1, 3),
    group=st.integers(1, 5),
    queries=st.integers(1, 70),
    before=st.integers(0, 150),
    width=st.integers(1, 40),
    count=st.integers(1, 64),
    window=st.none() | st.integers(1, 100),
    causal=st.booleans(),
    seed=st.integers(0, 2**31),
)
def test_any_shape(isa, key_heads, group, queries, before, width, count, window, causal, seed):
    generator = torch.Generator().manual_seed(seed)
    keys = queries + before
    q = torch.randn(2, key_heads * group, queries, width, generator=generator)
    k = torch.randn(2, key_heads, keys, width, generator=generator)
    groups = torch.randint(-(2**63), 2**63 - 1, (2, keys), generator=generator)
    groups = groups if count == 64 else groups & ((1 << count) - 1)
    options = dict(causal=causal, window=window, key_mask=torch.rand(2, keys, generator=generator) > 0.2)
    gold, gold_keys = naive(q, k, groups, count, **options)
    ours = attention_mass(q, k, groups, count, **options)
    for one, plain, exact in zip(ours, reference(q, k, groups, count, *positional(q, options)), gold, strict=True):
        assert_near(one, plain, exact)
    assert_near(attention_key_mass(q, k, ours.lse, **options), key_reference(q, k, ours.lse, *key_positional(q, options)), gold_keys)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("name", ["odd", "all"])
def test_opcheck(case, name, dtype):
    q, k, groups, count, options = case(name, dtype)
    for per_query in (True, False):
        torch.library.opcheck(torch.ops.pydisp.attention_mass.default, (q, k, groups, count, *positional(q, options, per_query)))
    lse = torch.zeros(q.shape[:3], dtype=dtype)
    torch.library.opcheck(torch.ops.pydisp.attention_key_mass.default, (q, k, lse, *key_positional(q, options)))


def test_compiles_in_one_graph(case):
    q, k, groups, count, options = case("all")

    def both(q, k, groups, options):
        ours = attention_mass(q, k, groups, count, **options)
        return *ours, attention_key_mass(q, k, ours.lse, **without_sinks(options))

    compiled = torch.compile(both, fullgraph=True, backend="aot_eager")
    for one, other in zip(compiled(q, k, groups, options), both(q, k, groups, options), strict=True):
        assert torch.equal(one, other)


def test_no_gradient_goes_back(case):
    q, k, groups, count, options = case("sinks")
    q.requires_grad_()
    options["sinks"].requires_grad_()
    ours = attention_mass(q, k, groups, count, **options)
    assert not any(one.requires_grad for one in ours)
    assert not attention_key_mass(q, k, ours.lse).requires_grad


def test_cpp_serves_where_it_was_built():
    assert has_kernel("attention_mass", "CPU") == has_kernel("attention_key_mass", "CPU") == native.is_loaded()


def _valid():
    q, k = torch.randn(2, 4, 3, 8), torch.randn(2, 2, 5, 8)
    return dict(q=q, k=k, groups=torch.ones(2, 5, dtype=torch.int64), num_groups=2)


@pytest.mark.parametrize(
    ("changes", "error", "says"),
    [
        (dict(num_groups=0), ValueError, "num_groups is 0"),
        (dict(num_groups=65), ValueError, "num_groups is 65"),
        (dict(groups=torch.ones(2, 5, dtype=torch.int32)), TypeError, "groups is torch.int32"),
        (dict(groups=torch.ones(2, 4, dtype=torch.int64)), ValueError, r"groups has shape \(2, 4\); it must be \(2, 5\)"),
        (dict(groups=torch.full((2, 5), 4)), ValueError, "bits set from bit 2 on"),
        (dict(groups=torch.full((2, 5), -1)), ValueError, "bits set from bit 2 on"),
        (dict(groups=torch.ones(2, 5, dtype=torch.int64, device="meta")), ValueError, "groups is on meta"),
        (dict(q=torch.randn(2, 3, 3, 8)), ValueError, "q has 3 heads and k 2"),
        (dict(q=torch.randn(2, 4, 6, 8)), ValueError, "q has 6 positions and k 5"),
        (dict(q=torch.randn(2, 4, 3, 9)), ValueError, "head dimension must be equal"),
        (dict(q=torch.randn(1, 4, 3, 8)), ValueError, "batch and head dimension must be equal"),
        (dict(q=torch.randn(4, 3, 8)), ValueError, r"must be \(B, H, Tq, Dh\)"),
        (dict(q=torch.randn(2, 4, 3, 8).half()), TypeError, "q is torch.float16 and k is torch.float32"),
        (dict(q=torch.ones(2, 4, 3, 8, dtype=torch.int64), k=torch.ones(2, 2, 5, 8, dtype=torch.int64)), TypeError, "q is torch.int64"),
        (dict(k=torch.randn(2, 2, 5, 8, device="meta")), ValueError, "k is on meta"),
        (dict(q=None), TypeError, "q is of type NoneType"),
        (dict(k=[1.0]), TypeError, "k is of type list"),
        (dict(groups=[[1] * 5] * 2), TypeError, "groups is of type list"),
        (dict(sinks=[0.0] * 4), TypeError, "sinks is of type list"),
        (dict(key_mask=[[True] * 5] * 2), TypeError, "key_mask is of type list"),
        (dict(num_groups=2.5), TypeError, "num_groups is 2.5, it must be a whole number"),
        (dict(window=2.5), TypeError, "window is 2.5, it must be a whole number"),
        (dict(window=True), TypeError, "window is True"),
        (dict(scale="1"), TypeError, "scale is '1', it must be a number"),
        (dict(softcap=[3.0]), TypeError, r"softcap is \[3.0\]"),
        (dict(window=0), ValueError, "window is 0"),
        (dict(scale=1e300), ValueError, r"scale is 1e\+300"),
        (dict(scale=1e-40), ValueError, "scale is 1e-40"),
        (dict(scale=math.nan), ValueError, "scale is nan"),
        (dict(softcap=1e-50), ValueError, "softcap is 1e-50"),
        (dict(softcap=1e300), ValueError, r"softcap is 1e\+300"),
        (dict(softcap=1e-30, scale=1e30), ValueError, "softcap is 1e-30 and scale 1e\\+30"),
        (dict(softcap=0.0), ValueError, "softcap is 0.0"),
        (dict(scale=math.inf), ValueError, "scale is inf"),
        (dict(sinks=torch.randn(3)), ValueError, r"sinks has shape \(3,\)"),
        (dict(key_mask=torch.ones(2, 5)), ValueError, "key_mask has shape .* torch.float32"),
        (dict(key_mask=torch.ones(2, 3, dtype=torch.bool)), ValueError, r"key_mask has shape \(2, 3\)"),
        (dict(query_mask=torch.ones(2, 5, dtype=torch.bool)), ValueError, r"query_mask has shape \(2, 5\)"),
    ],
)
def test_bad_input_is_refused(changes, error, says):
    with pytest.raises(error, match=says):
        attention_mass(**_valid() | changes)


def test_float64_takes_the_numbers_it_holds():
    valid = _valid() | dict(q=torch.randn(2, 4, 3, 8).double(), k=torch.randn(2, 2, 5, 8).double())
    tiny, none = attention_mass(**valid, scale=1e-100), attention_mass(**valid, scale=0)
    torch.testing.assert_close(tiny.mass, none.mass, rtol=1e-15, atol=0)


def test_a_wrong_lse_is_refused():
    valid = _valid()
    with pytest.raises(TypeError, match="lse is of type NoneType"):
        attention_key_mass(valid["q"], valid["k"], None)
    with pytest.raises(TypeError, match="attention_key_mass: window is 2.5"):
        attention_key_mass(valid["q"], valid["k"], torch.zeros(2, 4, 3), window=2.5)
    with pytest.raises(ValueError, match=r"lse has shape \(2, 4, 5\)"):
        attention_key_mass(valid["q"], valid["k"], torch.zeros(2, 4, 5))
    with pytest.raises(ValueError, match="torch.float64"):
        attention_key_mass(valid["q"], valid["k"], torch.zeros(2, 4, 3, dtype=torch.float64))
