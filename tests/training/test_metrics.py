"""Metrics: against scikit-learn in float64, inside fit and evaluate, weighted, user-defined."""

import math

import numpy as np
import pytest

import fastdl
from fastdl import metrics, ops
from fastdl.layers import Dense, Reshape

sklearn_metrics = pytest.importorskip("sklearn.metrics")

ROWS, CLASSES = 403, 5
AVERAGES = ("micro", "macro", "weighted", None)


@pytest.fixture(autouse=True)
def float64():
    before = fastdl.floatx()
    fastdl.set_floatx("float64")
    yield
    fastdl.set_floatx(before)


@pytest.fixture
def many():
    """Labels, scores and weights of several classes; some scores tie."""
    rng = np.random.default_rng(3)
    scores = rng.dirichlet(np.ones(CLASSES), ROWS).round(2)
    labels = np.where(rng.random(ROWS) < 0.5, scores.argmax(1), rng.integers(0, CLASSES, ROWS))
    return labels, scores, rng.random(ROWS)


@pytest.fixture
def two():
    """Targets, scores and weights of a yes or no question; some scores tie."""
    rng = np.random.default_rng(4)
    truth = (rng.random(ROWS) < 0.3).astype(float)
    return truth, (0.6 * rng.random(ROWS) + 0.3 * truth).round(2), rng.random(ROWS)


def close(got, wanted):
    np.testing.assert_allclose(got, wanted, rtol=1e-12, atol=1e-12)


PAIRS = (
    (metrics.Precision, sklearn_metrics.precision_score),
    (metrics.Recall, sklearn_metrics.recall_score),
    (metrics.F1Score, sklearn_metrics.f1_score),
)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("average", AVERAGES)
@pytest.mark.parametrize(("ours", "theirs"), PAIRS)
def test_ratios_of_labels(ours, theirs, average, weighted, many):
    labels, scores, weights = many
    labels[labels == 3] = 2  # a class without rows
    weights = weights if weighted else None
    close(
        ours(average=average)(labels, scores, weights),
        theirs(labels, scores.argmax(1), labels=range(CLASSES), average=average,
               sample_weight=weights, zero_division=0),
    )  # fmt: skip


@pytest.mark.parametrize("average", AVERAGES)
@pytest.mark.parametrize(("ours", "theirs"), PAIRS)
def test_ratios_of_several_questions_at_a_threshold(ours, theirs, average, many):
    _, scores, weights = many
    truth = (np.random.default_rng(5).random(scores.shape) < scores).astype(float)
    options = {"threshold": 0.3} if ours is metrics.F1Score else {"thresholds": 0.3}
    close(
        ours(average=average, **options)(truth, scores, weights),
        theirs(truth, scores > 0.3, average=average, sample_weight=weights, zero_division=0),
    )


@pytest.mark.parametrize(("ours", "theirs"), PAIRS)
def test_ratios_of_one_question(ours, theirs, two):
    truth, scores, weights = two
    close(ours()(truth, scores), theirs(truth, scores > 0.5))
    close(ours()(truth[:, None], scores[:, None], weights),
          theirs(truth, scores > 0.5, sample_weight=weights))  # fmt: skip


def test_one_hot_targets_and_a_class_of_its_own(many):
    labels, scores, _ = many
    one_hot = np.eye(CLASSES)[labels]
    close(metrics.F1Score()(one_hot, scores), metrics.F1Score()(labels, scores))
    each = sklearn_metrics.precision_score(labels, scores.argmax(1), average=None)
    close(metrics.Precision(class_id=2)(labels, scores), each[2])
    at_half = sklearn_metrics.recall_score(one_hot, scores > 0.5, average="micro")
    close(metrics.Recall()(one_hot, scores), at_half)


