"""Data sets and what happens to examples before the model."""

from typing import TYPE_CHECKING

from jaxemb.lazy import attach

if TYPE_CHECKING:  # written by scripts/short_imports.py
    from jaxemb.data.array_record import ArrayRecordFile as ArrayRecordFile
    from jaxemb.data.arrays import Arrays as Arrays
    from jaxemb.data.augment import ColourJitter as ColourJitter
    from jaxemb.data.augment import Flip as Flip
    from jaxemb.data.augment import ImageAugment as ImageAugment
    from jaxemb.data.augment import PadCrop as PadCrop
    from jaxemb.data.augment import RandAugment as RandAugment
    from jaxemb.data.augment import RandomResizedCrop as RandomResizedCrop
    from jaxemb.data.base import Augment as Augment
    from jaxemb.data.base import Data as Data
    from jaxemb.data.digits import Digits as Digits
    from jaxemb.data.filter import AfLite as AfLite
    from jaxemb.data.folder import ImageFolder as ImageFolder
    from jaxemb.data.folder import Listing as Listing
    from jaxemb.data.glyphs import Glyphs as Glyphs
    from jaxemb.data.hard_negatives import HardNegatives as HardNegatives
    from jaxemb.data.image_data import ImageData as ImageData
    from jaxemb.data.image_shards import ImageShards as ImageShards
    from jaxemb.data.image_shards import ShardRows as ShardRows
    from jaxemb.data.images import Images as Images
    from jaxemb.data.json_lines import JsonLinesFile as JsonLinesFile
    from jaxemb.data.key_value import KeyValue as KeyValue
    from jaxemb.data.mixing import CutMix as CutMix
    from jaxemb.data.mixing import Mix as Mix
    from jaxemb.data.mixing import Mixup as Mixup
    from jaxemb.data.order import BlockOrder as BlockOrder
    from jaxemb.data.pair_order import PairStream as PairStream
    from jaxemb.data.pair_order import TaskOrder as TaskOrder
    from jaxemb.data.parquet import Group as Group
    from jaxemb.data.parquet import ParquetFile as ParquetFile
    from jaxemb.data.pipeline import Each as Each
    from jaxemb.data.pipeline import Kept as Kept
    from jaxemb.data.pipeline import Source as Source
    from jaxemb.data.pipeline import Stream as Stream
    from jaxemb.data.pipeline import Table as Table
    from jaxemb.data.pipeline import Whole as Whole
    from jaxemb.data.recent import Recent as Recent
    from jaxemb.data.shapes import Shapes as Shapes
    from jaxemb.data.shard_file import ShardFile as ShardFile
    from jaxemb.data.shards import Shards as Shards
    from jaxemb.data.split import Split as Split
    from jaxemb.data.stream import Drawn as Drawn
    from jaxemb.data.text import Text as Text
    from jaxemb.data.text_pairs import PairTable as PairTable
    from jaxemb.data.text_pairs import TextPairs as TextPairs
    from jaxemb.data.text_shards import TextRows as TextRows
    from jaxemb.data.text_shards import TextShards as TextShards
    from jaxemb.data.textures import Textures as Textures
    from jaxemb.data.vector_pairs import VectorPairs as VectorPairs
    from jaxemb.data.write_shards import ShardWriter as ShardWriter
else:
    __getattr__, __dir__ = attach(__name__)
