"""Raw files: which ones are meant, their lines, and what is refused."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import os
import re
import shutil
import socket
import subprocess
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
import zstandard

from taglm_core.corpus.content import describe_content
from taglm_core.corpus.files import MAX_LINE_BYTES, open_text
from taglm_core.corpus.paths import resolve_files
from taglm_core.corpus.sentence import ReadCounts
from taglm_core.errors import InputError

TEXT = "".join(f"line {number} naïve café 東京\n" for number in range(50_000))


def test_a_file_is_itself(tmp_path: Path) -> None:
    """A path to a file means that file, even if its name looks like a glob."""
    file = tmp_path / "odd[1].txt"
    file.write_text("a\n")
    assert resolve_files(file) == [file]


def test_a_folder_is_its_files_sorted_without_dotfiles(tmp_path: Path) -> None:
    """A folder means all regular files at any depth, sorted by relative path, none of them hidden."""
    for name in ("b.txt", "a/z.txt", "a/.hidden", ".git/config", "a.txt"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("x\n")
    assert [file.relative_to(tmp_path).as_posix() for file in resolve_files(tmp_path)] == ["a.txt", "a/z.txt", "b.txt"]


def test_a_glob_is_the_files_it_matches(tmp_path: Path) -> None:
    """A glob gives matching files in order, folders left out, and ** crosses folders."""
    for name in ("x/2.txt", "x/1.txt", "x/y/3.txt", "x/1.csv"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("x\n")
    assert [file.name for file in resolve_files(f"{tmp_path}/x/*")] == ["1.csv", "1.txt", "2.txt"]
    assert [file.name for file in resolve_files(f"{tmp_path}/**/*.txt")] == ["1.txt", "2.txt", "3.txt"]


@pytest.mark.parametrize("name", ["absent.txt", "absent/*.txt", "empty"])
def test_nothing_found_is_refused_with_a_remedy(tmp_path: Path, name: str) -> None:
    """Where no file is, the error names the path and what to do."""
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="check the path") as caught:
        resolve_files(tmp_path / name)
    assert name in str(caught.value)


def _write(path: Path, data: bytes) -> Path:
    if path.suffix == ".gz":
        data = gzip.compress(data)
    elif path.suffix == ".zst":
        data = zstandard.ZstdCompressor().compress(data)
    path.write_bytes(data)
    return path


@pytest.mark.parametrize("suffix", ["", ".gz", ".zst"])
def test_all_compressions_give_the_same_numbered_lines(tmp_path: Path, suffix: str) -> None:
    """Plain, gzip and zstd files give the same lines, over many blocks."""
    lines = list(open_text(_write(tmp_path / f"text.txt{suffix}", TEXT.encode())))
    assert [line for _, line in lines] == TEXT.splitlines()
    assert [number for number, _ in lines] == list(range(1, 50_001))


@pytest.mark.parametrize("suffix", [".gz", ".zst"])
def test_joined_compressed_files_are_read_to_the_end(tmp_path: Path, suffix: str) -> None:
    """Two compressed files one after the other are one text, as gzip and zstd define it."""
    part = _write(tmp_path / f"part{suffix}", b"a\nb\n").read_bytes()
    (tmp_path / f"both{suffix}").write_bytes(part + part)
    assert [line for _, line in open_text(tmp_path / f"both{suffix}")] == ["a", "b", "a", "b"]


@pytest.mark.parametrize("suffix", [".gz", ".zst"])
@pytest.mark.parametrize("lost", [3, 100_000])
def test_a_cut_off_compressed_file_is_refused(tmp_path: Path, suffix: str, lost: int) -> None:
    """A compressed file that lost its end never passes as a shorter text."""
    path = _write(tmp_path / f"cut{suffix}", TEXT.encode())
    path.write_bytes(path.read_bytes()[: -min(lost, path.stat().st_size // 2)])
    with pytest.raises(InputError, match=r"cut\.(gz|zst): found an error while reading"):
        list(open_text(path))


def test_only_lf_and_crlf_end_lines_and_the_bom_goes(tmp_path: Path) -> None:
    """CRLF and a byte order mark leave no trace; Unicode line separators end no line; the last needs no end."""
    path = _write(tmp_path / "text.txt", "\ufeffa\r\nb\u2028c\x85d\n\n\ufeffe".encode())
    assert list(open_text(path)) == [(1, "a"), (2, "b\u2028c\x85d"), (3, ""), (4, "e")]


def test_bytes_that_are_not_utf8_are_refused_with_their_line(tmp_path: Path) -> None:
    """Latin-1 text stops with file:line, in whatever block it stands."""
    good = b"ok ok ok ok ok ok\n" * 200_000
    path = _write(tmp_path / "latin.txt", good + "caf\xe9 noir\n".encode("latin-1") + good)
    with pytest.raises(InputError, match=r"latin\.txt:200001: found bytes that are not UTF-8 \(e9"):
        list(open_text(path))


def test_utf16_is_refused(tmp_path: Path) -> None:
    """UTF-16 without a mark, which is valid UTF-8 full of NULs, is named."""
    path = _write(tmp_path / "wide.txt", "one\ntwo\n".encode("utf-16-le"))
    with pytest.raises(InputError, match=r"wide\.txt: found UTF-16LE text .*iconv -f UTF-16LE"):
        list(open_text(path))


def test_an_absurd_line_is_refused_before_it_fills_the_memory(tmp_path: Path) -> None:
    """A line over the limit stops the reading at the limit, with its number."""
    path = _write(tmp_path / "long.zst", b"short\n" + b"a" * (2 * MAX_LINE_BYTES))
    with pytest.raises(InputError, match=r"long\.zst:2: found a line of more than 64 MiB"):
        list(open_text(path))


def test_a_long_line_within_the_limit_is_whole(tmp_path: Path) -> None:
    """A line that spans several blocks arrives in one piece."""
    path = _write(tmp_path / "long.txt", b"x\n" + b"word " * 900_000 + b"\ny\n")
    assert [len(line) for _, line in open_text(path)] == [1, 4_500_000, 1]


@pytest.mark.parametrize("pack", [gzip.compress, bz2.compress, lzma.compress, zstandard.compress, bytes])
@pytest.mark.parametrize("name", ["text", "text.txt", "text.gz", "text.zst"])
def test_the_content_decides_and_not_the_name(tmp_path: Path, pack: Callable[[bytes], bytes], name: str) -> None:
    """Compressed or plain text is read under any name; cut off, it is refused."""
    path = tmp_path / name
    path.write_bytes(pack("é\nb\n".encode()))
    assert [line for _, line in open_text(path)] == ["é", "b"]
    if pack is not bytes:
        path.write_bytes(pack(TEXT[:9999].encode())[:-9])
        with pytest.raises(InputError, match="cut off or damaged"):
            list(open_text(path))


def _long_frame(data: bytes) -> bytes:
    """What zstd --long=28 writes: one raw block under a window of 256 MiB."""
    return b"\x28\xb5\x2f\xfd\x00\x90" + (len(data) << 3 | 1).to_bytes(3, "little") + data


def test_zstd_files_of_long_windows_are_read(tmp_path: Path) -> None:
    """A window that Arrow refuses, over several frames; cut off, it is refused."""
    path = tmp_path / "long.zst"
    path.write_bytes(_long_frame(b"a\nb") + _long_frame(b"\nc\n"))
    assert [line for _, line in open_text(path)] == ["a", "b", "c"]
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(InputError, match="cut off or damaged"):
        list(open_text(path))


def _zip(*names: str) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for name in names:
            archive.writestr(name, "a\n")
    return packed.getvalue()


def _tar() -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as archive:
        archive.addfile(tarfile.TarInfo("a.txt"))
    return gzip.compress(packed.getvalue(), mtime=0)  # the same name of the test in every process


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (_zip("glove.txt"), "found a zip archive.*unzip"),
        (_zip("[Content_Types].xml", "word/document.xml"), "found a Word, Excel or PowerPoint document"),
        (_tar(), "found a tar archive.*tar -xf"),
        (gzip.compress(gzip.compress(b"a\n", mtime=0), mtime=0), "found gzip data inside compressed data.*gzip -dc"),
        (b"%PDF-1.4\n%\xe2\xe3\xcf\xd3\n", "found a PDF document.*pdftotext"),
        (b"PAR1\x15\x04\x15\x00", "found a Parquet file"),
        (b"SQLite format 3\0\x10\0", "found an SQLite database"),
        (b"\x7fELF\x02\x01\x01\0", "found a program"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:4d\n", "found a Git LFS pointer.*git lfs pull"),
        (b"/annex/objects/SHA256E-s5--ab\n", "found a git-annex pointer.*git annex get"),
    ],
)
def test_what_is_no_text_is_named(tmp_path: Path, data: bytes, message: str) -> None:
    """An archive, a document, a database, a pointer: what it is and what to do, whatever its name."""
    path = tmp_path / "train.txt"
    path.write_bytes(data)
    with pytest.raises(InputError, match=message):
        list(open_text(path))


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ('{"tokens": ["a"]}\n{"tokens": ["b"]}\n', "JSON lines"),
        ('[\n {"a": 1}\n]\n', "JSON"),
        ("<!DOCTYPE html>\n<html>", "an HTML page"),
        ('<?xml version="1.0"?>\n', "XML"),
        ("I saw a DUCK on the lake\n", None),
        ("MZ PAR1 ORC\n", None),
        ("{ O\n", None),
        ("< O\nhtml O\n", None),
        ("[ O\n", None),
    ],
)
def test_text_in_another_form_has_a_name_and_is_read(tmp_path: Path, text: str, name: str | None) -> None:
    """JSON, HTML and XML are described and not refused; words that look like signatures are nothing special."""
    assert describe_content(text.encode()) == name
    assert len(list(open_text(_write(tmp_path / "text", text.encode())))) == len(text.splitlines())


FRENCH, RUSSIAN, CZECH = "Un café noir , déjà vu", "Москва NNP B-LOC", "Příliš žluťoučký kůň"


@pytest.mark.parametrize(
    ("data", "encoding", "text"),
    [
        (FRENCH.encode("latin-1"), "WINDOWS-1252", FRENCH),
        (("‘L’été’ – “élève” " * 9).encode("cp1252"), "WINDOWS-1252", "‘L’été’ – “élève” " * 9),
        (CZECH.encode("cp1250"), "WINDOWS-1250", CZECH),
        (FRENCH.encode("cp850"), "CP850", FRENCH),
        ((RUSSIAN + "\nв IN O\nРоссии NNP B-LOC").encode("cp1251"), "WINDOWS-1251", RUSSIAN),
        ("東京は日本の首都です。".encode("euc_jp"), "EUC-JP", "東京は日本の首都です。"),
        (
            "北京是中华人民共和国的首都 。 我们 去 上海 。".encode("gbk"),
            "GB18030",
            "北京是中华人民共和国的首都 。 我们 去 上海 。",
        ),
        (FRENCH.encode("utf-16"), "UTF-16", FRENCH),
        (b"\xfe\xff" + FRENCH.encode("utf-16-be"), "UTF-16", FRENCH),
        (FRENCH.encode("utf-16-be"), "UTF-16BE", FRENCH),
        (FRENCH.encode("utf-32"), "UTF-32", FRENCH),
        ("東京は日本の首都です。".encode("iso2022_jp"), "ISO-2022-JP", "東京は日本の首都です。"),
        ("กรุงเทพ ไป ที่ เขา บ้าน".encode("cp874"), "CP874", "กรุงเทพ ไป ที่ เขา บ้าน"),
        (b"caf\xc3\xa9\n" * 9 + b"caf\xe9 noir", "UTF-8", "café"),
        (b"caf\xc3\xa9\n" * 9 + b"a\0b", None, "café"),
        (b"a b\rc d", None, "a b"),
    ],
)
@pytest.mark.parametrize("name", ["it's text.txt", "text.gz"])
def test_the_command_for_an_encoding_works(
    tmp_path: Path, data: bytes, encoding: str | None, text: str, name: str
) -> None:
    """The encoding is found, and the command that the message gives makes a file that is read."""
    path = _write(tmp_path / name, data)
    with pytest.raises(InputError) as caught:
        list(open_text(path))
    command = next(part for part in re.findall("`([^`]*)`", caught.value.remedy) if "> " in part)
    assert encoding is None or f"-f {encoding} " in command
    if not all(map(shutil.which, ("iconv", "gzip", "tr"))):
        pytest.skip("a tool is missing on this machine")
    subprocess.run(command, shell=True, check=False)
    (made,) = set(tmp_path.iterdir()) - {path}
    assert next(open_text(made))[1] == text


def test_one_wrong_byte_is_a_damaged_line_and_not_another_encoding(tmp_path: Path) -> None:
    """The line, what stands around the byte, and the encoding stays UTF-8."""
    path = _write(tmp_path / "text.txt", "café\n".encode() * 300_000 + b"caf\xe9 noir\n" + "café\n".encode() * 9)
    with pytest.raises(InputError, match=r"text\.txt:300001: found a byte that is not UTF-8 .*'caf\\xe9 noir'.*rest"):
        list(open_text(path))


def test_marks_inside_and_empty_files_are_noted(tmp_path: Path) -> None:
    """Marks of joined files go, and are counted with their first line; so are files without a line."""
    counts = ReadCounts()
    joined = _write(tmp_path / "joined", "\ufeffa\n\ufeffb\nc\ufeff\n\ufeffd\n".encode())
    assert [line for _, line in open_text(joined, counts)] == ["a", "b", "c\ufeff", "d"]
    assert list(open_text(_write(tmp_path / "nothing", b""), counts)) == []
    assert counts.notes == [
        f"{joined}:2: 2 byte order marks inside the file left out (joined files have them)",
        f"{tmp_path / 'nothing'}: the file is empty",
    ]


def test_an_empty_file_with_the_name_of_a_compressed_one_is_refused(tmp_path: Path) -> None:
    """No program writes 0 bytes of gzip: the file is what is left of one."""
    (tmp_path / "a.gz").touch()
    with pytest.raises(InputError, match=r"a\.gz: found an empty file \(0 bytes\); expected gzip data"):
        list(open_text(tmp_path / "a.gz"))


def test_folders_with_brackets_in_their_names_are_no_globs(tmp_path: Path) -> None:
    """What exists is taken literally, also before a glob."""
    for name in ("data[v1]/a.txt", "data[v1]/b.txt", "datav/c.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    for pattern in ("data[v1]/*.txt", "data[v1]"):
        assert [file.name for file in resolve_files(tmp_path / pattern)] == ["a.txt", "b.txt"]


def _make(folder: Path) -> None:
    """One of each thing that is no readable file."""
    (folder / "good.conll").touch()
    (folder / "dead").symlink_to("gone.txt")
    (folder / "annexed").symlink_to("../.git/annex/objects/ab")
    os.mkfifo(folder / "pipe")
    for name in ("full", "bare"):
        (folder / name).mkdir()
    (folder / "full" / "link").symlink_to("gone.txt")


@pytest.mark.parametrize(
    ("pattern", "message"),
    [
        ("dead", "dead: found a symbolic link to gone.txt, which is not there"),
        ("dead/x.txt", "dead: found a symbolic link to gone.txt"),
        ("annexed", "`git annex get annexed`"),
        ("pipe", "pipe: found a named pipe"),
        ("/dev/null", "/dev/null: found a device"),
        ("full", "full/link: found a symbolic link"),
        ("full/*", "full/link: found a symbolic link"),
        ("bare", "bare: found a folder without files"),
        ("good.conl", r"nothing named 'good\.conl' in .*; the nearest name is 'good\.conll'"),
        ("GOOD.CONLL", r"the nearest name is 'good\.conll'"),
        ("good.conll/x", r"found good\.conll, which is a file and no folder"),
        ("{train,dev}.conll", "braces have no meaning here"),
        ("$HOME/x", "variables such as .HOME are not replaced"),
        ("https://example.org/x", r"found a URL \(https\).*download"),
        ("C:\\data\\x", "write / between folders"),
        ("", "an empty path"),
        ("~nobody-of-that-name/x", "a user who has no home folder here"),
        ("a" * 300, "File name too long"),
    ],
)
def test_what_cannot_be_read_as_a_file_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pattern: str, message: str
) -> None:
    """Dead links, pipes, devices, near misses and foreign notations: what is there instead and what to do."""
    _make(tmp_path)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=message):
        resolve_files(pattern)


def test_a_socket_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is no file, wherever it stands."""
    monkeypatch.chdir(tmp_path)
    with socket.socket(socket.AF_UNIX) as one:
        one.bind("s")
        with pytest.raises(InputError, match="s: found a socket"):
            resolve_files("s")


def test_files_and_folders_without_permission_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that may not be read, and a folder that may not be entered, are never passed over."""
    (tmp_path / "a.txt").touch()
    monkeypatch.setattr(os, "access", lambda *_: False)
    with pytest.raises(InputError, match=r"a\.txt: found a file that you may not read.*chmod u\+r"):
        resolve_files(tmp_path)
    monkeypatch.undo()

    def refuse(path: str) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(InputError, match=r"found an error \(Permission denied\).*ls -ld"):
        resolve_files(tmp_path)