@pytest.mark.parametrize("normalize", [None, "true", "pred", "all"])
@pytest.mark.parametrize("weighted", [False, True])
def test_confusion_matrix(normalize, weighted, many, two):
    labels, scores, weights = many
    weights = weights if weighted else None
    wanted = sklearn_metrics.confusion_matrix(
        labels, scores.argmax(1), sample_weight=weights, normalize=normalize
    )
    metric = metrics.ConfusionMatrix(normalize)
    close(metric(labels, scores, weights), wanted)
    close(metric(np.eye(CLASSES)[labels], scores, weights), wanted)
    truth, score, _ = two
    close(
        metric(truth, score, weights),
        sklearn_metrics.confusion_matrix(
            truth, score > 0.5, sample_weight=weights, normalize=normalize
        ),
    )


@pytest.mark.parametrize("weighted", [False, True])
def test_area_under_the_roc_curve(weighted, many, two):
    truth, score, weights = two
    weights = weights if weighted else None
    close(metrics.AUC()(truth, score, weights),
          sklearn_metrics.roc_auc_score(truth, score, sample_weight=weights))  # fmt: skip
    labels, scores, _ = many
    one_hot = np.eye(CLASSES)[labels]
    wanted = sklearn_metrics.roc_auc_score(one_hot, scores, average="macro", sample_weight=weights)
    close(metrics.AUC()(labels, scores, weights), wanted)
    close(metrics.AUC()(one_hot, scores, weights), wanted)


def test_area_without_both_kinds_of_rows():
    assert math.isnan(metrics.AUC()(np.ones(4), np.arange(4.0)))
    assert math.isnan(metrics.AUC()(np.array([0.0, 1.0]), np.array([np.nan, 1.0])))
    labels, scores = np.array([0, 1, 1]), np.array([[0.9, 0.1, 0], [0.2, 0.8, 0], [0.7, 0.3, 0]])
    assert metrics.AUC()(labels, scores) == 1.0  # nobody is of the third class


@pytest.mark.parametrize("weighted", [False, True])
def test_top_k(weighted, many):
    labels, _, weights = many
    scores = np.random.default_rng(6).standard_normal((ROWS, CLASSES))  # no ties
    weights = weights if weighted else None
    for k in (1, 2, 4):
        wanted = sklearn_metrics.top_k_accuracy_score(
            labels, scores, k=k, sample_weight=weights, labels=range(CLASSES)
        )
        close(metrics.SparseTopKCategoricalAccuracy(k)(labels, scores, weights), wanted)
        one_hot = np.eye(CLASSES)[labels]
        close(metrics.TopKCategoricalAccuracy(k)(one_hot, scores, weights), wanted)


REGRESSION = (
    (metrics.MeanAbsoluteError, sklearn_metrics.mean_absolute_error),
    (metrics.MeanSquaredError, sklearn_metrics.mean_squared_error),
    (metrics.RootMeanSquaredError, sklearn_metrics.root_mean_squared_error),
    (metrics.R2Score, sklearn_metrics.r2_score),
)


@pytest.mark.parametrize("far", [0.0, 1e6])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize(("ours", "theirs"), REGRESSION)
def test_regression(ours, theirs, weighted, far, two):
    _, score, weights = two
    target = far + 3 * score + np.random.default_rng(7).standard_normal(ROWS)
    weights = weights if weighted else None
    got, wanted = (
        ours()(target, far + 3 * score, weights),
        theirs(target, far + 3 * score, sample_weight=weights),
    )
    np.testing.assert_allclose(got, wanted, rtol=1e-12 if not far else 1e-10)


def test_r2_of_several_outputs_and_of_constant_targets(many):
    _, scores, _ = many  # with weights scikit-learn rounds a constant's variance to more than 0
    target = scores + 0.3 * np.random.default_rng(8).standard_normal(scores.shape)
    target[:, 1], scores[:, 1] = 2.0, 2.0
    target[:, 2] = 1.0
    names = {
        "uniform_average": "uniform_average",
        "variance_weighted_average": "variance_weighted",
        None: "raw_values",
    }
    for ours, theirs in names.items():
        close(
            metrics.R2Score(ours)(target, scores),
            sklearn_metrics.r2_score(target, scores, multioutput=theirs),
        )


