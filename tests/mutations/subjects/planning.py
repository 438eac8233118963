"""From an experiment to steps, recipes and decisions."""

_GRAPH, _PLAN, _ROLES = "taglm_core/pipeline/graph.py", "taglm_core/pipeline/plan.py", "taglm_core/pipeline/roles.py"
_BASES, _CONTEXT, _KINDS = (
    "taglm_core/pipeline/bases.py",
    "taglm_core/pipeline/context.py",
    "taglm_core/pipeline/kinds.py",
)
_BUILD = "taglm_core/pipeline/build.py"
_TEST = "tests/stages/test_graph_and_plan.py::"
_RECORDED = "tests/golden/test_recorded_store.py::test_every_step_is_reused"

MUTATIONS = [
    (
        "taggers choose their epochs on test",
        _GRAPH,
        'inputs = _reads(experiment, variant, "train") | _reads(experiment, variant, "dev")',
        'inputs = _reads(experiment, variant, "train") | _reads(experiment, variant, "test")',
        f"{_TEST}test_test_data_has_no_path_into_training",
    ),
    (
        "a tagger that trained on dev is measured on dev",
        _GRAPH,
        'if both and split == "dev" else',
        'if both and split == "test" else',
        f"{_TEST}test_a_tagger_on_train_and_dev_takes_its_epochs_from_one_on_train",
    ),
    (
        "dev and train are the same draw",
        _GRAPH,
        '{**draw, "complement": True}',
        '{**draw, "complement": False}',
        f"{_TEST}test_every_kind_of_source_is_drawn",
    ),
    (
        "the seed of a tagger is not in its key",
        _GRAPH,
        'steps.append(_tagger(name, {**config, "seed": seed}, inputs, group, variant))',
        'steps.append(_tagger(name, {**config, "seed": 1}, inputs, group, variant))',
        f"{_RECORDED}",
    ),
    (
        "the direction of a language model is not in its key",
        _GRAPH,
        '"direction": str(direction)}',
        '"direction": "forward"}',
        f"{_RECORDED}",
    ),
    (
        "an evaluation does not say its split",
        _GRAPH,
        '"evaluation", {"split": split}',
        '"evaluation", {"split": "dev"}',
        f"{_RECORDED}",
    ),
    (
        "a tagger does not read the language models themselves",
        _GRAPH,
        "            inputs |= _models(variant)\n            name = tagger_name",
        "            name = tagger_name",
        f"{_RECORDED}",
    ),
    (
        "an older version of a kind is reused",
        _PLAN,
        "return Recipe(step.kind, KINDS[step.kind].version, step.config, inputs)",
        "return Recipe(step.kind, 1, step.config, inputs)",
        f"{_RECORDED}",
    ),
    (
        "raw files are not in keys",
        _PLAN,
        "inputs |= {role: store.raw_digest(paths) for role, paths in step.raw_files().items()}",
        "inputs |= dict.fromkeys(step.raw_files(), '')",
        f"{_TEST}test_another_content_of_a_raw_file_runs_what_reads_it",
    ),
    (
        "a base is not in the key of what goes on from it",
        _PLAN,
        "role: digest for role, (_, digest) in step.objects.items()",
        "role: '' for role in step.objects",
        "tests/stages/test_continuing.py::test_weeks_form_a_chain_and_a_rerun_of_the_newest_reuses_everything",
    ),
    (
        "refresh is not looked at",
        _PLAN,
        "if step.stage in refresh:",
        "if step.stage in refresh and store.find(recipe) is None:",
        f"{_TEST}test_refresh_runs_a_stage_and_leaves_the_rest_to_its_outcome",
    ),
    (
        "a step runs before its inputs are made",
        _PLAN,
        "if above[name].ref is None]",
        "if above[name].recipe is None]",
        f"{_TEST}test_a_tagger_setting_reruns_taggers_only",
    ),
    (
        "damaged inputs stay where they are",
        _PLAN,
        "store.damage(ref.kind, ref.digest, hashes=True)",
        "store.damage(ref.kind, ref.digest)",
        "tests/stages/test_context.py::test_damaged_objects_are_set_aside_until_none_is_left",
    ),
    (
        "another experiment finds the context of the first",
        _CONTEXT,
        "if current is not None and current.experiment == experiment:",
        "if current is not None:",
        "tests/stages/test_context.py::test_a_flow_finds_the_context_of_its_caller",
    ),
    (
        "a plan stays when the store has changed",
        _CONTEXT,
        "        self._plans.clear()\n",
        "        pass\n",
        "tests/stages/test_context.py::test_a_plan_is_made_once",
    ),
    (
        "the address of the tracking store is in the manifest",
        _CONTEXT,
        'settings["run"] |= {"store": str(self.store.root), "tracking_uri": None}',
        'settings["run"] |= {"store": str(self.store.root)}',
        "tests/stages/test_context.py::test_a_request_has_no_address_of_the_tracking_store",
    ),
    (
        "the role of a corpus names another kind",
        _ROLES,
        'LABELLED = Role("{split}/corpus", "corpus")',
        'LABELLED = Role("{split}/corpus", "word-vectors")',
        "tests/stages/test_lineage.py::test_kinds_of_inputs_are_those_of_the_graph",
    ),
    (
        "training shares its process with evaluations",
        _KINDS,
        "            child=True,\n            trained=True,\n            kept_with_users=True,\n"
        '            reporting=Reporting.OWN_RUN,\n        ),\n        Kind(\n            "evaluation",',
        "            child=True,\n            shares_child=True,\n            trained=True,\n            kept_with_users=True,\n"
        '            reporting=Reporting.OWN_RUN,\n        ),\n        Kind(\n            "evaluation",',
        "tests/stages/test_shared_child.py::test_nothing_that_trains_shares_a_process",
    ),
    (
        "latest is the model of the present text",
        _BASES,
        "        if present & set(texts.history(pointer)):\n            continue\n",
        "",
        "tests/stages/test_continuing.py::test_weeks_form_a_chain_and_a_rerun_of_the_newest_reuses_everything",
    ),
    (
        "latest is the oldest model",
        _BASES,
        "mine.sort(key=lambda p: _made(store, p), reverse=True)",
        "mine.sort(key=lambda p: _made(store, p))",
        "tests/stages/test_continuing.py::test_weeks_form_a_chain_and_a_rerun_of_the_newest_reuses_everything",
    ),
    (
        "a model of another shape is a base",
        _BASES,
        "        if unlike:\n            path, before, now = unlike[0]",
        "        if False:\n            path, before, now = unlike[0]",
        "tests/stages/test_continuing.py::test_other_experiments_names_and_shapes_are_no_base",
    ),
    (
        "a raw file that changed during a run is read",
        _BUILD,
        "if store.raw_digest(paths) != request.recipe.inputs[role]:",
        "if not paths:",
        "tests/stages/test_building.py::test_a_raw_file_that_changes_during_a_run_is_refused",
    ),
    (
        "an object that another run has made meanwhile is built again",
        _BUILD,
        "if ref is not None and (not request.refresh or",
        "if ref is not None and request.refresh and (",
        "tests/stages/test_building.py::test_what_another_run_has_made_is_taken",
    ),
    (
        "a build does not hold the lock of its key",
        _BUILD,
        "with store.lock(recipe, check_stop=stop.check), explain_disk_full(store.root):",
        "with explain_disk_full(store.root):",
        "tests/stages/test_housekeeping.py::test_a_build_says_what_it_reads_before_it_reads_it",
    ),
    (
        "waiting counts as work",
        _BUILD,
        "            self._waited += time.monotonic() - asked\n",
        "",
        "tests/stages/test_building.py::test_waiting_is_no_work",
    ),
    (
        "work that another run goes on from is cleared",
        _BUILD,
        'if free and not (work / "out").exists():',
        "if free:",
        "tests/stages/test_child_process.py::test_work_that_another_run_has_begun_again_is_not_cleared",
    ),
]
