"""Hard negatives for the pairs of a file, by a model's exact search among all documents of the file.

    python scripts/mine_negatives.py MODEL pairs.jsonl mined.jsonl
    python scripts/mine_negatives.py MODEL pairs.parquet mined.jsonl --percentage .95 --guide GUIDE       NV-Embed; with a guide
    python scripts/mine_negatives.py MODEL pairs.jsonl mined.jsonl --ranks 50,100 --choose random --positive-within 50      KaLM

MODEL and GUIDE are pretrained folders, ids of the hub or runs. PAIRS is whatever `TextPairs` reads. OUT has a line a pair,
{"query", "positive", "negatives": [...], "teacher": [score of the positive, of each negative]}, which `TextPairs(negatives=7)`
reads, and what else the pair holds: its task, its score. Negatives that the file has give way to those that are found. Never a
negative: a positive that the query has in any row, and the query itself; texts that differ in case or spaces alone are one. What
was left out, and why, is printed and stands in OUT.report.json.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from jaxemb.config import ConfigError
from jaxemb.data.duplicates import plain
from jaxemb.data.hard_negatives import HardNegatives, Mined, Vectors, mine
from jaxemb.data.pair_records import found_file, read_records, write_records
from jaxemb.data.tables import Row
from jaxemb.preprocess.base import DataError


def opened(model: str) -> Any:
    """The embedder of a pretrained folder, an id or a run."""
    from jaxemb.io.embedder import Embedder
    from jaxemb.io.evaluate import is_pretrained

    return Embedder.from_pretrained(model) if is_pretrained(model) else Embedder.from_run(model)


def numbered(texts: list[str]) -> tuple[list[int], list[str]]:
    """(the number of each text, the distinct texts)."""
    number: dict[str, int] = {}
    ids = [number.setdefault(plain(text), len(number)) for text in texts]
    distinct: dict[int, str] = {}
    for i, text in zip(ids, texts, strict=True):
        distinct.setdefault(i, text)
    return ids, list(distinct.values())


def negatives_of(rule: HardNegatives, records: list[Row], model: str, guide: str | None) -> tuple[Mined, list[str]]:
    """What was mined, and the documents that it numbers."""
    q, queries = numbered([row["query"] for _, row in records])
    d, documents = numbered([row["positive"] for _, row in records])

    def embedded(folder: str) -> Vectors:
        made = opened(folder)
        return Vectors(made.encode_query(queries), made.encode_document(documents))

    place = {plain(text): i for i, text in enumerate(documents)}
    themselves = [(i, place[plain(text)]) for i, text in enumerate(queries) if plain(text) in place]
    pairs = list(zip(q, d, strict=True))
    return mine(rule, pairs, embedded(model), guide=embedded(guide) if guide else None, not_for=themselves), documents


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("pairs")
    parser.add_argument("out", metavar="OUT.jsonl")
    parser.add_argument("--number", type=int, default=7, help="negatives a pair at most (7)")
    parser.add_argument("--ranks", default="1,100", metavar="FIRST,LAST", help="which of the nearest are looked at (1,100)")
    parser.add_argument("--margin", type=float, help="how far below the positive's score a negative's must be")
    parser.add_argument("--percentage", type=float, help="of the positive's score that a negative's must be below (.95)")
    parser.add_argument("--highest", type=float, help="score of a negative")
    parser.add_argument("--choose", choices=("nearest", "random"), default="nearest")
    parser.add_argument("--positive-within", type=int, metavar="N", help="drop pairs whose positive is not among the N nearest")
    parser.add_argument("--guide", metavar="MODEL", help="a second model that must find negatives farther than the positive, too")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--columns", default="", metavar="query=A,positive=B", help="what the file calls them")
    args = parser.parse_args()
    try:
        first, last = (int(x) for x in args.ranks.split(","))
    except ValueError:
        parser.error(f"--ranks takes two whole numbers, FIRST,LAST, not {args.ranks!r}")
    try:
        same = ("number", "margin", "percentage", "highest", "choose", "positive_within", "seed")
        rule = HardNegatives(ranks=(first, last), **{name: getattr(args, name) for name in same})
        if wrong := [x for x in filter(None, args.columns.split(",")) if not all(x.partition("=")[::2])]:
            raise ConfigError(f"--columns takes query=A,positive=B, not {wrong[0]!r}")
        columns = tuple((x.partition("=")[0], x.partition("=")[2]) for x in filter(None, args.columns.split(",")))
        records = read_records(found_file(args.pairs, "path")[0], columns)
        mined, documents = negatives_of(rule, records, args.model, args.guide)
        write(args.out, records, mined, documents)
    except (ConfigError, DataError) as e:
        sys.exit(f"mine_negatives: {e}")


def write(out: str, records: list[Row], mined: Mined, documents: list[str]) -> None:
    rows = []
    for i, own, scores in zip(mined.pairs, mined.negatives, mined.scores, strict=True):
        where, row = records[i]
        new = {"negatives": [documents[j] for j in own], "teacher": [round(float(s), 6) for s in scores]}
        rows.append((where, row | new))
    write_records(out, rows)
    report = {"pairs": len(records), "kept": len(mined.pairs), "negatives": sum(map(len, mined.negatives))}
    report |= {"pairs whose positive is too far": mined.far, "pairs with fewer negatives than asked for": mined.short}
    report |= {"documents left out": mined.dropped}
    if before := sum(len(row.get("negatives", ())) for _, row in records):
        report |= {"negatives of the file that gave way": before}
    Path(f"{out}.report.json").write_text(json.dumps(report, indent=1) + "\n")
    print(json.dumps(report, indent=1))


if __name__ == "__main__":
    main()
