"""Several trained models made one, ready to embed: runs and pretrained folders alike."""

from __future__ import annotations

import json
from collections.abc import Sequence

from jaxemb.config import ConfigError, brief
from jaxemb.files import printable
from jaxemb.io.embedder import Embedder
from jaxemb.io.evaluate import is_pretrained
from jaxemb.io.export import bare
from jaxemb.io.published import essence
from jaxemb.ops.paths import by_path
from jaxemb.preprocess.text import FILE
from jaxemb.run.files import Where
from jaxemb.transforms.base import Merge, Tree, same_architecture
from jaxemb.transforms.merge import Average


def merge_models(method: Merge, models: Sequence[Where], base: Where | None = None, *, weights: str = "ema") -> Embedder:
    """The model whose parameters `method` makes of those of `models`, with the preprocessing, prompts and pooling of the first.

    Each is a run folder or a pretrained folder or id; `base` is the one that they were trained from. Running statistics (of batch
    norm) are averaged, whatever the method.
    """
    if method.side:
        raise ConfigError(
            f"{type(method).__name__} needs {method.side}, which no folder holds: call it from Python, see docs/merging.md"
        )
    if len(models) < 2 and base is None:
        raise ConfigError("one model and no base: there is nothing to merge")
    opened = [opened_as(model, weights) for model in models]
    start = None if base is None else opened_as(base, weights)
    trees = [bare(e)[1] for e in opened]
    start_tree = None if start is None else bare(start)[1]
    named = [*zip(models, opened, trees, strict=True), *([] if start is None else [(base, start, start_tree)])]
    for where, embedder, tree in named[1:]:
        _fits(named[0], where, embedder, tree)
    params = method([t["params"] for t in trees], None if start_tree is None else start_tree["params"])
    rest = {name: Average()([t[name] for t in trees]) for name in trees[0] if name != "params"}
    e = opened[0]
    made = Embedder(bare(e)[0], {"params": params, **rest}, e.preprocess, e.prompts, e.mesh, **_settings(e))
    made.origin = e.origin
    return made


def opened_as(model: Where, weights: str = "ema") -> Embedder:
    """A run or a pretrained folder."""
    return Embedder.from_pretrained(model) if is_pretrained(model) else Embedder.from_run(model, weights=weights)


def _settings(e: Embedder) -> dict:
    names = ("default_prompt_name", "similarity_fn_name", "truncate_dim")
    return {name: getattr(e, name) for name in names}


def _fits(first: tuple[Where, Embedder, Tree], where: Where, embedder: Embedder, tree: Tree) -> None:
    """Refuses what is of another architecture or reads its inputs otherwise: ids of another vocabulary are other words. Parameters
    do not tell all of a model: a length of 1 at its end has none."""
    here, one, like = first
    a, b = printable(str(here)), printable(str(where))
    try:
        same_architecture(by_path(like), by_path(tree), b)
    except ConfigError as e:
        raise ConfigError(str(e).replace("model 0", a)) from None
    x, y = bare(one)[0], bare(embedder)[0]
    for part in ("encoder", "pooling", "heads"):
        here, there = getattr(x, part, ()), getattr(y, part, ())
        if essence(here) != essence(there):
            raise ConfigError(
                f"{b} has another {part} than {a}: {brief(there)}, and there {brief(here)}; what is merged must agree"
            )
    if _tokenizer(one) != _tokenizer(embedder):
        raise ConfigError(f"{b} has another tokenizer than {a}: the same id is another word to each, and their tables do not mix")


def _tokenizer(embedder: Embedder) -> tuple | None:
    """What turns texts into ids, without how they are cut and padded; None where nothing was learned."""
    content = embedder.preprocess.state().get(FILE)
    if content is None:
        return None
    doc = json.loads(content)
    return tuple(doc.get(part) for part in ("normalizer", "pre_tokenizer", "model", "added_tokens"))
