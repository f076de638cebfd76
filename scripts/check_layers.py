"""Imports only go down: reads every file's syntax tree and names each import that goes up or across. Run by `make lint`.

0 types config -> 1 ops -> 2 layers metrics preprocess masks token_masks -> 3 posemb pooling contrastive transforms views
index, never each other -> 4 nn -> 5 objectives -> 6 data run -> 7 evals train io log -> 8 doctor aot -> 9 experiment discover cli
-> 10 experiments/

Imports under `if TYPE_CHECKING:` are exempt. Packages that are heavy or optional are imported in the function that needs them.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

LAYERS = (
    ("types", "config", "lazy", "packages", "files", "hub", "patterns", "tensor_file"),
    ("ops",),
    ("layers", "metrics", "preprocess", "masks", "token_masks"),
    ("posemb", "pooling", "contrastive", "transforms", "views", "index"),
    ("nn",),
    ("objectives",),
    ("data", "run"),
    ("evals", "train", "io", "log"),
    ("doctor", "aot"),
    ("experiment", "discover", "cli", "__main__"),
)
LAYER = {name: i for i, names in enumerate(LAYERS) for name in names}
STRANGERS = {"posemb", "pooling", "contrastive", "transforms", "views", "index"}  # families that never import each other
BANNED = {"data": {"train", "objectives"}, "evals": {"train", "objectives"}}  # beyond the order of layers
LAZY = {
    "PIL",
    "array_record",
    "cv2",
    "faiss",
    "grain",
    "hnswlib",
    "huggingface_hub",
    "matplotlib",
    "mteb",
    "pyarrow",
    "sklearn",
    "tensorboardX",
    "tensorflow_datasets",
    "tokenizers",
    "torch",
    "usearch",
    "wandb",
}
NO_JAX = {"data", "masks", "preprocess", "token_masks", "types"}  # what data workers import


def imports(tree: ast.AST, lazy: bool = False) -> Iterator[tuple[int, str, bool]]:
    """(line, module, inside a function) of each import, without those for type checkers."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            continue
        if isinstance(node, ast.Import):
            yield from ((node.lineno, a.name, lazy) for a in node.names)
        elif isinstance(node, ast.ImportFrom):
            module = "." * node.level + (node.module or "")
            # `from jaxemb import nn` names the module jaxemb.nn
            whole = [f"{module}.{a.name}" for a in node.names] if module == "jaxemb" else [module]
            yield from ((node.lineno, m, lazy) for m in whole)
        else:
            yield from imports(node, lazy or isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)))


def fault(part: str, module: str, lazy: bool) -> str | None:
    """What is wrong with `part` of jaxemb importing `module`, if anything."""
    top, _, rest = module.partition(".")
    if not top:
        return "is relative; name the module in full"
    if top == "experiments":
        return "goes up: nothing in jaxemb knows the experiments"
    if top in LAZY and not lazy:
        return f"belongs into the function that needs {top}"
    if top in ("jax", "flax", "optax") and part in NO_JAX and not lazy:
        return f"is not for {part}: data workers must not pay for JAX"
    other = rest.split(".")[0]
    if top != "jaxemb" or other == part or not other:
        return None
    if other not in LAYER:
        return f"names {other}, which has no layer in scripts/check_layers.py"
    if LAYER[other] > LAYER[part]:
        return f"goes up: {part} is layer {LAYER[part]}, {other} is layer {LAYER[other]}"
    if {part, other} <= STRANGERS or other in BANNED.get(part, ()):
        return f"is not allowed: {part} does not know {other}"
    return None


def violations(package: Path) -> list[str]:
    """One line an import that is wrong, "file:line: ...", over the whole package."""
    found = []
    for file in sorted(package.rglob("*.py")):
        inside = file.relative_to(package).with_suffix("").parts
        part = inside[0]
        if part == "__init__":  # the façade: it imports when a name is used
            continue
        if part not in LAYER:
            found.append(f"{file}: {part} has no layer in scripts/check_layers.py")
            continue
        for line, module, lazy in imports(ast.parse(file.read_text(), str(file))):
            if why := fault(part, module, lazy):
                found.append(f"{file}:{line}: the import of {module} {why}")
    return found


def main() -> int:
    package = Path(__file__).resolve().parents[1] / "jaxemb"
    wrong = violations(package)
    print("\n".join(wrong) if wrong else f"layers: {sum(1 for _ in package.rglob('*.py'))} files, imports only go down")
    return bool(wrong)


if __name__ == "__main__":
    sys.exit(main())
