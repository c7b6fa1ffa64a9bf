"""The random numbers: Philox's known answers, masks that depend on places alone, moments."""

import numpy as np
import oracle
import pytest

from fastdl import kernels
from fastdl.kernels import random, runner

#: Counter, key and words from the tests of Random123 (Salmon et al. 2011), philox4x32 10.
KNOWN_ANSWERS = (
    (
        (0, 0, 0, 0),
        (0, 0),
        (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8),
    ),
    (
        (0xFFFFFFFF, 0xFFFFFFFF, 0xFFFFFFFF, 0xFFFFFFFF),
        (0xFFFFFFFF, 0xFFFFFFFF),
        (0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD),
    ),
    (
        (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344),
        (0xA4093822, 0x299F31D0),
        (0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1),
    ),
)

DTYPES = (np.float32, np.float64)


def words(group, count, seed, stream, step, float64):
    out = np.zeros(4 * count, np.uint32)
    random.philox_words(out, group, seed, stream, step, float64)
    return out


@pytest.mark.parametrize("float64", [False, True])
@pytest.mark.parametrize(("counter", "key", "answer"), KNOWN_ANSWERS)
def test_philox_gives_the_published_words(isa, counter, key, answer, float64):
    group, seed = counter[0] | counter[1] << 32, key[0] | key[1] << 32
    got = words(group, 1, seed, counter[2], counter[3], float64)
    assert tuple(got) == answer


@pytest.mark.parametrize("group", [0, 7, 2**32 - 5, 2**62])
def test_philox_agrees_with_the_oracle_at_every_place(isa, group):
    """Across the carry from the first word of the counter into the second too."""
    for count in (1, 2, 3, 8, 9, 33):
        place = np.uint64(group) + np.arange(count, dtype=np.uint64)
        low = np.uint64(0xFFFFFFFF)
        counter = (place & low, place >> np.uint64(32), np.uint64(3), np.uint64(9))
        wanted = np.stack(oracle.philox(counter, (5, 11)), axis=-1).ravel()
        assert np.array_equal(words(group, count, 5 | 11 << 32, 3, 9, False), wanted)


def mask_of(dtype, size=5000, **options):
    return kernels.dropout_forward(np.ones(size, dtype), rate=0.3, **options) != 0


def test_one_mask_for_every_type_instruction_set_and_thread_count(isa, forced_threads):
    place = np.arange(1250, dtype=np.uint64)
    drawn = np.stack(oracle.philox((place, 0 * place, 0 * place + 2, 0 * place + 5), (77, 0)), -1)
    wanted = drawn.ravel() >= 0.3 * 2**32
    for dtype in DTYPES:
        for threads in (1, 2, 3, 7):
            runner.set_num_threads(threads)
            assert np.array_equal(mask_of(dtype, stream=2, step=5, seed=77), wanted)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("size", [1, 2, 3, 4, 5, 31, 511, 512, 513, 4099])
def test_a_mask_does_not_depend_on_the_size(isa, dtype, size):
    assert np.array_equal(mask_of(dtype, size, seed=3), mask_of(dtype, 5000, seed=3)[:size])


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_span_may_begin_at_any_element(isa, dtype):
    """As where a product runs dropout on the rows of its tiles."""
    x = np.random.default_rng(0).normal(size=1100).astype(dtype)
    wanted = kernels.dropout_forward(x, rate=0.4, seed=3)
    for start, count in ((1, 1), (2, 7), (3, 600), (5, 513), (510, 5), (1023, 77), (8, 0)):
        out = np.full_like(x, 7)
        random.dropout_of_span(
            out.view(np.uint8), x.view(np.uint8), x.itemsize, start, count, 0.4, 3
        )
        span = slice(start, start + count)
        assert np.array_equal(out[span], wanted[span])
        assert np.all(np.delete(out, span) == 7)


def test_step_stream_and_seed_each_change_the_mask():
    base = mask_of(np.float32, seed=1, step=1, stream=1)
    for change in ({"seed": 2}, {"seed": 1 + 2**32}, {"step": 2}, {"stream": 2}):
        other = mask_of(np.float32, **{"seed": 1, "step": 1, "stream": 1, **change})
        assert 0.3 < np.mean(base != other) < 0.54  # independent masks: 2 * 0.3 * 0.7 = 0.42


@pytest.mark.parametrize("rate", [0.01, 0.2, 0.5, 0.9])
def test_the_share_of_dropped_elements(rate):
    size = 400_000
    out = kernels.dropout_forward(np.ones(size, np.float32), rate=rate, seed=12)
    assert abs(np.mean(out == 0) - rate) < 5 * np.sqrt(rate * (1 - rate) / size)
    assert np.all((out == 0) | (out == np.float32(1 / (1 - rate))))


@pytest.mark.parametrize("dtype", DTYPES)
def test_rate_0_and_stddev_0_pass_through(isa, dtype):
    x = np.random.default_rng(1).normal(size=999).astype(dtype)
    x[::50] = np.inf
    x[1::50] = -0.0
    assert kernels.dropout_forward(x, rate=0.0).tobytes() == x.tobytes()
    assert np.array_equal(kernels.gaussian_noise_forward(x, stddev=0.0), x)


@pytest.mark.parametrize("value", [np.inf, -np.inf, np.nan])
@pytest.mark.parametrize("dtype", DTYPES)
def test_what_is_dropped_is_0_whatever_it_was(isa, dtype, value):
    x = np.full(777, value, dtype)
    out = kernels.dropout_forward(x, rate=0.5, seed=4)
    kept = kernels.dropout_forward(np.ones(777, dtype), rate=0.5, seed=4) != 0
    assert np.array_equal(out, np.where(kept, value, 0), equal_nan=True)
    assert 0 < kept.sum() < 777


def test_backward_draws_the_mask_of_forward():
    x = np.ones((37, 21), np.float32)
    options = {"rate": 0.25, "stream": 3, "step": 8, "seed": 99}
    out = kernels.dropout_forward(x, **options)
    assert np.array_equal(kernels.dropout_backward(x, **options), out)


@pytest.mark.parametrize("dtype", DTYPES)
def test_moments_of_the_noise(dtype):
    size = 200_000
    z = kernels.gaussian_noise_forward(np.zeros(size, dtype), stddev=1.0, seed=6).astype(float)
    for power, moment, variance in ((1, 0, 1), (2, 1, 2), (3, 0, 15), (4, 3, 96)):
        assert abs(np.mean(z**power) - moment) < 5 * np.sqrt(variance / size)
    assert abs(np.mean(z[::2] * z[1::2])) < 5 / np.sqrt(size)  # the two of a pair
    assert abs(np.mean(z[::2] ** 2 * z[1::2] ** 2) - 1) < 5 * np.sqrt(8 / size)


def test_noise_is_the_same_in_both_types():
    single = kernels.gaussian_noise_forward(np.zeros(20_000, np.float32), stddev=1.0, seed=7)
    double = kernels.gaussian_noise_forward(np.zeros(20_000), stddev=1.0, seed=7)
    assert np.abs(single - double).max() < 4e-6


def test_noise_agrees_with_the_oracle(isa):
    for dtype, bound in ((np.float32, 3e-6), (np.float64, 5e-15)):
        got = kernels.gaussian_noise_forward(np.zeros(9999, dtype), stddev=1.0, seed=8)
        wanted = oracle.gaussian_noise_forward(np.zeros(9999), stddev=1.0, seed=8)
        assert np.abs(got - wanted).max() < bound
