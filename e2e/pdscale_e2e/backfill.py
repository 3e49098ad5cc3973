"""A past for a Prometheus that has none, by remote write (protocol 1.0), oldest samples first.

A server takes samples that are older than its newest ones only by half of what its head holds, so all series
are written together, part by part. The message is written byte by byte: a sample has always 18 bytes, so that
millions of them are one array. Snappy's format allows text as it is, which saves a dependency.
"""

import struct
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from http.client import HTTPConnection
from typing import Final
from urllib.parse import urlsplit

import numpy as np
from numpy.typing import NDArray

PART: Final = 6 * 3600.0  # seconds; half of a head of at least 12 hours

_SAMPLE: Final = 18
_VARINT: Final = 6  # bytes of a time in ms, from 2004 to 2109
_HEADERS: Final = {
    "Content-Encoding": "snappy",
    "Content-Type": "application/x-protobuf",
    "X-Prometheus-Remote-Write-Version": "0.1.0",
}


@dataclass(frozen=True, slots=True)
class Past:
    """One series: labels with ``__name__``, instants in seconds in order, and values."""

    labels: Mapping[str, str]
    at: NDArray[np.float64]
    values: NDArray[np.float64]


def backfill(url: str, pasts: Sequence[Past], *, part: float = PART) -> int:
    """Write all samples; how many they were."""
    host = urlsplit(url).netloc
    connection = HTTPConnection(host, timeout=60)
    written = 0
    try:
        for body, samples in _requests(pasts, part):
            connection.request("POST", "/api/v1/write", body=body, headers=_HEADERS)
            answer = connection.getresponse()
            said = answer.read()
            if answer.status >= 300:
                raise OSError(f"remote write to {url}: {answer.status}: {said[:300]!r}")
            written += samples
    finally:
        connection.close()
    return written


def _requests(pasts: Sequence[Past], part: float) -> Iterator[tuple[bytes, int]]:
    first = min(past.at[0] for past in pasts)
    last = max(past.at[-1] for past in pasts)
    for start in np.arange(first, last + part, part):
        message, samples = b"", 0
        for past in pasts:
            begin, end = np.searchsorted(past.at, (start, start + part))
            if begin < end:
                message += _field(
                    1, _labels(past.labels) + _samples(past.at[begin:end], past.values[begin:end])
                )
                samples += int(end - begin)
        if samples:
            yield _as_snappy(message), samples


def _samples(at: NDArray[np.float64], values: NDArray[np.float64]) -> bytes:
    """Sample{value = 1, timestamp = 2}, each as field 2 of its series."""
    out = np.zeros((len(at), _SAMPLE), dtype=np.uint8)
    out[:, 0], out[:, 1], out[:, 2], out[:, 11] = 0x12, _SAMPLE - 2, 0x09, 0x10
    out[:, 3:11] = np.ascontiguousarray(values, dtype="<f8").view(np.uint8).reshape(-1, 8)
    millis = np.round(at * 1000).astype(np.int64)
    for k in range(_VARINT):
        more = 0x80 if k < _VARINT - 1 else 0
        out[:, 12 + k] = ((millis >> (7 * k)) & 0x7F) | more
    return out.tobytes()


def _labels(labels: Mapping[str, str]) -> bytes:
    pairs = (_field(1, name.encode()) + _field(2, labels[name].encode()) for name in sorted(labels))
    return b"".join(_field(1, pair) for pair in pairs)


def _field(number: int, content: bytes) -> bytes:
    return bytes([number << 3 | 2]) + _varint(len(content)) + content


def _varint(value: int) -> bytes:
    out = b""
    while value > 0x7F:
        out += bytes([value & 0x7F | 0x80])
        value >>= 7
    return out + bytes([value])


def _as_snappy(message: bytes) -> bytes:
    """One literal: its length is written twice, once for the whole and once for itself."""
    return _varint(len(message)) + b"\xfc" + struct.pack("<I", len(message) - 1) + message
