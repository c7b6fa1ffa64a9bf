"""The CUDA sources as text: what a compiler is given."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

from fastdl import kernels

__all__ = ["FOLDER", "families", "text"]

FOLDER = Path(kernels.__file__).parent / "cuda"

_INCLUDE = re.compile(r'^#include "([\w.]+)"$', re.MULTILINE)


def families() -> list[str]:
    """The names of the .cu files."""
    return sorted(path.stem for path in FOLDER.glob("*.cu"))


@cache
def text(family: str) -> str:
    """A family's source with its headers in it, each once: nothing else has to be found or watched
    by whoever compiles and caches it."""
    seen: set[str] = set()

    def inlined(name: str) -> str:
        if name in seen:
            return ""
        seen.add(name)
        body = (FOLDER / name).read_text().replace("#pragma once\n", "")
        parts, end = [f'#line 1 "{name}"\n'], 0
        for found in _INCLUDE.finditer(body):
            line = body.count("\n", 0, found.end()) + 1
            parts += [body[end : found.start()], inlined(found[1]), f'#line {line} "{name}"']
            end = found.end()
        return "".join([*parts, body[end:]])

    return inlined(f"{family}.cu")
