"""Models in several hands: copies, threads, processes, callbacks that fail, the caller's state."""

import copy
import multiprocessing
import os
import pickle
import threading

import numpy as np
import pytest
from networks import LABELS, LOSSES, TwoInputs, X, Y, bits, classifier, two_by_two

import fastdl
from fastdl import Sequential
from fastdl.layers import Dense


@pytest.mark.parametrize("how", ["deepcopy", "pickle"])
@pytest.mark.parametrize("make", [classifier, "functional", "subclass"])
def test_copies_are_independent_and_train_on_as_the_original(how, make):
    fastdl.set_seed(2)
    x, y = X, LABELS
    if make == "functional":
        model = two_by_two()
        model.compile(fastdl.optimizers.Adam(amsgrad=True), LOSSES)
        x, y = [X, X[:, :2]], [Y, LABELS]
    elif make == "subclass":
        model = TwoInputs()
        model.compile(fastdl.optimizers.RMSprop(momentum=0.5), "mse")
        x, y = [X, X[:, :2]], Y
    else:
        model = make()
    model.fit(x, y, epochs=2, verbose=0)
    other = copy.deepcopy(model) if how == "deepcopy" else pickle.loads(pickle.dumps(model))
    before = bits(model)
    assert bits(other) == before
    other.fit(x, y, epochs=2, verbose=0)
    assert bits(model) == before != bits(other)
    model.fit(x, y, epochs=2, verbose=0)
    assert bits(model) == bits(other)
    assert all(w.arena is not v.arena for w, v in zip(model.weights, other.weights, strict=True))


def in_threads(function, count=8):
    results, errors = [None] * count, []
    gate = threading.Barrier(count)

    def run(k):
        try:
            gate.wait()
            results[k] = function(k)
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=run, args=(k,)) for k in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors, errors
    return results


def test_one_model_predicts_in_many_threads():
    model = Sequential([Dense(32, "relu"), Dense(3, "softmax")])
    first = in_threads(lambda k: model.predict(X[k : k + 1]))  # built by eight threads at once
    assert len(model.weights) == 4
    want = [model.predict(X[k : k + 1]) for k in range(8)]
    np.testing.assert_array_equal(first, want)
    whole = model.predict(np.repeat(X, 100, axis=0))

    def work(k):
        for i in range(100):
            np.testing.assert_array_equal(model.predict(X[k : k + 1]), want[k])
            if i % 10 == 0:
                np.testing.assert_array_equal(model.predict(np.repeat(X, 100, axis=0)), whole)

    in_threads(work)


def test_fits_in_threads_are_those_in_a_row():
    def work(k):
        model = models[k]
        model.fit(X, LABELS, epochs=20, batch_size=7, verbose=0)
        return bits(model)

    results = []
    for run in (lambda: [work(k) for k in range(6)], lambda: in_threads(work, 6)):
        fastdl.set_seed(8)
        models = [classifier() for _ in range(6)]
        results.append(run())
    assert results[0] == results[1]


def test_others_may_evaluate_while_a_model_is_fitted():
    model = classifier()
    fitted = threading.Event()

    def fit(k):
        try:
            return model.fit(X, LABELS, epochs=20000, verbose=0, validation_data=(X, LABELS))
        finally:
            fitted.set()

    def look(k):
        rng, count = np.random.default_rng(k), 0
        while not fitted.is_set() or count < 10:
            rows = rng.integers(1, 20)
            assert np.isfinite(model.evaluate(X[:rows].copy(), LABELS[:rows].copy())[0])
            assert np.isfinite(model.predict(X[:rows].copy())).all()
            count += 1

    history, _ = in_threads(lambda k: look(k) if k else fit(k), 2)
    assert history.history["val_loss"][-1] == model.evaluate(X, LABELS)[0]


def test_the_same_model_cannot_be_fitted_twice_at_once():
    model = classifier()
    seen = []

    class Other(fastdl.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            def fit():
                with pytest.raises(RuntimeError, match="already being trained"):
                    self.model.train_on_batch(X, LABELS)
                seen.append(self.model.evaluate(X, LABELS)[0])

            thread = threading.Thread(target=fit)
            thread.start()
            thread.join()

    model.fit(X, LABELS, verbose=0, callbacks=Other())
    assert len(seen) == 1


def test_a_callback_that_raises_leaves_a_model_that_works():
    class Broken(fastdl.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            if batch == 2:
                raise ZeroDivisionError("in a callback")

    model = classifier()
    with pytest.raises(ZeroDivisionError):
        model.fit(X, LABELS, batch_size=4, verbose=0, callbacks=Broken())
    assert model.optimizer.iterations == 3
    model.fit(X, LABELS, verbose=0)
    assert np.isfinite(model.evaluate(X, LABELS)).all()


def _child(queue, model):
    model.fit(X, LABELS, epochs=2, verbose=0)
    queue.put((fastdl.get_num_threads(), model.predict(X[:1]).tolist()))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_child_trains_and_predicts_on_one_thread():
    fastdl.set_seed(4)
    model = classifier()
    wide = Sequential([Dense(512, "relu", input_shape=(256,)), Dense(256)])
    fastdl.set_num_threads(2)
    try:
        wide.compile("sgd", "mse")
        wide.fit(np.ones((256, 256)), np.ones((256, 256)), verbose=0)  # on two threads
        model.predict(X[:1])
        context = multiprocessing.get_context("fork")
        queue = context.Queue()
        child = context.Process(target=_child, args=(queue, model))
        child.start()
        threads, predicted = queue.get(timeout=60)
        child.join(60)
        assert child.exitcode == 0 and threads == 1
        model.fit(X, LABELS, epochs=2, verbose=0)
        assert model.predict(X[:1]).tolist() == predicted
        pid = os.fork()
        if pid == 0:
            os._exit(0 if np.isfinite(wide.predict(np.ones((300, 256)))).all() else 1)
        assert os.waitpid(pid, 0)[1] == 0
    finally:
        fastdl.set_num_threads(None)


def denormal_survives():
    tiny = np.full(8, 1e-39, np.float32)
    return bool((tiny * np.float32(0.5)).all())


def test_the_callers_floating_point_state_is_unchanged():
    assert denormal_survives()
    model = classifier()
    model.fit(X, LABELS, verbose=0)
    assert denormal_survives()
    model.predict(X[:1])
    model.predict(X[:1])
    assert denormal_survives()
