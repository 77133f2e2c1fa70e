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


def histogram(timestamp_ms: int, **fields: object) -> bytes:
    """The `Histogram` of a `TimeSeries`, by the names of Prometheus' types.proto; spans are (offset, length)."""
    numbers = {
        "count_int": 1, "count_float": 2, "sum": 3, "schema": 4, "zero_threshold": 5, "zero_count_int": 6,
        "zero_count_float": 7, "negative_spans": 8, "negative_deltas": 9, "negative_counts": 10,
        "positive_spans": 11, "positive_deltas": 12, "positive_counts": 13, "reset_hint": 14,
    }  # fmt: skip
    content = b""
    for name, value in fields.items():
        number = numbers[name]
        if name.endswith("_spans"):
            for offset, length in value:
                content += field(number, b"\x08" + zigzag(offset) + b"\x10" + varint(length))
        elif name.endswith("_deltas"):
            content += field(number, b"".join(zigzag(delta) for delta in value))
        elif name.endswith("_counts"):
            content += field(number, struct.pack(f"<{len(value)}d", *value))
        elif name == "schema":
            content += varint(number << 3) + zigzag(value)
        elif isinstance(value, float):
            content += varint(number << 3 | 1) + struct.pack("<d", value)
        else:
            content += varint(number << 3) + varint(value)
    return field(4, content + b"\x78" + varint(timestamp_ms))


def zigzag(number: int) -> bytes:
    return varint(number << 1 ^ number >> 63)


def fields(message: bytes) -> list[tuple[int, int | bytes]]:
    """The fields of a message: number and varint or bytes."""
    found, position = [], 0
    while position < len(message):
        key, position = read_varint(message, position)
        if key & 7 == 0:
            value, position = read_varint(message, position)
        elif key & 7 == 1:
            value, position = message[position : position + 8], position + 8
        else:
            length, position = read_varint(message, position)
            value, position = message[position : position + length], position + length
        found.append((key >> 3, value))
    return found


def read_varint(content: bytes, position: int) -> tuple[int, int]:
    number = shift = 0
    while True:
        byte = content[position]
        number |= (byte & 0x7F) << shift
        position, shift = position + 1, shift + 7
        if byte < 0x80:
            return number, position


def read_request(start_ms: int, end_ms: int, name: str, response_type: int) -> bytes:
    """A remote read request for the series of one metric."""
    matcher = field(2, b"__name__") + field(3, name.encode())
    query = b"\x08" + varint(start_ms) + b"\x10" + varint(end_ms) + field(3, matcher)
    return snappy(field(1, query) + b"\x10" + varint(response_type))


def chunks(frames: bytes) -> dict[bytes, list[tuple[int, bytes]]]:
    """Kind and bytes of the chunks of a streamed answer by the labels of their series."""
    found, position = {}, 0
    while position < len(frames):
        length, position = read_varint(frames, position)
        message = frames[position + 4 : position + 4 + length]
        position += 4 + length
        for number, series_content in fields(message):
            if number == 1:
                parts = fields(series_content)
                labels = b"".join(content for part, content in parts if part == 1)
                for part, content in parts:
                    if part == 2:
                        chunk = dict(fields(content))
                        found.setdefault(labels, []).append((chunk[3], chunk[4]))
    return found
