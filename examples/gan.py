"""A generative adversarial network on digits: two models, two optimizers, one loop of one's own.

The generator makes images of noise and a wanted digit; the discriminator tells them from real ones,
knowing the digit too (Goodfellow et al. 2014; Mirza & Osindero 2014). Each learns from the other.
One step of both is written with gradient tapes and compiled. A classifier that has been trained on
real digits says in the end how many of the samples look like a digit, and like which.
"""

import argparse

import numpy as np
from _digits import load

import fastdl
from fastdl.layers import BatchNormalization, Concatenate, Dense, Dropout, LeakyReLU

NOISE, DIGITS = 64, 10


def make_generator(pixels, width=256):
    """Noise and digit, side by side -> images of numbers from 0 to 1."""
    return fastdl.Sequential(
        [
            Dense(width, input_shape=(NOISE + DIGITS,)),
            BatchNormalization(momentum=0.9),
            LeakyReLU(0.2),
            Dense(2 * width),
            BatchNormalization(momentum=0.9),
            LeakyReLU(0.2),
            Dense(pixels, activation="sigmoid"),
        ]
    )


def make_discriminator(pixels, width=256):
    """Image and digit, side by side -> a logit: positive for real ones."""
    return fastdl.Sequential(
        [
            Dense(2 * width, input_shape=(pixels + DIGITS,)),
            LeakyReLU(0.2),
            Dropout(0.3),
            Dense(width),
            LeakyReLU(0.2),
            Dropout(0.3),
            Dense(1),
        ]
    )


def make_step(generator, discriminator, rate):
    """One update of both models, compiled."""
    crossentropy = fastdl.losses.BinaryCrossentropy(from_logits=True)
    generator_optimizer = fastdl.optimizers.Adam(rate, beta_1=0.5)
    discriminator_optimizer = fastdl.optimizers.Adam(rate, beta_1=0.5)

    @fastdl.compiled_step
    def step(images, noise, digits, real, fake):
        beside = Concatenate()
        with fastdl.GradientTape() as generator_tape, fastdl.GradientTape() as discriminator_tape:
            made = generator(beside([noise, digits]), training=True)
            of_made = discriminator(beside([made, digits]), training=True)
            of_images = discriminator(beside([images, digits]), training=True)
            generator_loss = crossentropy(real, of_made)
            loss_of_images = crossentropy(0.9 * real, of_images)
            discriminator_loss = loss_of_images + crossentropy(fake, of_made)
        weights = generator.trainable_variables
        generator_gradients = generator_tape.gradient(generator_loss, weights)
        judges = discriminator.trainable_variables
        discriminator_gradients = discriminator_tape.gradient(discriminator_loss, judges)
        generator_optimizer.apply_gradients(zip(generator_gradients, weights, strict=True))
        discriminator_optimizer.apply_gradients(zip(discriminator_gradients, judges, strict=True))
        return generator_loss, discriminator_loss

    return step


def train_classifier(x, y, epochs):
    """A network that knows real digits."""
    model = fastdl.Sequential([Dense(256, activation="relu"), Dense(10, activation="softmax")])
    model.compile("adam", "sparse_categorical_crossentropy")
    model.fit(x, y, batch_size=64, epochs=epochs, verbose=0)
    return model


def save_pictures(path, images, columns=20):
    """Writes images side by side to a PNG file."""
    import matplotlib.image

    side = round(images.shape[1] ** 0.5)
    rows = len(images) // columns
    grid = images[: rows * columns].reshape(rows, columns, side, side)
    grid = np.pad(grid, ((0, 0), (0, 0), (1, 1), (1, 1)))
    matplotlib.image.imsave(path, grid.swapaxes(1, 2).reshape(rows * (side + 2), -1), cmap="gray")


def main(data=None, epochs=60, batch_size=64, width=256, rate=2e-4, picture=None, verbose=True):
    """Returns the classifier's share of sure answers, its share of each class, and the samples."""
    fastdl.set_seed(0)
    (x, y), _ = load(data)
    generator = make_generator(x.shape[1], width)
    discriminator = make_discriminator(x.shape[1], width)
    step = make_step(generator, discriminator, rate)
    rng = np.random.default_rng(0)
    one_hot = np.eye(DIGITS, dtype=np.float32)
    ones, zeros = np.ones((batch_size, 1), np.float32), np.zeros((batch_size, 1), np.float32)
    for epoch in range(epochs):
        order, losses = rng.permutation(len(x)), []
        for start in range(0, len(x) - batch_size + 1, batch_size):
            rows = order[start : start + batch_size]
            noise = rng.standard_normal((batch_size, NOISE), dtype=np.float32)
            losses.append(step(x[rows], noise, one_hot[y[rows]], ones, zeros))
        if verbose and (epoch + 1) % max(epochs // 10, 1) == 0:
            means = np.mean([[float(g), float(d)] for g, d in losses], axis=0)
            print(f"epoch {epoch + 1}: generator {means[0]:.3f}, discriminator {means[1]:.3f}")

    noise = rng.standard_normal((1000, NOISE), dtype=np.float32)
    wanted = one_hot[np.arange(1000) % DIGITS]
    samples = generator.predict(np.concatenate([noise, wanted], axis=1))
    answers = train_classifier(x, y, epochs=20).predict(samples)
    sure = float(np.mean(answers.max(axis=1) >= 0.9))
    classes = np.bincount(answers.argmax(axis=1), minlength=10) / len(samples)
    if verbose:
        print(f"the classifier is sure of {sure:.1%} of 1,000 samples")
        print("share of each digit: " + ", ".join(f"{share:.1%}" for share in classes))
    if picture:
        save_pictures(picture, samples[:200])
    return sure, classes, samples


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--data", help="folder of MNIST-format files; scikit-learn's digits if absent"
    )
    parser.add_argument("--epochs", type=int, default=60)
    parser.add_argument("--picture", help="PNG file for samples; needs matplotlib")
    arguments = parser.parse_args()
    main(arguments.data, arguments.epochs, picture=arguments.picture)
