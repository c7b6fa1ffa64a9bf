"""Pictures and reports: that they show the numbers that they are given."""

import html.parser
import re

import numpy as np
import pytest

import fastdl
from fastdl import layers
from fastdl.callbacks import History, NormRecorder
from fastdl.report import _ticks


@pytest.fixture(autouse=True)
def closed():
    """Figures drawn by a test are forgotten after it."""
    yield
    import sys

    if "matplotlib.pyplot" in sys.modules:
        sys.modules["matplotlib.pyplot"].close("all")


def drawn():
    """plots, where there is matplotlib, with a backend that needs no screen."""
    matplotlib = pytest.importorskip("matplotlib", reason="matplotlib is not installed")
    matplotlib.use("Agg")
    from fastdl import plots

    return plots


def fitted(callbacks=(), name="pictured", **arguments):
    fastdl.set_seed(0)
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(60, 9)), rng.integers(0, 3, 60)
    model = fastdl.Sequential(
        [layers.Dense(8, activation="relu"), layers.Dense(3, activation="softmax")], name=name
    )
    model.compile("adam", "sparse_categorical_crossentropy", ["accuracy"])
    arguments = {"epochs": 4, "verbose": 0, "validation_split": 0.25} | arguments
    return model, model.fit(x, y, callbacks=list(callbacks), **arguments)


def test_curves_are_the_history(tmp_path):
    drawn()
    _, history = fitted()
    figure = history.plot(tmp_path / "curves.png")
    assert (tmp_path / "curves.png").read_bytes().startswith(b"\x89PNG")
    loss, accuracy = figure.axes
    assert (loss.get_title(loc="left"), accuracy.get_title(loc="left")) == ("Loss", "Accuracy")
    for axes, name in ((loss, "loss"), (accuracy, "accuracy")):
        for line, key in zip(axes.lines, (name, f"val_{name}"), strict=True):
            np.testing.assert_array_equal(line.get_xdata(), [1, 2, 3, 4])
            np.testing.assert_array_equal(line.get_ydata(), history.history[key])


def test_a_history_without_epochs_has_no_picture(tmp_path):
    drawn()
    empty = History(), fitted(epochs=0)[1]
    for draw in [h.plot for h in empty] + [lambda h=h: h.report(tmp_path / "x") for h in empty]:
        with pytest.raises(ValueError, match="no epoch has run"):
            draw()
    assert not list(tmp_path.iterdir())


def test_without_matplotlib_it_is_said(monkeypatch):
    import sys

    _, history = fitted()
    monkeypatch.setitem(sys.modules, "matplotlib.pyplot", None)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(ImportError, match=r"needs matplotlib: pip install 'fastdl\[plot\]'"):
        history.plot()


def test_norms_are_drawn_layer_by_layer(tmp_path):
    drawn()
    norms = NormRecorder(1)
    fitted([norms])
    figure = norms.plot(tmp_path / "norms.svg")
    for axes, which in zip(figure.axes, ("gradients", "weights"), strict=True):
        for line, (layer, values) in zip(axes.lines, norms.layers(which).items(), strict=True):
            assert line.get_label() == layer
            np.testing.assert_array_equal(line.get_xdata(), norms.steps)
            np.testing.assert_array_equal(line.get_ydata(), values)
    with pytest.raises(ValueError, match="has seen no step"):
        NormRecorder().plot()


def test_confusion_matrix_counts():
    plots = drawn()
    true, predicted = [0, 0, 1, 2, 2, 2], [0, 1, 1, 2, 2, 0]
    figure = plots.plot_confusion_matrix(true, predicted, labels=["a", "b", "c"])
    axes = figure.axes[0]
    texts = {(t.get_position()[1], t.get_position()[0]): t.get_text() for t in axes.texts}
    assert texts == {(0, 0): "1", (0, 1): "1", (1, 1): "1", (2, 2): "2", (2, 0): "1"}
    assert axes.get_title(loc="left") == "66.7% of 6 right"
    assert [t.get_text() for t in axes.get_xticklabels()] == ["a", "b", "c"]
    np.testing.assert_allclose(
        axes.images[0].get_array(), [[0.5, 0.5, 0], [0, 1, 0], [1 / 3, 0, 2 / 3]]
    )
    # One-hot and probabilities say the same.
    same = plots.plot_confusion_matrix(np.eye(3)[true], np.eye(3)[predicted] * 0.6, normalize=True)
    np.testing.assert_array_equal(same.axes[0].images[0].get_array(), axes.images[0].get_array())
    assert "0.67" in {t.get_text() for t in same.axes[0].texts}
    binary = plots.plot_confusion_matrix([0, 1, 1], [[0.2], [0.4], [0.9]])
    np.testing.assert_array_equal(binary.axes[0].images[0].get_array(), [[1, 0], [0.5, 0.5]])


@pytest.mark.parametrize(
    ("true", "predicted", "labels", "message"),
    [
        ([0, 1], [0], None, "y_true has 2 rows, y_pred 1"),
        ([0, 5], [0, 1], ["a", "b"], "6 classes, but 2 labels"),
        ([0.5, 1], [0, 1], None, "y_true must hold labels"),
        ([0, 1], [0, -1], None, "y_pred must hold labels"),
        ([], [], None, "y_true must hold labels"),
    ],
)
def test_confusion_matrix_refuses_what_are_no_labels(true, predicted, labels, message):
    with pytest.raises(ValueError, match=message):
        drawn().plot_confusion_matrix(true, predicted, labels)


