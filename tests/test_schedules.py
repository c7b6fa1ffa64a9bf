"""Schedules: Keras's formulas written down one step at a time, and the way into training."""

import math
import threading

import numpy as np
import pytest

import fastdl
from fastdl import optimizers, schedules
from fastdl.layers import Dense
from fastdl.losses import MeanSquaredError

STEPS = np.arange(0, 400)


def exponential(step, lr, steps, rate, staircase):
    p = math.floor(step / steps) if staircase else step / steps
    return lr * rate**p


def inverse_time(step, lr, steps, rate, staircase):
    p = math.floor(step / steps) if staircase else step / steps
    return lr / (1 + rate * p)


def polynomial(step, lr, steps, end, power, cycle):
    if cycle:
        steps *= 1 if step == 0 else math.ceil(step / steps)
    else:
        step = min(step, steps)
    return (lr - end) * (1 - step / steps) ** power + end


def cosine(step, lr, steps, alpha, target, warmup):
    def decay(step, lr):
        completed = min(step, steps) / steps
        return lr * ((1 - alpha) * 0.5 * (1 + math.cos(math.pi * completed)) + alpha)

    if target is None:
        return decay(step, lr)
    if step < warmup:
        return (target - lr) * step / warmup + lr
    return decay(step - warmup, target)


def restarts(step, lr, first, t_mul, m_mul, alpha):
    period, begin, length = 0, 0.0, first
    while step >= begin + length:
        period, begin, length = period + 1, begin + length, length * t_mul
    completed = (step - begin) / length
    wave = 0.5 * m_mul**period * (1 + math.cos(math.pi * completed))
    return lr * ((1 - alpha) * wave + alpha)


def piecewise(step, boundaries, values):
    for boundary, value in zip(boundaries, values, strict=False):
        if step <= boundary:
            return value
    return values[-1]


def warm_up(step, lr, steps, initial):
    return initial + (lr - initial) * step / steps if step < steps else lr


CASES = [
    (schedules.ExponentialDecay(0.1, 70, 0.6), lambda s: exponential(s, 0.1, 70, 0.6, False)),
    (schedules.ExponentialDecay(0.1, 70, 0.6, True), lambda s: exponential(s, 0.1, 70, 0.6, True)),
    (schedules.StepDecay(0.1, 70), lambda s: exponential(s, 0.1, 70, 0.1, True)),
    (schedules.InverseTimeDecay(0.1, 70, 0.6), lambda s: inverse_time(s, 0.1, 70, 0.6, False)),
    (schedules.InverseTimeDecay(0.1, 70, 0.6, True), lambda s: inverse_time(s, 0.1, 70, 0.6, True)),
    (schedules.PolynomialDecay(0.1, 130), lambda s: polynomial(s, 0.1, 130, 1e-4, 1.0, False)),
    (
        schedules.PolynomialDecay(0.1, 130, 0.01, 2.0, cycle=True),
        lambda s: polynomial(s, 0.1, 130, 0.01, 2.0, True),
    ),
    (schedules.CosineDecay(0.1, 130), lambda s: cosine(s, 0.1, 130, 0.0, None, 0)),
    (
        schedules.CosineDecay(0.02, 130, 0.05, warmup_target=0.1, warmup_steps=60),
        lambda s: cosine(s, 0.02, 130, 0.05, 0.1, 60),
    ),
    (
        schedules.CosineDecay(0.02, 130, warmup_target=0.1),
        lambda s: cosine(s, 0.02, 130, 0.0, 0.1, 0),
    ),
    (schedules.CosineDecayRestarts(0.1, 30), lambda s: restarts(s, 0.1, 30, 2.0, 1.0, 0.0)),
    (
        schedules.CosineDecayRestarts(0.1, 30, 1.0, 0.9, 0.02),
        lambda s: restarts(s, 0.1, 30, 1.0, 0.9, 0.02),
    ),
    (
        schedules.CosineDecayRestarts(0.1, 30, 1.5, 0.8),
        lambda s: restarts(s, 0.1, 30, 1.5, 0.8, 0.0),
    ),
    (
        schedules.PiecewiseConstantDecay([50, 51, 300], [1.0, 0.5, 0.1, 0.05]),
        lambda s: piecewise(s, [50, 51, 300], [1.0, 0.5, 0.1, 0.05]),
    ),
    (schedules.WarmUp(0.1, 60, 0.01), lambda s: warm_up(s, 0.1, 60, 0.01)),
    (
        schedules.WarmUp(schedules.ExponentialDecay(0.1, 70, 0.6), 60),
        lambda s: 0.1 * s / 60 if s < 60 else exponential(s - 60, 0.1, 70, 0.6, False),
    ),
]
IDS = [f"{i}-{type(s).__name__}" for i, (s, _) in enumerate(CASES)]


