"""Where a pretrained model is: a folder of this machine, or one of the Hugging Face hub, downloaded once into its cache."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

from jaxemb.files import exists, is_folder, printable
from jaxemb.tensor_file import WeightsError

ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
"""How the hub names a model: org/name."""
WANTED = ("*.json", "*.safetensors", "*.txt", "*.model", "*.jinja")
"""Configs, weights, tokenizers; other frameworks' copies of the weights stay there."""
CACHED = re.compile(r"/models--(?P<org>[\w.-]+?)--(?P<name>[\w.-]+)/snapshots/(?P<commit>[^/]+)/?(?P<inner>.*)$")
"""Where the hub's cache has a model."""
UNWANTED = ("onnx/*", "openvino/*", "original/*", "*.msgpack", "*.h5", "*.bin")


class HubError(WeightsError):
    """A model that is neither a folder here nor can be had from the hub."""


def resolve(model: str | os.PathLike[str], revision: str | None = None) -> Path:
    """The folder of a model: the folder itself where there is one, else that of the hub id "org/name", at a `revision` (a branch, a
    tag or a commit). With HF_HUB_OFFLINE=1 only the hub's cache is looked at."""
    if is_folder(model):
        if revision is not None:
            raise HubError(f"revision={revision!r} is for models of the hub, and {printable(model)} is a folder")
        return Path(model)
    if exists(model):
        raise HubError(f"{printable(model)} is a file; name the folder that holds config.json and the weights")
    if not ID.fullmatch(name := os.fspath(model)):
        raise HubError(f"there is no folder {printable(name)}, and it is no id of the Hugging Face hub, which are written org/name")
    return Path(_download(name, revision))


def _download(name: str, revision: str | None) -> str:
    try:
        import huggingface_hub as hub
        from huggingface_hub import constants, errors
    except ImportError as e:
        raise HubError(
            f"there is no folder {name}; to have it from the Hugging Face hub, `pip install 'jaxemb[hub]'` (huggingface_hub)"
        ) from e
    shown = f"{name} at revision {revision}" if revision else name
    try:
        return hub.snapshot_download(name, revision=revision, allow_patterns=[*WANTED], ignore_patterns=[*UNWANTED])
    except errors.HFValidationError as e:
        raise HubError(f"there is no folder {name}, and it is no id of the Hugging Face hub: {str(e).splitlines()[0][:200]}") from e
    except errors.GatedRepoError as e:
        raise HubError(
            f"{shown}: the hub gives it only to those who accepted its terms: do so on its page, then `hf auth login`"
        ) from e
    except errors.RevisionNotFoundError as e:
        raise HubError(f"there is no folder {name}, and the hub has no revision {revision!r} of it") from e
    except errors.RepositoryNotFoundError as e:
        raise HubError(f"there is no folder {name} here and no such model on the hub (or it is private: `hf auth login`)") from e
    except (errors.LocalEntryNotFoundError, errors.OfflineModeIsEnabled, OSError) as e:
        raise HubError(_offline(constants, name, shown, e)) from e


def stays_there(folder: Path) -> list[str]:
    """Names of the files that a folder of the hub's cache has at the hub, where it can be asked; none of other folders."""
    found = CACHED.search(folder.as_posix())
    if found is None:
        return []
    name, inner = f"{found['org']}/{found['name']}", found["inner"] and found["inner"].rstrip("/") + "/"
    try:
        import huggingface_hub as hub

        every = hub.HfApi().list_repo_files(name, revision=found["commit"])
    except Exception:  # without a connection, or without the library, nothing more is known than what is here
        return []
    return sorted(f.removeprefix(inner) for f in every if f.startswith(inner) and "/" not in f.removeprefix(inner))


def _offline(constants: Any, name: str, shown: str, e: Exception) -> str:
    why = "HF_HUB_OFFLINE is set" if constants.HF_HUB_OFFLINE else f"the hub cannot be reached: {str(e).splitlines()[0][:200]}"
    return (
        f"there is no folder {name}, {shown} is not in the cache of the hub ({constants.HF_HUB_CACHE}), and {why}. Where there "
        f"is a connection, `hf download {name} --local-dir FOLDER` makes a folder that you can copy here and name instead"
    )
