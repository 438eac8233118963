"""The kind of a file, by its first bytes and never by its name.

Compressed text is decompressed (`compression`). A file that is certainly no text is refused by the name of its kind
(`refuse_foreign`). Text in another form, such as HTML or JSON lines, is named (`describe_content`) and accepted.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from taglm_core.errors import InputError

HEAD_BYTES = 4096
"""So many bytes from the beginning suffice to recognise a file."""

_UNPRINTABLE = re.compile(rb"[^\x20-\x7e\t\r\n]")
_COMPRESSIONS = {
    "gzip": (re.compile(rb"\x1f\x8b"), "gzip -dc"),
    "zstd": (re.compile(rb"\x28\xb5\x2f\xfd|[\x50-\x5f]\x2a\x4d\x18"), "zstd --long=31 -dc"),  # or a skippable frame
    "bz2": (re.compile(rb"BZh[1-9](\x31\x41\x59\x26\x53\x59|\x17\x72\x45\x38\x50\x90)"), "bzip2 -dc"),
    "xz": (re.compile(rb"\xfd7zXZ\0|\x5d\0\0"), "xz -dc"),  # or its older form, .lzma
    "lz4": (re.compile(rb"\x04\x22\x4d\x18"), "lz4 -dc"),
}
COMPRESSED_SUFFIXES = {".gz": "gzip", ".zst": "zstd", ".bz2": "bz2", ".xz": "xz", ".lzma": "xz", ".lz4": "lz4"}


@dataclass(frozen=True, slots=True)
class Content:
    """A kind of file other than plain text.

    Attributes:
        name: its name, with the article.
        remedy: what to do; `{path}`, `{plain}` (a new UTF-8 file), `{unpacked}` and `{folder}` stand for names as a
            shell takes them.
        certain: whether no other kind is possible: such a file is refused.
    """

    name: str
    remedy: str = ""
    certain: bool = True


_ICONV = "convert the file: `iconv -f {encoding} -t UTF-8 {{path}} > {{plain}}`"
_TABLES = "export the words and tags as text"
_UNPACK = "unpack it (`{} {{path}}`), and give the file that you want"
_OTHER = "give a text file"
_POINTER = "the data themselves are not on this machine"


def _wide(encoding: str, mark: str = "") -> Content:
    return Content(f"{encoding} text{mark}", _ICONV.format(encoding=encoding.split(" ")[0]))


_SIGNATURES = (  # regular expressions for the first bytes; the first that matches counts
    (rb"\xff\xfe\0\0|\0\0\xfe\xff", _wide("UTF-32", " (by its byte order mark)")),
    (rb"\xff\xfe|\xfe\xff", _wide("UTF-16", " (by its byte order mark)")),
    (rb"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", Content("an old Word or Excel document", "save it as plain text in UTF-8")),
    (rb"PK\x03\x04.{26,200}(\[Content_Types\]|_rels/|word/|xl/|ppt/|docProps/)",
     Content("a Word, Excel or PowerPoint document", "save it as plain text in UTF-8")),
    (rb"PK\x03\x04.{26}mimetypeapplication/(vnd\.oasis|epub)",
     Content("an OpenDocument file or an e-book", "save it as plain text in UTF-8")),
    (rb"PK\x03\x04.{26}[^\n]{1,80}\.npy", Content("a NumPy archive (.npz)", _TABLES)),
    (rb"PK\x03\x04.{26}[^\n]{1,80}/data\.pkl", Content("a PyTorch file", _TABLES)),
    (rb"PK(\x03\x04|\x05\x06)", Content("a zip archive", _UNPACK.format("unzip"))),
    (rb"7z\xbc\xaf\x27\x1c", Content("a 7-Zip archive", _UNPACK.format("7z x"))),
    (rb"Rar!\x1a\x07", Content("a RAR archive", _UNPACK.format("unrar x"))),
    (rb".{257}ustar", Content("a tar archive", _UNPACK.format("tar -xf"))),
    (rb"\x1f[\x9d\xa0]", Content("data of Unix compress", "unpack it: `gzip -dc {path} > {unpacked}`")),
    (rb"PAR1", Content("a Parquet file", _TABLES)),
    (rb"ARROW1\0\0|\xff\xff\xff\xff.\0\0\0", Content("an Arrow file", _TABLES)),
    (rb"FEA1", Content("a Feather file", _TABLES)),
    (rb"ORC", Content("an ORC file", _TABLES)),
    (rb"Obj\x01", Content("an Avro file", _TABLES)),
    (rb"SQLite format 3\0", Content("an SQLite database", _TABLES)),
    (rb".{8}DUCK", Content("a DuckDB database", _TABLES)),
    (rb"\x89HDF\r\n", Content("an HDF5 file", _TABLES)),
    (rb"\x93NUMPY", Content("a NumPy array", _TABLES)),
    (rb"\x80[\x02-\x05]", Content("a Python pickle", _TABLES)),
    (rb"\xba\x16\x4f\x2f", Content("a fastText model", "give the .vec file that comes with it")),
    (rb"GGUF", Content("a GGUF model", _OTHER)),
    (rb".{6}\0\0\{\"", Content("a safetensors file", _TABLES)),
    (rb"\x7fELF|MZ|\xca\xfe\xba\xbe|[\xce\xcf]\xfa\xed\xfe", Content("a program", _OTHER)),
    (rb"\x89PNG|\xff\xd8\xff|GIF8[79]a|II\*\0|MM\0\*|RIFF....WEBP", Content("an image", _OTHER)),
    (rb"ID3|OggS|fLaC|RIFF....WAVE|\0\0\0.ftyp", Content("an audio or video file", _OTHER)),
)  # fmt: skip
_TEXTS = (  # the same for what can be read, whether or not binary data follow
    (rb"version https://git-lfs\.github\.com/spec/",
     Content("a Git LFS pointer", f"{_POINTER}: run `git lfs pull` in {{folder}}")),
    (rb"/annex/objects/", Content("a git-annex pointer", f"{_POINTER}: run `git annex get {{path}}`")),
    (rb"(md5: |outs:\n- md5: )[0-9a-f]{32}", Content("a DVC pointer", f"{_POINTER}: run `dvc pull {{path}}`")),
    (rb"%PDF-\d", Content("a PDF document", "extract its text: `pdftotext -enc UTF-8 {path} {plain}`")),
    (rb"\{\\rtf\d", Content("an RTF document", "save it as plain text in UTF-8")),
    (rb"-----BEGIN PGP MESSAGE-----", Content("an encrypted file", "decrypt it: `gpg -o {unpacked} -d {path}`")),
    (rb"(?i)\s*(<!--.{0,500}-->\s*)?<(!doctype html|html|head|body)\b", Content("an HTML page", certain=False)),
    (rb"\s*<\?xml|\s*<(TEI|teiCorpus|mediawiki|doc|corpus|text)\b[^\n]*>\s*\n", Content("XML", certain=False)),
    (rb'\s*\{\s*"[^"\n]*"\s*:[^\n]*\}\s*(\n|\Z)', Content("JSON lines", certain=False)),
    (rb'\s*(\[\s*)*\{\s*"[^"\n]*"\s*:|\s*\[\s*\[\s*"', Content("JSON", certain=False)),
)  # fmt: skip


def compression(head: bytes) -> str | None:
    """Give the name of the compression that a file begins with: gzip, zstd, bz2, xz or lz4; None for none."""
    return next((name for name, (magic, _) in _COMPRESSIONS.items() if magic.match(head)), None)


def describe_content(head: bytes) -> str | None:
    """Say what a file is if it is no plain text: `a PDF document`, `a Git LFS pointer`, `JSON lines`, `an HTML page`.

    Args:
        head: its first bytes; `HEAD_BYTES` of them suffice.
    """
    found = _identify(head)
    return None if found is None else found.name


def refuse_foreign(path: Path, head: bytes, expected: str, remedies: Mapping[str, str] | None = None) -> None:
    """Refuse a file that is certainly no text.

    Args:
        path: the file.
        head: its first bytes, decompressed.
        expected: what it should be.
        remedies: better remedies for this use of the file, by `Content.name`.

    Raises:
        InputError: it is an archive, a document, a database, a pointer to data that are not there, ...
    """
    found = _identify(head)
    if found is not None and found.certain:
        remedy = (remedies or {}).get(found.name, found.remedy)
        raise InputError(path, None, found.name, expected, fill(remedy, path))


def fill(remedy: str, path: Path) -> str:
    """Put a file's names into a remedy; a compressed file is decompressed on the way."""
    unpack = unpack_command(path)
    if unpack is not None:
        remedy = re.sub(r"(iconv .*?) \{path\}", rf"{unpack} {{path}} | \1", remedy)
    bare = path.with_suffix("") if path.suffix.lower() in {*COMPRESSED_SUFFIXES, ".z"} else path
    names = {
        "path": path,
        "plain": bare.with_name(f"{bare.stem}.utf8{bare.suffix}"),
        "unpacked": bare if bare != path else path.with_name(f"{path.name}.unpacked"),
        "folder": path.parent,
    }
    return remedy.format(**{name: shlex.quote(str(value)) for name, value in names.items()})


