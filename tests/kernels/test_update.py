"""Optimizer updates: parity with PyTorch, Keras's formulas over many steps, and how spans are cut.

That every update equals the oracle for one step is tested in test_against_oracle.py.
"""

import numpy as np
import oracle
import pytest

from fastdl import kernels
from fastdl.kernels.program import Program

STATE = {
    "sgd_update": ("velocity",),
    "rmsprop_update": ("square", "average", "velocity"),
    "adam_update": ("m", "v", "v_max"),
    "adagrad_update": ("square",),
}
FULL = {
    "sgd_update": {"momentum": 0.9, "nesterov": True},
    "rmsprop_update": {"momentum": 0.9, "centered": True},
    "adam_update": {"step": 3},
    "adagrad_update": {},
}
EVERYTHING = {"clipvalue": 0.8, "l1": 0.01, "l2": 0.02, "weight_decay": 0.1}

TORCH = [
    ("SGD", {}, "sgd_update", {}, ()),
    ("SGD", {"momentum": 0.9}, "sgd_update", {}, ("velocity",)),
    ("SGD", {"momentum": 0.9, "nesterov": True}, "sgd_update", {}, ("velocity",)),
    ("RMSprop", {"eps": 1e-8}, "rmsprop_update", {"rho": 0.99}, ("square",)),
    ("RMSprop", {"momentum": 0.9, "centered": True, "eps": 1e-8}, "rmsprop_update",
     {"rho": 0.99}, ("square", "average", "velocity")),
    ("Adam", {"eps": 1e-8}, "adam_update", {}, ("m", "v")),
    ("Adam", {"eps": 1e-8, "amsgrad": True}, "adam_update", {}, ("m", "v", "v_max")),
    ("AdamW", {"eps": 1e-8, "weight_decay": 0.05}, "adam_update", {}, ("m", "v")),
    ("Adagrad", {"eps": 1e-10}, "adagrad_update", {}, ("square",)),
]  # fmt: skip


@pytest.mark.parametrize(
    ("optimizer", "options", "op", "ours", "state"),
    TORCH,
    ids=[f"{t[0]}-{t[4]}-{t[1]}" for t in TORCH],
)
def test_twenty_steps_equal_pytorch(optimizer, options, op, ours, state):
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(1)
    start = rng.normal(size=77).astype("f4")
    theirs = torch.tensor(start.copy(), requires_grad=True)
    step_theirs = getattr(torch.optim, optimizer)([theirs], lr=0.01, **options)
    arrays = {"param": start.copy(), **{name: np.zeros(77, "f4") for name in state}}
    keywords = {"epsilon" if k == "eps" else k: v for k, v in options.items() if k != "amsgrad"}
    for step in range(1, 21):
        grad = rng.normal(size=77).astype("f4")
        theirs.grad = torch.tensor(grad)
        step_theirs.step()
        if op == "adam_update":
            keywords["step"] = step
        getattr(kernels, op)(
            grad=grad, **arrays, learning_rate=0.01, convention="torch", **keywords, **ours
        )
    np.testing.assert_allclose(arrays["param"], theirs.detach().numpy(), rtol=0, atol=1e-5)


def make_arrays(op, n, dtype, seed=0):
    rng = np.random.default_rng(seed)
    arrays = {name: rng.normal(size=n).astype(dtype) for name in ("param", "grad")}
    for name in STATE[op]:
        arrays[name] = rng.uniform(0.5, 1.0, size=n).astype(dtype)
    if "average" in arrays:
        arrays["average"] *= 0.1  # its square is less than the mean square
    return arrays


@pytest.mark.parametrize("options", [{}, EVERYTHING], ids=["plain", "everything"])
@pytest.mark.parametrize("op", STATE)
def test_fifty_steps_equal_a_float64_loop(isa, op, options):
    rng = np.random.default_rng(2)
    arrays = make_arrays(op, 37, np.float64)
    expected = {name: array.copy() for name, array in arrays.items()}
    keywords = {**FULL[op], **options}
    for step in range(1, 51):
        grad = rng.normal(size=37)
        if op == "adam_update":
            keywords["step"] = step
        arrays["grad"], expected["grad"] = grad, grad
        getattr(kernels, op)(**arrays, **keywords)
        results = getattr(oracle, op)(**expected, **keywords)
        for name, value in zip(("param", *STATE[op]), results, strict=True):
            expected[name] = value
    for name, value in expected.items():
        np.testing.assert_allclose(arrays[name], value, rtol=1e-11, atol=1e-13, err_msg=name)


@pytest.mark.parametrize("options", [{}, EVERYTHING], ids=["plain", "everything"])
@pytest.mark.parametrize("op", STATE)
@pytest.mark.parametrize("dtype", ["f4", "f8"])
def test_an_element_does_not_depend_on_the_span(isa, op, options, dtype):
    whole = make_arrays(op, 53, dtype)
    cut = {name: array.copy() for name, array in whole.items()}
    getattr(kernels, op)(**whole, **FULL[op], **options)
    for start, stop in [(0, 1), (1, 2), (2, 18), (18, 51), (51, 53)]:
        part = {name: array[start:stop] for name, array in cut.items()}
        getattr(kernels, op)(**part, **FULL[op], **options)
    for name, array in whole.items():
        np.testing.assert_array_equal(array, cut[name], err_msg=name)


@pytest.mark.parametrize("op", STATE)
def test_nan_stays_where_it_is(isa, op):
    for n in (1, 5, 33):
        for at in range(n):
            arrays = make_arrays(op, n, "f4")
            arrays["grad"][at] = np.nan
            getattr(kernels, op)(**arrays, **FULL[op], clipvalue=0.5)
            for name in ("param", *STATE[op]):
                wrong = np.isnan(arrays[name]) != (np.arange(n) == at)
                assert not wrong.any(), (name, n, at)


