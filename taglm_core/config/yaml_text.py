"""YAML reader for experiments: scalars by the YAML 1.2 core schema, no repeated keys, plain errors with lines.

PyYAML reads YAML 1.1, where `no` is false, `010` is 8, `12:30` is 750 and `2020-01-01` is a date. This reader takes
them as text; validation converts text such as `010` if a setting is a number.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import yaml
from yaml.nodes import MappingNode, Node, ScalarNode

from taglm_core.errors import ConfigError

_FLOAT = r"""[-+]?[0-9][0-9_]*\.[0-9_]*(?:[eE][-+]?[0-9]+)?
            |[-+]?\.[0-9][0-9_]*(?:[eE][-+]?[0-9]+)?
            |[-+]?[0-9]+[eE][-+][0-9]+
            |[-+]?[0-9]{1,2}[eE][0-9]{1,2}  # longer ones, such as 123e45, are beginnings of digests
            |[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)"""
_INT = r"0|[-+]?[1-9][0-9_]*|[-+]0|0[xX][0-9a-fA-F_]+|0o[0-7]+|0b[01_]+"
_TAG = "tag:yaml.org,2002:"
_MERGE = f"{_TAG}merge"

# Plain explanations by a pattern of the message of PyYAML.
_EXPLANATIONS: Mapping[str, str] = {
    r"found character '\\t'|found a tab character": "a tab stands where only spaces may stand; indent with spaces",
    "mapping values are not allowed": (
        "a second `:` in one setting, a line above without `: `, or a line that is indented too far; put text with "
        "`: ` into quotes"
    ),
    "another document": "the file holds several documents; remove this line (`---`) and what follows it",
    "found undefined alias": "`*` refers to an anchor that does not exist; put text that begins with `*` into quotes",
    "found character '[@`%]'": "text that begins with @, ` or % needs quotes",
    "expected alphabetic or numeric character": "text that begins with * or & needs quotes",
    "could not find expected ':'": "a key without `: ` and a value, or a line that is not indented like its neighbours",
    "but found '<scalar>'": (
        "text follows a closing quote or bracket; put the whole value into quotes, as in '[v1]/train.conll'"
    ),
    "expected <block end>|<document start>": (
        "this line is not indented like its neighbours, or a list item stands among keys"
    ),
    "expected ',' or ']'": "a list that begins with [ is not closed with ], or a comma is missing",
    "expected ',' or '}'": "a section that begins with { is not closed with }, or a comma is missing",
    "unexpected end of stream": "a quote or a bracket is not closed",
    "could not determine a constructor": "YAML tags (`!name`) are not used; put text that begins with ! into quotes",
    "recursive": "a section or list refers to itself with `*`; remove that",
    "unhashable key": "a key must be text; put values that begin with { or [ into quotes",
    "sequence entries are not allowed": (
        "a list item (`- `) needs a line of its own; put text that begins with - into quotes"
    ),
    "unknown escape character": "put paths with backslashes into single quotes instead of double quotes",
}


def read_yaml(path: Path) -> Any:
    """Read a YAML file.

    Raises:
        ConfigError: the file is unreadable, not UTF-8, or not YAML; the message has the line.
    """
    return parse_yaml(_text(path), str(path))


def parse_yaml(text: str, source: str, *, lines: bool = True) -> Any:
    """Read YAML.

    Args:
        text: the YAML.
        source: name of the text in messages.
        lines: whether messages give the line.

    Raises:
        ConfigError: the text is not YAML.
    """
    try:
        return yaml.load(text, _Loader)
    except _RepeatedKeyError as error:
        line, problem = error.second, f"{error}; put both into one section, or remove one"
    except yaml.reader.ReaderError as error:
        line = 1 + text.count("\n", 0, error.position)
        problem = f"found the control character U+{error.character:04X}; remove it, or give a text file"
    except yaml.MarkedYAMLError as error:
        reason = str(error.problem)
        unclosed = "<stream end>" in reason or "end of stream" in reason
        mark = (error.context_mark if unclosed else error.problem_mark) or error.problem_mark or error.context_mark
        line = 1 if mark is None else mark.line + 1
        problem = f"not valid YAML: {_explain(reason)}"
    except RecursionError:
        line, problem = 1, "not valid YAML: brackets are nested too deeply; close them"
    raise ConfigError(f"{source}:{line}: {problem}" if lines else f"{source}: {problem}")


def _text(path: Path) -> str:
    """Return the text of a UTF-8 file without its byte order mark."""
    try:
        data = path.expanduser().read_bytes()  # the shell leaves --experiment=~/x.yaml as it is
    except (OSError, RuntimeError) as error:
        why = error.strerror if isinstance(error, OSError) else error
        raise ConfigError(f"{path}: cannot be read ({why}); {_others()}") from error
    if data[:2] in (b"\xff\xfe", b"\xfe\xff"):
        raise ConfigError(f"{path}:1: found UTF-16; expected UTF-8; convert it: iconv -f UTF-16 -t UTF-8 {path}")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line, byte = 1 + data[: error.start].count(b"\n"), data[error.start]
        raise ConfigError(
            f"{path}:{line}: found the byte 0x{byte:02X}; expected UTF-8 text; save the file as UTF-8"
        ) from error


def _others() -> str:
    near = sorted(str(path) for path in Path("experiments").glob("*.yaml"))
    return f"experiments here: {', '.join(near)}" if near else "give the path of an experiment file"


class _Loader(yaml.SafeLoader):
    """PyYAML's safe loader with the scalars of YAML 1.2 and unconverted keys."""

    yaml_implicit_resolvers: ClassVar[dict[str, list[tuple[str, re.Pattern[str]]]]] = {}  # type: ignore[misc]

    def __init__(self, stream: str) -> None:
        super().__init__(stream)
        self.deep_construct = True  # so that a list that holds itself is refused

    def compose_mapping_node(self, anchor: Any) -> MappingNode:
        """Refuse a repeated key; PyYAML would silently drop the first."""
        node: MappingNode = super().compose_mapping_node(anchor)
        lines: dict[str, int] = {}
        for key, _ in node.value:
            if not isinstance(key, ScalarNode) or key.tag == _MERGE:
                continue
            line = key.start_mark.line + 1
            if key.value in lines:
                raise _RepeatedKeyError(key.value, lines[key.value], line)
            lines[key.value] = line
            key.tag = f"{_TAG}str"  # keys are names: `no: 1` and `2024: 1` too
        return node

    def construct_number(self, node: Node) -> int | float:
        """Return a number as Python reads it, or one of YAML's infinities."""
        text = str(node.value).replace("_", "").lower()
        try:
            return int(text, 0) if node.tag == f"{_TAG}int" else float(re.sub(r"\.(?=inf|nan)", "", text))
        except ValueError as error:  # `!!int x`
            raise yaml.constructor.ConstructorError(
                None, None, f"{node.value} is no number", node.start_mark
            ) from error


for _name, _pattern, _first in (
    ("null", r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    ("bool", r"true|True|TRUE|false|False|FALSE", list("tTfF")),
    ("int", _INT, list("-+0123456789")),
    ("float", _FLOAT, list("-+.0123456789")),
    ("merge", r"<<", ["<"]),
):
    _Loader.add_implicit_resolver(_TAG + _name, re.compile(rf"^(?:{_pattern})$", re.VERBOSE), _first)
for _name in ("int", "float"):
    _Loader.add_constructor(_TAG + _name, _Loader.construct_number)


class _RepeatedKeyError(yaml.YAMLError):
    """A section repeats a key."""

    def __init__(self, key: str, first: int, second: int) -> None:
        again = "twice" if first == second else f"in line {first} and again in line {second}"
        super().__init__(f"found `{key}` {again}; expected each key once")
        self.second = second


def _explain(problem: str) -> str:
    known = next((text for pattern, text in _EXPLANATIONS.items() if re.search(pattern, problem)), None)
    return known or f"{problem}; correct this line, or put text with special characters into quotes"
