"""PyTorch modules of a row's first part: recurrent layers and blocks of attention.

Each takes its weights as `rows.initial_weights` has them, and gives them back by ``arrays``.
"""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F

from .rows import HEADS, LAYERNORM_EPSILON

__all__ = ["Block", "ConvLSTM", "Flat", "Mean", "Recurrent"]


class Flat(nn.Module):
    """Images as rows in the order (height, width, channels), in which they lie in memory."""

    def forward(self, x):
        return x.permute(0, 2, 3, 1).flatten(1)


class Mean(nn.Module):
    def forward(self, x):
        return x.mean(1)


class Recurrent(nn.Module):
    """The last output of nn.LSTM or nn.GRU. An LSTM's second bias stays 0: others have one."""

    def __init__(self, kind, kernel, recurrent, bias):
        super().__init__()
        layer = nn.LSTM if kind == "lstm" else nn.GRU
        self.kind, self.layer = kind, layer(*kernel.shape[:1], len(recurrent), batch_first=True)
        for name, value in (("ih", kernel), ("hh", recurrent)):
            getattr(self.layer, f"weight_{name}_l0").data = self._turned(value).T.contiguous()
        biases = self._turned(bias) if kind == "gru" else [bias, torch.zeros_like(bias)]
        self.layer.bias_ih_l0.data, self.layer.bias_hh_l0.data = (b.contiguous() for b in biases)
        self.layer.bias_hh_l0.requires_grad_(kind == "gru")

    def _turned(self, array):
        """PyTorch's GRU has r, z, n where the rows have z, r, n, and the other way round."""
        if self.kind == "lstm":
            return array
        z, r, n = array.chunk(3, -1)
        return torch.cat([r, z, n], -1)

    def forward(self, x):
        return self.layer(x)[0][:, -1]

    def arrays(self):
        w_ih, w_hh, b_ih, b_hh = (p.detach() for p in self.layer.parameters())
        bias = b_ih if self.kind == "lstm" else self._turned(torch.stack([b_ih, b_hh]))
        return [self._turned(w_ih.T).numpy(), self._turned(w_hh.T).numpy(), bias.numpy()]


class ConvLSTM(nn.Module):
    """The last output, flat as the others': PyTorch has no such layer, so a loop over the time."""

    def __init__(self, kernel, recurrent, bias):
        super().__init__()
        self.kernel, self.recurrent = (
            nn.Parameter(w.permute(3, 2, 0, 1).contiguous(memory_format=torch.channels_last))
            for w in (kernel, recurrent)
        )
        self.bias = nn.Parameter(bias)

    def forward(self, x):
        batch, times = x.shape[:2]
        rows = x.transpose(0, 1).flatten(0, 1).permute(0, 3, 1, 2)  # lying as they did
        fed = F.conv2d(rows, self.kernel, self.bias, padding=1).unflatten(0, (times, batch))
        gates = fed[0]
        c = h = None
        for t in range(times):
            gates = fed[t] if h is None else fed[t] + F.conv2d(h, self.recurrent, padding=1)
            i, f, g, o = gates.chunk(4, 1)
            new = torch.sigmoid(i) * torch.tanh(g)
            c = new if c is None else torch.sigmoid(f) * c + new
            h = torch.sigmoid(o) * torch.tanh(c)
        return h.permute(0, 2, 3, 1).flatten(1)

    def arrays(self):
        turned = (w.detach().permute(2, 3, 1, 0).numpy() for w in (self.kernel, self.recurrent))
        return [*turned, self.bias.detach().numpy()]


class Block(nn.Module):
    """Attention and two dense layers, each added to its input, with layer normalization."""

    def __init__(self, *weights):
        super().__init__()
        self.given = nn.ParameterList(w.T.contiguous() if w.ndim == 2 else w for w in weights)

    def forward(self, x):
        given = iter(self.given)
        q, k, v = (
            F.linear(x, next(given)).unflatten(-1, (HEADS, -1)).transpose(1, 2) for _ in range(3)
        )
        attended = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)
        width = x.shape[-1:]
        attended = F.linear(attended, next(given))
        x = F.layer_norm(x + attended, width, next(given), next(given), LAYERNORM_EPSILON)
        hidden = F.relu(F.linear(x, next(given), next(given)))
        hidden = F.linear(hidden, next(given), next(given))
        return F.layer_norm(x + hidden, width, next(given), next(given), LAYERNORM_EPSILON)

    def arrays(self):
        return [p.detach().T.numpy() if p.ndim == 2 else p.detach().numpy() for p in self.given]
