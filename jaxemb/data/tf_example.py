"""Records of named values: tf.train.Example, as TensorFlow Datasets writes them into ArrayRecord, without TensorFlow.

    Example { Features = 1 { map<string, Feature> = 1 } }     Feature { BytesList = 1 | FloatList = 2 | Int64List = 3 }

A list holds its values in field 1; numbers are packed into one field or given one by one.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

VARINT, DOUBLE, LENGTH, FLOAT = 0, 1, 2, 5
"""Wire types of protocol buffers."""
Value = bytes | str | int | float


def decode(record: bytes) -> dict[str, list[Any]]:
    """The values by name: lists of bytes, floats or integers. ValueError where the record is none."""
    found = {}
    for number, features in _fields(record):
        for entry_number, entry in _fields(features) if number == 1 else ():
            if entry_number == 1:
                pair = dict(_fields(entry))
                found[_bytes(pair.get(1, b"")).decode()] = _values(pair.get(2, b""))
    return found


def encode(values: Mapping[str, Value]) -> bytes:
    """One value a name."""
    return _field(1, b"".join(_field(1, _field(1, name.encode()) + _field(2, _feature(v))) for name, v in values.items()))


def _feature(value: Value) -> bytes:
    if isinstance(value, (bytes, str)):
        return _field(1, _field(1, value.encode() if isinstance(value, str) else value))
    if isinstance(value, float):
        return _field(2, _field(1, np.array(value, "<f4").tobytes()))
    return _field(3, _field(1, _varint(int(value) % 2**64)))


def _field(number: int, content: bytes) -> bytes:
    return bytes([number << 3 | LENGTH]) + _varint(len(content)) + content


def _varint(n: int) -> bytes:
    groups = bytearray()
    while n > 127:
        groups.append(n & 127 | 128)
        n >>= 7
    return bytes(groups + bytes([n]))


def _values(feature: Any) -> list[Any]:
    found: list[Any] = []
    for kind, values in _fields(feature):
        for number, value in _fields(values):
            if number != 1:
                continue
            if kind == 1:
                found.append(_bytes(value))
            elif kind == 2:
                found += np.frombuffer(_held(value), "<f4").tolist()
            elif isinstance(value, int):
                found.append(_signed(value))
            else:
                found += _packed(value)
    return found


def _held(value: Any) -> Any:
    """What must be bytes: of a number, `bytes` would make as many zeros."""
    if isinstance(value, int):
        raise ValueError("a number where bytes must be")
    return value


def _bytes(value: Any) -> bytes:
    return bytes(_held(value))


def _packed(content: Any) -> list[int]:
    at, found = 0, []
    while at < len(content):
        value, at = _read_varint(content, at)
        found.append(_signed(value))
    return found


def _signed(n: int) -> int:
    return n - 2**64 if n >= 2**63 else n


def _fields(content: Any) -> Iterator[tuple[int, Any]]:
    """(number, content) of each field; what a field holds is not copied."""
    content, at = memoryview(_held(content)), 0
    while at < len(content):
        tag, at = _read_varint(content, at)
        wire = tag & 7
        if wire == VARINT:
            value, at = _read_varint(content, at)
        elif wire in (LENGTH, FLOAT, DOUBLE):
            size = {FLOAT: 4, DOUBLE: 8}.get(wire)
            if size is None:
                size, at = _read_varint(content, at)
            value, at = content[at : at + size], at + size
        else:
            raise ValueError(f"wire type {wire}")
        if at > len(content) or not tag >> 3:
            raise ValueError("a field goes beyond the end" if tag >> 3 else "field 0")
        yield tag >> 3, value


def _read_varint(content: Any, at: int) -> tuple[int, int]:
    n = shift = 0
    while shift < 64:
        if at >= len(content):
            raise ValueError("a number goes beyond the end")
        byte = content[at]
        n, shift, at = n | (byte & 127) << shift, shift + 7, at + 1
        if byte < 128:
            return n, at
    raise ValueError("a number of more than 64 bits")
