"""The mechanism of callbacks: who is called, when, and what training need not call."""

import pytest

from fastdl.callbacks import Callback, CallbackList, History

HOOKS = [name for name in vars(Callback) if name.startswith("on_")]


def test_every_hook_reaches_those_who_override_it_in_order():
    calls = []

    def recorder(name):
        def hook(self, *arguments):
            calls.append((name, self.tag, *arguments))

        return hook

    cls = type("Recorder", (Callback,), {name: recorder(name) for name in HOOKS})
    one, two = cls(), cls()
    one.tag, two.tag = 1, 2
    both = CallbackList([one, Callback(), two])
    for name in HOOKS:
        arguments = (3, {"loss": 1.0}) if "epoch" in name or "batch" in name else ({},)
        getattr(both, name)(*arguments)
        assert calls == [(name, 1, *arguments), (name, 2, *arguments)]
        calls.clear()
    assert len(HOOKS) == 14


@pytest.mark.parametrize("what", ["train", "test", "predict"])
@pytest.mark.parametrize("when", ["begin", "end"])
def test_batches_are_needed_only_where_somebody_listens(what, when):
    cls = type("Listener", (Callback,), {f"on_{what}_batch_{when}": lambda self, b, logs=None: 0})
    some = CallbackList([History(), cls()])
    needs = (some.needs_batches, some.needs_test_batches, some.needs_predict_batches)
    assert needs == (what == "train", what == "test", what == "predict")


def test_history_and_base_need_no_batches():
    class EndOnly(Callback):
        def on_epoch_end(self, epoch, logs=None):
            pass

    assert not CallbackList([History(), Callback(), EndOnly()]).needs_batches
    assert not CallbackList(None).needs_batches


def test_a_hook_set_on_the_object_counts():
    seen = []
    callback = Callback()
    callback.on_train_batch_end = lambda batch, logs=None: seen.append(batch)
    callbacks = CallbackList(callback)
    assert callbacks.needs_batches
    callbacks.on_train_batch_end(4, {})
    assert seen == [4]


def test_model_and_params_are_given_to_all():
    callbacks = CallbackList([Callback(), Callback()], model="m", params={"epochs": 3})
    assert [(c.model, c.params) for c in callbacks.callbacks] == [("m", {"epochs": 3})] * 2
    again = CallbackList(callbacks)
    again.append(History())
    assert len(callbacks.callbacks) == 2 and len(again.callbacks) == 3


def test_history_keeps_epochs_and_forgets_the_fit_before():
    history = History()
    callbacks = CallbackList([history])
    for start in (0, 5):
        callbacks.on_train_begin({})
        callbacks.on_epoch_end(start, {"loss": 1.0})
        callbacks.on_epoch_end(start + 1, {"loss": 0.5, "val_loss": 0.75})
        assert history.history == {"loss": [1.0, 0.5], "val_loss": [0.75]}
        assert history.epoch == [start, start + 1]


@pytest.mark.parametrize("wrong", [[object()], [History], ["History"]])
def test_only_callbacks_are_taken(wrong):
    with pytest.raises(TypeError, match="Callback"):
        CallbackList(wrong)
