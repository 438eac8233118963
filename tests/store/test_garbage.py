"""Leftovers of a store: half-written files, damaged objects, digests of raw files, locks."""

from __future__ import annotations

import os
import time
from collections import Counter
from pathlib import Path

import pytest

from taglm_core.gc.garbage import ASIDE, Garbage, leftovers, remove_aside, take_aside
from taglm_core.store.durable import is_locked, write_json
from taglm_core.store.records import Recipe
from taglm_core.store.store import Store

DAY = 86400.0


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


def found(store: Store, grace: float = 3600) -> dict[str, Garbage]:
    """What is left over, by label; the lock files of the tests apart."""
    return {one.label: one for one in leftovers(store, time.time() - grace, time.time())}


def age(path: Path, seconds: float) -> None:
    os.utime(path, (time.time() - seconds,) * 2)


@pytest.mark.parametrize("folder", ["keys/corpus", "tracking", "tracking/outcomes"])
def test_half_written_files_go_when_their_writer_must_be_dead(store: Store, folder: str) -> None:
    """A young one may be somebody's who writes this moment."""
    temporary = store.root / folder / ".abc.json.x1y2"
    write_json(store.root / folder / "abc.json", {})
    temporary.write_text("{")
    assert found(store) == {}
    age(temporary, 2 * 3600)
    assert found(store)[temporary.name].kind == "temporary"
    take_aside(list(found(store).values()))
    assert [path.name for path in temporary.parent.iterdir()] == ["abc.json"]


def test_what_a_killed_gc_left_goes_at_once(store: Store) -> None:
    """Whatever was taken aside was decided about."""
    aside = store.root / "objects" / "corpus" / f"{ASIDE}abc-1"
    aside.mkdir(parents=True)
    (aside / "payload").write_text("tokens")
    (garbage,) = found(store).values()
    assert (garbage.kind, garbage.bytes) == ("temporary", 6)
    _, folders = take_aside([garbage])
    assert folders == [aside]
    assert remove_aside(folders) == []
    assert not aside.exists()


def test_damaged_objects_go_after_thirty_days_with_their_reason(store: Store) -> None:
    """Until then somebody may want to know what happened."""
    for number, days in enumerate((3, 31)):
        folder = store.root / "objects" / "corpus" / f"d{number}"
        folder.mkdir(parents=True)
        place = store.set_aside("corpus", folder.name, "a.txt is missing")
        assert place is not None
        write_json(
            place.with_name(f"{place.name}.reason.json"),
            {"reason": "a.txt is missing", "time": time.time() - days * DAY},
        )
    (garbage,) = found(store).values()
    assert garbage.label.startswith("corpus-d1-")
    assert garbage.reason == "set aside more than 30 days ago: a.txt is missing"
    take_aside([garbage])
    assert sorted(path.name[:9] for path in (store.root / "damaged").glob("[!.]*")) == ["corpus-d0", "corpus-d0"]


def test_digests_of_raw_files_that_are_gone_go(store: Store, tmp_path: Path) -> None:
    """A file that is gone or has changed is never looked up by its old stamp again."""
    paths = [tmp_path / name for name in ("there", "gone", "changed")]
    for path in paths:
        path.write_text(path.name)
    store.raw_digest(paths)
    assert found(store) == {}
    paths[1].unlink()
    paths[2].write_text("other bytes")
    assert set(found(store)) == {str(path.resolve()) for path in paths[1:]}
    take_aside(list(found(store).values()))
    assert len(list((store.root / "raw").iterdir())) == 1


def test_lock_files_that_nobody_holds_go(store: Store) -> None:
    """Of keys only; a held one stays; asking leaves it free."""
    first, second = (Recipe("corpus", number, {}, {}) for number in (1, 2))
    (store.root / "locks").mkdir(parents=True)
    (store.root / "locks" / "slot-0.lock").touch()
    with store.lock(first):
        with store.lock(second):
            assert found(store) == {}
        assert [one.kind for one in found(store).values()] == ["lock"]
        shown = [
            Garbage("lock", "x", "", 0, 0.0, (), (store.lock_file("corpus", recipe.key),)) for recipe in (first, second)
        ]
        taken, _ = take_aside(shown)
        assert taken == shown[1:]
        assert is_locked(store.lock_file("corpus", first.key))
    assert Counter(path.name for path in (store.root / "locks").iterdir()).keys() == {
        "slot-0.lock",
        store.lock_file("corpus", first.key).name,
    }
