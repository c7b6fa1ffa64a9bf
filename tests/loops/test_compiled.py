"""compiled_step: the same numbers as without it, and what cannot be compiled."""

import numpy as np
import pytest

import fastdl
from fastdl import layers, losses, optimizers

RNG = np.random.default_rng(0)
X = RNG.normal(size=(24, 6)).astype(np.float32)
Y = RNG.normal(size=(24, 2)).astype(np.float32)
LABELS = RNG.integers(0, 3, 24)


def network(outputs=2, activation=None, seed=0):
    fastdl.set_seed(seed)
    model = fastdl.Sequential(
        [
            layers.Dense(9, activation="relu"),
            layers.BatchNormalization(),
            layers.Dropout(0.3),
            layers.Dense(7, activation="gelu"),
            layers.Dropout(0.2),
            layers.Dense(outputs, activation),
        ]
    )
    model.build((None, 6))
    model.seed = 11
    return model


def assert_same_weights(one, other):
    for a, b in zip(one.get_weights(), other.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


def make_step(model, optimizer, loss):
    def step(x, y):
        with fastdl.GradientTape() as tape:
            prediction = model(x, training=True)
            value = loss(y, prediction)
        gradients = tape.gradient(value, model.trainable_variables)
        optimizer.apply_gradients(zip(gradients, model.trainable_variables, strict=True))
        return value, prediction

    return step


MAKERS = [
    lambda: optimizers.SGD(0.1, momentum=0.9),
    lambda: optimizers.Adam(0.01, global_clipnorm=0.5),
    lambda: optimizers.RMSprop(0.01, clipnorm=0.1),
    lambda: optimizers.AdamW(optimizers.schedules.ExponentialDecay(0.1, 2, 0.5)),
]


@pytest.mark.parametrize("make", MAKERS, ids=range(len(MAKERS)))
def test_compiled_and_eager_steps_are_the_same_bits(make):
    eager, compiled = network(), network()
    plain = make_step(eager, make(), losses.MeanSquaredError())
    optimizer = make()
    fast = fastdl.compiled_step(make_step(compiled, optimizer, losses.MeanSquaredError()))
    for rows in (8, 8, 24, 5, 1, 24):
        want, got = plain(X[:rows], Y[:rows]), fast(X[:rows], Y[:rows])
        for a, b in zip(want, got, strict=True):
            assert a.shape == b.shape
            np.testing.assert_array_equal(a, b)
    assert_same_weights(eager, compiled)
    assert optimizer.iterations == 6


def test_compiled_steps_are_train_on_batch_to_the_bit():
    model, trained = network(3, "softmax"), network(3, "softmax")
    loss = losses.SparseCategoricalCrossentropy()
    trained.compile("adam", loss)
    step = fastdl.compiled_step(make_step(model, optimizers.Adam(), loss))
    for _ in range(3):
        value, _ = step(X, LABELS)
        assert float(value) == pytest.approx(trained.train_on_batch(X, LABELS), rel=1e-6)
    assert_same_weights(model, trained)


def test_arguments_of_every_type_and_layout_are_taken():
    eager, compiled = network(), network()
    plain = make_step(eager, optimizers.SGD(), losses.MeanSquaredError())
    fast = fastdl.compiled_step(make_step(compiled, optimizers.SGD(), losses.MeanSquaredError()))
    images = RNG.integers(0, 255, (24, 6))
    for x in (
        X.astype(np.float64), X[::-1], np.asfortranarray(X), fastdl.constant(X),
        images.astype(np.uint8), images, X.astype(np.float16),
    ):  # fmt: skip
        want, got = plain(np.asarray(x), Y)[0], fast(x, Y)[0]
        np.testing.assert_array_equal(want, got)
    assert_same_weights(eager, compiled)


def test_two_models_and_optimizers_in_one_step():
    def make():
        a, b = network(seed=1), network(outputs=6, seed=2)
        first, second = optimizers.Adam(0.01), optimizers.SGD(0.1, momentum=0.5)
        mse = losses.MeanSquaredError()

        def step(x, y):
            with fastdl.GradientTape() as tape_a, fastdl.GradientTape() as tape_b:
                hidden = b(x, training=True)
                loss_a = mse(y, a(hidden, training=True)) + mse(y, a(x, training=True))
                loss_b = mse(x, hidden)
            grad_a = tape_a.gradient(loss_a, a.trainable_variables)
            grad_b = tape_b.gradient(loss_b, b.trainable_variables)
            first.apply_gradients(zip(grad_a, a.trainable_variables, strict=True))
            second.apply_gradients(zip(grad_b, b.trainable_variables, strict=True))
            with fastdl.GradientTape() as tape:
                loss = mse(y, a(b(x, training=True)))
            grads = tape.gradient(loss, b.trainable_variables)
            second.apply_gradients(zip(grads, b.trainable_variables, strict=True))
            return {"a": loss_a, "b": [loss_b, loss]}

        return a, b, first, second, step

    a, b, _, _, plain = make()
    c, d, first, second, function = make()
    fast = fastdl.compiled_step(function)
    for k in range(4):
        want, got = plain(X, Y), fast(X, Y)
        for one, other in zip([want["a"], *want["b"]], [got["a"], *got["b"]], strict=True):
            np.testing.assert_array_equal(one, other)
        assert (first.iterations, second.iterations) == (k + 1, 2 * k + 2)
    assert_same_weights(a, c)
    assert_same_weights(b, d)


def test_python_runs_once_for_each_signature_and_change():
    model, calls = network(), []
    optimizer = optimizers.SGD(0.1)
    inner = make_step(model, optimizer, losses.MeanSquaredError())

    @fastdl.compiled_step
    def step(x, y, verbose=False):
        """A step."""
        calls.append(verbose)
        return inner(x, y)[0]

    assert step.__doc__ == "A step."
    for _ in range(3):
        step(X, Y)
    step(X[:3], Y[:3])
    assert calls == [False]
    optimizer.learning_rate = 0.0
    before = model.get_weights()
    step(X, Y, True)
    step(X, Y, verbose=True)
    assert calls == [False, True, True]
    np.testing.assert_array_equal(before[0], model.get_weights()[0])
    optimizer.learning_rate = 0.1
    model.layers[0].trainable = False
    step(X, Y)
    assert len(calls) == 4
    np.testing.assert_array_equal(before[0], model.get_weights()[0])
    assert not np.array_equal(before[6], model.get_weights()[6])
    optimizer.clipvalue = 1e-9
    step(X, Y)
    assert len(calls) == 5
    fastdl.Sequential([layers.Dense(2)]).build((None, 3))  # somebody else's layers
    step(X, Y)
    assert len(calls) == 5


def test_steps_without_updates_or_arrays():
    model = network()
    x = fastdl.constant(X)

    @fastdl.compiled_step
    def gradients():
        with fastdl.GradientTape() as tape:
            y = model(x) * 2.0
            loss = losses.MeanSquaredError()(Y, y)
        return tape.gradient(loss, model.trainable_variables), "text", y

    found, text, y = gradients()
    with fastdl.GradientTape() as tape:
        loss = losses.MeanSquaredError()(Y, model(x) * 2.0)
    wanted = tape.gradient(loss, model.trainable_variables)
    assert text == "text" and len(found) == len(wanted)
    for one, other in zip(found, wanted, strict=True):
        np.testing.assert_array_equal(one, other)
    np.testing.assert_array_equal(y, 2 * model.predict(X))
    model.layers[0].kernel.assign(model.layers[0].kernel.value * 2)
    assert not np.array_equal(gradients()[2], y)


def test_layers_may_be_made_inside():
    model = network(outputs=8)

    @fastdl.compiled_step
    def step(x, y):
        return layers.Concatenate()([model(layers.Flatten()(x)), y])

    np.testing.assert_array_equal(step(X, Y), np.hstack([model.predict(X), Y]))


def test_watched_inputs_have_gradients():
    model = network()

    @fastdl.compiled_step
    def saliency(x, y):
        with fastdl.GradientTape() as tape:
            tape.watch(x)
            loss = losses.MeanSquaredError()(y, model(x))
        return tape.gradient(loss, x)

    got = saliency(X, Y)
    x = fastdl.constant(X)
    with fastdl.GradientTape() as tape:
        tape.watch(x)
        loss = losses.MeanSquaredError()(Y, model(x))
    np.testing.assert_array_equal(got, tape.gradient(loss, x))


def test_what_cannot_be_traced_says_so():
    model = network()

    def step_of(use):
        @fastdl.compiled_step
        def step(x):
            return use(model(x))

        return step

    with pytest.raises(TypeError, match=r"truth value.*compiled step"):
        step_of(lambda y: y if y else -y)(X)
    for use in (float, np.asarray, lambda y: y.numpy()):
        with pytest.raises(TypeError, match=r"symbolic.*depend on data"):
            step_of(use)(X)
    with pytest.raises(TypeError, match="hashable"):
        step_of(lambda y: y)({1, 2})
    with pytest.raises(TypeError, match="real numbers"):
        step_of(lambda y: y)(np.array(["a"]))


def test_wrong_rows_are_refused_and_change_nothing():
    model, optimizer = network(), optimizers.Adam()
    step = fastdl.compiled_step(make_step(model, optimizer, losses.MeanSquaredError()))
    step(X, Y)
    before = model.get_weights()
    with pytest.raises(ValueError, match=r"same number of rows.*\(24, 6\), \(5, 2\)"):
        step(X, Y[:5])
    with pytest.raises(ValueError, match="at least one row"):
        step(X[:0], Y[:0])
    assert optimizer.iterations == 1
    for one, other in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)


