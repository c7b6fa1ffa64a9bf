from collections.abc import Callable, Iterable
from typing import Any

class Caller:
    op_name: str
    def __init__(self, op_name: str, name: str) -> None: ...
    def __call__(self, *tensors: Any, **arguments: Any) -> Any: ...

def set_hooks(symbolic: Callable[..., Any], random: Callable[[], tuple[int, int]]) -> None: ...
def apply(name: str, without: Iterable[str] = ..., /, **arguments: Any) -> Any: ...
def apply_eagerly(name: str, without: Iterable[str] = ..., /, **arguments: Any) -> Any: ...
def gradients(
    log: Any,
    first: int,
    last: int,
    hidden: list[tuple[int, int]],
    targets: list[Any],
    seeds: list[Any],
    sources: list[Any],
) -> list[Any]: ...
