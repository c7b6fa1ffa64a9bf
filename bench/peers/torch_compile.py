"""PyTorch with the network and loss through ``torch.compile``; the rest as in torch_eager.py."""

from __future__ import annotations

import torch

from .torch_eager import TorchEager

__all__ = ["TorchCompile"]


class TorchCompile(TorchEager):
    def build(self, weights, x, y):
        super().build(weights, x, y)
        self.forward = torch.compile(self.network_and_loss)
