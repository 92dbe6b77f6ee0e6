"""Bytes to text, text to tokens that know where they stand."""

import gzip
import io
import re
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from verifier.errors import InvalidProblem, Unsupported

MAX_BYTES = 2**26
"""Of a text, after decompression. The competition's largest properties have a fifth of it."""

_GZIP_MAGIC = b"\x1f\x8b"

_TOKEN = re.compile(r"[()]|[^\s();]+|;[^\n\r]*", re.ASCII)
"""A parenthesis, a word, or a comment up to the end of its line."""

_SHOWN = 40
"""Characters of a token that a message repeats."""


class Token(NamedTuple):
    """A parenthesis or a word, and its place in the source; with no text, the end of the source."""

    text: str
    source: str
    start: int

    @property
    def place(self) -> str:
        """Line and column, both from 1."""
        line = self.source.count("\n", 0, self.start) + 1
        column = self.start - self.source.rfind("\n", 0, self.start)
        return f"line {line}, column {column}"

    def invalid(self, message: str) -> InvalidProblem:
        """An error of the text, at this place."""
        return InvalidProblem(f"{self.place}: {message}", reason="INVALID_PROPERTY")

    def expected(self, what: str) -> InvalidProblem:
        """An error because this token is not what has to come here."""
        got = repr(self.text[:_SHOWN]) if self.text else "the end of the text"
        return self.invalid(f"expected {what}, got {got}")

    def unsupported(self, message: str) -> Unsupported:
        """Something well-formed, at this place, about which nothing can be proved."""
        return Unsupported(f"{self.place}: {message}", reason="UNSUPPORTED_PROPERTY")


def tokens(source: str) -> Iterator[Token]:
    """The tokens of a text without its comments, and at last its end."""
    for match in _TOKEN.finditer(source):
        if not match[0].startswith(";"):
            yield Token(match[0], source, match.start())
    yield Token("", source, len(source))


def text_of(source: Path | bytes) -> str:
    """The text of a file, or of a file's bytes; compressed by gzip where it begins with gzip's magic bytes.

    Raises:
        InvalidProblem: an unreadable file, a truncated or corrupt gzip stream, more than `MAX_BYTES`, not UTF-8.
    """
    data = source if isinstance(source, bytes) else _content(source)
    if data.startswith(_GZIP_MAGIC):
        data = _decompressed(data)
    if len(data) > MAX_BYTES:
        raise InvalidProblem(f"the text is longer than {MAX_BYTES} bytes, which is the most that is read")
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise InvalidProblem(f"line {line}: expected text in UTF-8, got byte 0x{data[error.start]:02x}") from None


def _content(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(MAX_BYTES + 1)
    except OSError as error:
        raise InvalidProblem(f"cannot read {path}: {error.strerror}; give an existing file") from None


def _decompressed(data: bytes) -> bytes:
    """At most one byte more than may be read, however much the stream would give."""
    try:
        with gzip.GzipFile(fileobj=io.BytesIO(data)) as stream:
            return stream.read(MAX_BYTES + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise InvalidProblem(f"expected a whole gzip stream, got a damaged one ({error}); compress it anew") from None
