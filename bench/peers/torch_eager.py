"""PyTorch, eager: fused optimizers, batches cut beforehand, denormals flushed."""

from __future__ import annotations

from itertools import islice

import torch
from torch import nn

from .peer import Peer, Unsupported
from .rows import BATCHNORM_EPSILON, BATCHNORM_MOMENTUM
from .torch_parts import Block, ConvLSTM, Flat, Mean, Recurrent

__all__ = ["TorchEager"]


class TorchEager(Peer):
    """The plain loop: zero_grad, forward, backward, step."""

    adam = "torch"
    distributions = ("torch",)

    @staticmethod
    def limit_threads(threads):
        torch.set_flush_denormal(True)  # before the workers start: they take over our mode
        torch.set_num_threads(threads)

    def build(self, weights, x, y):
        row = self.row
        if row.batchnorm and row.batch == 1:
            raise Unsupported("PyTorch refuses BatchNorm training on one row")
        given = iter(torch.from_numpy(w.copy()) for w in weights)
        layers: list[nn.Module] = []
        last = len(row.widths) - 2
        for filters, pooled in row.convolutions:
            kernel = next(given).permute(3, 2, 0, 1)
            padding = int(row.padding == "same")
            layers.append(
                nn.Conv2d(kernel.shape[1], filters, 3, padding=padding, bias=not row.batchnorm)
            )
            layers[-1].weight.data = kernel.contiguous(memory_format=torch.channels_last)
            if row.batchnorm:
                layers.append(nn.BatchNorm2d(filters, BATCHNORM_EPSILON, 1 - BATCHNORM_MOMENTUM))
                layers[-1].weight.data = next(given)
            layers[-1].bias.data = next(given)
            layers.append(nn.ReLU())
            if pooled:
                layers.append(nn.MaxPool2d(2))
        if row.convolutions:
            layers.append(Flat())
        if row.recurrent:
            kind, arrays = row.recurrent[0], list(islice(given, 3))
            layers.append(ConvLSTM(*arrays) if kind == "convlstm" else Recurrent(kind, *arrays))
        layers += [Block(*islice(given, 12)) for _ in range(row.blocks)]
        if row.blocks:
            layers.append(Mean())
        for k, (i, o) in enumerate(zip(row.widths, row.widths[1:], strict=False)):
            normalized = row.batchnorm and k < last
            layers.append(nn.Linear(i, o, bias=not normalized))
            layers[-1].weight.data = next(given).T.contiguous()
            if normalized:
                layers.append(nn.BatchNorm1d(o, BATCHNORM_EPSILON, 1 - BATCHNORM_MOMENTUM))
                layers[-1].weight.data = next(given)
            layers[-1].bias.data = next(given)
            if k < last:
                layers.append(nn.ReLU())
                if row.dropout:
                    layers.append(nn.Dropout(row.dropout))
        self.network = nn.Sequential(*layers).train()
        self.criterion = nn.MSELoss() if row.loss == "mse" else nn.CrossEntropyLoss()
        kind = torch.optim.Adam if row.optimizer == "adam" else torch.optim.SGD
        trained = [p for p in self.network.parameters() if p.requires_grad]
        self.optimizer = kind(trained, lr=row.learning_rate, fused=True)
        images = torch.from_numpy(x)
        if row.convolutions:  # (batch, channels, height, width), lying as they did
            images = images.permute(0, 3, 1, 2)
        self.data = list(
            zip(
                images.split(row.batch),
                torch.from_numpy(y).split(row.batch),
                strict=True,
            )
        )
        self.forward = self.network_and_loss

    def network_and_loss(self, x, y):
        return self.criterion(self.network(x), y)

    def epochs(self, count, batches):
        total = 0.0
        for _ in range(count):
            losses = []
            for x, y in self.data[:batches]:
                self.optimizer.zero_grad()
                loss = self.forward(x, y)
                loss.backward()
                self.optimizer.step()
                losses.append(loss.detach())
            total += torch.stack(losses).mean().item()
        return total / count

    def weights(self):
        turned = {2: (1, 0), 4: (2, 3, 1, 0)}
        arrays = []
        for part in self.network:
            if hasattr(part, "arrays"):
                arrays += part.arrays()
                continue
            own = [p.detach().numpy() for p in part.parameters()]
            arrays += [a.transpose(turned[a.ndim]) if a.ndim in turned else a for a in own]
        return arrays
