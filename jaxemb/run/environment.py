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

from etils import epath

from jaxemb import packages
from jaxemb.run.files import RunError, Where, read_json


def environment() -> dict[str, Any]:
    """Where figures come from: commit, versions, devices, command."""
    import jax

    names = ("jaxemb", "jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "grain", "numpy", "scikit-learn", "tokenizers")
    versions = {}
    for name in names:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            versions[name] = importlib.metadata.version(name)
    return {
        "time": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "command": _command(),
        **commit(),
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


def commit() -> dict[str, Any]:
    """The commit of the code, and whether it was changed since; None outside of a git checkout.

    Asked of the trees of our own code and of the user's project alone, never of the current folder: a stranger's .git/config can
    name commands that git runs.
    """
    git = ["git", "-c", "core.fsmonitor=", "-c", f"core.hooksPath={os.devnull}"]
    for folder in (Path(__file__).parent, *packages.projects()):
        try:
            asked = [["rev-parse", "HEAD"], ["status", "--porcelain", "--untracked-files=no"]]
            said = [subprocess.run([*git, "-C", folder, *a], capture_output=True, text=True, timeout=10) for a in asked]
        except (OSError, subprocess.TimeoutExpired):
            continue
        if all(s.returncode == 0 for s in said):
            return {"commit": said[0].stdout.strip(), "dirty": bool(said[1].stdout.strip())}
    return {"commit": None, "dirty": None}


def read_environment(folder: Where) -> dict[str, Any]:
    """env.json of a run folder, checked as far as it is used."""
    file = epath.Path(folder) / "env.json"
    found = read_json(file)
    commit, devices = found.get("commit"), found.get("devices")
    wrong = [name for name, kind in (("versions", dict), ("earlier", list)) if not isinstance(found.get(name, kind()), kind)]
    wrong += [] if commit is None or isinstance(commit, str) else ["commit"]
    wrong += [] if isinstance(devices, list) and devices else ["devices"]
    if wrong:
        raise RunError(f"{file} is damaged: {', '.join(wrong)} cannot be understood")
    return found
