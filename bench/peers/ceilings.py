"""What the machine gives at the moment: FMA peak and memory streams.

Measured by ``fastdl.kernels.calibrate`` in a process of its own, so that its threads never meet a
peer's.
"""

from __future__ import annotations

import json
import subprocess
import sys

__all__ = ["measure_ceilings"]

_PROGRAM = """
import json, sys
from fastdl.kernels import calibrate
threads = int(sys.argv[1])
print(json.dumps({"fma_flops": calibrate.fma_peak("float32", threads),
                  "stream_bytes": calibrate.stream(threads),
                  "update_stream_bytes": calibrate.update_stream(threads)}))
"""


def measure_ceilings(threads: int) -> dict[str, float]:
    """FLOP/s and bytes/s; empty where fastdl is not there to measure them."""
    command = [sys.executable, "-c", _PROGRAM, str(threads)]
    answer = subprocess.run(command, capture_output=True, text=True, check=False)
    return json.loads(answer.stdout) if answer.returncode == 0 else {}
