"""Remote write 1.0 requests by hand, so that tests can also write wrong ones."""

import struct


def varint(number: int) -> bytes:
    out = bytearray()
    number &= (1 << 64) - 1
    while number >= 0x80:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


def field(number: int, content: bytes) -> bytes:
    return varint(number << 3 | 2) + varint(len(content)) + content


def series(labels: dict[str, str], samples: list[tuple[int, float]]) -> bytes:
    """One `TimeSeries`; samples are (milliseconds, value)."""
    content = b"".join(
        field(1, field(1, name.encode()) + field(2, value.encode())) for name, value in sorted(labels.items())
    )
    for timestamp_ms, value in samples:
        content += field(2, b"\x09" + struct.pack("<d", value) + b"\x10" + varint(timestamp_ms))
    return field(1, content)


def snappy(content: bytes) -> bytes:
    """The snappy block format, literals only."""
    out = bytearray(varint(len(content)))
    for start in range(0, len(content), 60):
        literal = content[start : start + 60]
        out.append((len(literal) - 1) << 2)
        out += literal
    return bytes(out)


def request(*all_series: bytes) -> bytes:
    return snappy(b"".join(all_series))
