"""Eager tensors and the gradient tape."""

import numpy as np
import pytest

import fastdl
from fastdl import layers, ops

RNG = np.random.default_rng(0)
X = RNG.normal(size=(7, 4)).astype(np.float32)


def network(*inside, inputs=4):
    fastdl.set_seed(3)
    model = fastdl.Sequential([*inside])
    model.build((None, inputs))
    return model


def test_gradients_are_the_formulas():
    w = fastdl.Variable(RNG.normal(size=(4, 3)), "w")
    b = fastdl.Variable(RNG.normal(size=3), "b")
    x = RNG.normal(size=(7, 4))
    with fastdl.GradientTape() as tape:
        h = ops.relu(ops.dense(fastdl.constant(x, "float64"), w, b))
        y = h * h
    grad_w, grad_b = tape.gradient(y, [w, b])
    before = x @ w.value + b.value
    slope = 2 * np.maximum(before, 0)
    np.testing.assert_allclose(grad_w, x.T @ slope)
    np.testing.assert_allclose(grad_b, slope.sum(0))


def test_eager_is_what_predict_computes_to_the_bit():
    model = network(
        layers.Dense(9, activation="relu"),
        layers.Dense(8, activation="gelu"),
        layers.LayerNormalization(),
        layers.Dropout(0.5),
        layers.Dense(3, activation="softmax"),
    )
    assert np.array_equal(model(X), model.predict(X))


def test_a_weight_used_twice_gets_the_sum():
    w = fastdl.Variable([2.0, 3.0], "w")
    with fastdl.GradientTape() as tape:
        y = w * w + w
    np.testing.assert_array_equal(tape.gradient(y, w), [5.0, 7.0])


def test_unwatched_constants_and_unused_weights_have_none():
    x, w, other = fastdl.constant(X), fastdl.Variable(X), fastdl.Variable(X)
    with fastdl.GradientTape() as tape:
        y = x * w
    outside = x * w
    gradients = tape.gradient(y, {"x": x, "other": other, "w": w})
    assert gradients["x"] is None and gradients["other"] is None
    np.testing.assert_array_equal(gradients["w"], X)
    with fastdl.GradientTape() as tape:
        pass
    assert tape.gradient(outside, w) is None


def test_watch_and_intermediate_tensors():
    x = fastdl.constant([1.0, -2.0])
    with fastdl.GradientTape() as tape:
        tape.watch(x)
        h = x * 3.0
        y = h * h
    dx, dh = tape.gradient(y, [x, h])
    np.testing.assert_array_equal(dh, [6.0, -12.0])
    np.testing.assert_array_equal(dx, [18.0, -36.0])


def test_tapes_that_watch_no_weights_watch_what_they_are_told():
    a, b = fastdl.Variable([1.0]), fastdl.Variable([2.0])
    with fastdl.GradientTape(watch_accessed_variables=False) as tape:
        tape.watch(a)
        y = a * b
    grad_a, grad_b = tape.gradient(y, [a, b])
    assert float(grad_a) == 2.0 and grad_b is None


def test_a_used_tape_says_so_and_a_persistent_one_goes_on():
    w = fastdl.Variable([3.0])
    with fastdl.GradientTape(persistent=True) as tape:
        y = w * w
        z = y * w
    assert float(tape.gradient(y, w)) == 6.0
    assert float(tape.gradient(z, w)) == 27.0
    with fastdl.GradientTape() as tape:
        y = w * w
    tape.gradient(y, w)
    with pytest.raises(RuntimeError, match=r"used up.*persistent"):
        tape.gradient(y, w)
    with pytest.raises(RuntimeError, match="recorded nothing"):
        fastdl.GradientTape().gradient(y, w)
    with pytest.raises(RuntimeError, match="entered once"), tape:
        pass


def test_nested_tapes_see_what_came_while_they_were_open():
    w = fastdl.Variable([3.0])
    with fastdl.GradientTape() as outer:
        a = w * w
        with fastdl.GradientTape(persistent=True) as inner:
            b = a * w
        c = b * 2.0
    assert float(inner.gradient(b, a)) == 3.0
    assert inner.gradient(c, w) is None
    assert float(outer.gradient(c, w)) == 54.0


