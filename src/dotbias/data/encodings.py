"""Encodings: text of any as UTF-8, and which one it is in."""

import codecs
import io
import re
from collections.abc import Collection
from dataclasses import replace
from functools import cache
from itertools import islice
from unicodedata import category

from dotbias.data.sources.blob import Blob
from dotbias.errors import DataError

_MARKS = (
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
MARKS = tuple(mark for mark, _ in _MARKS)
"""What text in an encoding with two or four bytes for each character begins with."""

_FALLBACK = "cp1252"
# What an encoding is called in notes.
_NAMES = {
    _FALLBACK: "Windows-1252",
    "cp1250": "cp1250 (Central European)",
    "iso8859-2": "iso8859-2 (Central European)",
    "cp1251": "cp1251 (Cyrillic)",
    "koi8-r": "koi8-r (Cyrillic)",
    "gb18030": "gb18030 (Chinese)",
    "big5": "big5 (Chinese)",
    "cp932": "cp932 (Japanese, Shift-JIS)",
    "euc_jp": "euc_jp (Japanese)",
    "cp949": "cp949 (Korean)",
}
# Of encodings with two bytes for a character: the first bytes of the frequent ones, in the standard
# that each extends. Those of Korean are also those of Chinese, so Korean comes first.
_FREQUENT = {
    "cp949": ("euc_kr", range(0xB0, 0xC9)),
    "gb18030": ("gb2312", range(0xB0, 0xD8)),
    "big5": ("big5", range(0xA4, 0xC7)),
    "cp932": ("euc_jp", (0xA1, 0xA4, 0xA5, *range(0xB0, 0xD0))),
    "euc_jp": ("euc_jp", (0xA1, 0xA4, 0xA5, *range(0xB0, 0xD0))),
}
_CYRILLIC = ("cp1251", "koi8-r")
# Characters beyond ASCII that touch no letter of it.
_RUN = re.compile(r"(?<![A-Za-z\x80-\U0010ffff])(?>[^\x00-\x7f]+)(?![A-Za-z])")
# Polish letters, read as Windows-1252, are signs inside words; and those that are others in cp1250
# and in ISO 8859-2.
_LETTER = "a-zóêñæ¹³¿±¶¼"
_POLISH = re.compile(f"(?i)[{_LETTER}][¹³¿±¶¼][{_LETTER}]|£[{_LETTER}]{{2}}")
_APART = {"cp1250": "¹œŸ", "iso8859-2": "±¶¼"}
# Lines that are looked at, and the share of their characters beyond ASCII that decides; of fewer
# characters than these nothing is said.
_LOOKED_AT, _SHARE = 5_000, 0.75
_FEWEST_OF_TWO_BYTES, _FEWEST_CYRILLIC = 4, 6
# What stands for a byte that is no part of a letter in UTF-8, where Python shall go on.
_NO_LETTER = re.compile("[\udc80-\udcff]")
_LETTERS = re.compile("[\u0080-\ud7ff\ue000-\U0010ffff]")


def as_utf8(
    blob: Blob, encoding: str | None = None, sample: bytes | None = None
) -> tuple[Blob, str, tuple[str, ...]]:
    """The blob in UTF-8, the encoding that it was in, and what the user should know.

    Text without a mark that is not UTF-8 is in the encoding that makes words of it, see ``recognised``,
    unless more of its letters are in UTF-8 than are not: then it is damaged.

    Args:
        blob: its bytes.
        encoding: where it is known.
        sample: some of the bytes, where they shall do to find it out.

    Raises:
        DataError: for bytes that are no text in the encoding that is known, or in the one that the
            others are in.
    """
    encoding = encoding or marked(blob.head())
    if encoding not in (None, "utf-8", "utf-8-sig", "ascii"):
        text = _decoded(blob.name, blob.read(), encoding)
        return replace(blob, content=text.removeprefix("\ufeff").encode()), encoding, ()
    try:
        (blob.read() if sample is None else sample).decode()
    except UnicodeDecodeError:
        raw = blob.read()
        if encoding is None and not raw.startswith(codecs.BOM_UTF8) and not _is_mostly_utf8(raw):
            found = recognised(raw)
            try:
                text = _windows(raw) if found == _FALLBACK else raw.decode(found)
            except UnicodeDecodeError:  # in a line that was not looked at
                found, text = _FALLBACK, _windows(raw)
            others = ", such as cp1251 or gb18030," if found == _FALLBACK else ""
            said = (
                f"not UTF-8: read as {_NAMES[found]}; pass encoding= (on the command line --encoding)"
                f"{others} if names look wrong"
            )
            return replace(blob, content=text.encode()), found, (said,)
        _decoded(blob.name, raw, "utf-8")
    return blob, "utf-8", ()


def marked(head: bytes) -> str | None:
    """The encoding that the first bytes of a text name, if they name one but UTF-8."""
    return next((name for mark, name in _MARKS if head.startswith(mark)), None)


def _decoded(name: str, raw: bytes, encoding: str) -> str:
    try:
        return raw.decode(encoding)
    except UnicodeDecodeError as error:
        row = raw[: error.start].decode(encoding, errors="ignore").count("\n") + 1
        raise DataError(
            f"{name}, row {row:,}: damaged, or not text in {encoding.upper()} ({error.reason}); name "
            "another encoding with encoding= (on the command line --encoding)"
        ) from None


def _is_mostly_utf8(raw: bytes) -> bool:
    text = raw.decode(errors="surrogateescape")
    return len(_LETTERS.findall(text)) > len(_NO_LETTER.findall(text))


def recognised(raw: bytes) -> str:
    """The encoding of text that is not UTF-8: Windows-1252, unless another makes letters of a script of
    its own, or frequent characters, of most that is beyond ASCII.

    Letters beyond ASCII stand among those of ASCII in Western text, in other scripts by themselves.

    >>> recognised("u1,Фильм".encode("koi8-r")), recognised("用户,电影".encode("gb18030"))
    ('koi8-r', 'gb18030')
    >>> recognised("u1,Amélie".encode("cp1252")), recognised("książka,żółw".encode("cp1250"))
    ('cp1252', 'cp1250')
    """
    lines = islice((line for line in io.BytesIO(raw) if not line.isascii()), _LOOKED_AT)
    cells = {cell for line in lines for cell in re.split(rb'[,;\t"\r\n]', line)}
    joined = b"\n".join(sorted(cell for cell in cells if not cell.isascii()))
    shares = {}
    for encoding in (*_FREQUENT, *_CYRILLIC):
        try:
            shares[encoding] = _share(joined.decode(encoding), encoding)
        except UnicodeDecodeError:
            continue
    best = max(shares, key=lambda encoding: shares[encoding], default=_FALLBACK)
    if shares.get(best, 0) >= _SHARE:
        return best
    words = re.findall(r"\S+", western := _windows(joined))
    if sum(bool(_POLISH.search(word)) for word in words) > max(1, len(words) / 20):
        return max(_APART, key=lambda encoding: sum(map(western.count, _APART[encoding])))
    return _FALLBACK


def _share(text: str, encoding: str) -> float:
    """The share of the characters beyond ASCII, punctuation apart, that make sense in an encoding.

    Args:
        text: decoded.
        encoding: one with two bytes for a character, or a Cyrillic one.
    """
    counted = [char for char in text if not char.isascii() and category(char)[0] not in "PZ"]
    good = 0.0
    for run in _RUN.findall(text):
        if encoding in _FREQUENT:
            good += sum(char in _frequent(encoding) for char in run)
            continue
        for word in re.findall("[\u0400-\u04ff]{2,}", run):
            # What are small letters in one Cyrillic encoding are capitals in the other.
            good += len(word) if word[1:].islower() else len(word) / 2 if word.isupper() else 0
    fewest = _FEWEST_OF_TWO_BYTES if encoding in _FREQUENT else _FEWEST_CYRILLIC
    return good / max(len(counted), fewest)


@cache
def _frequent(encoding: str) -> Collection[str]:
    """The frequent characters of an encoding with two bytes for each."""
    standard, leads = _FREQUENT[encoding]
    pairs = (bytes([lead, trail]) for lead in leads for trail in range(0x40, 0xFF))
    return frozenset("".join(pair.decode(standard, errors="ignore") for pair in pairs))


def _windows(raw: bytes) -> str:
    """Text in Windows-1252, whose five bytes without a meaning are those of Latin-1."""
    try:
        return raw.decode(_FALLBACK)
    except UnicodeDecodeError:
        table = [bytes([b]).decode(_FALLBACK, errors="ignore") or chr(b) for b in range(256)]
        return raw.decode("latin-1").translate(dict(enumerate(table)))
