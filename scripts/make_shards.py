"""Shards for training from a folder of images or a file of texts: what `ImageShards(OUT)` and `TextShards(OUT)` read.

    python scripts/make_shards.py images PHOTOS OUT                     ArrayRecord, about 256 MiB a file, the splits of ImageFolder
    python scripts/make_shards.py images PHOTOS OUT --format parquet --mib 512
    python scripts/make_shards.py text CORPUS.jsonl OUT --column text   .txt (a text a line), .csv, .tsv, .jsonl

Files: OUT/train-00000-of-00004.array_record, OUT/valid-..., OUT/test-..., and OUT/label.labels.txt with the names of the classes.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from jaxemb.config import ConfigError
from jaxemb.data.base import DataError
from jaxemb.data.folder import ImageFolder
from jaxemb.data.write_shards import FORMATS, write_images, write_texts


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kind", choices=("images", "text"))
    parser.add_argument("source", help="a folder of images, or a file of texts")
    parser.add_argument("out", type=Path, help="the folder of the shards")
    parser.add_argument("--format", choices=FORMATS, default="array_record")
    parser.add_argument("--mib", type=float, default=256, help="size of a file, about")
    parser.add_argument("--test-share", type=float, help="default: .1 of images, .01 of texts")
    parser.add_argument("--valid-share", type=float)
    parser.add_argument("--column", default="text", help="of .csv, .tsv and .jsonl")
    parser.add_argument("--seed", type=int, default=0, help="of the order of the images")
    options = parser.parse_args(arguments)
    shares = {name: x for name in ("test_share", "valid_share") if (x := getattr(options, name)) is not None}
    about = {"form": options.format, "shard": max(1, round(options.mib * 2**20))}
    try:
        if options.kind == "images":
            counts = write_images(ImageFolder(options.source, **shares), options.out, seed=options.seed, **about)
        else:
            counts = write_texts(options.source, options.out, column=options.column, **shares, **about)
    except (ConfigError, DataError) as e:
        print(f"make_shards: {e}", file=sys.stderr)
        return 2
    size = sum(f.stat().st_size for f in options.out.iterdir())
    print(f"{options.out}: {', '.join(f'{n} of {split}' for split, n in counts.items())}, {size / 2**20:.1f} MiB")
    return 0


if __name__ == "__main__":
    sys.exit(main())
