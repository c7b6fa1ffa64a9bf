"""Writes a run's figures to ``bench/results/``, with what is needed to judge them.

``save("peers", figures, table)`` makes ``<machine>-<date>-peers.json`` and ``.md``: chip, cores,
compiler, Python, versions, commit and date stand in both.
"""

from __future__ import annotations

import datetime
import importlib.metadata
import json
import os
import platform
import re
import subprocess
from pathlib import Path

__all__ = ["FOLDER", "environment", "environment_table", "save"]

FOLDER = Path(__file__).parent / "results"
_ROOT = Path(__file__).parent.parent


def environment() -> dict[str, str]:
    """Chip, cores, memory, system, Python, NumPy, commit, date; fastdl's compiler, instructions."""
    facts = {
        "chip": _chip(),
        "cores": str(len(os.sched_getaffinity(0))),
        "memory": f"{os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / 2**30:.0f} GiB",
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "python": platform.python_version(),
        "numpy": importlib.metadata.version("numpy"),
        "commit": _commit(),
        "date": datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M UTC"),
    }
    return facts | _fastdl()


def environment_table(facts: dict[str, str]) -> str:
    """The facts as a Markdown table."""
    rows = [f"| {name} | {value} |" for name, value in facts.items()]
    return "\n".join(["| | |", "|---|---|", *rows])


def save(
    name: str, figures: dict, markdown: str, *, machine: str = "", folder: Path = FOLDER
) -> Path:
    """Writes both files and returns the Markdown one's path.

    ``figures`` goes into the JSON beside the environment; ``markdown`` is the table that people
    read. ``machine`` names the files; left out, it is made from the chip and its cores.
    """
    facts = environment()
    slug = machine or f"{facts['chip']} {facts['cores']} cores"
    slug = re.sub(r"\((r|tm)\)|@.*ghz|\bcpu\b|\bprocessor\b", " ", slug.lower())
    slug = re.sub(r"[^a-z0-9]+", "-", slug).strip("-")
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{slug}-{facts['date'][:10]}-{name}.md"
    path.write_text(f"{markdown.rstrip()}\n\n{environment_table(facts)}\n")
    everything = {"environment": facts, **figures}
    path.with_suffix(".json").write_text(json.dumps(everything, indent=1) + "\n")
    return path


def _chip() -> str:
    """The processor's name; where a virtual machine hides it, its family and model beside."""
    fields: dict[str, str] = {}
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            key, _, value = line.partition(":")
            fields.setdefault(key.strip(), value.strip())
    except OSError:
        return platform.processor() or platform.machine()
    name = fields.get("model name", platform.machine())
    if "cpu family" in fields and not re.search(r"\d", name):
        name += f" (family {fields['cpu family']} model {fields['model']})"
    return name


def _commit() -> str:
    command = ["git", "describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"]
    try:
        answer = subprocess.run(command, capture_output=True, text=True, check=True, cwd=_ROOT)
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return answer.stdout.strip()


def _fastdl() -> dict[str, str]:
    """What fastdl says about itself, where it can be imported."""
    try:
        from fastdl.runtime import config
    except ImportError:
        return {}
    wanted = ("fastdl", "instruction set", "OpenMP", "compiler")
    return {name: value for name, value in config().items() if name in wanted}
