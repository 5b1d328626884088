"""The wire format of protobuf, as far as we write it: a handful of functions instead of a dependency.

A message is the concatenation of its fields, so a caller joins what these functions return. Like protobuf
itself they write every field that they are given: leave out a field whose value is its default.
Source: https://protobuf.dev/programming-guides/encoding/
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from typing import Final

_VARINT: Final = 0
_FIXED64: Final = 1
_LENGTH: Final = 2

_WORD: Final = (1 << 64) - 1
_BYTE: Final = [bytes((number,)) for number in range(0x80)]

# `pack_double(x)` is the eight bytes of a float; `pack_fixed64(n)` those of 0 <= n < 2**64.
pack_double: Final = struct.Struct("<d").pack
pack_fixed64: Final = struct.Struct("<Q").pack


def varint(number: int) -> bytes:
    """Encode an integer in base 128. A negative one becomes its 64-bit two's complement, as int32 and int64 do."""
    if 0 <= number < 0x80:
        return _BYTE[number]
    number &= _WORD
    out = bytearray()
    while number >= 0x80:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


def zigzag(number: int) -> int:
    """Fold a signed integer for the types sint32 and sint64: 0, -1, 1, -2 become 0, 1, 2, 3."""
    return number << 1 if number >= 0 else (-number << 1) - 1


def tag_varint(number: int) -> bytes:
    """The key of a field that is a varint: int, uint, sint, bool, enum."""
    return varint(number << 3 | _VARINT)


def tag_fixed64(number: int) -> bytes:
    """The key of a field of eight bytes: double, fixed64, sfixed64."""
    return varint(number << 3 | _FIXED64)


def tag_length(number: int) -> bytes:
    """The key of a field with a length: string, bytes, a message, packed numbers."""
    return varint(number << 3 | _LENGTH)


def delimited(data: bytes) -> bytes:
    """Put the length of `data` before it."""
    return varint(len(data)) + data


def field_varint(number: int, value: int) -> bytes:
    """A field of type int32, int64, uint32, uint64, bool or enum."""
    return tag_varint(number) + varint(value)


def field_sint(number: int, value: int) -> bytes:
    """A field of type sint32 or sint64."""
    return tag_varint(number) + varint(zigzag(value))


def field_fixed64(number: int, value: int) -> bytes:
    """A field of type fixed64 or sfixed64, from -2**63 to 2**64 - 1."""
    return tag_fixed64(number) + pack_fixed64(value & _WORD)


def field_double(number: int, value: float) -> bytes:
    """A field of type double."""
    return tag_fixed64(number) + pack_double(value)


def field_bytes(number: int, data: bytes) -> bytes:
    """A field of type bytes, or a message that is encoded already."""
    return tag_length(number) + varint(len(data)) + data


def field_text(number: int, text: str) -> bytes:
    """A field of type string. What UTF-8 cannot carry, a lone surrogate, becomes a question mark."""
    return field_bytes(number, text.encode("utf-8", "replace"))


def packed_varints(number: int, values: Iterable[int]) -> bytes:
    """A repeated field of int32, int64, uint32 or uint64, packed."""
    return field_bytes(number, b"".join(map(varint, values)))


def packed_doubles(number: int, values: Iterable[float]) -> bytes:
    """A repeated field of double, packed."""
    return field_bytes(number, b"".join(map(pack_double, values)))


def packed_fixed64(number: int, values: Iterable[int]) -> bytes:
    """A repeated field of fixed64, packed."""
    return field_bytes(number, b"".join(map(pack_fixed64, values)))
