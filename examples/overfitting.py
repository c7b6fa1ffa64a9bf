"""Over-fitting on a few handwritten digits, and five remedies side by side.

A wide network learns 150 digits by heart. Beside it: L2 and L1 penalties, Dropout,
BatchNormalization, and stopping early.
"""

import argparse

import _digits

import fastdl
from fastdl.callbacks import EarlyStopping
from fastdl.layers import BatchNormalization, Dense, Dropout
from fastdl.regularizers import L1, L2

REMEDIES = ("none", "L2", "L1", "Dropout", "BatchNormalization", "early stopping")


def network(remedy):
    """The network with one of the remedies built in."""
    penalty = {"L2": L2(3e-3), "L1": L1(3e-4)}.get(remedy)
    layers = []
    for _ in range(2):
        layers.append(Dense(256, activation="relu", kernel_regularizer=penalty))
        if remedy == "Dropout":
            layers.append(Dropout(0.5))
        if remedy == "BatchNormalization":
            layers.append(BatchNormalization())
    model = fastdl.Sequential([*layers, Dense(10, activation="softmax")])
    model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
    return model


def save_curves(path, histories):
    """Draws each remedy's loss on its own and on other digits."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, panels = plt.subplots(2, 3, figsize=(11, 6), sharex=True, sharey=True)
    for remedy, history, axes in zip(REMEDIES, histories, panels.flat, strict=True):
        epochs = [epoch + 1 for epoch in history.epoch]
        axes.plot(epochs, history.history["loss"], label="own digits")
        axes.plot(epochs, history.history["val_loss"], label="other digits")
        axes.set(title=remedy, yscale="log")
    for axes in panels[1]:
        axes.set_xlabel("epoch")
    for axes in panels[:, 0]:
        axes.set_ylabel("loss")
    panels[0, 0].legend()
    figure.tight_layout()
    figure.savefig(path)
    plt.close(figure)


def main(rows=150, epochs=100, picture=None, verbose=True):
    """Returns of each remedy the losses on own and on other digits, the accuracy, the epochs."""
    (x, y), (x_test, y_test) = _digits.load()
    x, y = x[:rows], y[:rows]
    models = []
    for remedy in REMEDIES:
        fastdl.set_seed(0)
        models.append(network(remedy))

    def callbacks(index):
        if REMEDIES[index] != "early stopping":
            return []
        return [EarlyStopping(patience=10, restore_best_weights=True)]

    histories = fastdl.fit_many(
        models,
        x,
        y,
        epochs=epochs,
        validation_data=(x_test, y_test),
        callbacks=callbacks,
        verbose=0,
    )
    crossentropy = fastdl.losses.SparseCategoricalCrossentropy()  # without the penalties
    found = {}
    for remedy, history in zip(REMEDIES, histories, strict=True):
        own = float(crossentropy(y, history.model.predict(x)))
        others = float(crossentropy(y_test, history.model.predict(x_test)))
        accuracy = history.model.evaluate(x_test, y_test)[1]
        found[remedy] = own, others, accuracy, len(history.epoch)
    if verbose:
        print(f"{'remedy':20}{'epochs':>7}{'loss':>9}{'on others':>11}{'gap':>8}{'accuracy':>10}")
        for remedy, (own, others, accuracy, ran) in found.items():
            print(f"{remedy:20}{ran:7}{own:9.4f}{others:11.4f}{others - own:8.4f}{accuracy:10.3f}")
    if picture:
        save_curves(picture, histories)
    return found


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--epochs", type=int, default=100)
    parser.add_argument("--picture", help="PNG file for the curves; needs matplotlib")
    arguments = parser.parse_args()
    main(epochs=arguments.epochs, picture=arguments.picture)
