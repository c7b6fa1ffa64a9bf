"""What a Model promises: errors that name what is wrong before anything changes, batches and single
rows."""

import copy
import ctypes
import os
import subprocess
import sys

import numpy as np
import pytest
from networks import LABELS, LOSSES, TwoInputs, X, Y, bits, classifier, regression, two_by_two

import fastdl
from fastdl import Input, Model, Sequential, layers
from fastdl.layers import Dense

# --- data that does not fit -----------------------------------------------------------------------


def labels(**changes):
    y = LABELS.astype(float)
    for row, value in changes.items():
        y[int(row[1:])] = value
    return y


BAD_DATA = {
    "features": (classifier, X[:, :3], LABELS, r"x must have shape \(rows, 4\), got \(20, 3\)"),
    "x of one axis": (classifier, X[:, 0], LABELS, r"\(rows, 4\), got \(20,\)"),
    "x of three axes": (classifier, X[None], LABELS, r"\(rows, 4\), got \(1, 20, 4\)"),
    "x of text": (classifier, [["a"] * 4] * 20, LABELS, "real numbers"),
    "complex x": (classifier, X + 1j, LABELS, "real numbers"),
    "ragged x": (classifier, [[1, 2], [3]], LABELS, "not an array"),
    "x of objects": (classifier, np.array([[1, 2, 3, None]] * 20), LABELS, "real numbers"),
    "x of text in objects": (
        classifier,
        np.array([["1"] * 4] * 20, object),
        LABELS,
        "real numbers",
    ),
    "x is None": (classifier, None, LABELS, "x must be an array"),
    "masked x": (classifier, np.ma.masked_less(X, 0), LABELS, "masked"),
    "rows": (classifier, X, LABELS[:-1], r"x \(20, 4\), y \(19,\)"),
    "one-hot for labels": (classifier, X, np.eye(3)[LABELS], "categorical_crossentropy"),
    "labels of two columns": (classifier, X, np.stack([LABELS] * 2, 1), r"\(rows\), got \(20, 2\)"),
    "label too large": (classifier, X, labels(r7=3, r9=5), "0 to 2, but row 7 has 3"),
    "negative label": (classifier, X, labels(r4=-1), "row 4 has -1"),
    "fractional label": (classifier, X, labels(r5=0.5), "row 5 has 0.5"),
    "label NaN": (classifier, X, labels(r6=np.nan), "row 6 has nan"),
    "label infinite": (classifier, X, labels(r3=np.inf), "row 3 has inf"),
    "labels for outputs": (lambda: regression(3), X, LABELS, r"\(rows, 3\), got \(20,\)"),
    "wide targets": (regression, X, np.ones((20, 2)), r"\(rows, 1\), got \(20, 2\)"),
    "narrow targets": (lambda: regression(2), X, Y, r"\(rows, 2\), got \(20, 1\)"),
    "flat targets": (lambda: regression(2), X, Y[:, 0], r"\(rows, 2\), got \(20,\)"),
    "targets of three axes": (regression, X, Y[..., None], r"\(rows, 1\), got \(20, 1, 1\)"),
    "no targets": (regression, X, None, "y must be given"),
    "no rows": (regression, X[:0], Y[:0], "no rows"),
}


@pytest.mark.parametrize("method", ["fit", "train_on_batch", "evaluate", "test_on_batch"])
@pytest.mark.parametrize("name", BAD_DATA)
def test_data_that_does_not_fit_is_named_before_anything_changes(name, method):
    make, x, y, match = BAD_DATA[name]
    model = make()
    before = bits(model)
    arguments = {"verbose": 0} if method == "fit" else {}
    with pytest.raises((ValueError, TypeError), match=match):
        getattr(model, method)(x, y, **arguments)
    assert bits(model) == before and model.optimizer.iterations == 0


def test_batches_without_targets_are_refused_clearly():
    with pytest.raises(RuntimeError, match=r"a batch must be .x, y. .*, got ndarray"):
        regression().fit((X for _ in range(3)), verbose=0)


@pytest.mark.parametrize("y", [Y, Y[:, 0], Y.tolist(), Y[:, 0].tolist()])
def test_targets_of_one_column_may_be_flat(y):
    fastdl.set_seed(0)
    model = regression()
    model.fit(X, y, epochs=2, verbose=0)
    fastdl.set_seed(0)
    other = regression()
    other.fit(X, Y, epochs=2, verbose=0)
    assert bits(model) == bits(other)


