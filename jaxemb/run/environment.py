"""Where figures come from: commit, versions, devices, command; what env.json and recorded evaluations say."""

from __future__ import annotations

import contextlib
import importlib.metadata
import os
import platform
import shlex
import subprocess
import sys
import time
from pathlib import Path
from typing import Any


def environment() -> dict[str, Any]:
    """Where figures come from: commit, versions, devices, command."""
    import jax

    names = ("jaxemb", "jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "grain", "numpy")
    versions = {}
    for name in names:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            versions[name] = importlib.metadata.version(name)
    return {
        "time": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "command": _command(),
        **_commit(),
        "versions": {"python": platform.python_version()} | versions,
        "devices": [f"{d.platform} {d.device_kind}" for d in jax.devices()],
        "processes": jax.process_count(),
        "machine": f"{platform.machine()}, {os.cpu_count()} CPU cores",
    }


def _command() -> str:
    """As one would type it: the program without the folders of this machine."""
    program = Path(sys.argv[0])
    name = program.parent.name if program.name == "__main__.py" else program.name if program.is_absolute() else str(program)
    return shlex.join([name, *sys.argv[1:]])


def _commit() -> dict[str, Any]:
    """The commit of the code, and whether it was changed since; None outside of a git checkout."""
    for folder in (Path(__file__).parent, Path.cwd()):
        try:
            asked = [["rev-parse", "HEAD"], ["status", "--porcelain", "--untracked-files=no"]]
            said = [subprocess.run(["git", "-C", folder, *a], capture_output=True, text=True, timeout=10) for a in asked]
        except (OSError, subprocess.TimeoutExpired):
            continue
        if all(s.returncode == 0 for s in said):
            return {"commit": said[0].stdout.strip(), "dirty": bool(said[1].stdout.strip())}
    return {"commit": None, "dirty": None}