def test_second_derivatives_where_the_gradient_is_made_of_ops_with_one():
    w = fastdl.Variable([3.0])
    with fastdl.GradientTape() as outer:
        with fastdl.GradientTape() as inner:
            y = w * 5.0 + w
        first = inner.gradient(y, w)
        z = first * w
    assert float(outer.gradient(z, w)) == 6.0
    with fastdl.GradientTape() as outer:
        with fastdl.GradientTape() as inner:
            y = ops.sigmoid(w)
        first = inner.gradient(y, w)
    with pytest.raises(RuntimeError, match=r"sigmoid_backward.*second derivatives"):
        outer.gradient(first, w)


def test_stop_recording_and_stop_gradient():
    w = fastdl.Variable([3.0])
    with fastdl.GradientTape(persistent=True) as tape:
        with tape.stop_recording():
            hidden = w * w
        y = hidden * w
        z = fastdl.stop_gradient(w * w) * w
    assert float(tape.gradient(y, w)) == 9.0
    assert float(tape.gradient(z, w)) == 9.0
    with fastdl.GradientTape() as outer, fastdl.GradientTape() as inner, inner.stop_recording():
        y = w * w
    assert inner.gradient(y, w) is None
    assert float(outer.gradient(y, w)) == 6.0


def test_output_gradients_weigh_the_target():
    w = fastdl.Variable([1.0, 2.0])
    with fastdl.GradientTape(persistent=True) as tape:
        y = w * w
        z = w * 3.0
    np.testing.assert_array_equal(tape.gradient(y, w, output_gradients=[1.0, 10.0]), [2.0, 40.0])
    np.testing.assert_array_equal(tape.gradient([y, z], w), [5.0, 7.0])
    with pytest.raises(ValueError, match=r"\(3,\).*\(2,\)"):
        tape.gradient(y, w, output_gradients=np.ones(3))


def test_what_a_tape_cannot_differentiate_is_refused():
    w = fastdl.Variable([1.0])
    with fastdl.GradientTape(persistent=True) as tape:
        y = w * w
        with pytest.raises(TypeError, match="whole numbers"):
            tape.watch(fastdl.constant([1]))
        with pytest.raises(TypeError, match="constant"):
            tape.watch(X)
    with pytest.raises(TypeError, match="target must be a Tensor, got float"):
        tape.gradient(float(y), w)
    with pytest.raises(TypeError, match="sources must be tensors, got ndarray"):
        tape.gradient(y, w.value)
    with pytest.raises(RuntimeError, match="not recording"):
        tape.watch(y)


def test_a_weight_changed_before_its_gradient_is_an_error():
    w = fastdl.Variable([3.0], "w")
    with fastdl.GradientTape() as tape:
        y = w * w
    w.assign([4.0])
    with pytest.raises(RuntimeError, match="w was changed"):
        tape.gradient(y, w)


def test_reshapes_of_weights_keep_their_values():
    w = fastdl.Variable([[1.0, 2.0]], "w")
    with fastdl.GradientTape() as tape:
        flat = ops.reshape(w, (2,))
        y = flat * flat
    w.assign([[5.0, 5.0]])
    with pytest.raises(RuntimeError, match="w was changed"):
        tape.gradient(y, w)
    np.testing.assert_array_equal(flat, [1.0, 2.0])


def test_tapes_of_two_threads_do_not_meet():
    import threading

    w = fastdl.Variable(X)
    results = []

    def work():
        for _ in range(200):
            with fastdl.GradientTape() as tape:
                y = w * w
            results.append(np.array_equal(tape.gradient(y, w), 2 * X))

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == [True] * 800


# --- tensors --------------------------------------------------------------------------------------


def test_tensors_are_numbers_and_arrays():
    t = fastdl.Tensor([1.5])
    assert float(t) == 1.5 and int(t) == 1 and bool(t) and t.item() == 1.5
    assert f"{t:.3f}" == "1.500" and "1.5" in repr(t)
    assert np.asarray(t).dtype == np.float32 and np.array(t, np.float64).dtype == np.float64
    with pytest.raises(TypeError, match=r"one element.*\(2,\)"):
        float(fastdl.Tensor([1.0, 2.0]))


