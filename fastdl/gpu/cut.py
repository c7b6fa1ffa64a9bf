"""A Program's ops for batches of one length: the calls, in order, with their arrays and lengths."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from fastdl.gpu.call import epilogue_of
from fastdl.gpu.core import HOSTS, Call
from fastdl.gpu.loops import Loop, fused
from fastdl.gpu.memory import Memory
from fastdl.gpu.several import Average, with_average
from fastdl.kernels import door
from fastdl.kernels.table import ACTIVATIONS, DYNAMIC_OPTIONS, OPS, Op

__all__ = ["Cut", "Steps", "can_be_tail", "places_written"]

#: Batches that are captured together where a batch has few launches; and how few.
TOGETHER, FEW = 8, 100

#: Of `Cut.gains`: seconds that a launch takes in a graph, and what two cores do in a second.
LAUNCH, CPU_OPERATIONS, CPU_ELEMENTS = 2e-6, 2e11, 3e9


#: Those whose kernels apply an activation that is no option of theirs.
_WITH_EPILOGUE = ("max_pool_forward", "average_pool_forward", "batchnorm_max_pool_forward")


def can_be_tail(op: Op, tail: Op) -> bool:
    """Whether an op's kernel can apply this other one to its finished elements."""
    name = tail.name.removesuffix("_forward")
    able = op.tail is not None or op.name in _WITH_EPILOGUE
    return able and name != tail.name and name in ACTIVATIONS and tail.elementwise


def places_written(steps: list[Any]) -> Iterator[np.ndarray]:
    """The arrays that the ops of a Program write to."""
    for step in steps:
        inner, moving = step[1:] if len(step) == 3 else ([step], [])
        yield from (array for _, _, array, _, _ in moving)
        for name, arrays, *_ in inner:
            for argument, array in zip(OPS[name].arguments, arrays, strict=True):
                if argument.role != "in" and array is not None and array is not False:
                    yield array


class Steps:
    """The ops of a Program, in the form that `fastdl.kernels.program.Program` takes."""

    def __init__(
        self, driver: Any, memory: Memory, steps: list[Any], real: np.dtype, context: Any
    ) -> None:
        self.driver, self.memory, self.steps = driver, memory, steps
        self.real, self.context = real, context
        #: of each op, its tails and those of loops among them: what it reads its numbers from
        self.contexts = [context] * sum(len(s[1]) if len(s) == 3 else 1 for s in steps)
        self.scratch: dict[Any, Any] = {}
        self.communicator: Any = None

    def calls(self, rows: int) -> list[Any]:
        """What is launched for a batch of so many rows."""
        calls: list[Any] = []
        first = 0
        for step in self.steps:
            if len(step) != 3:
                self._add(calls, step, rows, {}, self.contexts[first])
                first += 1
                continue
            iterations, inner, moving = step
            contexts = self.contexts[first : first + len(inner)]
            first += len(inner)
            bodies = []
            for i in range(iterations):
                body: list[Call] = []
                for at, entry in enumerate(inner):
                    places = {
                        argument: (array, (start + advance * i) % period * (each * rows + fixed))
                        for step_, argument, array, (start, advance, period), (
                            each,
                            fixed,
                        ) in moving
                        if step_ == at
                    }
                    self._add(body, entry, rows, places, contexts[at])
                bodies.append(body)
            calls += fused(bodies, rows) or [call for body in bodies for call in body]
        return with_average(calls, self.communicator) if self.communicator else calls

    def _add(
        self, calls: list[Any], entry: Any, rows: int, places: dict[int, Any], context: Any
    ) -> None:
        name, arrays, given, per_item, is_tail = entry
        op = OPS[name]
        options = {k: v for k, v in {**op.defaults, **given}.items() if k in op.option_names}
        static = {k: v for k, v in options.items() if k not in DYNAMIC_OPTIONS}
        views = [
            array[:rows]
            if per_item and argument.batched and isinstance(array, np.ndarray)
            else array
            for argument, array in zip(op.arguments, arrays, strict=True)
        ]
        if is_tail and self._is_epilogue(calls[-1], op, views, static):
            return
        lengths, lead = door.lengths_of(op, list(views), static)
        if lead is not None or any(a.batched for a in op.arguments):
            lengths["B"] = int(np.prod(lead or (), dtype=np.int64))
        named: dict[str, Any] = {}
        for i, (argument, view) in enumerate(zip(op.arguments, views, strict=True)):
            if not isinstance(view, np.ndarray):
                named[argument.name] = None
            elif i in places:
                named[argument.name] = self.memory.part(places[i][0], places[i][1], view)
            else:
                named[argument.name] = self.memory.device(view)
        dynamic = context if len(static) < len(op.options) else None
        call = Call(
            *(op, HOSTS[name], self.driver, self._real(op, views), named, static, lengths, dynamic)
        )
        call.eager, call.scratch = False, self.scratch
        calls.append(call)

    def _real(self, op: Op, views: list[Any]) -> np.dtype:
        for argument, view in zip(op.arguments, views, strict=True):
            if argument.dtype == "real" and isinstance(view, np.ndarray):
                return view.dtype
        return self.real

    def _is_epilogue(self, head: Call, op: Op, views: list[Any], options: dict[str, Any]) -> bool:
        """Has the head apply the op to its elements, if nobody wants them as they were before."""
        out, x = (views[[a.name for a in op.arguments].index(name)] for name in ("out", "x"))
        if not self.memory.is_same(out, x) or not can_be_tail(head.op, op):
            return False
        head.epilogue = epilogue_of(op.name.removesuffix("_forward"), **options)
        return True


