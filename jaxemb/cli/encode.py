"""`jaxemb encode`: the embeddings of a file of texts, a column, or images."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jaxemb.cli.verbs import writing
from jaxemb.config import ConfigError
from jaxemb.files import escape
from jaxemb.log.table import console, say

if TYPE_CHECKING:
    from jaxemb.io.embedder import Embedder

RANGED = ("int8", "uint8")


def encode(args: argparse.Namespace) -> None:
    import numpy as np

    from jaxemb.ops.quantize import find_ranges, quantize_embeddings

    out = Path(args.out)
    if out.suffix != ".npy":
        raise ConfigError(f"OUT must be the name of an .npy file, not {args.out!r}")
    with writing(out):  # found out before an hour of encoding
        out.parent.mkdir(parents=True, exist_ok=True)
    model = opened(args)
    items, names = read(model, Path(args.input), args.column)
    found = args.precision in RANGED and args.ranges is None
    how: dict[str, Any] = {
        "precision": "float32" if found else args.precision,
        "ranges": args.ranges and array_of(args.ranges, "--ranges"),
    }
    how |= {"batch_size": args.batch, "normalize_embeddings": args.normalize, "truncate_dim": args.truncate_dim}
    how |= {"prompt_name": args.prompt_name, "prompt": args.prompt, "show_progress_bar": console().is_terminal, "report": True}
    embeddings, report = model.encode(items, **how)
    if not isinstance(embeddings, np.ndarray):
        raise ConfigError(f"{args.run} gives a vector a token, which is no array of rows; Embedder.encode gives a list of them")
    if found:
        ranges = find_ranges(embeddings)
        embeddings, report = quantize_embeddings(embeddings, args.precision, ranges), report._replace(precision=args.precision)
        file = out.with_suffix(".ranges.npy")
        with writing(file):
            np.save(file, ranges)
        say(f"{file}: the ranges of the dimensions, for what is to be compared with these (--ranges)")
    with writing(out):
        np.save(out, embeddings)
    say(f"{out}: {len(embeddings)} embeddings of {report.width} numbers")
    if names:
        rows = out.with_suffix(".txt")
        with writing(rows):
            rows.write_text("".join(f"{escape(name)}\n" for name in names), encoding="utf-8")
        say(f"{rows}: the files, a line a row")
    say(str(report))


def opened(args: argparse.Namespace) -> Embedder:
    """The model of a run, or of a pretrained folder or id with the changes that `--set` asks for."""
    from jaxemb.io.embedder import Embedder, load
    from jaxemb.io.evaluate import is_pretrained, pretrained_options

    if is_pretrained(args.run):
        return Embedder.from_pretrained(args.run, **pretrained_options(args.set))
    if args.set:
        raise ConfigError(f"--set {args.set[0]}: this changes how a pretrained folder is opened, and {args.run} is a run")
    return load(args.run, weights=args.weights)


def read(model: Embedder, path: Path, column: str | None) -> tuple[Any, list[str]]:
    """(inputs, their names)."""
    from jaxemb.data.corpus import ROWS
    from jaxemb.data.records import read_rows, text_of

    if path.suffix.lower() in ROWS and "images" not in model.preprocess.spec:
        if column is None:
            raise ConfigError(f"{path} has rows of several values: --column names the one to embed")
        return [text_of(row, column, where) for where, row in read_rows(str(path), (column,), header=True)], []
    if column is not None:
        raise ConfigError(f"--column is for texts in {', '.join(ROWS)} files, not for {path}")
    return model.preprocess.read(path)


def array_of(file: str, what: str) -> Any:
    """The array of an .npy, mapped from the file."""
    import numpy as np

    try:
        return np.load(file, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError) as e:
        raise ConfigError(f"{what} {file}: no array can be read: {e}") from e