def test_constants_are_copies_of_the_float_type():
    x = np.ones(3)
    t = fastdl.constant(x)
    x[:] = 5
    np.testing.assert_array_equal(t, np.ones(3, np.float32))
    assert t.value.dtype == np.float32
    assert fastdl.constant(x, "float64").value.dtype == np.float64
    assert fastdl.constant([True, False]).value.dtype == np.int64
    with pytest.raises(TypeError, match="real numbers"):
        fastdl.constant(["a"])
    with pytest.raises(ValueError, match="float16"):
        fastdl.constant(x, "float16")


def test_dlpack_shares_memory_both_ways():
    t = fastdl.constant(X)
    assert np.shares_memory(np.from_dlpack(t), t.value)
    assert np.shares_memory(fastdl.from_dlpack(X).value, X)


def test_dlpack_with_pytorch():
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    t = fastdl.constant(X)
    assert torch.equal(torch.from_dlpack(t), torch.from_numpy(X))
    np.testing.assert_array_equal(fastdl.from_dlpack(torch.from_numpy(X)), X)


def test_float_types_do_not_mix_silently():
    with pytest.raises(TypeError, match=r"float64.*float32.*constant"):
        ops.add(fastdl.constant(X, "float64"), fastdl.constant(X))


def test_symbolic_tensors_have_no_value():
    x = fastdl.Input((3,))
    for use in (float, np.asarray, lambda t: t.numpy(), lambda t: t.value):
        with pytest.raises(TypeError, match="symbolic"):
            use(x)


def test_eager_and_symbolic_of_other_shapes_do_not_mix():
    with pytest.raises(ValueError, match=r"\(7, 4\)"):
        ops.add(fastdl.Input((4,)), fastdl.constant(X))


# --- layers and models ----------------------------------------------------------------------------


def test_models_of_arrays_build_themselves_and_give_tensors():
    model = fastdl.Sequential([layers.Dense(5, activation="tanh"), layers.Dense(2)])
    out = model(X.astype(np.float64)[:, ::-1])
    assert isinstance(out, fastdl.Tensor) and out.value.dtype == np.float32
    np.testing.assert_array_equal(out, model.predict(X[:, ::-1]))
    with pytest.raises(ValueError, match=r"4 features.*\(7, 3\)"):
        model(X[:, :3])


def test_functional_models_with_several_inputs():
    a, b = fastdl.Input((4,), name="a"), fastdl.Input((4,), name="b")
    model = fastdl.Model([a, b], [layers.Dense(2)(a + b), layers.Flatten()(a)])
    wanted = model.predict([X, 2 * X])
    for given in ([X, 2 * X], {"b": 2 * X, "a": X}):
        for got, want in zip(model(given), wanted, strict=True):
            np.testing.assert_array_equal(got, want)
    with pytest.raises(ValueError, match="'b' is missing"):
        model({"a": X})


def test_batch_normalisation_moves_its_statistics_in_training_only():
    model = network(layers.BatchNormalization())
    before = [w.copy() for w in model.get_weights()]
    model(X)
    assert all(map(np.array_equal, model.get_weights(), before))
    model(X, training=True)
    np.testing.assert_allclose(model.layers[0].moving_mean.value, 0.01 * X.mean(0), 1e-4, 1e-7)


def test_dropout_draws_as_training_does():
    model = network(layers.Dropout(0.5))
    model.compile("sgd", "mse")
    eager = [np.asarray(model(np.ones((6, 4)), training=True)) for _ in range(3)]
    losses = [model.train_on_batch(np.ones((6, 4)), np.zeros((6, 4))) for _ in range(3)]
    np.testing.assert_allclose([np.mean(e**2) for e in eager], losses, 1e-6)
    assert not np.array_equal(eager[0], eager[1])
    again = network(layers.Dropout(0.5))
    assert np.array_equal(again(np.ones((6, 4)), training=True), eager[0])


def test_dropout_masks_of_two_layers_differ():
    model = network(layers.Dropout(0.5))
    two = fastdl.Sequential([layers.Dropout(0.5), layers.Dropout(0.5)])
    one, both = model(np.ones((50, 4)), training=True), two(np.ones((50, 4)), training=True)
    assert 0 < np.count_nonzero(both) < np.count_nonzero(one)


# --- updates --------------------------------------------------------------------------------------