class Cut:
    """The launches for batches of one length: done one by one at first, when kernels are compiled
    and scratch memory is made, and recorded then.

    Parameters
    ----------
    before, after : callables
        What is launched around the calls.
    """

    def __init__(
        self,
        driver: Any,
        steps: Steps,
        rows: int,
        before: Callable[[int], None],
        after: Callable[[int], None],
    ) -> None:
        self.driver, self.steps, self.rows = driver, steps, rows
        self.before, self.after = before, after
        self.calls = steps.calls(rows)
        self.together = TOGETHER if len(self.calls) <= FEW else 1
        self._warm = False
        #: by the number of batches: what replays them, and the scratch memory that it uses
        self._recorded: dict[int, tuple[Callable[[], None], Any]] = {}

    def gains(self) -> bool:
        """Whether a GPU may be faster than a CPU at this: roughly, by what there is to launch and
        to compute."""
        launches = (len(self.calls) + 2) * LAUNCH
        work = 0.0
        plain = [one for one in self.calls if not isinstance(one, Average)]
        bodies = [one.calls if isinstance(one, Loop) else [[one]] for one in plain]
        for call in (call for calls in bodies for body in calls for call in body):
            if call.op.runs_tails:
                work += 2 * math.prod(call.lengths.values()) / CPU_OPERATIONS
            else:
                work += sum(a.size for a in call.arrays.values() if a is not None) / CPU_ELEMENTS
        return work > launches

    def _batch(self) -> None:
        self.before(self.rows)
        for call in self.calls:
            call.run()
        self.after(self.rows)

    def forget(self) -> None:
        """Records anew: something that was recorded has changed."""
        self._recorded.clear()

    def run(self, batches: int, stream: Any) -> None:
        """Launches so many batches; they may not have run when it returns."""
        if batches and not self._warm:
            self._batch()
            self._warm = True
            batches -= 1
        while batches > 0:
            count = self.together if batches >= self.together else 1
            self._replay(count, stream)()
            batches -= count

    def _replay(self, count: int, stream: Any) -> Callable[[], None]:
        found = self._recorded.get(count)
        if found is None:

            def launches() -> None:
                for _ in range(count):
                    self._batch()

            replay = self.driver.record(launches, stream)
            found = self._recorded[count] = replay, list(self.steps.scratch.values())
        return found[0]
