"""A model of jaxemb where mteb 2 evaluates one (`pip install mteb`, which brings PyTorch)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from jaxemb.config import ConfigError
from jaxemb.io.embedder import Embedder

ROLES = {"query": ("query",), "document": ("document", "passage", "corpus")}
"""The names that a prompt of a role may have."""


class MTEBModel:
    """mteb's `EncoderProtocol` over an `Embedder`: `mteb.evaluate(MTEBModel(embedder), tasks)`.

    A text gets the first prompt that the embedder has of those named after task and role, task, kind of task and role, kind of
    task, and role, as mteb has them, else its default one. All texts of a call are sorted by length inside and come back in their
    order.
    It has no methods `index` and `search`: mteb would take it for a search engine.
    """

    def __init__(self, embedder: Embedder, name: str = "jaxemb/model", revision: str = "none"):
        """`name` and `revision`: under which mteb files the results."""
        if name.count("/") != 1:
            raise ConfigError(f"name={name!r}: mteb files results under a name of the form organisation/model")
        self.embedder, self._name, self._revision = embedder, name, revision

    def encode(
        self,
        inputs: Iterable[Mapping[str, Any]],
        *,
        task_metadata: Any,
        hf_split: str,
        hf_subset: str,
        prompt_type: Any = None,
        batch_size: int = 32,
        show_progress_bar: bool = False,
        precision: Any = "float32",
        **unused: Any,
    ) -> np.ndarray:
        """The embeddings of batches of dicts, a row a text."""
        texts: list[str] = []
        for batch in inputs:
            if "text" not in batch:
                raise ConfigError(f"{task_metadata.name} gives {', '.join(batch)}: this model reads text")
            texts += batch["text"]
        role = None if prompt_type is None else str(getattr(prompt_type, "value", prompt_type))
        options = {"batch_size": batch_size, "show_progress_bar": show_progress_bar, "precision": precision}
        name = self._prompt_name(task_metadata, role)
        encode = {None: self.embedder.encode, "query": self.embedder.encode_query}.get(role, self.embedder.encode_document)
        z = encode(texts, prompt_name=name, **options)
        if isinstance(z, list):
            raise ConfigError(
                "mteb keeps one vector a text, and this model gives a matrix: `jaxemb eval` compares those, by MaxSim"
            )
        return z

    def _prompt_name(self, task: Any, role: str | None) -> str | None:
        of_task = [f"{task.name}-{role}", task.name, f"{task.type}-{role}", task.type] if role else [task.name, task.type]
        return next((name for name in (*of_task, *ROLES.get(role or "", ())) if name in self.embedder.prompts), None)

    def similarity(self, embeddings1: Any, embeddings2: Any) -> Any:
        """Of all pairs of rows, as a torch tensor."""
        import torch  # pyright: ignore[reportMissingImports]

        return torch.from_numpy(np.asarray(self.embedder.similarity(np.asarray(embeddings1), np.asarray(embeddings2))))

    def similarity_pairwise(self, embeddings1: Any, embeddings2: Any) -> Any:
        """Row by row, as a torch tensor."""
        import torch  # pyright: ignore[reportMissingImports]

        return torch.from_numpy(np.asarray(self.embedder.similarity_pairwise(np.asarray(embeddings1), np.asarray(embeddings2))))

    @property
    def mteb_model_meta(self) -> Any:
        """What mteb writes down about the model."""
        from mteb.models.model_meta import ModelMeta, ScoringFunction  # pyright: ignore[reportMissingImports]

        known = {
            "name": self._name,
            "revision": self._revision,
            "max_tokens": self.embedder.max_length,
            "similarity_fn_name": ScoringFunction(self.embedder.similarity_fn_name),
        }
        return ModelMeta.create_empty(overwrites=known)