@pytest.mark.parametrize("y", [LABELS, LABELS[:, None], LABELS.astype(float), LABELS.astype("u1")])
def test_labels_of_any_type_and_as_a_column(y):
    model = classifier()
    assert model.evaluate(X, y) == model.evaluate(X, LABELS)


BAD_ARGUMENTS = {
    "batch_size": ({"batch_size": 0}, "batch_size"),
    "batch_size half": ({"batch_size": 1.5}, "batch_size"),
    "epochs": ({"epochs": -1}, "epochs"),
    "initial_epoch": ({"initial_epoch": -1}, "initial_epoch"),
    "verbose": ({"verbose": "loud"}, "verbose"),
    "callbacks": ({"callbacks": [3]}, "callback"),
    "callback class": ({"callbacks": [fastdl.callbacks.History]}, "call it"),
    "split": ({"validation_split": 1.0}, "validation_split"),
    "split as text": ({"validation_split": "0.2"}, "validation_split must be"),
    "split of nothing": ({"validation_split": 0.99}, "leaves nothing"),
    "validation data": ({"validation_data": X}, "validation_data"),
    "validation rows": ({"validation_data": (X, LABELS[:3])}, "rows"),
    "validation empty": ({"validation_data": (X[:0], LABELS[:0])}, "no rows"),
    "validation label": ({"validation_data": (X, LABELS + 1)}, "0 to 2"),
    "weights": ({"sample_weight": np.ones(3)}, r"sample_weight \(3,\)"),
    "weights of two axes": ({"sample_weight": np.ones((20, 2))}, "sample_weight must have shape"),
    "class weight": ({"class_weight": {3: 1.0}}, "class_weight has the label 3"),
    "class weight list": ({"class_weight": [1.0]}, "must be a dict"),
    "class weight text": ({"class_weight": {1: "heavy"}}, "must be a number"),
}


@pytest.mark.parametrize("name", BAD_ARGUMENTS)
def test_arguments_of_fit(name):
    arguments, match = BAD_ARGUMENTS[name]
    model = classifier()
    before = bits(model)
    with pytest.raises((ValueError, TypeError), match=match):
        model.fit(X, LABELS, **{"verbose": 0, **arguments})
    assert bits(model) == before
    model.fit(X, LABELS, verbose=0)


@pytest.mark.filterwarnings("ignore:.*loss became nan")
def test_nan_in_x_goes_through_and_is_reported():
    x = X.copy()
    x[3, 1] = np.nan
    model = regression()
    assert np.isnan(model.predict(x)[3]).all() and np.isfinite(model.predict(x)[4]).all()
    with pytest.warns(RuntimeWarning, match="the loss became nan in epoch 1") as caught:
        model.fit(x, Y, verbose=0)
    assert caught[0].filename == __file__


# --- compile --------------------------------------------------------------------------------------

BAD_SETUPS = {
    "loss": ({"loss": "mean_square_error"}, "mean_squared_error"),
    "no loss": ({}, "loss must be given"),
    "loss type": ({"loss": 3}, "a loss is"),
    "optimizer": ({"optimizer": "adamm", "loss": "mse"}, "'adam'"),
    "metric": ({"loss": "mse", "metrics": ["mea"]}, "unknown metric 'mea'"),
    "metric of labels": ({"loss": "mse", "metrics": ["sparse_categorical_accuracy"]}, "labels"),
    "losses": ({"loss": ["mse", "mse"]}, "2 entries"),
    "loss of nothing": ({"loss": {"dense": "mse", "denes": "mae"}}, "'denes'.*dense"),
    "weight": ({"loss": "mse", "loss_weights": ["much"]}, "must be a number"),
    "backend": ({"loss": "mse", "backend": "tpu"}, "'cpu' or 'gpu'"),
}


@pytest.mark.parametrize("name", BAD_SETUPS)
def test_what_compile_refuses_leaves_the_model_as_it_was(name):
    arguments, match = BAD_SETUPS[name]
    model = Sequential([Dense(1, input_shape=(4,), name="dense")])
    model.compile("sgd", "mae")
    optimizer = model.optimizer
    with pytest.raises((ValueError, TypeError), match=match):
        model.compile(**arguments)
    assert model.loss == "mae" and model.optimizer is optimizer
    model.fit(X, Y, verbose=0)


