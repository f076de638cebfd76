"""Small shards of drawn images."""

import io
from pathlib import Path

import numpy as np
from PIL import Image

from jaxemb.data.tf_example import encode


def png(pixels) -> bytes:
    """An image as the bytes of a file."""
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "PNG")
    return stream.getvalue()


def write_records(path, records) -> None:
    """A file of ArrayRecord."""
    from array_record.python.array_record_module import ArrayRecordWriter

    writer = ArrayRecordWriter(str(path), "group_size:1")
    for record in records:
        writer.write(record)
    writer.close()


def write_parquet(path, rows, group=5) -> None:
    """A file of Parquet."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    pq.write_table(pa.Table.from_pylist(rows), path, row_group_size=group, write_page_checksum=True)


def write_photos(folder: Path, kind: str) -> str:
    """Two shards of 20 images each, whose labels are their numbers; gives the pattern."""
    pixels = np.random.default_rng(0).integers(0, 256, (40, 12, 16, 3), np.uint8)
    rows = [{"image": png(x), "label": i} for i, x in enumerate(pixels)]
    for k in (0, 1):
        part = rows[20 * k : 20 * k + 20]
        if kind == "parquet":
            write_parquet(folder / f"photos-{k}.parquet", part)
        else:
            write_records(folder / f"photos-{k}.array_record", map(encode, part))
    return str(folder / f"photos-*.{kind}")