def test_cosine_similarity(many):
    _, scores, weights = many
    other = np.random.default_rng(9).standard_normal(scores.shape)
    each = sklearn_metrics.pairwise.paired_cosine_distances(other, scores)
    close(metrics.CosineSimilarity()(other, scores, weights), np.average(1 - each, weights=weights))


def test_states_add_up_and_are_forgotten(many):
    labels, scores, weights = many
    for metric in (metrics.F1Score(), metrics.AUC(), metrics.ConfusionMatrix(),
                   metrics.SparseCategoricalAccuracy()):  # fmt: skip
        whole = metric(labels, scores, weights)
        metric.reset_state()
        for part in (slice(0, 7), slice(7, 300), slice(300, None)):
            metric.update_state(labels[part], scores[part], weights[part])
        close(metric.result(), whole)
    metric = metrics.R2Score()
    target = scores[:, 0] + labels + 1e5
    whole = metric(target, scores[:, 0] + 1e5)
    metric.reset_state()
    for part in (slice(0, 7), slice(7, None)):
        metric.update_state(target[part], scores[part, 0] + 1e5)
    np.testing.assert_allclose(metric.result(), whole, rtol=1e-10)
    metric.reset_state()
    with pytest.raises(RuntimeError, match="update_state"):
        metric.result()


def test_arrays_that_do_not_fit():
    with pytest.raises(ValueError, match="row 1 has 2"):
        metrics.SparseCategoricalAccuracy()([0, 2], [[0.5, 0.5], [0.5, 0.5]])
    with pytest.raises(ValueError, match="different numbers of rows"):
        metrics.MeanSquaredError()([1.0, 2.0], [1.0, 2.0, 3.0])
    with pytest.raises(ValueError, match="y_true"):
        metrics.MeanSquaredError()([[1.0, 2.0, 3.0]], [[1.0, 2.0]])
    with pytest.raises(ValueError, match="average"):
        metrics.F1Score(average="maccro")
    with pytest.raises(ValueError, match="class_id"):
        metrics.Recall(class_id=2)([0, 1], [[0.5, 0.5], [0.5, 0.5]])
    with pytest.raises(ValueError, match="k must be"):
        metrics.TopKCategoricalAccuracy(0)
    with pytest.raises(ValueError, match="does not fit"):
        metrics.AUC()(np.zeros(3), np.zeros((2, 2)))


# --- inside models -------------------------------------------------------------------------------


class LargestError(metrics.Metric):
    """Plain Python, handed all rows at once."""

    def reset_state(self):
        self.largest, self.calls = 0.0, 0

    def update_state(self, y_true, y_pred, sample_weight=None):
        self.calls += 1
        assert self.calls == 1, "an epoch's rows come in one call"
        self.largest = max(self.largest, np.abs(y_true - y_pred).max())

    def result(self):
        return self.largest


def classifier(**arguments):
    model = fastdl.Sequential([Dense(CLASSES, activation="softmax", input_shape=(4,))])
    model.compile("sgd", "sparse_categorical_crossentropy", **arguments)
    return model


def test_every_metric_inside_of_a_model_is_the_one_of_its_predictions(many):
    labels, _, weights = many
    x = np.random.default_rng(1).standard_normal((ROWS, 4))
    kinds = [
        metrics.F1Score("macro"), metrics.Precision(average="weighted"), metrics.AUC(), "acc",
        metrics.SparseTopKCategoricalAccuracy(2), metrics.Recall(thresholds=0.3),
        metrics.ConfusionMatrix(),
    ]  # fmt: skip
    model = classifier(metrics=kinds, weighted_metrics=kinds[:3] + kinds[4:])
    logs = model.evaluate(x, labels, batch_size=32, sample_weight=weights, return_dict=True)
    predicted = model.predict(x)
    for metric in kinds:
        if metric == "acc":
            assert logs["acc"] == pytest.approx((predicted.argmax(1) == labels).mean(), abs=1e-12)
            continue
        close(logs[metric.name], metric(labels, predicted))
        close(logs[f"weighted_{metric.name}"], metric(labels, predicted, weights))


