"""Raw files: which ones are meant, their lines, and what is refused."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest
import zstandard

from taglm_core.corpus.files import MAX_LINE_BYTES, open_text
from taglm_core.corpus.paths import resolve_files
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