@pytest.mark.parametrize("method", ["fit", "evaluate", "train_on_batch", "test_on_batch"])
def test_compile_comes_first(method):
    model = Sequential([Dense(1)])
    with pytest.raises(RuntimeError, match=r"call compile\(\) first"):
        getattr(model, method)(X, Y)
    assert model.predict(X).shape == (20, 1)


def test_a_changed_optimizer_option_takes_effect():
    model = regression()
    model.compile(fastdl.optimizers.SGD(0.1), "mse")
    model.fit(X, Y, verbose=0)
    model.optimizer.options["momentum"] = 0.0
    model.optimizer.clipvalue = 1e-12
    before = model.get_weights()
    model.fit(X, Y, verbose=0)
    for a, b in zip(before, model.get_weights(), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-9)


@pytest.mark.parametrize("clip", [{}, {"clipnorm": 1.0}, {"global_clipnorm": 1.0}])
def test_a_model_without_trainable_weights_can_be_fitted(clip):
    model = Sequential([Dense(1, input_shape=(4,), trainable=False)])
    model.compile(fastdl.optimizers.Adam(**clip), "mse")
    before = bits(model)
    history = model.fit(X, Y, verbose=0, epochs=2)
    assert np.isfinite(history.history["loss"]).all() and bits(model) == before


# --- several inputs and outputs -------------------------------------------------------------------


def test_lists_and_dictionaries_of_data_are_the_same():
    xs = [X, X[:, :2]], {"b": X[:, :2], "a": X}, (X, X[:, :2])
    ys = [Y, LABELS], {"kind": LABELS, "size": Y[:, 0]}, (Y, LABELS[:, None])
    results = []
    for x, y in zip(xs, ys, strict=True):
        fastdl.set_seed(3)
        model = two_by_two()
        model.compile("adam", LOSSES, {"kind": ["accuracy"], "size": "mae"}, {"kind": 0.3})
        history = model.fit(x, y, epochs=2, verbose=0, validation_data=(x, y)).history
        results.append((history, bits(model), [p.tobytes() for p in model.predict(x)]))
        logs = model.evaluate(x, y, return_dict=True)
    assert results[0] == results[1] == results[2]
    names = ["loss", "size_loss", "kind_loss", "size_mae", "kind_accuracy"]
    assert list(logs) == names and list(history) == [*names, *(f"val_{n}" for n in names)]
    assert logs["loss"] == pytest.approx(logs["size_loss"] + 0.3 * logs["kind_loss"])
    assert model.input_names == ["a", "b"] and model.output_names == ["size", "kind"]
    assert model.input_shape == [(None, 4), (None, 2)]


def test_wrong_names_of_inputs_and_outputs_give_the_nearest():
    model = two_by_two()
    model.compile("adam", LOSSES)
    x, y = {"a": X, "b": X[:, :2]}, {"size": Y, "kind": LABELS}
    for wrong_x, wrong_y, match in (
        ({"a": X, "bb": X}, y, "x has 'bb'.*'b'"),
        ({"a": X}, y, "x lacks the input 'b'"),
        (x, {"size": Y, "kinds": LABELS}, "y has 'kinds'.*'kind'"),
        (x, {"size": Y}, "y lacks the output 'kind'"),
        (X, y, "list of 2 arrays or a dictionary"),
        ([X], y, "list of 2 arrays"),
        (x, Y, "y must be a list of 2"),
        ([X, X], y, r"x\['b'\] must have shape \(rows, 2\), got \(20, 4\)"),
        ([X, X[:5, :2]], y, r"x \(20, 4\), x \(5, 2\)"),
    ):
        with pytest.raises(ValueError, match=match):
            model.fit(wrong_x, wrong_y, verbose=0)
    with pytest.raises(ValueError, match=r"'kin'.*'kind'"):
        model.compile("adam", {"kin": "mse"})


