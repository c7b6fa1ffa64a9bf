"""Batch and layer normalisation."""

from __future__ import annotations

from fastdl.kernels.table.vocabulary import declare, flag, in_, inout, number, out

_EPSILON = number("epsilon", 1e-3, 0.0)

declare(
    "batchnorm_statistics",
    "Mean and biased variance of each column, by block means and squared deviations merged in "
    "a fixed order (Chan, Golub & LeVeque 1979).",
    out("mean", "C"),
    out("variance", "C"),
    in_("x", "B C"),
)
declare(
    "batchnorm_forward",
    "out = gamma*(x - mean)/sqrt(variance + epsilon) + beta, where mean and variance are those "
    "of this batch, and its gradient accounts for that (Ioffe & Szegedy 2015).",
    out("out", "B C"),
    in_("x", "B C"),
    in_("mean", "C"),
    in_("variance", "C"),
    in_("gamma", "C", optional=True),
    in_("beta", "C", optional=True),
    _EPSILON,
    backward=("batchnorm_backward",),
)
declare(
    "batchnorm_backward",
    "Gradients of batchnorm_forward, through the statistics.",
    out("grad_x", "B C"),
    out("grad_gamma", "C"),
    out("grad_beta", "C"),
    in_("grad_out", "B C"),
    in_("x", "B C"),
    in_("mean", "C"),
    in_("variance", "C"),
    in_("gamma", "C", optional=True),
    _EPSILON,
)
declare(
    "batchnorm_inference",
    "out = gamma*(x - mean)/sqrt(variance + epsilon) + beta with given statistics.",
    out("out", "B C"),
    in_("x", "B C"),
    in_("mean", "C"),
    in_("variance", "C"),
    in_("gamma", "C", optional=True),
    in_("beta", "C", optional=True),
    _EPSILON,
    backward=("batchnorm_inference_backward",),
)
declare(
    "batchnorm_inference_backward",
    "Gradients of batchnorm_inference; mean and variance are constants.",
    out("grad_x", "B C"),
    out("grad_gamma", "C"),
    out("grad_beta", "C"),
    in_("grad_out", "B C"),
    in_("x", "B C"),
    in_("mean", "C"),
    in_("variance", "C"),
    in_("gamma", "C", optional=True),
    _EPSILON,
)
declare(
    "batchnorm_update",
    "running = momentum*running + (1 - momentum)*batch, for mean and variance; ``unbiased`` "
    "takes B/(B - 1) times the variance, as PyTorch does.",
    inout("running_mean", "C"),
    inout("running_variance", "C"),
    in_("mean", "C"),
    in_("variance", "C"),
    in_("x", "B C", doc="only its number of rows is used"),
    number("momentum", 0.99, 0.0, 1.0),
    flag("unbiased"),
)
declare(
    "layernorm_forward",
    "out = gamma*(x - mean)*rstd + beta, with mean and rstd = 1/sqrt(variance + epsilon) of "
    "each row (Ba, Kiros & Hinton 2016).",
    out("out", "B C"),
    out("mean", "B"),
    out("rstd", "B"),
    in_("x", "B C"),
    in_("gamma", "C", optional=True),
    in_("beta", "C", optional=True),
    _EPSILON,
    backward=("layernorm_backward",),
)
declare(
    "layernorm_backward",
    "Gradients of layernorm_forward.",
    out("grad_x", "B C"),
    out("grad_gamma", "C"),
    out("grad_beta", "C"),
    in_("grad_out", "B C"),
    in_("x", "B C"),
    in_("mean", "B"),
    in_("rstd", "B"),
    in_("gamma", "C", optional=True),
)
