"""The journal: nothing half-read, offsets go on, half a line costs that line only."""

from __future__ import annotations

import logging
from pathlib import Path

from taglm_core.training.journal import Journal, log_to_journal, read_events


def test_events_are_read_once_by_offset(tmp_path: Path) -> None:
    """Reading on from an offset gives what came since."""
    path = tmp_path / "events.jsonl"
    journal = Journal(path)
    journal.metrics(1, {"train/loss": 2.5})
    journal.progress(1, 1, 10, "one")
    first = list(read_events(path))
    journal.message(2, "two")
    journal.close()
    second = list(read_events(path, first[-1][1]))
    assert [event.kind for event, _ in first] == ["metrics", "progress"]
    assert first[0][0].values == {"train/loss": 2.5}
    assert [(event.kind, event.text, event.step) for event, _ in second] == [("message", "two", 2)]


def test_a_line_still_being_written_waits(tmp_path: Path) -> None:
    """Half a line is not read until it ends; after a kill the next process ends it."""
    path = tmp_path / "events.jsonl"
    path.write_text('{"kind": "message", "step": 1, "text": "a"}\n{"kind": "mess')
    assert [event.text for event, _ in read_events(path)] == ["a"]
    journal = Journal(path)
    journal.message(2, "b")
    journal.close()
    assert [event.text for event, _ in read_events(path)] == ["a", "b"]


def test_no_journal_is_no_event(tmp_path: Path) -> None:
    """A process that has not said anything yet is no error."""
    assert list(read_events(tmp_path / "none")) == []


def test_what_the_core_logs_in_a_training_process_is_in_the_journal(tmp_path: Path) -> None:
    """Messages and warnings, each as what it is; afterwards the journal gets nothing more."""
    journal, logger = Journal(tmp_path / "events.jsonl"), logging.getLogger("taglm")
    with log_to_journal(journal):
        logger.info("%d words", 3)
        logger.warning("few words")
        logger.debug("for developers")
    logger.warning("later")
    journal.close()
    found = [(event.kind, event.text) for event, _ in read_events(tmp_path / "events.jsonl")]
    assert found == [("message", "3 words"), ("warning", "few words")]