def test_amsgrad_takes_the_largest_second_moment():
    arrays = {name: np.ones(3) for name in ("param", "grad", "m", "v")}
    v_max = np.array([0.5, 4.0, np.nan])
    kernels.adam_update(**arrays, v_max=v_max, learning_rate=1.0, epsilon=0.0, step=10**9)
    np.testing.assert_allclose(v_max, [1.0, 4.0, np.nan])
    np.testing.assert_allclose(arrays["param"], [0.0, 0.5, np.nan], atol=1e-12)


@pytest.mark.parametrize("step", [1, 2, 1000, 10**6, 10**15])
def test_adam_corrects_the_bias_of_any_step(step):
    for beta in (0.5, 0.999):
        param, m, v = np.zeros(1), np.zeros(1), np.zeros(1)
        keywords = {"step": step, "beta_1": beta, "beta_2": beta, "learning_rate": 1.0}
        expected = oracle.adam_update(param, np.ones(1), m, v, **keywords)[0]
        kernels.adam_update(param, np.ones(1), m, v, **keywords)
        np.testing.assert_allclose(param, expected, rtol=1e-12)


def test_updates_of_one_program_correct_by_their_own_betas():
    betas = (0.5, 0.9, 0.999)
    rng = np.random.default_rng(5)
    start = [rng.normal(size=20) for _ in betas]
    grads = [rng.normal(size=20) for _ in betas]
    ours = [(p.copy(), g, np.zeros(20), np.zeros(20)) for p, g in zip(start, grads, strict=True)]
    true = [[array.copy() for array in arrays] for arrays in ours]
    data, result = np.zeros((3, 1)), np.zeros((3, 1))
    buffer = np.zeros((1, 1))
    steps = [
        ("adam_update", [*arrays, None, None], {"beta_1": beta, "beta_2": beta}, 0, False)
        for arrays, beta in zip(ours, betas, strict=True)
    ]
    program = Program(1, steps, [buffer], [buffer], np.zeros(0))
    program.bind([data], [result])
    program.run(1, step=1, learning_rate=0.1)  # three batches: three steps
    for got, arrays, beta in zip(ours, true, betas, strict=True):
        for step in (1, 2, 3):
            kernels.adam_update(*arrays, step=step, beta_1=beta, beta_2=beta, learning_rate=0.1)
        np.testing.assert_array_equal(got[0], arrays[0])


@pytest.mark.parametrize("op", ["rmsprop_update", "adam_update", "adagrad_update"])
def test_roots_are_right_over_all_magnitudes(isa, op):
    """float32 within four units of the step from the new state, at zero and infinity exactly."""
    size = np.ldexp(np.float32(1), np.arange(-55, 63)).repeat(20)
    grad = size * np.random.default_rng(6).uniform(1, 2, size.size).astype("f4")
    grad = np.append(grad, np.float32([0, 1e30, -1e30, np.inf, np.nan]))
    needed = ("param", "m", "v", "square")
    arrays = {name: np.zeros_like(grad) for name in ("param", *STATE[op]) if name in needed}
    options = {"convention": "torch", "epsilon": 2.0**-40, "learning_rate": 1.0}
    with np.errstate(all="ignore"):
        true = getattr(oracle, op)(
            **{k: a.astype(float) for k, a in arrays.items()}, grad=grad.astype(float), **options
        )[0]
    getattr(kernels, op)(**arrays, grad=grad, **options)
    np.testing.assert_allclose(arrays["param"][:-4], true[:-4], rtol=1e-6)
    assert arrays["param"][-5] == 0
    np.testing.assert_array_equal(arrays["param"][-4:-2], [0, 0])  # g*g overflows: no step
    assert np.isnan(arrays["param"][-2:]).all()


def test_without_momentum_the_velocity_is_left_alone():
    velocity = np.array([7.0])
    param = np.array([1.0])
    kernels.sgd_update(param, np.array([2.0]), velocity, learning_rate=0.5)
    assert param == 0.0
    assert velocity == 7.0


def test_options_that_are_off_do_nothing_to_infinite_parameters():
    param = np.array([np.inf, -np.inf])
    scale = np.ones(1)
    kernels.sgd_update(param, np.ones(2), grad_scale=scale, learning_rate=0.5)
    np.testing.assert_array_equal(param, [np.inf, -np.inf])
    total = np.zeros(2)
    kernels.penalty(total, param, np.zeros(3), l1=1.0)
    assert total[0] == np.inf


@pytest.mark.parametrize("clipnorm", [0.1, 1.0, 1e6])
def test_norms_clip_as_keras_does(clipnorm):
    rng = np.random.default_rng(3)
    parts = [rng.normal(size=n).astype("f4") for n in (3, 20_000)]
    squares = np.concatenate([kernels.squared_norm(g) for g in parts])
    scale = kernels.clip_scale(squares, clipnorm=clipnorm, scale=np.empty(1, "f4"))
    norm = np.sqrt(sum((g.astype(float) ** 2).sum() for g in parts))
    np.testing.assert_allclose(scale, min(1.0, clipnorm / norm), rtol=1e-6)
    param = np.zeros(3, "f4")
    kernels.sgd_update(param, parts[0], grad_scale=scale, learning_rate=1.0)
    np.testing.assert_allclose(param, -parts[0] * scale, rtol=1e-6)


def test_no_gradient_at_all_is_not_clipped():
    assert kernels.clip_scale(np.zeros(2), clipnorm=1.0, scale=np.empty(1)) == 1.0
    assert np.isnan(kernels.clip_scale(np.array([np.nan]), clipnorm=1.0, scale=np.empty(1)))
