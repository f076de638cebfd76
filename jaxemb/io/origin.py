"""What a model was before it was trained here: enough to write it back as Hugging Face has it, wherever its folder is by then."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from etils import epath

from jaxemb.files import is_regular
from jaxemb.io.takes import tensor_shapes
from jaxemb.io.tensors import TensorFiles
from jaxemb.nn.hf.base import Port, Towers
from jaxemb.preprocess.hf_folder import read_settings
from jaxemb.run.files import Where, read_json, write_json
from jaxemb.run.folder import PRETRAINED


@dataclasses.dataclass(frozen=True)
class Origin:
    """A pretrained folder without its numbers."""

    name: str
    """The folder or hub id."""
    config: Mapping[str, Any]
    """config.json."""
    tensors: Mapping[str, tuple[int, ...]]
    """Shapes in the layout of the file, by names without a prefix; of what the model here is made of alone."""
    tokenizer: Mapping[str, Any]
    """tokenizer_config.json."""

    @staticmethod
    def of(name: str, home: Path, config: Mapping[str, Any], files: TensorFiles, whole: Port | Towers) -> Origin:
        return Origin(name, config, tensor_shapes(files, whole), read_settings(home))

    def save(self, run: Any) -> None:
        write_json(run / PRETRAINED, dataclasses.asdict(self))

    @staticmethod
    def read(run: Where) -> Origin | None:
        """Of a run folder; None where it started from nothing that was pretrained."""
        file = epath.Path(run) / PRETRAINED
        if not is_regular(file):
            return None
        doc = read_json(file)
        return Origin(doc["name"], doc["config"], {name: tuple(s) for name, s in doc["tensors"].items()}, doc["tokenizer"])