class Steep(schedules.LearningRateSchedule):
    """A user's: one number a step, in plain Python."""

    def __init__(self, first=0.1):
        self.first = first

    def __call__(self, step):
        if step < 3:
            return self.first
        return self.first / math.sqrt(step)

    def get_config(self):
        return {"first": self.first}


@pytest.mark.parametrize(("schedule", "formula"), CASES, ids=IDS)
def test_rates_are_those_of_the_formula(schedule, formula):
    want = [formula(int(step)) for step in STEPS]
    np.testing.assert_allclose(schedule.rates(STEPS), want, rtol=1e-12, atol=1e-17)
    one = [float(schedule(int(step))) for step in STEPS[:5]]
    np.testing.assert_allclose(one, want[:5], rtol=1e-12, atol=1e-17)


@pytest.mark.parametrize("strategy", ["cos", "linear"])
def test_one_cycle_is_that_of_pytorch(strategy):
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.1)
    theirs = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, 0.5, total_steps=90, pct_start=0.2, anneal_strategy=strategy,
        div_factor=10.0, final_div_factor=100.0,
    )  # fmt: skip
    want = []
    for _ in range(90):
        want.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        if len(want) < 90:
            theirs.step()
    ours = schedules.OneCycle(0.5, 90, 0.2, strategy, 10.0, 100.0)
    np.testing.assert_allclose(ours.rates(np.arange(90)), want, rtol=1e-12)
    assert ours.rates([1000])[0] == pytest.approx(0.5 / 10 / 100)


@pytest.mark.parametrize("schedule", [s for s, _ in CASES], ids=IDS)
def test_configurations_make_equal_schedules(schedule):
    again = schedules.get(schedules.serialize(schedule))
    assert again == schedule and again is not schedule
    optimizer = optimizers.get(optimizers.serialize(optimizers.Adam(schedule)))
    assert optimizer.schedule == schedule
    assert optimizer.learning_rate == schedule.rates([0])[0]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: schedules.ExponentialDecay(0.1, 0, 0.5),
            "ExponentialDecay: decay_steps must be >",
        ),
        (lambda: schedules.ExponentialDecay(-0.1, 5, 0.5), "initial_learning_rate must be >= 0"),
        (lambda: schedules.InverseTimeDecay(0.1, 5, math.nan), "decay_rate must be a number"),
        (lambda: schedules.CosineDecay("much", 5), "initial_learning_rate must be a number"),
        (lambda: schedules.CosineDecayRestarts(0.1, 5, 0.5), "t_mul must be >= 1"),
        (lambda: schedules.PiecewiseConstantDecay([5], [0.1]), "one value more than boundaries"),
        (lambda: schedules.PiecewiseConstantDecay([5, 5], [1, 1, 1]), "boundaries must rise"),
        (lambda: schedules.PiecewiseConstantDecay([5], [1, -1]), "values must be >= 0"),
        (lambda: schedules.WarmUp(0.1, 0), "warmup_steps must be > 0"),
        (lambda: schedules.OneCycle(0.1, 2, 0.3), "leaves no step"),
        (lambda: schedules.OneCycle(0.1, 90, anneal_strategy="cosine"), "'cos' or 'linear'"),
        (
            lambda: schedules.get({"class_name": "CosinDecay", "config": {}}),
            "did you mean 'cosine_",
        ),
        (lambda: Steep(-1.0).rates([0]), "Steep: the learning rate of step 0 is -1.0"),
        (lambda: schedules.ExponentialDecay(1.0, 1, 3.0).rates([5, 900]), "step 900 is inf"),
    ],
)
def test_wrong_arguments_are_named(make, message):
    with np.errstate(over="ignore"), pytest.raises(ValueError, match=message):
        make()


