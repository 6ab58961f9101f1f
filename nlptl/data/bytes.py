"""What a file is by its first bytes, and whether it is text in UTF-8."""

import codecs
import io
from pathlib import Path
from typing import TextIO

from nlptl.errors import DataError

UNPACK = "Unpack it, and give the file that is inside."
EXPORT = "Export the table as CSV UTF-8."
#: First bytes of files that are no tables, what such a file is, and what to do.
OTHER = (
    (b"PK\x03\x04", "a zip archive or an Excel workbook", f"{UNPACK[:-1]}; from Excel: {EXPORT}"),
    (b"\x1f\x8b", "packed by gzip", UNPACK),
    (b"BZh", "packed by bzip2", UNPACK),
    (b"\xfd7zXZ", "packed by xz", UNPACK),
    (b"\x28\xb5\x2f\xfd", "packed by zstd", UNPACK),
    (b"7z\xbc\xaf", "a 7z archive", UNPACK),
    (b"Rar!", "a rar archive", UNPACK),
    (b"\xd0\xcf\x11\xe0", "an old Excel workbook", EXPORT),
    (b"SQLite format 3", "an SQLite database", "Export the table as csv."),
    (b"%PDF", "a PDF", "Give a table."),
    (b"ARROW1", "an Arrow file", "Save the table as parquet."),
    (b"PAR1", "a parquet table", "Rename it to .parquet."),
    (
        b"version https://git-lfs.github.com/spec",
        "a pointer of git-lfs, not the file itself",
        "Fetch the file: git lfs pull.",
    ),
    (b"<!doctype html", "a web page", "Download the raw file."),
    (b"<html", "a web page", "Download the raw file."),
)
#: Byte order marks of other encodings than UTF-8.
MARKS = (
    (codecs.BOM_UTF32_LE, "UTF-32"),
    (codecs.BOM_UTF32_BE, "UTF-32"),
    (codecs.BOM_UTF16_LE, "UTF-16"),
    (codecs.BOM_UTF16_BE, "UTF-16"),
)
REMEDY = 'Save it as UTF-8 (Excel: "CSV UTF-8").'
#: Number of bytes that are looked at together.
BLOCK = 1 << 20


def open_text(path: Path, *, errors: str = "strict", newline: str | None = None) -> TextIO:
    """Open a file in UTF-8 behind its byte order marks: tools that write one do not look for another.

    Args:
        path: Path of the file.
        errors: What becomes of other bytes, as for :func:`open`.
        newline: Ends of lines, as for :func:`open`.
    """
    file = path.open("rb")
    begin = 0
    while file.read(len(codecs.BOM_UTF8)) == codecs.BOM_UTF8:
        begin = file.tell()
    file.seek(begin)
    return io.TextIOWrapper(file, "utf-8", errors, newline)


def check_kind(path: Path, where: str, *, parquet: bool = False) -> None:
    """Make sure that a file's first bytes are not those of something else.

    Args:
        path: Path of the file.
        where: The flag and the path, for messages.
        parquet: Whether a parquet table is expected, and not text.

    Raises:
        DataError: If they are; the message says what the file is.
    """
    with path.open("rb") as file:
        first = file.read(64)
    if parquet and first.startswith(b"PAR1"):
        return
    plain = first.removeprefix(codecs.BOM_UTF8).lstrip().lower()
    for magic, what, remedy in OTHER:
        if first.startswith(magic) or (magic.startswith(b"<") and plain.startswith(magic)):
            raise DataError(f"{where}: the file is {what}. {remedy}")
    if parquet:
        raise DataError(f"{where}: the file is no parquet table, or only a part of one.")


def check_text(path: Path, where: str) -> None:
    """Make sure that a file is text in UTF-8, with or without a byte order mark; read it once, block by block.

    Raises:
        DataError: If it is not; the message names the line and the byte, and what to do.
    """
    decoder = codecs.getincrementaldecoder("utf-8")()
    done, lines = 0, 1
    with path.open("rb") as file:
        while True:
            block = file.read(BLOCK)
            if not done:
                for mark, name in MARKS:
                    if block.startswith(mark):
                        raise DataError(f"{where}: expected UTF-8, found {name}. {REMEDY}")
            if (zero := block.find(b"\0")) >= 0:
                line = lines + block.count(b"\n", 0, zero)
                raise DataError(
                    f"{where}: expected text in UTF-8, found a zero byte in line {line} (byte {done + zero}). "
                    f"The file is damaged, or no text, or in UTF-16. {REMEDY}"
                )
            before = len(decoder.getstate()[0])
            try:
                decoder.decode(block, final=not block)
            except UnicodeDecodeError as error:
                at = max(0, error.start - before)
                line = lines + block.count(b"\n", 0, at)
                found = error.object[error.start]
                raise DataError(
                    f"{where}: expected text in UTF-8, found another byte (0x{found:02x}) in line {line} "
                    f"(byte {done - before + error.start}). It may be Windows-1252 or Latin-1. {REMEDY}"
                ) from error
            if not block:
                return
            done, lines = done + len(block), lines + block.count(b"\n")
