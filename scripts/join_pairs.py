"""Files of pairs as one, with the name of its source at each row, and nothing twice.

    python scripts/join_pairs.py joined.jsonl code=docstrings/train.jsonl sts=stsb.parquet qa=saved_dataset/train
    python scripts/join_pairs.py clean.jsonl all=pairs.jsonl --near .95 --model MODEL       by the vectors of a model as well

OUT is what `TextPairs(tasks=True, temperature=2)` reads: a batch holds one source, drawn in proportion to (its rows) ^
(1 / temperature). A row goes where an earlier one has the same query and positive but for case, spaces and forms of characters;
with --near, also where the mean of the cosines of its query and its positive with those of an earlier row of any source is as high.
Counts are printed.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter
from typing import Any

import numpy as np
from mine_negatives import opened

from jaxemb.config import ConfigError
from jaxemb.data.duplicates import far_apart, first_of_each, plain
from jaxemb.data.pair_records import NAMES
from jaxemb.data.records import read_rows, text_of
from jaxemb.preprocess.base import DataError

Record = dict[str, Any]


def records(source: str) -> list[Record]:
    """The rows of NAME=FILE under our names of fields."""
    name, _, path = source.partition("=")
    if not (name and path):
        raise ConfigError(f"a source is NAME=FILE, not {source!r}")
    found = []
    for where, row in read_rows(path, None, header=True):
        names = {field: next((n for n in known if n in row), None) for field, known in NAMES.items()}
        if missing := [field for field in ("query", "positive") if names[field] is None]:
            raise DataError(f"{where}: there is no {missing[0]}, under none of the names {', '.join(NAMES[missing[0]])}")
        for field in ("query", "positive"):
            if not text_of(row, names[field] or field, where).strip():
                raise DataError(f"{where}: {names[field]!r} is empty")
        found.append({field: row[n] for field, n in names.items() if n is not None} | {"task": name})
    return found


def apart(rows: list[Record], model: str, threshold: float) -> list[int]:
    """Rows by their vectors; the cosine of query and positive side by side is the mean of both cosines."""
    made = opened(model)
    sides = made.encode_query([r["query"] for r in rows]), made.encode_document([r["positive"] for r in rows])
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
        every = [row for source in args.sources for row in records(source)]
        rows = [every[i] for i in first_of_each((plain(r["query"]), plain(r["positive"])) for r in every)]
        same, count = len(every) - len(rows), len(rows)
        if args.model:
            rows = [rows[i] for i in apart(rows, args.model, args.near)]
    except (ConfigError, DataError) as e:
        sys.exit(f"join_pairs: {e}")
    with open(args.out, "w", encoding="utf-8") as stream:
        stream.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    print(json.dumps({"rows": Counter(r["task"] for r in rows), "equal": same, "near": count - len(rows)}, indent=1))


if __name__ == "__main__":
    main()