@pytest.mark.parametrize("x", [[X, X[:, :2]], (X, X[:, :2]), {"a": X, "b": X[:, :2]}])
def test_a_subclass_takes_several_inputs(x, tmp_path):
    model = TwoInputs()
    model.compile("adam", "mse")
    model.fit(x, Y, verbose=0)
    assert model.predict(x).shape == (20, 1)
    other = TwoInputs()
    other.build({"a": (None, 4), "b": (None, 2)} if isinstance(x, dict) else [(None, 4), (None, 2)])
    model.save_weights(tmp_path / "w.safetensors")
    other.load_weights(tmp_path / "w.safetensors")
    np.testing.assert_array_equal(other.predict(x), model.predict(x))


def test_functional_models_want_what_input_gave():
    x = Input((2,))
    for inputs, outputs, error, match in (
        (Dense(1)(x), x, ValueError, "Input"),
        (x, Dense(1)(Input((2,))), ValueError, "no input"),
        (x, {"a": Dense(1)(x)}, TypeError, "list of tensors, got dict"),
        (x, 3, TypeError, "got int"),
        (x, None, TypeError, "both"),
        ([x, x], Dense(1)(x), ValueError, "different"),
        ([], Dense(1)(x), ValueError, "inputs"),
    ):
        with pytest.raises(error, match=match):
            Model(inputs, outputs)
    with pytest.raises(ValueError, match="wants 1 inputs, got 2"):
        Model(x, Dense(1)(x))([Input((2,)), Input((2,))])


# --- weights, summary, structure ------------------------------------------------------------------


def test_weights_in_and_out():
    model = regression()
    weights = model.get_weights()
    with pytest.raises(ValueError, match="has 4 weights, got 3"):
        model.set_weights(weights[:3])
    with pytest.raises(ValueError, match=r"kernel.*\(4, 5\), got \(5, 4\)"):
        model.set_weights([weights[0].T, *weights[1:]])
    with pytest.raises(TypeError, match="real numbers"):
        model.set_weights([*weights[:3], ["x"]])
    assert bits(model) == b"".join(w.tobytes() for w in weights)
    weights[0][:] = 0  # a copy
    assert model.get_weights()[0].any()
    with pytest.raises(ValueError, match="has not been built"):
        Sequential([Dense(1)]).set_weights(weights)


def test_summary(capsys):
    model = two_by_two()
    model.summary()
    text = capsys.readouterr().out
    for part in ("a (InputLayer)", "(None, 6)", "kind (Dense)", "Weights: 70 (280 B), 70 of them"):
        assert part in text
    lines = []
    Sequential([Dense(3, input_shape=(2,)), layers.Dropout(0.5)]).summary(lines.append)
    assert any("(Dropout)" in line and "(None, 3)" in line for line in lines)
    with pytest.raises(RuntimeError, match="has not been built"):
        Sequential([Dense(1)]).summary()


@pytest.mark.parametrize("attribute", ["input_shape", "output_shape", "row_shapes", "input_names"])
def test_unbuilt_models_say_how_to_build_them(attribute):
    with pytest.raises(RuntimeError, match="has not been built: give its first layer"):
        getattr(Sequential([Dense(1)]), attribute)


def test_add_and_pop():
    model = Sequential([Dense(3, input_shape=(4,))])
    model.add(Dense(2))
    assert model.output_shape == (None, 2) and model.predict(X).shape == (20, 2)
    dense = model.layers[0]
    before = bits(model)
    for wrong, error in (
        (Dense, TypeError), (3, TypeError), (dense, ValueError), (layers.Reshape((7,)), ValueError)
    ):  # fmt: skip
        with pytest.raises(error):
            model.add(wrong)
        assert bits(model) == before and len(model.layers) == 2
    model.pop()
    assert model.predict(X).shape == (20, 3)
    model.pop()
    with pytest.raises(ValueError, match="no layer"):
        model.pop()


def test_a_swapped_layer_is_used_at_once():
    class Net(Model):
        def __init__(self):
            super().__init__()
            self.head = Dense(1)

        def call(self, x):
            return self.head(x)

    model = Net()
    first = model.predict(X[:1])
    model.head = Dense(1, kernel_initializer="zeros", bias_initializer="ones")
    assert model.predict(X[:1]) == [[1.0]] != first
    model.compile("sgd", "mse")
    model.fit(X, Y, verbose=0)
    assert model.predict(X[:1]) != [[1.0]]


