"""Processes that compute: stop requests, errors, slots, ranks."""

_LAUNCH, _CHILD, _CHILDREN = (
    "taglm_core/process/launch.py",
    "taglm_core/process/child.py",
    "taglm_core/process/children.py",
)
_STOPPING, _RANKS = "taglm_core/training/stopping.py", "taglm_core/training/ranks.py"
_SHARED = "tests/stages/test_shared_child.py::"

MUTATIONS = [
    (
        "slots do not limit what runs side by side",
        "taglm_core/process/slots.py",
        "for number in range(count)]",
        "for number in range(count + 1)]",
        "tests/stages/test_child_process.py::test_slots_limit_what_runs_side_by_side",
    ),
    (
        "an error ends the process of several builds",
        _CHILD,
        "        if stop.requested:\n            break\n",
        "        if stop.requested or status:\n            break\n",
        f"{_SHARED}test_an_error_ends_a_build_and_not_the_process",
    ),
    (
        "every build has a process of its own",
        _LAUNCH,
        "                self._idle.append(child)\n                return\n",
        "                pass\n",
        f"{_SHARED}test_one_process_builds_several_objects",
    ),
    (
        "a process that died is given more work",
        _LAUNCH,
        "            self._idle = [child for child in self._idle if child not in dead]\n",
        "            dead = []\n",
        f"{_SHARED}test_a_dead_process_is_replaced",
    ),
    (
        "processes start after a request to stop",
        _CHILDREN,
        "            self.stop_request.check()\n",
        "",
        f"{_SHARED}test_a_stop_ends_what_works_and_what_waits",
    ),
    (
        "the last events of a journal are not handed on",
        _LAUNCH,
        "        over = ended()  # checked before reading, so that no event is missed\n"
        "        offset = forward_events(journal, offset, on_events)\n        if over:",
        "        offset = forward_events(journal, offset, on_events)\n        if ended():",
        "tests/stages/test_building.py::test_the_last_events_are_handed_on",
    ),
    (
        "an error of a user comes back as one of the program",
        _CHILD,
        'write_json(path, {"type": type(error).__name__, "arguments": arguments})',
        'write_json(path, {"type": "TagLMError", "arguments": arguments})',
        "tests/stages/test_building.py::test_errors_of_the_system_cross_the_process_border",
    ),
    (
        "SIGTERM is not heard",
        _STOPPING,
        "lambda received, _: self.set(signal.Signals(received).name)",
        "lambda received, _: None",
        "tests/training/test_loop_parts.py::test_signals_become_a_stop_request",
    ),
    (
        "the last reason to stop is named",
        _STOPPING,
        "self.reason = self.reason or reason",
        "self.reason = reason",
        "tests/training/test_loop_parts.py::test_the_first_reason_to_stop_is_named",
    ),
    (
        "gradients of ranks are summed instead of averaged",
        _RANKS,
        "        flat /= self.size\n",
        "",
        "tests/lm/test_ranks.py::test_gradients_are_averaged_and_a_request_on_any_rank_counts",
    ),
    (
        "two ranks read the same streams",
        _RANKS,
        "slice(self.rank * share, (self.rank + 1) * share)",
        "slice(0, share)",
        "tests/lm/test_ranks.py::test_streams_are_shared_out_equally_or_not_at_all",
    ),
    (
        "only the main rank hears a request to stop",
        _RANKS,
        "            stops > 0,\n",
        "            stops > 1,\n",
        "tests/lm/test_ranks.py::test_gradients_are_averaged_and_a_request_on_any_rank_counts",
    ),
]