def test_fit_tells_the_metrics_of_training_and_of_validation(many):
    labels, _, _ = many
    x = np.random.default_rng(1).standard_normal((ROWS, 4))
    names = ["f1_score", "auc", "confusion_matrix"]
    history = {}
    for verbose in (0, 2):
        fastdl.set_seed(1)
        model = classifier(metrics=names)
        model.fit(x, labels, epochs=3, validation_split=0.25, verbose=verbose)
        history[verbose] = model.history.history
    first = history[0]
    assert set(first) == {"loss", "val_loss", *names, *(f"val_{n}" for n in names)}
    for name, values in first.items():
        assert len(values) == 3
        np.testing.assert_array_equal(values, history[2][name])
    assert first["confusion_matrix"][0].sum() == int(ROWS * 0.75)
    held = slice(int(ROWS * 0.75), None)
    for name in names:
        last = first[f"val_{name}"][-1]
        close(
            last,
            metrics.get(name, model.targets[0].loss, (None, 5))(
                labels[held], model.predict(x[held])
            ),
        )


def test_metrics_of_ones_own(two):
    truth, score, _ = two

    def squared(y_true, y_pred):
        return fastdl.ops.mean_squared_error(y_pred, y_true)

    class Twice(metrics.MeanMetric):
        def call(self, y_true, y_pred):
            return squared(y_true, y_pred)[0] * 2.0

    model = fastdl.Sequential([Dense(1, input_shape=(1,))])
    model.compile("sgd", "mse", metrics=[squared, Twice(), LargestError, "r2_score"])
    logs = model.evaluate(score, truth, return_dict=True)
    predicted = model.predict(score)[:, 0]
    assert logs["squared"] == logs["loss"] and logs["twice"] == 2 * logs["loss"]
    assert logs["largest_error"] == np.abs(predicted - truth).max()
    history = model.fit(score, truth, epochs=2, batch_size=50, verbose=0).history
    assert len(history["largest_error"]) == len(history["squared"]) == 2


def test_a_metric_that_gives_no_number_a_row(two):
    model = fastdl.Sequential([Dense(3, input_shape=(1,))])
    model.compile("sgd", "mse", metrics=[lambda y_true, y_pred: y_pred])
    with pytest.raises(ValueError, match="one number a row"):
        model.evaluate(np.ones((2, 1)), np.ones((2, 3)))


def test_saved_models_keep_their_metrics(tmp_path):
    model = classifier(metrics=["auc", metrics.F1Score("macro")], weighted_metrics=[LargestError()])
    model.save(tmp_path / "m.fastdl")
    found = fastdl.load_model(tmp_path / "m.fastdl", {"LargestError": LargestError}).targets[0]
    assert [m.name for m in found.metrics] == ["auc", "f1_score", "largest_error"]
    assert found.metrics[1].average == "macro" and found.unweighted == 2
    with pytest.raises(ValueError, match="LargestError"):
        fastdl.load_model(tmp_path / "m.fastdl")


# --- weights -------------------------------------------------------------------------------------


def series(loss, width):
    """A model whose outputs have a time axis."""
    model = fastdl.Sequential(
        [Dense(6 * width, input_shape=(4,)), Reshape((6, width)), Dense(width)]
    )
    model.compile(
        fastdl.optimizers.SGD(0.1), loss, weighted_metrics=["mae"] if loss == "mse" else []
    )
    return model


@pytest.mark.parametrize("per_step", [False, True])
def test_weights_of_rows_and_of_steps_in_time(per_step):
    rng = np.random.default_rng(2)
    x, y = rng.standard_normal((40, 4)), rng.standard_normal((40, 6, 2))
    weight = rng.random((40, 6) if per_step else 40)
    full = weight if per_step else np.repeat(weight[:, None], 6, axis=1)
    model = series("mse", 2)
    logs = model.evaluate(x, y, sample_weight=weight, return_dict=True)
    predicted = model.predict(x)
    assert logs["loss"] == pytest.approx((full * ((predicted - y) ** 2).mean(-1)).mean(), rel=1e-12)
    wanted = np.average(np.abs(predicted - y).mean(-1), weights=full)
    assert logs["mean_absolute_error" if "mae" not in logs else "mae"] == pytest.approx(wanted)