def test_what_is_no_schedule_is_refused_and_nothing_changes():
    optimizer = optimizers.SGD(0.25)
    for wrong in (lambda step: 0.1, "fast", [0.1]):
        with pytest.raises(TypeError, match="a learning rate is a number or a"):
            optimizer.learning_rate = wrong
    assert optimizer.learning_rate == 0.25 and optimizer.schedule is None


# --- in training ----------------------------------------------------------------------------------


def line(rows=40):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(rows, 3))
    return x, x @ [[1.0], [2.0], [3.0]]


def linear(learning_rate):
    """One matrix, plain gradient descent in float64: the weights show every rate."""
    fastdl.set_seed(0)
    fastdl.set_floatx("float64")
    try:
        model = fastdl.Sequential([Dense(1, use_bias=False, input_shape=(3,))])
        model.build((None, 3))
    finally:
        fastdl.set_floatx("float32")
    model.compile(optimizers.SGD(learning_rate), "mean_squared_error")
    return model


def by_hand(rate_of, x, y, epochs, batch):
    """The weights after each step of the textbook's loop."""
    weight = linear(0.0).get_weights()[0]
    step = 0
    for _ in range(epochs):
        for at in range(0, len(x), batch):
            xb, yb = x[at : at + batch], y[at : at + batch]
            weight = weight - rate_of(step) * 2 * xb.T @ (xb @ weight - yb) / len(xb)
            step += 1
    return weight


FOLLOWED = [(schedules.InverseTimeDecay(0.05, 3, 0.5), lambda s: inverse_time(s, 0.05, 3, 0.5, 0))]
FOLLOWED += [(Steep(0.05), Steep(0.05))]


@pytest.mark.parametrize(("schedule", "rate_of"), FOLLOWED, ids=["ours", "users"])
@pytest.mark.parametrize("how", ["end", "epochs", "batches", "train_on_batch", "fit_many", "tape"])
def test_every_step_has_the_rate_of_the_schedule(schedule, rate_of, how):
    x, y = line()
    model = linear(schedule)
    arguments = {"epochs": 7, "batch_size": 12, "shuffle": False, "verbose": 0}
    if how == "train_on_batch":
        for _ in range(7):
            for at in range(0, 40, 12):
                model.train_on_batch(x[at : at + 12], y[at : at + 12])
    elif how == "tape":
        for at in [*range(0, 40, 12)] * 7:
            with fastdl.GradientTape() as tape:
                loss = MeanSquaredError()(y[at : at + 12], model(x[at : at + 12], training=True))
            weights = model.trainable_weights
            model.optimizer.apply_gradients(zip(tape.gradient(loss, weights), weights, strict=True))
    elif how == "fit_many":
        fastdl.fit_many([model], x, y, **arguments)
    else:

        class Listener(fastdl.callbacks.Callback):
            pass

        if how == "batches":
            Listener.on_train_batch_end = lambda self, batch, logs=None: None
        model.fit(x, y, callbacks=None if how == "end" else [Listener()], **arguments)
    np.testing.assert_allclose(
        model.get_weights()[0], by_hand(rate_of, x, y, 7, 12), rtol=1e-12, atol=1e-14
    )
    assert model.optimizer.iterations == 28
    assert model.optimizer.learning_rate == pytest.approx(rate_of(28), rel=1e-12)


