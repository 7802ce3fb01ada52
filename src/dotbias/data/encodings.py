"""Encodings: text of any as UTF-8."""

import codecs

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
_SAID = (
    "not UTF-8: read as Windows-1252; pass encoding= (on the command line --encoding), such as cp1251 "
    "or gb18030, if names look wrong"
)


def as_utf8(
    blob: Blob, encoding: str | None = None, sample: bytes | None = None
) -> tuple[Blob, str, tuple[str, ...]]:
    """The blob in UTF-8, the encoding that it was in, and what the user should know.

    Text without a mark that is not UTF-8 is taken for Windows-1252, of which Latin-1 is a part.

    Args:
        blob: its bytes.
        encoding: where it is known.
        sample: some of the bytes, where they shall do to find it out.

    Raises:
        DataError: for bytes that are no text in the encoding that is known.
    """
    head = blob.head()
    marked = next((name for mark, name in _MARKS if head.startswith(mark)), None)
    encoding = encoding or marked
    if encoding is not None and encoding not in ("utf-8", "utf-8-sig", "ascii"):
        try:
            text = blob.read().decode(encoding)
        except UnicodeDecodeError as error:
            line = blob.read()[: error.start].count(b"\n") + 1
            raise DataError(
                f"{blob.name}, row {line:,}: not text in {encoding} ({error.reason}); name another with "
                "encoding= (on the command line --encoding)"
            ) from None
        return Blob(blob.name, text.removeprefix("\ufeff").encode()), encoding, ()
    try:
        (blob.read() if sample is None else sample).decode()
    except UnicodeDecodeError:
        if encoding is not None:
            raise DataError(
                f"{blob.name}: not text in UTF-8; name another with encoding= (on the command line "
                "--encoding)"
            ) from None
        return Blob(blob.name, _windows(blob.read()).encode()), _FALLBACK, (_SAID,)
    return blob, "utf-8", ()


def _windows(raw: bytes) -> str:
    """Text in Windows-1252, whose five bytes without a meaning are those of Latin-1."""
    try:
        return raw.decode(_FALLBACK)
    except UnicodeDecodeError:
        table = [bytes([b]).decode(_FALLBACK, errors="ignore") or chr(b) for b in range(256)]
        return raw.decode("latin-1").translate(dict(enumerate(table)))