def unpack_command(path: Path) -> str | None:
    """Give the program that decompresses a file to its standard output; None for a file that is not compressed."""
    with path.open("rb") as file:
        kind = compression(file.read(HEAD_BYTES))
    return None if kind is None else _COMPRESSIONS[kind][1]


def _identify(head: bytes) -> Content | None:
    head = head[:HEAD_BYTES]
    kind = compression(head)
    if kind is not None:
        program = _COMPRESSIONS[kind][1]
        return Content(f"{kind} data inside compressed data", f"unpack it once: `{program} {{path}} > {{unpacked}}`")
    found = next((content for pattern, content in _TEXTS if re.match(pattern, head)), None)
    if found is not None:
        return found
    matches = ((re.match(pattern, head, re.DOTALL), content) for pattern, content in _SIGNATURES)
    found = next((content for match, content in matches if match and _is_telling(match[0], head)), None)
    return found or _escaped(head) or _wide_without_mark(head)


def _is_telling(signature: bytes, head: bytes) -> bool:
    """Return whether a signature is more than words that may begin a text."""
    return b"\0" in head or _UNPRINTABLE.search(signature) is not None


def _escaped(head: bytes) -> Content | None:
    """Detect text in a seven-bit encoding, which reads as UTF-8: escapes switch its alphabets."""
    found = re.search(rb"\x1b\$(\)C)?|\x1b\([BJ]", head)
    return None if found is None else _wide("ISO-2022-KR" if found[1] else "ISO-2022-JP")


def _wide_without_mark(head: bytes) -> Content | None:
    """Detect UTF-16 and UTF-32 without a byte order mark: every other byte of ASCII characters is zero."""
    zeros = head.count(0)
    if zeros * 5 < len(head) or len(head) < 4:  # one in five: half of the characters are ASCII
        return None
    zeros_at = [head[offset::4].count(0) for offset in range(4)]
    for encoding, filled in (("UTF-32LE", {0}), ("UTF-32BE", {3}), ("UTF-16LE", {0, 2}), ("UTF-16BE", {1, 3})):
        inside = sum(zeros_at[offset] for offset in filled)
        empty = [zeros_at[offset] for offset in range(4) if offset not in filled]
        if inside * 20 <= zeros and min(empty) * 3 >= max(empty):
            return _wide(encoding, " without a byte order mark")
    return None
