"""A grid search and a random search over hyper-parameters, each candidate judged by k folds.

All models of a search, those of every candidate and fold, are trained side by side.
"""

import argparse
import itertools

import _digits
import numpy as np

import fastdl
from fastdl.data import StratifiedKFold, cross_validate
from fastdl.layers import Dense, Dropout
from fastdl.optimizers import Adam


def make(units=32, rate=1e-3, dropout=0.0):
    """A candidate."""
    layers = [Dense(units, activation="relu"), Dropout(dropout), Dense(10, activation="softmax")]
    model = fastdl.Sequential(layers)
    model.compile(Adam(rate), "sparse_categorical_crossentropy", metrics=["accuracy"])
    return model


def grid():
    """Every pair of a few values."""
    values = {"units": (8, 32, 64), "rate": (1e-3, 1e-2)}
    return [dict(zip(values, one, strict=True)) for one in itertools.product(*values.values())]


def draws(count, seed=0):
    """Values drawn from ranges: whole numbers, and rates evenly over their magnitudes."""
    rng = np.random.default_rng(seed)
    return [
        {
            "units": int(rng.integers(8, 65)),
            "rate": float(10 ** rng.uniform(-3.5, -1.5)),
            "dropout": float(rng.uniform(0, 0.5)),
        }
        for _ in range(count)
    ]


def main(epochs=10, folds=4, count=6, verbose=True):
    """Returns the candidates of both searches with their mean accuracies, the best first."""
    (x, y), _ = _digits.load()
    fastdl.set_seed(0)
    results = {}
    for name, candidates in (("grid", grid()), ("random", draws(count))):
        cv = StratifiedKFold(folds, shuffle=True, seed=0)
        found = cross_validate(make, x, y, cv=cv, parameters=candidates, epochs=epochs)
        found.sort(key=lambda one: -one.mean("val_accuracy"))
        results[name] = [(one.parameters, one.mean("val_accuracy")) for one in found]
        if verbose:
            print(f"{name} search, {len(candidates)} candidates on {folds} folds")
            for one in found[:3]:
                scores = one.scores["val_accuracy"]
                values = ", ".join(f"{k} {v:.3g}" for k, v in one.parameters.items())
                print(f"  {scores.mean():.4f} +- {scores.std():.4f}  {values}")
    return results


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--epochs", type=int, default=10)
    main(parser.parse_args().epochs)
