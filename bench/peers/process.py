"""The driver's end of a peer's process (worker.py): starts it, asks it, ends it."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import tempfile

__all__ = ["Process"]


class Process:
    """A peer's process. ``skip`` says why there is none (any more)."""

    def __init__(self, name: str, threads: int) -> None:
        self.name, self.skip = name, ""
        self.versions: dict[str, str] = {}
        count = str(threads)
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 (as long as the process)
        self._process = subprocess.Popen(
            [sys.executable, "-m", f"{__package__}.worker", name, count],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            bufsize=0,
            start_new_session=True,  # so that a row's child can be ended with it
            env=os.environ
            | {f"{library}_NUM_THREADS": count for library in ("OMP", "MKL", "OPENBLAS")}
            | {"TF_CPP_MIN_LOG_LEVEL": "3"},
        )

    def send(self, request: dict) -> None:
        """Asks; the answer comes from ``receive``. Several processes can work at the same time."""
        if self.skip:
            return
        try:
            self._process.stdin.write(json.dumps(request).encode() + b"\n")
        except BrokenPipeError:
            self.close("the process died")

    def receive(self, timeout: float) -> dict:
        """The answer, or ``{"error": ...}``."""
        if self.skip:
            return {"error": self.skip}
        ready, _, _ = select.select([self._process.stdout], [], [], timeout)
        if not ready:
            self.close(f"no answer within {timeout:.0f} s")
            return {"error": self.skip}
        line = self._process.stdout.readline()
        if not line:
            self.close("the process died: " + self._last_error())
            return {"error": self.skip}
        return json.loads(line)

    def ask(self, request: dict, timeout: float) -> dict:
        self.send(request)
        return self.receive(timeout)

    def started(self, timeout: float) -> None:
        """Waits for the import."""
        answer = self.receive(timeout)
        self.versions = answer.get("versions", {})
        if "versions" not in answer:
            self.close(answer.get("skip") or answer["error"])

    def close(self, reason: str = "ended") -> None:
        self.skip = self.skip or reason
        if self._process.poll() is None:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
        self._process.stdin.close()
        self._process.stdout.close()

    def _last_error(self) -> str:
        self._errors.seek(0)
        lines = self._errors.read().decode(errors="replace").strip().splitlines()
        return lines[-1][:300] if lines else "nothing on standard error"
