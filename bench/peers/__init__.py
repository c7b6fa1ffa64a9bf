"""The same training steps in fastdl and in other libraries, side by side.

``python -m bench.peers`` runs them; ``bench/README.md`` says how to read what it prints.
One file per peer fills in the interface of ``peer.py``; ``rows.py`` says what is measured.
"""

from __future__ import annotations

__all__ = ["NOT_IMPORTED", "OURS", "PEERS"]

#: name: (module, class). The first ones are ours and always run where fastdl can be imported.
PEERS = {
    "fastdl": ("fastdl_fit", "FastdlFit"),
    "fastdl-call": ("fastdl_call", "FastdlCall"),
    "fastdl-tape": ("fastdl_loop", "FastdlTape"),
    "fastdl-step": ("fastdl_loop", "FastdlCompiled"),
    "torch": ("torch_eager", "TorchEager"),
    "torch-compile": ("torch_compile", "TorchCompile"),
    "jax-jit": ("jax_jit", "JaxJit"),
    "jax-scan": ("jax_scan", "JaxScan"),
    "keras": ("keras_fit", "KerasFit"),
    "sklearn": ("sklearn_mlp", "SklearnMLP"),
}
#: how the reason begins where a peer could not be imported
NOT_IMPORTED = "not importable: "
OURS = ("fastdl", "fastdl-call", "fastdl-tape", "fastdl-step")
