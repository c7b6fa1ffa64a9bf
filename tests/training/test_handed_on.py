"""Gradients that only the update behind their product reads: never written, and the same bits."""

import numpy as np
import pytest

import fastdl
from fastdl import Input, Sequential, layers, losses, optimizers
from fastdl.kernels import runner
from fastdl.kernels.program import Program
from fastdl.layers import Dense
from fastdl.programs import compiled, training_program

# (inputs, outputs, rows of the batch): each way that a product may go.
SHAPES = {
    "panels as they lie": (90, 70, 40),
    "panels of other widths": (57, 95, 9),
    "many rows, far arrays": (515, 260, 33),
    "a is copied": (530, 530, 66),
    "several rectangles": (1100, 600, 70),
    "out stays in L1": (80, 60, 150),
    "a block of the depth": (300, 200, 384),
    "more than a block of it": (300, 200, 400),
    "more of it, and a is copied": (520, 513, 420),
    "the depth is cut": (70, 50, 900),
    "one row": (1, 1100, 20),
    "one column": (1100, 1, 20),
    "a depth of one": (80, 60, 1),
}
OPTIMIZERS = [
    lambda: optimizers.Adam(0.01, amsgrad=True, weight_decay=0.1),
    lambda: optimizers.SGD(0.1, momentum=0.9, nesterov=True),
    lambda: optimizers.RMSprop(0.01, centered=True, clipvalue=0.01),
    lambda: optimizers.Adagrad(0.1),
]


def data(inputs, outputs, rows):
    rng = np.random.default_rng(rows)
    return rng.normal(size=(rows + 3, inputs)), rng.normal(size=(rows + 3, outputs))


def model_of(inputs, outputs, optimizer="adam", **options):
    fastdl.set_seed(0)
    model = Sequential([Input((inputs,)), Dense(outputs, **options)])
    model.compile(optimizer, "mean_squared_error")
    return model


def weights_after(model, x, y, rows):
    model.fit(x, y, batch_size=rows, shuffle=False, verbose=0)
    return model.get_weights()


@pytest.mark.parametrize("floatx", ["float32", "float64"])
@pytest.mark.parametrize("name", SHAPES)
def test_same_bits_as_gradients_that_are_written(name, floatx, request):
    request.addfinalizer(lambda: fastdl.set_floatx("float32"))
    request.addfinalizer(lambda: (runner.force_threads(False), fastdl.set_num_threads(None)))
    fastdl.set_floatx(floatx)
    inputs, outputs, rows = SHAPES[name]
    x, y = data(inputs, outputs, rows)
    make = OPTIMIZERS[list(SHAPES).index(name) % len(OPTIMIZERS)]
    written = model_of(inputs, outputs, make())
    written.fuse = False
    expected = weights_after(written, x, y, rows)
    for threads in (1, 2, 3):
        runner.force_threads(threads > 1)
        fastdl.set_num_threads(threads)
        model = model_of(inputs, outputs, make())
        found = weights_after(model, x, y, rows)
        assert without_memory(compiled(model, "train", rows).lowered), "nothing is tested"
        for a, b in zip(expected, found, strict=True):
            np.testing.assert_array_equal(a, b)


def without_memory(lowered):
    """The gradients that have no memory."""
    outputs = [
        n.outputs["grad_weight"] for ops in lowered.nodes for n in ops if "grad_weight" in n.outputs
    ]
    return [t for t in outputs if not any(lowered.array_of(t).strides)]


def handed_on(model, rows=8, **options):
    return without_memory(training_program(model, rows, **options).lowered)


def test_the_memory_that_it_saves():
    model = model_of(200, 100)
    least, most = (training_program(model, 8, fused=fused).lowered for fused in (True, False))
    gradient = 4 * 200 * 100
    small = 8 * 4 * (200 + 4 * 100) + 4096
    assert least.arena_bytes + least.gradient_bytes + least.scratch_bytes < small
    assert most.arena_bytes + most.gradient_bytes > gradient
    assert least.buffer_bytes > gradient  # as much as each on its own would take


def test_scratch_memory_that_a_deep_batch_needs_is_told():
    lines = []
    model = model_of(200, 100)
    model.fit(*data(200, 100, 400), batch_size=400, verbose=0)
    lowered = compiled(model, "train", 400).lowered
    assert without_memory(lowered) and lowered.scratch_bytes >= 4 * 200 * 100
    model.summary(lines.append)
    assert any("training: scratch memory" in line for line in lines)


def test_somebody_else_reads_it():
    def tied(x):
        return shared(layers.Activation("tanh")(shared(x)))

    plain = model_of(60, 60)
    assert len(handed_on(plain)) == 1 and not handed_on(plain, fused=False)
    assert not handed_on(plain, norms=True)
    assert not handed_on(model_of(60, 60, optimizers.Adam(clipnorm=1.0)))
    assert not handed_on(model_of(60, 60, optimizers.Adam(global_clipnorm=1.0)))
    assert handed_on(model_of(60, 60, kernel_regularizer="l2")), "a part of the update"
    shared = Dense(60)
    inputs = Input((60,))
    model = fastdl.Model(inputs, tied(inputs))
    model.compile("adam", "mean_squared_error")
    assert not handed_on(model)


@pytest.mark.parametrize("hands_out", [False, True])
def test_a_step_of_ones_own_may_hand_it_out(hands_out):
    x, y = (a.astype(np.float32) for a in data(60, 50, 16))
    loss = losses.MeanSquaredError()

    def step_of(model, optimizer):
        def step(x, y):
            with fastdl.GradientTape() as tape:
                value = loss(y, model(x, training=True))
            gradients = tape.gradient(value, model.trainable_variables)
            optimizer.apply_gradients(zip(gradients, model.trainable_variables, strict=True))
            return gradients[0] if hands_out else value

        return step

    models = [model_of(60, 50) for _ in range(2)]
    eager, step = (step_of(model, optimizers.Adam()) for model in models)
    step = fastdl.compiled_step(step)
    for _ in range(3):
        np.testing.assert_array_equal(eager(x, y), step(x, y))
    for a, b in zip(*(model.get_weights() for model in models), strict=True):
        np.testing.assert_array_equal(a, b)


def test_what_has_no_memory_goes_to_a_tail_only():
    x, grad_out, param = np.ones((4, 40)), np.ones((4, 50)), np.ones(2000)
    nowhere = np.broadcast_to(np.zeros(()), (40, 50))
    product = ("dense_backward_weight", [nowhere, x, grad_out], {}, 1, False)
    update = ("sgd_update", [param, nowhere.reshape(-1), None, None], {}, 0, True)
    other = ("sgd_update", [param, np.ones(2000), None, None], {}, 0, True)
    relu = ("relu_forward", [nowhere.reshape(-1), np.ones(2000)], {}, 0, False)
    totals = np.zeros(0)
    Program(4, [product, update], [], [], totals)
    for steps in ([product], [product, other], [(*update[:4], False)], [relu], [product, relu]):
        with pytest.raises(ValueError):
            Program(4, steps, [], [], totals)
