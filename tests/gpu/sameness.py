"""Work that is done on the CPU and on the GPU, and whether it came to the same."""

import numpy as np

__all__ = ["assert_same", "on_both"]


def on_both(work, make):
    """What is made of a new model on the CPU, and on the GPU."""
    return [work(make().to(backend)) for backend in ("cpu", "gpu")]


def assert_same(results, atol=2e-5):
    here, there = results
    assert type(here) is type(there)
    if isinstance(here, dict):
        assert list(here) == list(there)
        here, there = list(here.values()), list(there.values())
    if isinstance(here, (list, tuple)):
        assert len(here) == len(there)
        for pair in zip(here, there, strict=True):
            assert_same(pair, atol)
    else:
        np.testing.assert_allclose(there, here, rtol=1e-4, atol=atol)
