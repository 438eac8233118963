"""The store: keys, publishing, verification, locks."""

_STORE, _RECORDS, _DURABLE = "taglm_core/store/store.py", "taglm_core/store/records.py", "taglm_core/store/durable.py"
_TEST = "tests/store/test_store.py::"

MUTATIONS = [
    (
        "a key does not hold the version",
        _RECORDS,
        "canonical_json(asdict(self)).encode()",
        "canonical_json({**asdict(self), 'version': 0}).encode()",
        f"{_TEST}test_every_field_of_a_recipe_is_in_its_key",
    ),
    (
        "a key does not hold the inputs",
        _RECORDS,
        "canonical_json(asdict(self)).encode()",
        "canonical_json({**asdict(self), 'inputs': {}}).encode()",
        f"{_TEST}test_every_field_of_a_recipe_is_in_its_key",
    ),
    (
        "logs enter the digest of the content",
        _RECORDS,
        "for entry in self.files if entry.payload)",
        "for entry in self.files)",
        f"{_TEST}test_content_digest_ignores_what_is_not_payload",
    ),
    (
        "the digest depends on the order of files",
        "taglm_core/store/digests.py",
        "canonical_json(sorted(files))",
        "canonical_json(list(files))",
        f"{_TEST}test_the_content_digest_does_not_see_the_order_of_files",
    ),
    (
        "a pointer is written before its object",
        _STORE,
        "            try:\n                staged.rename(target)\n",
        "            write_json(self._pointer(recipe.kind, recipe.key), asdict(Pointer(digest, recipe, '', 0.0)))\n"
        "            try:\n                staged.rename(target)\n",
        f"{_TEST}test_a_pointer_is_written_after_its_object",
    ),
    (
        "an object is not flushed to the disk before it is published",
        _STORE,
        "        sync_tree(staged)\n",
        "",
        f"{_TEST}test_a_pointer_is_written_after_its_object",
    ),
    (
        "an object is published without the guard",
        _STORE,
        "        target.parent.mkdir(parents=True, exist_ok=True)\n        with self.guard():",
        "        target.parent.mkdir(parents=True, exist_ok=True)\n        with contextlib.nullcontext():",
        f"{_TEST}test_nothing_is_published_while_gc_removes",
    ),
    (
        "gc shares the guard of builders",
        _STORE,
        'with locked(self.root / "locks" / "gc.lock", shared=not collecting):',
        'with locked(self.root / "locks" / "gc.lock", shared=True):',
        f"{_TEST}test_nothing_is_published_while_gc_removes",
    ),
    (
        "a damaged object is published over without a look",
        _STORE,
        "if target.exists() and (problem := self.damage(recipe.kind, digest, hashes=True)) is not None:",
        "if target.exists() and (problem := self.damage(recipe.kind, digest)) is not None:",
        f"{_TEST}test_damage_is_noticed_set_aside_and_rebuilt",
    ),
    (
        "opening does not hash",
        _STORE,
        "hashes=self._verify_all or size <= HASH_UP_TO",
        "hashes=self._verify_all",
        f"{_TEST}test_damage_is_noticed_set_aside_and_rebuilt",
    ),
    (
        "an object that was set aside counts as verified",
        _STORE,
        "        self._verified.discard((kind, digest))\n",
        "",
        f"{_TEST}test_an_object_that_was_set_aside_is_verified_again",
    ),
    (
        "a finished object need not be whole",
        _STORE,
        "if pointer is None or self.damage(recipe.kind, pointer.digest) is not None:",
        "if pointer is None:",
        f"{_TEST}test_damage_is_noticed_set_aside_and_rebuilt",
    ),
    (
        "a raw file that changed keeps its digest",
        _STORE,
        "return [str(path.resolve()), stat.st_size, stat.st_mtime_ns, stat.st_ino]",
        "return [str(path.resolve()), stat.st_size, 0, 0]",
        f"{_TEST}test_raw_digest_follows_content_and_order_not_name",
    ),
    (
        "several raw files are known by their set",
        _STORE,
        '{"sha256": list(sha256)}',
        '{"sha256": sorted(sha256)}',
        f"{_TEST}test_raw_digest_follows_content_and_order_not_name",
    ),
    (
        "JSON is written in place",
        _DURABLE,
        '    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")\n',
        "    temporary = str(path)\n    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)\n",
        f"{_TEST}test_json_is_replaced_whole",
    ),
    (
        "a lock on a file that was removed counts",
        _DURABLE,
        "if is_at(file, path) if held else not wait:",
        "if held or not wait:",
        "tests/stages/test_housekeeping.py::test_a_lock_file_may_be_removed_by_its_holder",
    ),
    (
        "a lock is not held",
        _DURABLE,
        "(fcntl.LOCK_SH if shared else fcntl.LOCK_EX)",
        "fcntl.LOCK_SH",
        "tests/stages/test_housekeeping.py::test_builders_and_gc_wait_for_each_other",
    ),
    (
        "what an experiment used is recorded for its last use",
        "taglm_core/store/uses.py",
        "return (new or old) if anew else (old or new)",
        "return new or old",
        "tests/stages/test_lineage.py::test_a_use_is_recorded_once",
    ),
]
