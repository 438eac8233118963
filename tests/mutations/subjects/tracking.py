"""What MLflow receives, when, and once: curves, receipts, claims, champions, passwords."""

_CONTENT, _LIVE, _RECEIPTS = "tasks/tracking/content.py", "tasks/tracking/live.py", "tasks/tracking/receipts.py"
_CHAMPION, _REGISTRY, _PAGES = "tasks/tracking/champion.py", "tasks/tracking/registry.py", "tasks/tracking/pages.py"
_RUNS, _MODELS = "tests/tasks/test_tracking.py::", "tests/tasks/test_tracking_registry.py::"
_KNOWN, _CHOICES = "tests/tasks/test_tracking_receipts.py::", "tests/tasks/test_choices.py::"

MUTATIONS = [
    (
        "steps that MLflow has are sent again after a resume",
        _CONTENT,
        "if event.step > known.get(name, -1):",
        "if event.step >= 0:",
        f"{_KNOWN}test_a_curve_has_each_step_once_after_those_that_are_known",
    ),
    (
        "a result stands on the last point of its curve",
        _CONTENT,
        "0 if before is None else before.step + 1",
        "0 if before is None else before.step",
        f"{_KNOWN}test_a_run_shows_all_of_its_object_and_the_same_each_time",
    ),
    (
        "a result that is the last point of its curve is sent twice",
        _CONTENT,
        "if before is None or before.value != value:",
        "if True:",
        f"{_RUNS}test_the_last_point_of_a_curve_is_the_kept_model",
    ),
    (
        "an object that was made in an outage is not remembered",
        _LIVE,
        "            self._ledger.save(replace(self._state, status=MADE))\n",
        "            self._ledger.drop(*self._state.key)\n",
        f"{_RUNS}test_a_store_that_comes_back_after_the_work_is_told_everything",
    ),
    (
        "two processes report the same work",
        _RECEIPTS,
        "if stack.enter_context(locked(self._path, wait=False)):",
        "if stack.enter_context(locked(self._path, wait=False)) is not None:",
        f"{_RUNS}test_two_processes_at_the_same_work_tell_it_once",
    ),
    (
        "runs of processes that died stay as they are",
        _RECEIPTS,
        "            due = state.status in (RUNNING, MADE)\n",
        "            due = state.status == MADE\n",
        f"{_RUNS}test_runs_of_dead_processes_do_not_stay_running",
    ),
    (
        "a receipt of one experiment is taken for that of another",
        _RECEIPTS,
        "_short(f'{self.address} {experiment}')",
        "_short(self.address)",
        f"{_KNOWN}test_receipts_belong_to_a_tracking_store_and_an_experiment",
    ),
    (
        "a receipt does not say which tracking store has the report",
        _RECEIPTS,
        "_short(f'{self.address} {experiment}')",
        "_short(experiment)",
        f"{_KNOWN}test_receipts_belong_to_a_tracking_store_and_an_experiment",
    ),
    (
        "receipts of objects that are there go",
        _RECEIPTS,
        "self.store.pointer(receipt.kind, receipt.key) is None:",
        "self.store.pointer(receipt.kind, receipt.key) is not None:",
        f"{_KNOWN}test_receipts_of_objects_that_are_gone_go",
    ),
    (
        "a tagger that is as good becomes champion",
        _CHAMPION,
        "if found.challenger > found.champion:",
        "if found.challenger >= found.champion:",
        f"{_MODELS}test_who_becomes_champion",
    ),
    (
        "a tagger that finds nothing becomes champion",
        _CHAMPION,
        "    if not f1 > 0:\n",
        "    if f1 < 0:\n",
        f"{_MODELS}test_who_becomes_champion",
    ),
    (
        "a champion of another dev split is compared as it stands",
        _REGISTRY,
        "if champion.tags[DEV_DIGEST] == digest:",
        "if champion.tags[DEV_DIGEST]:",
        f"{_CHOICES}test_a_champion_of_another_dev_split_is_measured_on_the_new_one",
    ),
    (
        "an old decision moves the alias backwards",
        _REGISTRY,
        "champion.creation_timestamp > 1000 * self._ended",
        "champion.creation_timestamp < 0",
        f"{_CHOICES}test_a_champion_that_was_chosen_later_stays",
    ),
    (
        "the worst tagger is registered",
        _REGISTRY,
        "return max(taggers.items(), key=rank)",
        "return min(taggers.items(), key=rank)",
        f"{_CHOICES}test_the_tagger_with_the_best_dev_f1_is_registered",
    ),
    (
        "the best variant is chosen by its test scores",
        _PAGES,
        "key=lambda summary: summary.dev_f1 or 0.0",
        "key=lambda summary: summary.f1.mean",
        f"{_CHOICES}test_the_best_variant_is_best_on_dev_whatever_its_test_scores",
    ),
    (
        "a file of pending work keeps the password of the address",
        "tasks/tracking/live.py",
        "        self._state = SyncState(self._client.address, spec, time.time())\n",
        "        self._state = SyncState(self._client.uri, spec, time.time())\n",
        f"{_RUNS}test_passwords_are_not_kept",
    ),
    (
        "objects that were not reported yet go",
        "tasks/housekeeping.py",
        "frozenset(state.key for state in all_pending(store))",
        "frozenset()",
        "tests/tasks/test_kept_by_aliases.py::test_what_was_not_reported_yet_is_needed",
    ),
]