def test_filters_are_the_kernels_columns():
    plots = drawn()
    model, _ = fitted()
    kernel = model.layers[0].kernel.numpy()
    figure = plots.plot_filters(model)
    pictures = [axes.images[0].get_array() for axes in figure.axes if axes.images]
    assert len(pictures) == 8
    for unit, picture in enumerate(pictures):
        np.testing.assert_allclose(picture, kernel[:, unit].reshape(3, 3))
    assert len([a for a in plots.plot_filters(model, most=3).axes if a.images]) == 3
    wide = plots.plot_filters(model.layers[0], shape=(1, 9))
    assert wide.axes[0].images[0].get_array().shape == (1, 9)
    with pytest.raises(ValueError, match="9 inputs are no image of 2 x 4"):
        plots.plot_filters(model, shape=(2, 4))
    with pytest.raises(ValueError, match="has no kernel"):
        plots.plot_filters(layers.Dropout(0.5))


class Page(html.parser.HTMLParser):
    """Tags that are open, all text, and what would have to be fetched."""

    def __init__(self, text):
        super().__init__()
        self.open, self.text, self.links, self.tags = [], [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self.links += [value for key, value in attributes if key in ("src", "href")]
        if tag not in ("meta", "br", "line", "circle", "polyline"):
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.tags.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)


def test_the_report_is_one_page_with_everything(tmp_path):
    model, history = fitted(name="a <b> & c")
    history.report(tmp_path / "run.html")
    source = (tmp_path / "run.html").read_text()
    page = Page(source)
    text = " ".join(page.text)
    assert page.open == [] and page.links == [] and "@import" not in source and "url(" not in source
    for part in ("a <b> & c", "4 epochs in", "Loss", "Accuracy", "training", "validation",
                 "rows a second", "Adam", "batch size", "sparse_categorical_crossentropy",
                 "Output shape", f"{model.count_params():,}", fastdl.__version__):  # fmt: skip
        assert part in text, part
    assert "<b>" not in source
    assert page.tags.count("svg") == 2 and page.tags.count("polyline") == 4
    assert f"{history.history['val_loss'][-1]:.5g}" in text


def test_the_reports_curves_are_the_history(tmp_path):
    """The heights of a curve's points are the losses, but for scale."""
    _, history = fitted()
    history.report(tmp_path / "run.html")
    line = re.search(r'curve training" points="([^"]+)"', (tmp_path / "run.html").read_text())
    x, y = np.array([[float(n) for n in p.split(",")] for p in line[1].split()]).T
    np.testing.assert_allclose(np.diff(x), x[1] - x[0], atol=0.11)
    losses = np.array(history.history["loss"])
    want = y[0] + (losses - losses[0]) * (y[-1] - y[0]) / (losses[-1] - losses[0])
    np.testing.assert_allclose(y, want, atol=0.2)
    assert y[-1] > y[0]  # down the page: the loss has fallen


@pytest.mark.parametrize("losses", [[0.5], [1.0, np.nan, 0.5], [np.nan], [2.0, 2.0], [1e-9, 1e9]])
def test_odd_histories_have_reports(tmp_path, losses):
    history = History()
    for epoch, loss in enumerate(losses):
        history.on_epoch_end(epoch, {"loss": loss})
    history.report(tmp_path / "run.html")
    source = (tmp_path / "run.html").read_text()
    assert Page(source).open == []
    assert "nan," not in source and ",nan" not in source
    assert ("No value is finite" in source) == (not np.isfinite(losses).any())


@pytest.mark.parametrize("low", [-3.0, 0.0, 0.001, 0.4, 1e5])
@pytest.mark.parametrize("span", [0.0, 1e-6, 0.03, 1.0, 700.0])
def test_ticks_are_few_and_around_the_values(low, span):
    ticks = _ticks(low, low + span, 5)
    assert 2 <= len(ticks) <= 8
    assert ticks[0] <= low + 1e-9 * abs(low) and ticks[-1] >= low + span - 1e-9 * abs(low)
    assert np.all(np.diff(ticks) > 0)


def test_every_epoch_counts_in_the_time():
    _, history = fitted()
    assert 0 < history.seconds < 60


def test_a_confusion_matrix_is_a_table_and_no_curve(tmp_path):
    fastdl.set_seed(0)
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(60, 9)), rng.integers(0, 3, 60)
    model = fastdl.Sequential([layers.Dense(3, activation="softmax")])
    metrics = [fastdl.metrics.ConfusionMatrix(), fastdl.metrics.F1Score()]
    model.compile("adam", "sparse_categorical_crossentropy", metrics)
    history = model.fit(x, y, epochs=2, verbose=0)
    history.report(tmp_path / "run.html")
    text = (tmp_path / "run.html").read_text()
    matrix = history.history["confusion_matrix"][-1]
    assert "Confusion matrix, last" in text and f">{matrix[2, 1]:.5g}</td>" in text
    assert drawn().curves(history) == ["loss"]  # F1 by default is one number a class
    history.plot(tmp_path / "curves.png")


def test_losses_are_named(tmp_path):
    def pinball(y_true, y_pred):
        return fastdl.ops.relu(y_true - y_pred)

    inputs = fastdl.Input((3,))
    outputs = [layers.Dense(1, name=name)(inputs) for name in ("low", "high")]
    model = fastdl.Model(inputs, outputs)
    model.compile("sgd", {"low": pinball, "high": "mse"})
    ones = np.ones((4, 1))
    model.fit(np.ones((4, 3)), [ones, ones], verbose=0).report(tmp_path / "run.html")
    assert "low: pinball, high: mse" in (tmp_path / "run.html").read_text()
