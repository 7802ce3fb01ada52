"""Encodings: text of any as UTF-8."""

import codecs
import re
from dataclasses import replace

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
# What stands for a byte that is no part of a letter in UTF-8, where Python shall go on.
_NO_LETTER = re.compile("[\udc80-\udcff]")
_LETTERS = re.compile("[\u0080-\ud7ff\ue000-\U0010ffff]")
_SAID = (
    "not UTF-8: read as Windows-1252; pass encoding= (on the command line --encoding), such as cp1251 "
    "or gb18030, if names look wrong"
)


def as_utf8(
    blob: Blob, encoding: str | None = None, sample: bytes | None = None
) -> tuple[Blob, str, tuple[str, ...]]:
    """The blob in UTF-8, the encoding that it was in, and what the user should know.

    Text without a mark that is not UTF-8 is taken for Windows-1252, of which Latin-1 is a part, unless
    more of its letters are in UTF-8 than are not: then it is damaged.

    Args:
        blob: its bytes.
        encoding: where it is known.
        sample: some of the bytes, where they shall do to find it out.

    Raises:
        DataError: for bytes that are no text in the encoding that is known, or in the one that the
            others are in.
    """
    head = blob.head()
    marked = next((name for mark, name in _MARKS if head.startswith(mark)), None)
    encoding = encoding or marked
    if encoding not in (None, "utf-8", "utf-8-sig", "ascii"):
        text = _decoded(blob.name, blob.read(), encoding)
        return replace(blob, content=text.removeprefix("\ufeff").encode()), encoding, ()
    try:
        (blob.read() if sample is None else sample).decode()
    except UnicodeDecodeError:
        raw = blob.read()
        if encoding is None and not raw.startswith(codecs.BOM_UTF8) and not _is_mostly_utf8(raw):
            return replace(blob, content=_windows(raw).encode()), _FALLBACK, (_SAID,)
        _decoded(blob.name, raw, "utf-8")
    return blob, "utf-8", ()


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


def _windows(raw: bytes) -> str:
    """Text in Windows-1252, whose five bytes without a meaning are those of Latin-1."""
    try:
        return raw.decode(_FALLBACK)
    except UnicodeDecodeError:
        table = [bytes([b]).decode(_FALLBACK, errors="ignore") or chr(b) for b in range(256)]
        return raw.decode("latin-1").translate(dict(enumerate(table)))
