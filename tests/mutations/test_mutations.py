"""The list of mutations fits the sources, and the runner tells which tests notice one."""

from __future__ import annotations

import multiprocessing
from collections import Counter
from pathlib import Path

import pytest

from tests.mutations import runner
from tests.mutations.mutation import Mutation, all_mutations

ROOT = Path(__file__).parents[2]


def test_every_mutation_fits_the_sources() -> None:
    """Its old text occurs once, and its tests are there: a rename is noticed here."""
    mutations, problems = all_mutations(), []
    names = {name for one in mutations for name in (one.file, *(test.partition("::")[0] for test in one.tests))}
    texts = {name: (ROOT / name).read_text(encoding="utf-8") for name in names}
    for one in mutations:
        if one.applied(texts[one.file]) is None:
            problems.append(f"{one.name}: its text does not occur once in {one.file}")
        if one.old == one.new or not one.tests:
            problems.append(f"{one.name}: it changes nothing, or no test must notice it")
        for test in one.tests:
            file, _, function = test.partition("::")
            if f"\ndef {function.partition('[')[0]}(" not in texts[file]:
                problems.append(f"{one.name}: there is no test {test}")
    counts = Counter(one.name for one in mutations)
    problems += [f"{name}: {count} mutations have this name" for name, count in counts.items() if count > 1]
    assert problems == []
    assert len(mutations) >= 45


def test_the_runner_finds_what_is_caught_and_what_survives(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The checkout stays as it is; a survivor names the tests that stayed green."""
    monkeypatch.setattr(runner, "_WARM", multiprocessing.get_context("spawn"))  # needs no library
    (tmp_path / "taglm_core").mkdir()
    (tmp_path / "tests").mkdir()
    (tmp_path / "taglm_core" / "__init__.py").touch()
    source = tmp_path / "taglm_core" / "sums.py"
    source.write_text("def add(a, b):\n    return a + b\n")
    test = tmp_path / "tests" / "test_sums.py"
    test.write_text("from taglm_core.sums import add\ndef test_two():\n    assert add(2, 2) == 4\n"
                    "def test_three():\n    assert add(1, 2) == 3\n")  # fmt: skip
    two, three = (f"tests/test_sums.py::test_{name}" for name in ("two", "three"))

    def mutation(old: str, new: str, *tests: str) -> Mutation:
        return Mutation("x", "taglm_core/sums.py", old, new, tests)

    cases = [mutation("a + b", "a - b", two, three), mutation("a + b", "a * b", two, three),
             mutation("a - b", "a", two)]  # fmt: skip
    outcomes = [outcome for _, outcome in runner.run(tmp_path, cases)]
    assert [outcome.verdict for outcome in outcomes] == ["caught", "SURVIVED", "text not found"]
    assert outcomes[1].green == (two,)
    assert "a + b" in source.read_text()


@pytest.mark.parametrize("count", [0, 2])
def test_a_text_that_does_not_occur_once_is_not_applied(count: int) -> None:
    """Which place was meant is not guessed."""
    assert Mutation("x", "y", "old", "new", ()).applied("old " * count) is None
