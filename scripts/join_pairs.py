"""Files of pairs as one, with the name of its source at each row, and nothing twice.

    python scripts/join_pairs.py joined.jsonl code=docstrings/train.jsonl sts=stsb.parquet qa=saved_dataset/train
    python scripts/join_pairs.py clean.jsonl joined.jsonl --near .95 --model MODEL          by the vectors of a model as well

OUT is what `TextPairs(tasks=True, temperature=2)` reads: a batch holds one source, drawn in proportion to (its rows) ^
(1 / temperature). NAME is the task of the rows, in place of one that they have; FILE alone keeps theirs. Hard negatives and all
else that a row holds stay. A row goes where an earlier one has the same query and positive (of labelled texts without a positive
the same label) but for case, spaces and forms of characters; with --near, also where the mean of the cosines of its query and its
positive with those of an earlier row of any source is as high. Counts are printed.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
from mine_negatives import opened

from jaxemb.config import ConfigError
from jaxemb.data.duplicates import far_apart, first_of_each, plain
from jaxemb.data.pair_records import found_file, read_records, write_records
from jaxemb.data.tables import Row
from jaxemb.preprocess.base import DataError

Record = dict[str, Any]


def records(source: str) -> list[Row]:
    """The rows of NAME=FILE, or of a FILE whose rows have tasks, under our names of fields."""
    name, _, path = ("", "", source) if Path(source).exists() else source.partition("=")
    if not path:
        raise ConfigError(f"a source is NAME=FILE, not {source!r}, which is no file whose rows have a task either")
    found = read_records(found_file(path, "path")[0], labelled=True)
    if name:
        return [(where, row | {"task": name}) for where, row in found]
    if lacking := [where for where, row in found if row.get("task") in (None, "")]:
        raise DataError(f"{lacking[0]}: a source is NAME=FILE, not {source!r}, where rows have no task of their own")
    return found


def positive(row: Record) -> str:
    """A labelled text that has no positive is compared as itself."""
    return row.get("positive", row["query"])


def key(row: Record) -> tuple[str, ...]:
    """Equal for rows that say the same."""
    return (plain(row["query"]), plain(row["positive"])) if "positive" in row else (plain(row["query"]), "label", str(row["label"]))


def apart(rows: list[Record], model: str, threshold: float) -> list[int]:
    """Rows by their vectors; the cosine of query and positive side by side is the mean of both cosines."""
    made = opened(model)
    sides = made.encode_query([r["query"] for r in rows]), made.encode_document([positive(r) for r in rows])
    unit = [z / np.maximum(np.linalg.norm(z, axis=1, keepdims=True), 1e-12) for z in sides]
    return far_apart(np.concatenate(unit, 1), threshold).tolist()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", metavar="OUT.jsonl")
    parser.add_argument("sources", nargs="+", metavar="NAME=FILE")
    parser.add_argument("--near", type=float, metavar="COSINE", help="the mean cosine of query and positive that is too near")
    parser.add_argument("--model", help="whose vectors --near compares")
    args = parser.parse_args()
    if (args.near is None) != (args.model is None):
        parser.error("--near and --model belong together")
    try:
        found = [row for source in args.sources for row in records(source)]
        every = [row for _, row in found]
        rows = first_of_each(map(key, every))
        same, count = len(every) - len(rows), len(rows)
        if args.model:
            rows = [rows[i] for i in apart([every[i] for i in rows], args.model, args.near)]
        write_records(args.out, [found[i] for i in rows])
    except (ConfigError, DataError) as e:
        sys.exit(f"join_pairs: {e}")
    print(json.dumps({"rows": Counter(str(every[i]["task"]) for i in rows), "equal": same, "near": count - len(rows)}, indent=1))


if __name__ == "__main__":
    main()