OPTIMIZERS = [
    fastdl.optimizers.SGD(0.1),
    fastdl.optimizers.SGD(0.1, momentum=0.9, nesterov=True, weight_decay=0.01),
    fastdl.optimizers.Adam(0.01, clipnorm=0.05),
    fastdl.optimizers.Adam(0.01, amsgrad=True, global_clipnorm=0.05, convention="torch"),
    fastdl.optimizers.RMSprop(0.01, centered=True, clipvalue=0.01),
    fastdl.optimizers.Adagrad(0.01, weight_decay=0.1, convention="torch"),
    fastdl.optimizers.AdamW(
        fastdl.optimizers.schedules.ExponentialDecay(0.1, decay_steps=2, decay_rate=0.5)
    ),
]


@pytest.mark.parametrize("optimizer", OPTIMIZERS, ids=repr)
def test_a_loop_is_training_to_the_bit(optimizer):
    def make():
        model = network(
            layers.Dense(6, activation="relu"),
            layers.BatchNormalization(),
            layers.Dense(6, activation="silu"),
            layers.Dropout(0.3),
            layers.Dense(2),
        )
        model.seed = 5
        model.compile(fastdl.optimizers.get(fastdl.optimizers.serialize(optimizer)), "mse")
        return model

    y = RNG.normal(size=(7, 2)).astype(np.float32)
    loop, trained = make(), make()
    for _ in range(4):
        with fastdl.GradientTape() as tape:
            error = loop(X, training=True) - fastdl.constant(y)
            loss = error * error
        seed = np.full((7, 2), np.float32(1 / 7) / 2, np.float32)
        gradients = tape.gradient(loss, loop.trainable_variables, seed)
        loop.optimizer.apply_gradients(zip(gradients, loop.trainable_variables, strict=True))
        trained.train_on_batch(X, y)
    assert loop.optimizer.iterations == 4
    for one, other in zip(loop.get_weights(), trained.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)


def test_changed_options_and_weights_that_moved_are_seen():
    w = fastdl.Variable([1.0, 2.0], "w")
    optimizer = fastdl.optimizers.SGD(0.5)
    g = fastdl.constant([1.0, 1.0])
    optimizer.apply_gradients([(g, w)])
    optimizer.learning_rate = 0.25
    optimizer.apply_gradients([(g, w)])
    np.testing.assert_array_equal(w.value, [0.25, 1.25])
    optimizer.weight_decay = 1.0
    optimizer.apply_gradients([(g, w)])
    np.testing.assert_array_equal(w.value, [0.25 - 0.0625 - 0.25, 1.25 - 0.3125 - 0.25])
    optimizer.weight_decay = 0.0
    optimizer.apply_gradients([(g.numpy().astype(np.float64)[::-1], w)])
    np.testing.assert_array_equal(w.value, [-0.3125, 0.4375])


def test_updates_that_do_not_fit_change_nothing():
    w, v = fastdl.Variable([1.0, 2.0], "w"), fastdl.Variable([3.0], "v")
    optimizer = fastdl.optimizers.Adam()
    good = fastdl.constant([1.0, 1.0])
    for pairs, error, message in (
        ([(good, w), (good, v)], ValueError, r"gradient of v.*\(2,\).*\(1,\)"),
        ([(good, w), (good, w)], ValueError, "w stands there twice"),
        ([(None, w)], ValueError, "no gradient for any"),
        ([(good, w.value)], TypeError, "got ndarray"),
        ([], ValueError, "no gradient"),
    ):
        with pytest.raises(error, match=message):
            optimizer.apply_gradients(pairs)
    assert optimizer.iterations == 0
    np.testing.assert_array_equal(w.value, [1.0, 2.0])
    with pytest.warns(RuntimeWarning, match="does not depend on v"):
        optimizer.apply_gradients([(good, w), (None, v)])
    np.testing.assert_array_equal(v.value, [3.0])
    assert optimizer.iterations == 1


def test_frozen_layers_are_left_alone():
    model = network(layers.Dense(3, trainable=False), layers.Dense(2))
    assert model.trainable_variables == model.layers[1].weights
    model.layers[0].trainable = True
    assert len(model.trainable_variables) == 4


def test_weights_alone_are_no_pairs():
    with pytest.raises(TypeError, match=r"wants pairs of \(gradient, Variable\)"):
        fastdl.optimizers.SGD().apply_gradients([fastdl.Variable([1.0, 2.0])])


def test_what_has_no_dlpack():
    with pytest.raises(TypeError, match="from_dlpack: int has no __dlpack__"):
        fastdl.from_dlpack(3)
