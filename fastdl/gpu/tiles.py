"""How a product is cut into tiles, and its depth into parts: by the sizes alone."""

from __future__ import annotations

from typing import Any

from fastdl.gpu.core import Call

__all__ = ["BLOCKS", "cut", "room_for_parts"]

#: As many blocks of a large tile as a large GPU runs at once.
BLOCKS = 264

#: Fewest terms of a part: of the smallest tile, and of larger ones.
LEAST_DEPTH, LEAST_DEPTH_OF_LARGE = 64, 256

#: The largest tile whose last block adds up the parts by itself, and of how many elements in all:
#: more of them are worth a launch.
LARGEST_ADDED, MOST_ADDED = 64 * 64, 1 << 15


def cut(
    tiles: list[tuple[int, int]], M: int, N: int, K: int, items: int
) -> tuple[tuple[int, int], int, int]:
    """A tile, how many of them there are, and into how many parts the depth is cut.

    Of the tiles, the most efficient first, it is the first that keeps two thirds of the GPU busy
    and is not for the larger part empty where the last one would be fuller; else the last.
    """
    smallest = tiles[-1]
    for which in tiles:
        m, n = which
        count = items * -(-M // m) * -(-N // n)
        least = LEAST_DEPTH if which == smallest else LEAST_DEPTH_OF_LARGE
        parts = max(1, min(BLOCKS // max(count, 1), K // least))
        full = (m < 2 * M or m == smallest[0]) and (n < 2 * N or n == smallest[1])
        if which == smallest or (full and 3 * count * parts >= 2 * BLOCKS):
            break
    return which, count, parts


def room_for_parts(
    call: Call, tile: tuple[int, int], count: int, parts: int, size: int
) -> tuple[Any, Any]:
    """Layers for the parts of so many tiles, of ``size`` elements each, and the tiles' counters.

    There are no layers where there is one part, and no counters where `merge` has to be launched.
    """
    if parts == 1:
        return None, None
    elements = tile[0] * tile[1]
    few = elements <= LARGEST_ADDED and parts * elements <= MOST_ADDED
    return call.workspace("parts", parts * size), call.counters(count) if few else None