# --- predict and batches --------------------------------------------------------------------------


def test_one_row_is_what_it_is_in_a_batch():
    for floatx in ("float32", "float64"):
        fastdl.set_floatx(floatx)
        try:
            model = Sequential([Dense(64, "relu", input_shape=(4,)), layers.LayerNormalization(),
                                Dense(3, "softmax")])  # fmt: skip
        finally:
            fastdl.set_floatx("float32")
        whole = model.predict(X)
        assert whole.dtype == floatx
        epsilon = np.finfo(floatx).eps
        for i in range(len(X)):
            one = model.predict(X[i : i + 1])
            assert one.shape == (1, 3)
            np.testing.assert_allclose(one[0], whole[i], rtol=200 * epsilon)
            np.testing.assert_array_equal(model.predict(X[i : i + 1], batch_size=1), one)


def test_predict_takes_whatever_fits():
    model = regression(2)
    want = model.predict(X[:3])
    big = np.zeros((3, 8), np.float32)
    big[:, ::2] = X[:3]
    forms = [
        X[:3].tolist(), X[:3].astype(np.float64), np.asfortranarray(X[:3]), big[:, ::2],
        X[:3].astype(">f4"), X[2::-1][::-1], X[:3].astype(np.longdouble),
    ]  # fmt: skip
    for _ in range(2):
        for form in forms:
            np.testing.assert_array_equal(model.predict(form), want)
    assert model.predict(X[:0]).shape == (0, 2)
    for wrong in (X[0], X[:, :3], X[None]):
        with pytest.raises(ValueError, match="x must have shape"):
            model.predict(wrong)


def test_degenerate_shapes_have_plain_results():
    model = Sequential([Dense(2, "relu", bias_initializer="ones")])
    np.testing.assert_array_equal(model.predict(np.zeros((3, 0))), np.ones((3, 2)))
    model.compile("adam", "mse")
    model.fit(np.zeros((3, 0)), np.zeros((3, 2)), verbose=0)
    assert (model.predict(np.zeros((1, 0))) < 1).all()
    assert Sequential([Dense(1)]).predict(np.arange(5.0)).shape == (5, 1)
    table = np.array([[1, 2.5, True, np.float32(3)]], dtype=object)  # columns of several types
    other = regression()
    np.testing.assert_array_equal(other.predict(table), other.predict([[1, 2.5, 1, 3]]))


def test_results_of_predict_are_ones_own():
    model = regression()
    first = model.predict(X[:1])
    kept = first.copy()
    model.predict(X[1:2])
    np.testing.assert_array_equal(first, kept)
    first[:] = 7
    np.testing.assert_array_equal(model.predict(X[:1]), kept)


def test_predict_sees_every_change_of_the_weights():
    model = regression()
    zeros = [np.zeros_like(w) for w in model.get_weights()]
    for change in (
        lambda: model.fit(X, Y, verbose=0),
        lambda: model.train_on_batch(X, Y),
        lambda: model.set_weights(zeros),
        lambda: model.layers[1].bias.assign([3.0]),
        lambda: model.layers[1].bias.value.__setitem__(0, 4.0),
    ):
        before = model.predict(X[:1])
        change()
        assert model.predict(X[:1]) != before
    assert model.predict(X[:1]) == [[4.0]]


def test_batches_of_any_size_use_one_program():
    model = regression()
    for rows in (20, 3, 11, 1, 20, 7):
        assert np.isfinite(model.train_on_batch(X[:rows], Y[:rows])[0])
    assert sum(key[0] == "train" for key in model._programs) == 1
    fastdl.set_seed(1)
    fresh = regression()
    fastdl.set_seed(1)
    roomy = regression()
    roomy.evaluate(X, Y)
    roomy.predict(X, batch_size=1000)
    roomy.optimizer.learning_rate = 0.0
    roomy.train_on_batch(X, Y)
    roomy.compile("adam", "mse", ["mae"])
    for model in (fresh, roomy):
        model.fit(X, Y, batch_size=6, epochs=2, verbose=0)
    assert bits(fresh) == bits(roomy)