def test_a_weight_changed_before_its_gradient_is_an_error():
    model, optimizer = network(), optimizers.SGD()

    @fastdl.compiled_step
    def step(x, y):
        with fastdl.GradientTape(persistent=True) as tape:
            loss = losses.MeanSquaredError()(y, model(x))
        gradients = tape.gradient(loss, model.trainable_variables)
        optimizer.apply_gradients(zip(gradients, model.trainable_variables, strict=True))
        return tape.gradient(loss, model.trainable_variables)

    with pytest.raises(RuntimeError, match="was changed after"):
        step(X, Y)


def test_any_number_of_threads_gives_the_same_bits():
    results = []
    for threads in (1, 2, 3):
        fastdl.set_num_threads(threads)
        fastdl.kernels.runner.force_threads(threads > 1)
        try:
            model = network()
            step = fastdl.compiled_step(
                make_step(model, optimizers.Adam(0.01), losses.MeanSquaredError())
            )
            for _ in range(3):
                step(X, Y)
            results.append(model)
        finally:
            fastdl.set_num_threads(None)
            fastdl.kernels.runner.force_threads(False)
    assert_same_weights(results[0], results[1])
    assert_same_weights(results[0], results[2])


def test_assigning_to_a_weight_is_refused():
    weight = fastdl.Variable([1.0])

    @fastdl.compiled_step
    def step(x):
        weight.assign([2.0])
        return x * 2.0

    with pytest.raises(RuntimeError, match="cannot assign to"):
        step(np.ones((3, 1), np.float32))
    assert weight.numpy() == [1.0]


def test_an_array_from_outside_has_no_batch():
    model, labels = fastdl.Sequential([fastdl.layers.Dense(3, activation="softmax")]), np.arange(3)
    loss = fastdl.losses.SparseCategoricalCrossentropy()
    step = fastdl.compiled_step(lambda x: loss(labels, model(x)))
    with pytest.raises(ValueError, match="None is the batch"):
        step(np.ones((3, 2), np.float32))
