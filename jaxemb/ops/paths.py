"""The leaves of a tree of parameters by their paths, "encoder/block_0/mlp/up/kernel"."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import jax


def map_paths(f: Callable[[str, Any], Any], tree: Any) -> Any:
    """f("a/b/c", leaf) for every leaf."""
    return jax.tree_util.tree_map_with_path(lambda path, x: f("/".join(str(getattr(k, "key", k)) for k in path), x), tree)


def parameter_paths(tree: Any) -> list[str]:
    """The paths "a/b/c" of all leaves."""
    return jax.tree.leaves(map_paths(lambda path, _: path, tree))


def by_path(tree: Any) -> dict[str, Any]:
    """{path: leaf}, in the order of the tree."""
    return dict(zip(parameter_paths(tree), jax.tree.leaves(tree), strict=True))


def nested(flat: Mapping[str, Any]) -> dict[str, Any]:
    """A tree of dicts from {path: leaf}."""
    tree: dict[str, Any] = {}
    for path, value in flat.items():
        *above, last = path.split("/")
        at = tree
        for name in above:
            at = at.setdefault(name, {})
        at[last] = value
    return tree
