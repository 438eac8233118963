"""The encoding of a file that is not UTF-8: guessed after reading has failed, for the remedy in the error."""

from __future__ import annotations

import codecs
import re
import shlex
from collections.abc import Iterable, Iterator
from pathlib import Path

from charset_normalizer import from_bytes

from taglm_core.corpus.content import COMPRESSED_SUFFIXES, fill, unpack_command
from taglm_core.errors import InputError

_LOOK_BYTES = 64 * 2**20  # of the file are judged, at most
_SAMPLE_BYTES = 2**16  # of lines that are not UTF-8 are shown to the guesser
_ICONV_NAMES = {
    "cp1251": "WINDOWS-1251",
    "cp1253": "WINDOWS-1253",
    "cp1255": "WINDOWS-1255",
    "cp1256": "WINDOWS-1256",
    "koi8_r": "KOI8-R",
    "gb18030": "GB18030",
    "big5": "BIG5",
    "shift_jis": "CP932",
    "euc_jp": "EUC-JP",
    "euc_kr": "CP949",
}
_WORD = re.compile(rb"[A-Za-z]*[\x80-\xff][A-Za-z\x80-\xff]*")  # with at least one letter beyond ASCII
_THAI = re.compile(rb"[\xa1-\xa7\xa9-\xb7\xb9-\xbf]")  # frequent letters of Thai, rare signs of Cyrillic
_THAI_SHARE = 0.2
_INNER = re.compile(rb"(?<=[A-Za-z])[\x80-\x91\x93-\xff](?=[A-Za-z])")  # quotes stand around words, 92 is an apostrophe
_FIELD = re.compile(rb"\S*[\x80-\xff]\S*")
_NOT_IN_1252 = re.compile(rb"[\x81\x8d\x8f\x90\x9d]")
_LATIN_SHARE = 0.55  # of the letters of such words are beyond ASCII in Latin script, at most
_OTHERS = ", or WINDOWS-1250 for Central European and WINDOWS-1254 for Turkish text"
_CONTROL = re.compile(rb"[\0-\x08\x0e-\x1a\x1c-\x1f]")  # but for the escape of ISO-2022 text
_BAD = re.compile("[\udc80-\udcff]")
_GOOD = re.compile("[^\0-\x7f\udc80-\udcff]")


def not_utf8(path: Path, line: int, text: bytes, error: UnicodeDecodeError, blocks: Iterable[bytes]) -> InputError:
    """Give the error for a file that is not UTF-8.

    A few wrong bytes among many right ones are a damaged line. Otherwise the whole file is in another encoding.

    Args:
        path: the file.
        line: number of the first line that is not UTF-8.
        text: where decoding failed.
        error: how decoding failed.
        blocks: the file's decompressed bytes, from its beginning.
    """
    shown = f"{text[error.start : error.start + 4].hex(' ')} in '{_around(text, error.start)}'"
    bad, good, sample = _judge(blocks)
    see = f"`{unpack_command(path) or 'cat'} {shlex.quote(str(path))} | sed -n {line}p`"
    if bad <= good:
        what = "a byte that is" if bad == 1 else f"{bad:,} bytes that are"
        drop = fill("`iconv -c -f UTF-8 -t UTF-8 {path} > {plain}`", path)
        remedy = f"correct the line ({see} shows it), or leave out all such bytes: {drop}"
        return InputError(path, line, f"{what} not UTF-8 ({shown})", "UTF-8 as in the rest of the file", remedy)
    named = COMPRESSED_SUFFIXES.get(path.suffix.lower())
    if named is not None and unpack_command(path) is None:
        remedy = "copy or download the file again"
        return InputError(path, line, f"neither {named} data nor UTF-8 text ({shown})", f"a whole {named} file", remedy)
    if _looks_binary(sample):
        return InputError(path, line, f"binary data ({shown})", "UTF-8 text", "give a text file")
    encoding = _guess(sample)
    convert = fill(f"`iconv -f {encoding} -t UTF-8 {{path}} > {{plain}}`", path)
    others = _OTHERS if encoding == "WINDOWS-1252" else ""
    remedy = f"convert the file: {convert}{others}; if this line alone is damaged, correct it ({see} shows it)"
    expected = f"UTF-8 text (the file looks like {encoding})"
    return InputError(path, line, f"bytes that are not UTF-8 ({shown})", expected, remedy)


def _judge(blocks: Iterable[bytes]) -> tuple[int, int, bytes]:
    """Count wrong bytes and right characters beyond ASCII; a sample of the lines with the former."""
    bad = good = seen = 0
    sample = b""
    decoder = codecs.getincrementaldecoder("utf-8")("surrogateescape")  # a character may lie across two blocks
    for block in blocks:
        text = decoder.decode(block)
        wrong = len(_BAD.findall(text))
        bad += wrong
        good += len(_GOOD.findall(text))
        if wrong and len(sample) < _SAMPLE_BYTES:
            sample += b"\n".join(_lines_beyond_ascii(block))[:_SAMPLE_BYTES]
        seen += len(block)
        if seen > _LOOK_BYTES:
            break
    return bad, good, sample


def _lines_beyond_ascii(block: bytes) -> Iterator[bytes]:
    return (line for line in block.split(b"\n") if not line.isascii())


def _looks_binary(sample: bytes) -> bool:
    """Return whether control characters, absent from text, are frequent."""
    return len(_CONTROL.findall(sample)) * 50 > len(sample)


def _guess(sample: bytes) -> str:
    """Return the name that iconv has for the encoding of a text."""
    letters_apart = b" ".join(_WORD.findall(sample))
    letters = letters_apart.replace(b" ", b"")
    beyond = sum(byte > 127 for byte in letters)
    fields = b" ".join(_FIELD.findall(sample))  # without tags, which are ASCII
    found = None if beyond <= _LATIN_SHARE * len(letters) else from_bytes(fields, cp_isolation=[*_ICONV_NAMES]).best()
    if found is not None and found.encoding == "cp1251" and len(_THAI.findall(letters)) > _THAI_SHARE * beyond:
        return "CP874"  # not among the guesser's choices, since Chinese texts look like it
    if found is not None:
        return _ICONV_NAMES.get(found.encoding, "WINDOWS-1252")
    inner = b"".join(_INNER.findall(letters_apart))
    if sum(0x80 <= byte < 0xA0 for byte in inner) * 2 > len(inner):
        return "CP850"  # of DOS: most letters are where WINDOWS-1252 has signs
    return "WINDOWS-1250" if _NOT_IN_1252.search(sample) else "WINDOWS-1252"


def _around(text: bytes, position: int) -> str:
    """Return the text around a wrong byte, so that people find it in the line."""
    begin = text.rfind(b"\n", 0, position) + 1
    end = text.find(b"\n", position)
    part = text[max(begin, position - 20) : min(len(text) if end < 0 else end, position + 20)]
    return part.decode("utf-8", errors="backslashreplace")