def test_many_short_epochs_ask_the_schedule_for_many_steps_at_once():
    asked = []

    class Counted(schedules.LearningRateSchedule):
        vectorized = True

        def __call__(self, step):
            asked.append(len(step))
            return 0.01 / (1 + np.asarray(step))

    x, y = line()
    model = linear(Counted())
    model.fit(x, y, epochs=3000, batch_size=64, shuffle=False, verbose=0)
    assert sum(asked) == 3000 and len(asked) <= 4
    want = by_hand(lambda s: 0.01 / (1 + s), x, y, 3000, 64)
    np.testing.assert_allclose(model.get_weights()[0], want, rtol=1e-10)


def test_long_epochs_ask_in_parts():
    x, y = np.zeros((200_000, 3), np.float32), np.zeros((200_000, 1), np.float32)
    model = linear(schedules.StepDecay(0.1, 1000))
    model.fit(x, y, batch_size=1, verbose=0)
    assert model.optimizer.iterations == 200_000


def test_a_schedule_that_fails_stops_the_fit_where_it_is():
    class Failing(schedules.LearningRateSchedule):
        def __call__(self, step):
            return 1 / (1100 - step)

    x, y = line()
    model = linear(Failing())
    with pytest.raises(ZeroDivisionError):
        model.fit(x, y, epochs=2000, batch_size=64, verbose=0)
    assert model.optimizer.iterations == 1024
    model.optimizer.learning_rate = 0.01
    model.fit(x, y, epochs=3, batch_size=64, verbose=0)
    assert model.optimizer.iterations == 1027


def test_wrong_number_of_rates_is_refused():
    class Short(schedules.LearningRateSchedule):
        def rates(self, steps):
            return np.full(len(steps) - 1, 0.1)

    x, y = line()
    with pytest.raises(ValueError, match="Short: gave 3 rates for 4 steps"):
        linear(Short()).fit(x, y, batch_size=10, verbose=0)


def test_the_schedule_may_be_exchanged_between_epochs():
    x, y = line()

    class Change(fastdl.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            rates = [0.05, schedules.StepDecay(0.02, 5, 0.5), schedules.StepDecay(0.01, 5, 0.5)]
            self.model.optimizer.learning_rate = rates[epoch]

    model = linear(0.0)
    model.fit(x, y, epochs=3, batch_size=12, shuffle=False, verbose=0, callbacks=[Change()])

    def rate_of(step):
        return (0.05, 0.02, 0.01)[step // 4] * (0.5 ** (step // 5) if step >= 4 else 1)

    want = by_hand(rate_of, x, y, 3, 12)
    np.testing.assert_allclose(model.get_weights()[0], want, rtol=1e-12)


@pytest.mark.parametrize("inside", [False, True])
def test_models_are_saved_with_their_schedule(tmp_path, inside):
    x, y = line()
    schedule = schedules.WarmUp(Steep(0.02), 5) if inside else schedules.StepDecay(0.02, 5, 0.5)
    model = linear(schedule)
    model.fit(x, y, epochs=2, verbose=0)
    model.save(tmp_path / "model.fastdl")
    again = fastdl.load_model(tmp_path / "model.fastdl", {"Steep": Steep})
    assert again.optimizer.schedule == schedule
    assert again.optimizer.learning_rate == model.optimizer.learning_rate
    for each in (model, again):
        each.fit(x, y, epochs=2, verbose=0)
    np.testing.assert_array_equal(model.get_weights()[0], again.get_weights()[0])
    if inside:
        with pytest.raises(ValueError, match="unknown schedule 'Steep'"):
            fastdl.load_model(tmp_path / "model.fastdl")


def test_one_schedule_may_serve_models_in_several_threads():
    x, y = line()
    schedule = schedules.CosineDecayRestarts(0.05, 10)
    models = [linear(schedule) for _ in range(4)]
    threads = [
        threading.Thread(target=m.fit, args=(x, y), kwargs={"epochs": 20, "verbose": 0})
        for m in models
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for model in models[1:]:
        np.testing.assert_array_equal(model.get_weights()[0], models[0].get_weights()[0])
