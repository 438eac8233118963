"""YAML as users write it: what scalars mean, and where a fault is."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import yaml

from taglm_core.config.load import load_experiment
from taglm_core.config.yaml_text import parse_yaml, read_yaml
from taglm_core.errors import ConfigError


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("no", "no"), ("yes", "yes"), ("on", "on"), ("off", "off"), ("true", True), ("False", False),
        ("2020-01-01", "2020-01-01"), ("12:30", "12:30"), ("010", "010"), ("=", "="),
        ("1e-3", 0.001), ("1e3", 1000.0), ("1.5e3", 1500.0), ("1.0e-4", 1e-4), (".5", 0.5), ("-.inf", -math.inf),
        ("5_000", 5000), ("-3", -3), ("0", 0), ("0x1F", 31), ("'1'", "1"), ("~", None), ("", None),
        ("123e45", "123e45"),
    ],
)  # fmt: skip
def test_scalars_mean_what_yaml_1_2_says(text: str, value: Any) -> None:
    """A name that looks like a switch, a date or a time is a name."""
    found = parse_yaml(text, "x")
    assert (found, type(found)) == (value, type(value))


def test_keys_are_text_as_written() -> None:
    """`no` and `1` are names of settings, too."""
    assert parse_yaml("{no: 1, 1: {~: a}}", "x") == {"no": 1, "1": {"~": "a"}}


def test_shipped_yaml_reads_as_before(repository: Path) -> None:
    """Experiments and deployments, anchors and merges among them, are what they were by YAML 1.1."""
    paths = [*(repository / "experiments").glob("*.yaml"), repository / "prefect.yaml"]
    assert len(paths) > 3
    for path in paths:
        assert read_yaml(path) == yaml.safe_load(path.read_text(encoding="utf-8"))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: 1\nb: {x: 1}\na: 2\n", "x.yaml:3: found `a` in line 1 and again in line 3; expected each key once"),
        ("a:\n  b: 1\n  c:\n    d: 1\n    d: 2\n", "x.yaml:5: found `d` in line 4 and again in line 5"),
        ("a: {x: 1, x: 2}\n", "x.yaml:1: found `x` twice"),
        ("a:\n\tb: 1\n", "x.yaml:2: not valid YAML: a tab stands where only spaces may stand"),
        ("a: 1\n---\nb: 1\n", "x.yaml:2: not valid YAML: the file holds several documents"),
        ("a: [1,\nb: 2\n", "x.yaml:1: not valid YAML"),
        ("a: 1\nb: c: d\n", "x.yaml:2: not valid YAML: a second `:` in one setting"),
        ("a: *b\n", "x.yaml:1: not valid YAML: `*` refers to an anchor that does not exist"),
        ("a: [v1]/b.conll\n", "x.yaml:1: not valid YAML: text follows a closing quote or bracket"),
        ("a: !b c\n", "YAML tags (`!name`) are not used"),
        ("a: 1\nb: \x01\n", "x.yaml:2: found the control character U+0001"),
        ("a: " + "[" * 3000, "nested too deep"),
        ("name:mine\n", "x.yaml: found 'name:mine'; expected settings"),
        ("- a\n", "x.yaml: found a list; expected settings"),
        ("", "x.yaml: found no settings"),
        ("# nothing\n", "x.yaml: found no settings"),
    ],
)
def test_faults_are_named_with_their_line(text: str, message: str) -> None:
    """File, line, what is wrong and what to do."""
    Path("x.yaml").write_text(text)
    with pytest.raises(ConfigError) as caught:
        load_experiment(Path("x.yaml"))
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"name: a\nlabelled: {name: caf\xe9}\n", "x.yaml:2: found the byte 0xE9; expected UTF-8 text"),
        ("name: a\n".encode("utf-16"), "x.yaml:1: found UTF-16; expected UTF-8"),
    ],
)
def test_other_encodings_are_named(data: bytes, message: str) -> None:
    """With the line of the first byte that is no UTF-8."""
    Path("x.yaml").write_bytes(data)
    with pytest.raises(ConfigError) as caught:
        load_experiment(Path("x.yaml"))
    assert message in str(caught.value)


def test_a_byte_order_mark_is_no_part_of_the_first_key() -> None:
    """As editors on Windows write it."""
    Path("x.yaml").write_bytes(b"\xef\xbb\xbfname: a\r\n")
    assert load_experiment(Path("x.yaml")).name == "a"


def test_a_folder_is_no_experiment(tmp_path: Path) -> None:
    """Said as such."""
    with pytest.raises(ConfigError, match="Is a directory"):
        load_experiment(tmp_path)
