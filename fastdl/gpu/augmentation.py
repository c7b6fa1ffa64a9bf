"""Images moved at random."""

from __future__ import annotations

from fastdl.gpu.core import Call, Family

augmentation = Family("augmentation")


@augmentation.host("augment")
def _augment(call: Call) -> None:
    rows, (H, W, C) = call.rows, (call.lengths[letter] for letter in "HWC")
    maps = call.workspace("maps", 6 * rows, float)
    options = [
        call[name]
        for name in (
            "horizontal", "vertical", "height_shift", "width_shift", "rotation", "zoom", "stream",
        )
    ]  # fmt: skip
    n = call.size("x")
    if n > 0:
        call.elements("augment_maps", rows, maps, *options, call.context, rows, H, W)
        call.elements("augment", n, call["out"], call["x"], maps, call["fill"], H, W, C, n)
