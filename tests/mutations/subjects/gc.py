"""What `taglm gc` takes and what it leaves."""

_REACHABILITY, _COLLECT = "taglm_core/gc/reachability.py", "taglm_core/gc/collect.py"
_GARBAGE = "taglm_core/gc/garbage.py"
_TEST = "tests/stages/test_housekeeping.py::"

MUTATIONS = [
    (
        "what is young goes",
        _REACHABILITY,
        "if plannable or key_id in roots or pointer.time >= before:",
        "if plannable or key_id in roots:",
        f"{_TEST}test_what_is_young_stays",
    ),
    (
        "what was made from an object that is named from outside goes",
        _REACHABILITY,
        "+ list(self._roots.objects)",
        "+ []",
        f"{_TEST}test_a_tagger_that_is_named_from_outside_stays_without_its_scores",
    ),
    (
        "language models go before their taggers",
        _REACHABILITY,
        "_KEPT_WITH_USERS = {kind.name for kind in KINDS.values() if kind.kept_with_users}",
        '_KEPT_WITH_USERS = {kind.name for kind in KINDS.values() if kind.kept_with_users} - {"language-model"}',
        f"{_TEST}test_a_tagger_that_is_named_from_outside_stays_usable",
    ),
    (
        "what a running job reads goes",
        _REACHABILITY,
        "        yield from (build.work.recipe for build in self.builds if build.work is not None)\n",
        "",
        f"{_TEST}test_what_a_running_job_reads_stays_until_it_ends",
    ),
    (
        "objects go while it is unknown what a job reads",
        _COLLECT,
        "if any(build.work is None for build in reach.builds):",
        "if not reach.builds and False:",
        f"{_TEST}test_nothing_goes_while_the_inputs_of_a_build_are_unknown",
    ),
    (
        "what was not shown is removed",
        _COLLECT,
        "take_aside([item for item in marked.garbage if item.identity in still])",
        "take_aside(marked.garbage)",
        f"{_TEST}test_only_what_was_shown_is_removed",
    ),
    (
        "gc does not wait for builders",
        _COLLECT,
        "store.guard(collecting=True)",
        "store.guard()",
        f"{_TEST}test_builders_and_gc_wait_for_each_other",
    ),
    (
        "a key whose lock is held is removed",
        _GARBAGE,
        "if all(held.enter_context(locked(path, wait=False)) for path in item.locks):",
        "if [held.enter_context(locked(path, wait=False)) for path in item.locks] is not None:",
        f"{_TEST}test_a_key_that_somebody_holds_is_not_taken",
    ),
    (
        "work that the next run goes on from is removed",
        _COLLECT,
        "        if key_id in reach.requested:\n            return None\n",
        "",
        f"{_TEST}test_work_that_can_be_resumed_stays",
    ),
    (
        "damaged objects go at once",
        _GARBAGE,
        "now - OLD_DAYS * 86400",
        "now",
        "tests/store/test_garbage.py::test_damaged_objects_go_after_thirty_days_with_their_reason",
    ),
    (
        "files that somebody is writing go",
        _GARBAGE,
        "if from_gc or last_change(path) < before:",
        "if from_gc or last_change(path) >= before:",
        "tests/store/test_garbage.py::test_half_written_files_go_when_their_writer_must_be_dead",
    ),
    (
        "lock files that somebody holds go",
        _GARBAGE,
        "if _KEY_LOCK.fullmatch(path.name) and not is_locked(path):",
        "if _KEY_LOCK.fullmatch(path.name):",
        "tests/store/test_garbage.py::test_lock_files_that_nobody_holds_go",
    ),
    (
        "the history of texts goes with the texts",
        _REACHABILITY,
        'if object_id[0] == "language-model":',
        'if object_id[0] == "no-such-kind":',
        f"{_TEST}test_bases_stay_and_the_history_of_texts_is_known_without_the_texts",
    ),
]