def test_single_batches_return_what_was_asked_for():
    model = regression()
    assert isinstance(model.train_on_batch(X, Y), list)
    assert set(model.test_on_batch(X, Y, return_dict=True)) == {"loss", "mae"}
    model.compile("adam", "mse")
    loss = model.test_on_batch(X, Y)
    assert isinstance(loss, float) and loss == model.evaluate(X, Y)
    half = model.test_on_batch(X, Y, sample_weight=np.full(20, 0.5))
    assert half == pytest.approx(loss / 2)
    assert model.train_on_batch(X, Y, sample_weight=np.zeros(20)) == 0


# --- float type and backend -----------------------------------------------------------------------


def test_float64_models():
    fastdl.set_floatx("float64")
    try:
        model = classifier()
    finally:
        fastdl.set_floatx("float32")
    model.fit(X, LABELS, verbose=0)
    assert all(w.dtype == np.float64 for w in model.get_weights())
    assert model.predict(X).dtype == model.predict(X[:1]).dtype == np.float64
    mixed = Sequential([model, Dense(1)])
    with pytest.raises(TypeError, match="different types: float32, float64"):
        mixed.predict(X)
    with pytest.raises(ValueError, match="floatx"):
        fastdl.set_floatx("float16")


def has_cupy():
    try:
        import cupy  # noqa: F401
    except ImportError:
        return False
    return True


@pytest.mark.skipif(has_cupy(), reason="CuPy is installed")
def test_the_gpu_backend_without_cupy_is_one_clear_error():
    model = regression()
    with pytest.raises(RuntimeError, match=r"pip install 'fastdl\[cuda12\]'"):
        fastdl.set_backend("gpu")
    with pytest.raises(RuntimeError, match="needs cupy"):
        model.compile("adam", "mse", backend="gpu")
    with pytest.raises(RuntimeError, match="needs cupy"), fastdl.backend("gpu"):
        pass
    assert fastdl.get_backend() == "cpu"
    model.fit(X, Y, verbose=0)


@pytest.mark.skipif(has_cupy(), reason="CuPy is installed")
@pytest.mark.parametrize("use", ["model.predict(x)", "model.compile('sgd', 'mse')"])
def test_the_environment_asks_for_the_gpu_at_first_use(use):
    code = f"""
import fastdl, numpy as np
x = np.ones((2, 3))
model = fastdl.Sequential([fastdl.layers.Dense(1)])
try:
    {use}
except RuntimeError as error:
    print("told:", error)
"""
    environment = {**os.environ, "FASTDL_BACKEND": "gpu"}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
    )
    assert done.stdout.startswith(
        "told: the backend \"gpu\" needs cupy: pip install 'fastdl[cuda12]'"
    )


def test_private_memory_is_aligned_also_in_copies():
    for model in (classifier(), copy.deepcopy(classifier())):
        model.predict(X[:1])
        flat = model.weights[0].arena.flat
        assert ctypes.c_void_p(flat.ctypes.data).value % 64 == 0


def test_a_layer_by_its_name_or_place():
    model = fastdl.Sequential([Dense(3, name="code", input_shape=(4,)), Dense(2)])
    assert model.get_layer("code") is model.get_layer(index=0) is model.layers[0]
    assert model.get_layer(index=-1) is model.layers[1]
    for wrong in ({"name": "cod"}, {"index": 2}, {}, {"name": "code", "index": 0}):
        with pytest.raises(ValueError, match=r"code|number 2|a name or an index"):
            model.get_layer(**wrong)


def test_a_call_takes_what_predict_takes_and_names_what_does_not_fit():
    model = regression()
    rows = list(X[:3])
    np.testing.assert_array_equal(model(rows).numpy(), model.predict(rows))
    np.testing.assert_array_equal(model(X[:3].tolist()).numpy(), model.predict(X[:3]))
    for wrong, error in ((3.0, ValueError), (np.array(1.0), ValueError), ({"x": X}, TypeError)):
        with pytest.raises(error, match="sequential"):
            model(wrong)
    with pytest.raises(ValueError, match="model"):
        two_by_two()([np.array(1.0), X[:, :2]])


def test_the_layers_of_a_sequential_are_without_its_input():
    model = Sequential([Input((4,)), Dense(3), Dense(2)])
    assert [type(layer) for layer in model.layers] == [Dense, Dense]
    assert Sequential.from_config(model.get_config()).count_params() == model.count_params()
    model.pop()
    assert model.output_shape == (None, 3)
