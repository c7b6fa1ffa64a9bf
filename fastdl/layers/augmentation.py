"""Images changed at random in training: mirrored, moved, turned, zoomed. Nothing afterwards."""

from __future__ import annotations

from typing import Any

from fastdl.layers.base import Layer
from fastdl.layers.dropout import stream
from fastdl.tensor import Tensor, apply

__all__ = ["Augmentation", "RandomFlip", "RandomRotation", "RandomTranslation", "RandomZoom"]

_FILLS = ("reflect", "nearest", "constant")


class _Random(Layer):
    """The op `augment` with some options, in training."""

    def _options(self) -> dict[str, Any]:
        raise NotImplementedError

    def _share(self, name: str, value: Any) -> float:
        """A number from 0 to 1, or an error that names the argument."""
        real = isinstance(value, (int, float)) and not isinstance(value, bool)
        if not real or not 0.0 <= value <= 1.0:
            raise ValueError(f"{self.name}: {name} must be a number from 0 to 1, got {value!r}")
        return float(value)

    def _fill(self, value: Any) -> str:
        if value not in _FILLS:
            raise ValueError(
                f"{self.name}: fill_mode must be one of {', '.join(_FILLS)}, got {value!r}"
            )
        return str(value)

    def build(self, input_shape: Any) -> None:
        """See `Layer.build`."""
        if len(input_shape) < 4:
            raise ValueError(
                f"{self.name}: wants images of shape (batch, height, width, channels), "
                f"got {input_shape}"
            )

    def call(self, x: Tensor, training: bool = False) -> Tensor:
        """See the class."""
        options = self._options()
        if not training or not any(v for k, v in options.items() if k != "fill"):
            return x
        return apply("augment", x=x, stream=stream(), **options)


class RandomFlip(_Random):
    """Mirrors each image or leaves it, by chance.

    Parameters
    ----------
    mode : {"horizontal_and_vertical", "horizontal", "vertical"}
    """

    def __init__(self, mode: str = "horizontal_and_vertical", **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if mode not in ("horizontal_and_vertical", "horizontal", "vertical"):
            raise ValueError(
                f"{self.name}: mode must be 'horizontal', 'vertical' or "
                f"'horizontal_and_vertical', got {mode!r}"
            )
        self.mode = mode

    def _options(self) -> dict[str, Any]:
        return {"horizontal": "horizontal" in self.mode, "vertical": "vertical" in self.mode}

    def get_config(self) -> dict[str, Any]:
        """See `Layer.get_config`."""
        return {**super().get_config(), "mode": self.mode}


class RandomTranslation(_Random):
    """Moves each image by up to a share of its height and width.

    Parameters
    ----------
    height_factor, width_factor : float, 0 ... 1
    fill_mode : {"reflect", "nearest", "constant"}
        What stands beyond the edges: the image mirrored, its last pixel, or 0.
    """

    def __init__(
        self, height_factor: float, width_factor: float, fill_mode: str = "reflect", **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.height_factor = self._share("height_factor", height_factor)
        self.width_factor = self._share("width_factor", width_factor)
        self.fill_mode = self._fill(fill_mode)

    def _options(self) -> dict[str, Any]:
        return {
            "height_shift": self.height_factor,
            "width_shift": self.width_factor,
            "fill": self.fill_mode,
        }

    def get_config(self) -> dict[str, Any]:
        """See `Layer.get_config`."""
        return {
            **super().get_config(),
            "height_factor": self.height_factor,
            "width_factor": self.width_factor,
            "fill_mode": self.fill_mode,
        }


class _OneFactor(_Random):
    option = ""

    def __init__(self, factor: float, fill_mode: str = "reflect", **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.factor = self._share("factor", factor)
        self.fill_mode = self._fill(fill_mode)

    def _options(self) -> dict[str, Any]:
        return {self.option: self.factor, "fill": self.fill_mode}

    def get_config(self) -> dict[str, Any]:
        """See `Layer.get_config`."""
        return {**super().get_config(), "factor": self.factor, "fill_mode": self.fill_mode}


class RandomRotation(_OneFactor):
    """Turns each image by up to a share of a full turn, either way.

    Parameters
    ----------
    factor : float, 0 ... 1
        0.1 turns by up to 36 degrees.
    fill_mode : {"reflect", "nearest", "constant"}
        What stands beyond the edges: the image mirrored, its last pixel, or 0.
    """

    option = "rotation"


class RandomZoom(_OneFactor):
    """Makes each image larger or smaller by up to a share.

    Parameters
    ----------
    factor : float, 0 <= factor < 1
        0.2 makes it 0.8 to 1.2 times as large.
    fill_mode : {"reflect", "nearest", "constant"}
        What stands beyond the edges: the image mirrored, its last pixel, or 0.
    """

    option = "zoom"

    def __init__(self, factor: float, fill_mode: str = "reflect", **kwargs: Any) -> None:
        super().__init__(factor, fill_mode, **kwargs)
        if self.factor == 1.0:
            raise ValueError(f"{self.name}: factor must be < 1, got {factor!r}")


class Augmentation(_Random):
    """All of it in one pass over the images, for the front of a network.

    Parameters
    ----------
    flip : {None, "horizontal", "vertical", "horizontal_and_vertical"}
    shift : float, 0 ... 1
        The largest share of height and width that an image is moved by.
    rotate : float, 0 ... 1
        The largest share of a full turn.
    zoom : float, 0 <= zoom < 1
        The largest share by which it becomes larger or smaller.
    noise : float >= 0
        The standard deviation of normal noise.
    fill_mode : {"reflect", "nearest", "constant"}
        What stands beyond the edges: the image mirrored, its last pixel, or 0.
    """

    def __init__(
        self,
        flip: str | None = None,
        shift: float = 0.0,
        rotate: float = 0.0,
        zoom: float = 0.0,
        noise: float = 0.0,
        fill_mode: str = "reflect",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if flip not in (None, "horizontal", "vertical", "horizontal_and_vertical"):
            raise ValueError(
                f"{self.name}: flip must be None, 'horizontal', 'vertical' or "
                f"'horizontal_and_vertical', got {flip!r}"
            )
        self.flip = flip
        self.shift, self.rotate = self._share("shift", shift), self._share("rotate", rotate)
        self.zoom = self._share("zoom", zoom)
        if self.zoom == 1.0:
            raise ValueError(f"{self.name}: zoom must be < 1, got {zoom!r}")
        self.noise = float(noise)
        if not self.noise >= 0.0:
            raise ValueError(f"{self.name}: noise must be >= 0, got {noise!r}")
        self.fill_mode = self._fill(fill_mode)

    def _options(self) -> dict[str, Any]:
        flip = self.flip or ""
        return {
            "horizontal": "horizontal" in flip,
            "vertical": "vertical" in flip,
            "height_shift": self.shift,
            "width_shift": self.shift,
            "rotation": self.rotate,
            "zoom": self.zoom,
            "fill": self.fill_mode,
        }

    def call(self, x: Tensor, training: bool = False) -> Tensor:
        """See the class."""
        x = super().call(x, training)
        if not training or self.noise == 0.0:
            return x
        return apply("gaussian_noise_forward", x=x, stddev=self.noise, stream=stream())

    def get_config(self) -> dict[str, Any]:
        """See `Layer.get_config`."""
        names = ("flip", "shift", "rotate", "zoom", "noise", "fill_mode")
        return {**super().get_config(), **{name: getattr(self, name) for name in names}}
