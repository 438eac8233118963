"""The store: content digests, pointers, verification, crash safety."""

from __future__ import annotations

import json
import threading
from dataclasses import replace
from pathlib import Path

import pytest

from taglm_core.errors import DamagedObject, MissingObject
from taglm_core.store.digests import content_digest
from taglm_core.store.durable import write_json
from taglm_core.store.records import Manifest, Recipe, Ref
from taglm_core.store.store import Store, list_files

RECIPE = Recipe("corpus", 1, {"columns": {"word": 0}}, {"file": "abc"})


def publish(store: Store, recipe: Recipe = RECIPE, text: str = "tokens", log: str = "log") -> Ref:
    """An object with one payload file and one log."""
    out = store.work(recipe) / "out"
    out.mkdir(parents=True)
    (out / "a.txt").write_text(text)
    (out / "log.txt").write_text(log)
    return store.publish(out, Manifest("x/corpus", recipe, list_files(out, ["log.txt"]), made={"time": 0}))


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


def test_published_objects_are_found_by_their_recipe(store: Store) -> None:
    """What was published is found, opened and whole."""
    ref = publish(store)
    assert store.find(RECIPE) == ref
    assert (store.open(ref).path / "a.txt").read_text() == "tokens"
    assert store.manifest("corpus", ref.digest).recipe == RECIPE


@pytest.mark.parametrize(
    "other",
    [
        replace(RECIPE, version=2),
        replace(RECIPE, config={"columns": {"word": 1}}),
        replace(RECIPE, inputs={"file": "abd"}),
        replace(RECIPE, kind="vocabulary"),
    ],
)
def test_every_field_of_a_recipe_is_in_its_key(store: Store, other: Recipe) -> None:
    """Another kind, version, config or input is another recipe."""
    publish(store)
    assert other.key != RECIPE.key
    assert store.find(other) is None


def test_content_digest_ignores_what_is_not_payload(store: Store) -> None:
    """Equal payload gives one object, whatever the logs say; other payload another."""
    first = publish(store)
    second = publish(store, replace(RECIPE, version=2), log="another log")
    third = publish(store, replace(RECIPE, version=3), text="other tokens")
    assert first.digest == second.digest != third.digest
    assert len(list((store.root / "objects" / "corpus").iterdir())) == 2


@pytest.mark.parametrize("damage", ["truncate", "flip", "remove", "manifest"])
def test_damage_is_noticed_set_aside_and_rebuilt(store: Store, damage: str) -> None:
    """A truncated, changed or missing file is noticed; the damaged object is kept aside and the same one rebuilt."""
    ref = publish(store)
    path = store.open(ref).path
    target = path / ("manifest.json" if damage == "manifest" else "a.txt")
    if damage == "remove":
        target.unlink()
    else:
        target.write_text({"truncate": "tok", "flip": "tokenz", "manifest": "{"}[damage])
    fresh = Store(store.root)
    with pytest.raises(DamagedObject, match=r"a\.txt|manifest\.json"):
        fresh.open(ref)
    assert (fresh.find(RECIPE) is None) == (damage != "flip")  # planning compares sizes, opening bytes
    assert publish(fresh) == ref
    assert (Store(store.root).open(ref).path / "a.txt").read_text() == "tokens"
    assert any(place.is_dir() for place in (store.root / "damaged").iterdir())


def test_half_written_pointer_counts_as_absent(store: Store) -> None:
    """A pointer cut off by a power failure is overwritten, not an error."""
    ref = publish(store)
    (store.root / "keys" / "corpus" / f"{RECIPE.key}.json").write_text('{"digest": "ab')
    assert store.find(RECIPE) is None
    assert publish(store) == ref


def test_opening_what_is_not_there_says_so(store: Store) -> None:
    """A missing object is another error than a damaged one."""
    with pytest.raises(MissingObject, match="not in"):
        store.open(Ref("corpus", "k", "d"))


def test_raw_digest_follows_content_and_order_not_name(store: Store, tmp_path: Path) -> None:
    """The same bytes under another name are the same input; other bytes or another order are not."""
    a, b, c = (tmp_path / name for name in "abc")
    a.write_text("x"), b.write_text("y"), c.write_text("x")
    assert store.raw_digest([a]) == store.raw_digest([c]) != store.raw_digest([b])
    assert store.raw_digest([a, b]) != store.raw_digest([b, a])
    a.write_text("z")
    assert store.raw_digest([a]) != store.raw_digest([c])


def test_raw_files_are_read_once(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An unchanged file's digest comes from the stat cache."""
    path = tmp_path / "a"
    path.write_text("x")
    digest = store.raw_digest([path])
    monkeypatch.setattr("taglm_core.store.store.file_sha256", lambda _: pytest.fail("read again"))
    assert Store(store.root).raw_digest([path]) == digest


def test_json_is_replaced_whole(tmp_path: Path) -> None:
    """A value that cannot be written leaves the old file and no litter."""
    path = tmp_path / "a.json"
    write_json(path, {"a": 1})
    with pytest.raises(TypeError):
        write_json(path, {"a": object()})
    assert json.loads(path.read_text()) == {"a": 1}
    assert list(tmp_path.glob(".*")) == []


def test_the_content_digest_does_not_see_the_order_of_files() -> None:
    """A manifest may list its files in any order."""
    files = [("b", "2"), ("a", "1")]
    assert content_digest(files) == content_digest(files[::-1]) != content_digest([("a", "2"), ("b", "1")])


def test_a_pointer_is_written_after_its_object(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """An object is on the disk before it has its name, and has its name before a pointer leads to it."""
    seen: list[str] = []

    def objects() -> list[Path]:
        return list(store.root.glob("objects/corpus/*"))

    def write(path: Path, value: object) -> None:
        if path.parent.parent.name == "keys":
            assert [(folder / "manifest.json").is_file() for folder in objects()] == [True]
            seen.append("pointer")
        write_json(path, value)

    def flush(folder: Path) -> None:
        assert objects() == []
        assert (folder / "manifest.json").is_file()
        seen.append("flushed")

    monkeypatch.setattr("taglm_core.store.store.write_json", write)
    monkeypatch.setattr("taglm_core.store.store.sync_tree", flush)
    publish(store)
    assert seen == ["flushed", "pointer"]


def test_nothing_is_published_while_gc_removes(store: Store) -> None:
    """Garbage collection holds the guard alone; a builder that has finished waits until it is free."""
    with store.guard(collecting=True):
        builder = threading.Thread(target=publish, args=[store])
        builder.start()
        builder.join(0.3)
        assert builder.is_alive()
        assert store.find(RECIPE) is None
    builder.join(60)
    assert store.find(RECIPE) is not None


def test_an_object_that_was_set_aside_is_verified_again(store: Store) -> None:
    """What another process publishes in its place is not taken for what was verified before."""
    ref = publish(store)
    assert store.set_aside(ref.kind, ref.digest, "test") is not None
    publish(Store(store.root))
    (store.folder(ref) / "a.txt").write_text("tokenz")
    with pytest.raises(DamagedObject, match=r"a\.txt"):
        store.open(ref)
