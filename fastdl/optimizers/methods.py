"""The methods: which update op, with which options, over which state."""

from __future__ import annotations

from typing import Any, ClassVar

from fastdl.optimizers.base import Optimizer

__all__ = ["SGD", "Adagrad", "Adam", "AdamW", "RMSprop"]


class SGD(Optimizer):
    """Gradient descent, with momentum if wanted.

    Parameters
    ----------
    learning_rate : float, default 0.01 (torch: 1e-3)
    momentum : float >= 0, default 0
    nesterov : bool, default False

    Notes
    -----
    See `Optimizer` for the others, ``fastdl.kernels.sgd_update`` for the formulas.
    """

    op = "sgd_update"
    defaults: ClassVar = {"learning_rate": (0.01, 1e-3)}

    def __init__(
        self,
        learning_rate: Any = None,
        momentum: float = 0.0,
        nesterov: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(learning_rate, momentum=momentum, nesterov=bool(nesterov), **kwargs)

    def slot_values(self) -> dict[str, float]:
        """The velocity, with momentum."""
        return {"velocity": 0.0} if self.options["momentum"] > 0 else {}


class RMSprop(Optimizer):
    """Divides by a running mean of the gradient's size (Tieleman & Hinton 2012).

    Parameters
    ----------
    learning_rate : float, default 1e-3 (torch: 1e-2)
    rho : float, default 0.9 (torch: 0.99, called alpha there)
    momentum : float, default 0
    epsilon : float, default 1e-7, inside the root (torch: 1e-8, outside)
    centered : bool, default False
    """

    op = "rmsprop_update"
    defaults: ClassVar = {
        "learning_rate": (1e-3, 1e-2),
        "rho": (0.9, 0.99),
        "epsilon": (1e-7, 1e-8),
    }

    def __init__(
        self,
        learning_rate: Any = None,
        rho: float | None = None,
        momentum: float = 0.0,
        epsilon: float | None = None,
        centered: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            learning_rate,
            rho=rho,
            momentum=momentum,
            epsilon=epsilon,
            centered=bool(centered),
            **kwargs,
        )

    def slot_values(self) -> dict[str, float]:
        """The running squares; their means where centered; the velocity, with momentum."""
        slots = {"square": 0.0}
        if self.options["centered"]:
            slots["average"] = 0.0
        if self.options["momentum"] > 0:
            slots["velocity"] = 0.0
        return slots


class Adam(Optimizer):
    """Adam with bias correction (Kingma & Ba 2015).

    Parameters
    ----------
    learning_rate : float, default 1e-3
    beta_1, beta_2 : float, default 0.9, 0.999
    epsilon : float, default 1e-7 (torch: 1e-8)
    amsgrad : bool, default False
    """

    op = "adam_update"
    defaults: ClassVar = {
        "learning_rate": (1e-3, 1e-3),
        "beta_1": (0.9, 0.9),
        "beta_2": (0.999, 0.999),
        "epsilon": (1e-7, 1e-8),
    }

    def __init__(
        self,
        learning_rate: Any = None,
        beta_1: float | None = None,
        beta_2: float | None = None,
        epsilon: float | None = None,
        amsgrad: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(learning_rate, beta_1=beta_1, beta_2=beta_2, epsilon=epsilon, **kwargs)
        self.amsgrad = bool(amsgrad)
        for beta in ("beta_1", "beta_2"):
            if not self.options[beta] < 1.0:
                raise ValueError(f"{self.name}: {beta} must be < 1, got {self.options[beta]!r}")

    def slot_values(self) -> dict[str, float]:
        """The means of the gradient and of its square; their maximum with amsgrad."""
        return {"m": 0.0, "v": 0.0, **({"v_max": 0.0} if self.amsgrad else {})}

    def get_config(self) -> dict[str, Any]:
        """See `Optimizer.get_config`."""
        return {**super().get_config(), "amsgrad": self.amsgrad}


class AdamW(Adam):
    """Adam with decoupled weight decay (Loshchilov & Hutter 2019).

    Parameters
    ----------
    weight_decay : float, default 0.004 (torch: 0.01)

    Notes
    -----
    See `Adam` for the others.
    """

    defaults: ClassVar = {**Adam.defaults, "weight_decay": (0.004, 0.01)}
    decoupled_decay = True


class Adagrad(Optimizer):
    """Divides by the root of the sum of all squared gradients (Duchi, Hazan & Singer 2011).

    Parameters
    ----------
    learning_rate : float, default 1e-3 (torch: 1e-2)
    initial_accumulator_value : float, default 0.1 (torch: 0)
    epsilon : float, default 1e-7, inside the root (torch: 1e-10, outside)
    """

    op = "adagrad_update"
    defaults: ClassVar = {
        "learning_rate": (1e-3, 1e-2),
        "epsilon": (1e-7, 1e-10),
        "initial_accumulator_value": (0.1, 0.0),
    }

    def __init__(
        self,
        learning_rate: Any = None,
        initial_accumulator_value: float | None = None,
        epsilon: float | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(learning_rate, epsilon=epsilon, **kwargs)
        self.initial_accumulator_value = self._default(
            "initial_accumulator_value", initial_accumulator_value
        )

    def slot_values(self) -> dict[str, float]:
        """The sums of squares."""
        return {"square": self.initial_accumulator_value}

    def get_config(self) -> dict[str, Any]:
        """See `Optimizer.get_config`."""
        return {
            **super().get_config(),
            "initial_accumulator_value": self.initial_accumulator_value,
        }