def test_masked_steps_do_not_train():
    rng = np.random.default_rng(2)
    x, y = rng.standard_normal((40, 4)), rng.integers(0, 3, (40, 6))
    mask = rng.random((40, 6)) < 0.5
    other = np.where(mask, y, (y + 1) % 3)
    weights = []
    for labels in (y, other):
        fastdl.set_seed(5)
        model = series(fastdl.losses.SparseCategoricalCrossentropy(from_logits=True), 3)
        model.fit(x, labels, sample_weight=mask, epochs=2, verbose=0)
        weights.append(model.get_weights())
    for a, b in zip(*weights, strict=True):
        np.testing.assert_array_equal(a, b)


def test_balanced_class_weights_are_those_of_scikit_learn(many):
    labels, _, _ = many
    x = np.random.default_rng(1).standard_normal((ROWS, 4))
    utils = pytest.importorskip("sklearn.utils")
    factors = utils.compute_class_weight("balanced", classes=np.arange(CLASSES), y=labels)
    results = []
    for class_weight in ("balanced", dict(enumerate(factors))):
        fastdl.set_seed(3)
        model = classifier()
        model.fit(x, labels, class_weight=class_weight, verbose=0)
        results.append(model.get_weights())
    for a, b in zip(*results, strict=True):
        np.testing.assert_array_equal(a, b)
    with pytest.raises(ValueError, match="balanced"):
        model.fit(x, labels, class_weight="balance", verbose=0)


def test_outputs_with_weights_of_their_own():
    x = fastdl.Input((3,))
    model = fastdl.Model(x, [Dense(1, name="a")(x), Dense(2, name="b")(x)])
    model.compile("sgd", "mse", weighted_metrics=[["mae"], ["mae"]])
    rng = np.random.default_rng(2)
    data, a, b = rng.random((20, 3)), rng.random((20, 1)), rng.random((20, 2))
    weights = {"a": rng.random(20), "b": rng.random(20)}
    logs = model.evaluate(data, [a, b], sample_weight=weights, return_dict=True)
    for name, target, predicted in zip("ab", (a, b), model.predict(data), strict=True):
        error = ((predicted - target) ** 2).mean(-1)
        assert logs[f"{name}_loss"] == pytest.approx((error * weights[name]).mean())
    both = model.evaluate(data, [a, b], sample_weight=weights["a"], return_dict=True)
    assert both["a_loss"] == logs["a_loss"] and both["b_loss"] != logs["b_loss"]
    with pytest.raises(ValueError, match="sample_weight lacks the output 'b'"):
        model.evaluate(data, [a, b], sample_weight={"a": weights["a"]})


def shifted(y_true, y_pred):
    return ops.mean(y_pred - y_true + 3.0, axis=-1)


def test_metrics_that_are_functions_are_saved_by_name(tmp_path):
    x, y = np.ones((6, 2), np.float32), np.zeros((6, 1), np.float32)
    model = fastdl.Sequential([Dense(1)])
    own = metrics.FunctionMetric(shifted, "other name")
    model.compile("sgd", "mse", metrics=[shifted, own], weighted_metrics=[shifted])
    model.fit(x, y, verbose=0)
    model.save(tmp_path / "m.fastdl")
    again = fastdl.load_model(tmp_path / "m.fastdl", {"shifted": shifted})
    assert again.fit(x, y, verbose=0).history == model.fit(x, y, verbose=0).history
    assert list(again.history.history) == ["loss", "shifted", "other name", "weighted_shifted"]
    with pytest.raises(ValueError, match="unknown metric 'shifted'"):
        fastdl.load_model(tmp_path / "m.fastdl")
