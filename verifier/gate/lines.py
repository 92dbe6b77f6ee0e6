"""On which line of a TOML text each key stands, which the standard reader does not tell."""

import tomllib

Path = tuple[str | int, ...]
"""Of a value in a document: ("threshold", 1, "radius")."""

_QUOTES = ('"""', "'''", '"', "'")
_BARE_END = " \t\r\n,]}#"


def key_lines(text: str) -> dict[Path, int]:
    """The line, counted from 1, on which each key, table header and array element begins.

    The text must be valid TOML: whoever calls this has had it read by `tomllib`. What is not found here has no line
    of its own, as a table that is only implied by a longer header.
    """
    return _Scan(text.replace("\r\n", "\n")).lines


class _Scan:
    """One pass over a valid document."""

    def __init__(self, text: str) -> None:
        self.lines: dict[Path, int] = {}
        self._text = text
        self._at = 0
        self._line = 1
        self._tables: dict[Path, int] = {}  # how many tables an array of tables has so far
        here: Path = ()
        while self._skip_blank():
            here = self._statement(here)

    def _statement(self, here: Path) -> Path:
        """Read a header or a key with its value; the table in which the next statement stands."""
        line = self._line
        if self._next("[["):
            path = self._resolved(self._key())
            self._next("]]")
            number = self._tables.get(path, 0)
            self._tables[path] = number + 1
            self.lines.setdefault(path, line)
            here = (*path, number)
        elif self._next("["):
            here = self._resolved(self._key())
            self._next("]")
        else:
            self._pair(here)
            return here
        self.lines[here] = line
        return here

    def _resolved(self, key: Path) -> Path:
        """A header's path, with the number of the last table wherever it passes an array of tables."""
        path: Path = ()
        for place, name in enumerate(key):
            path = (*path, name)
            if path in self._tables and place < len(key) - 1:
                path = (*path, self._tables[path] - 1)
        return path

    def _pair(self, here: Path) -> None:
        line = self._line
        key = self._key()
        for length in range(1, len(key) + 1):
            self.lines.setdefault((*here, *key[:length]), line)
        self._next("=")
        self._skip_space()
        self._value((*here, *key))

    def _key(self) -> Path:
        """A dotted key, and the spaces around it."""
        parts: list[str | int] = []
        while True:
            self._skip_space()
            quote = self._text[self._at]
            parts.append(self._quoted(quote) if quote in "\"'" else self._bare(_BARE_END + ".="))
            self._skip_space()
            if not self._next("."):
                return tuple(parts)

    def _value(self, path: Path) -> None:
        if self._next("["):
            self._array(path)
        elif self._next("{"):
            self._inline_table(path)
        else:
            quote = next((quote for quote in _QUOTES if self._text.startswith(quote, self._at)), None)
            if quote:
                self._quoted(quote)
            else:
                self._bare(_BARE_END.replace(" ", ""))  # dates may have a space

    def _array(self, path: Path) -> None:
        number = 0
        while self._skip_blank() and not self._next("]"):
            if self._next(","):
                continue
            self.lines[(*path, number)] = self._line
            self._value((*path, number))
            number += 1

    def _inline_table(self, path: Path) -> None:
        while self._skip_blank() and not self._next("}"):
            if not self._next(","):
                self._pair(path)

    def _quoted(self, quote: str) -> str:
        """What stands between quotes; escapes are left as they are, but in keys they are read."""
        self._at += len(quote)
        start = self._at
        while not self._text.startswith(quote, self._at):
            self._step(2 if self._text[self._at] == "\\" and quote[0] == '"' else 1)
        while len(quote) == 3 and self._text.startswith(quote, self._at + 1):  # a string may end in two more quotes
            self._step(1)
        content = self._text[start : self._at]
        self._at += len(quote)
        return _unescaped(content) if quote == '"' and "\\" in content else content

    def _bare(self, ends: str) -> str:
        start = self._at
        while self._at < len(self._text) and self._text[self._at] not in ends:
            self._at += 1
        return self._text[start : self._at]

    def _next(self, token: str) -> bool:
        """Step over the token if it comes next."""
        found = self._text.startswith(token, self._at)
        self._at += len(token) * found
        return found

    def _skip_space(self) -> None:
        while self._text[self._at : self._at + 1] in (" ", "\t"):
            self._at += 1

    def _skip_blank(self) -> bool:
        """Step over white space, ends of lines and comments; whether anything is left."""
        while self._at < len(self._text) and self._text[self._at] in " \t\r\n#":
            if self._text[self._at] == "#":
                self._bare("\n")
            else:
                self._step(1)
        return self._at < len(self._text)

    def _step(self, characters: int) -> None:
        self._line += self._text.count("\n", self._at, self._at + characters)
        self._at += characters


def _unescaped(content: str) -> str:
    """A basic string's content as it is meant."""
    value = tomllib.loads(f'key = "{content}"')["key"]
    assert isinstance(value, str)
    return value
