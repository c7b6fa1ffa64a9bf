"""Attention."""

from __future__ import annotations

import numpy as np

from oracle.random import dropout_backward, dropout_forward


def _attention_scores(q, k, mask, key_mask, scale, causal):
    """(B..., H, T, S)"""
    scores = scale * np.einsum("...thd,...shd->...hts", q, k)
    if mask is not None:
        scores = np.where(mask[..., None, :, :] == 0, -np.inf, scores)
    if key_mask is not None:
        scores = np.where(key_mask[..., None, None, :] == 0, -np.inf, scores)
    if causal:
        later = np.arange(k.shape[-3]) > np.arange(q.shape[-3])[:, None]
        scores = np.where(later, -np.inf, scores)
    return scores


def attention_forward(
    q, k, v, mask=None, key_mask=None, scale=1.0, causal=False, rate=0.0, stream=0, step=0, seed=0
):
    scores = _attention_scores(q, k, mask, key_mask, scale, causal)
    top = np.max(scores, -1, keepdims=True, initial=-np.inf)
    powers = np.exp(scores - np.where(np.isneginf(top), 0.0, top))
    total = powers.sum(-1, keepdims=True)
    weights = powers / np.where(total == 0, 1.0, total)
    lse = np.log(total) + top
    dropped = dropout_forward(weights, rate, stream, step, seed)
    out = np.einsum("...hts,...shv->...thv", dropped, v)
    return out, np.swapaxes(lse[..., 0], -1, -2)


def attention_backward(
    grad_out, q, k, v, mask=None, key_mask=None, out=None, lse=None, scale=1.0, causal=False,
    rate=0.0, stream=0, step=0, seed=0,
):  # fmt: skip
    random = rate, stream, step, seed
    scores = _attention_scores(q, k, mask, key_mask, scale, causal)
    log_sum = np.swapaxes(lse, -1, -2)[..., None]
    weights = np.exp(scores - np.where(np.isneginf(log_sum), np.inf, log_sum))
    dropped = dropout_forward(weights, *random)
    grad_v = np.einsum("...hts,...thv->...shv", dropped, grad_out)
    grad_dropped = np.einsum("...thv,...shv->...hts", grad_out, v)
    grad_weights = dropout_backward(grad_dropped, *random)
    mean = np.einsum("...thv,...thv->...ht", grad_out, out)[..., None]
    grad_scores = scale * weights * (grad_weights - mean)
    grad_q = np.einsum("...hts,...shd->...thd", grad_scores, k)
    grad_k = np.einsum("...hts,...thd->...shd", grad_scores, q)
    return grad_q, grad_k, grad_v
