"""The demo corpus: disjoint splits, names that recur, a twin text, the same bytes everywhere."""

from __future__ import annotations

import hashlib
import itertools
import os
import subprocess
import sys
from collections import Counter, defaultdict
from pathlib import Path

import pytest

from taglm_core.corpus.demo.generate import MIN_MENTIONS, generate, world_for
from taglm_core.corpus.demo.grammar import Slot, templates
from taglm_core.corpus.demo.templates import TEMPLATES
from taglm_core.errors import ConfigError

SIZES = {"train_sentences": 120, "dev_sentences": 60, "test_sentences": 150, "unlabelled_sentences": 6000}
SPLITS = ("train", "dev", "test")
FILES = ("train.conll", "dev.conll", "test.conll", "text.txt", "text-replaced.txt")

Labelled = list[tuple[list[str], list[str]]]


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("demo")
    generate(folder, seed=3, **SIZES)
    return folder


def read_conll(path: Path) -> Labelled:
    sentences: Labelled = []
    for block in path.read_text().strip().split("\n\n"):
        tokens, tags = zip(*(line.split(" ") for line in block.split("\n")), strict=True)
        if tokens != ("-DOCSTART-",):
            sentences.append((list(tokens), list(tags)))
    return sentences


def entities(sentences: Labelled) -> list[tuple[str, str]]:
    """(surface, type) of each entity; a tag I- always continues the one before it."""
    found: list[tuple[str, str]] = []
    for tokens, tags in sentences:
        for i, tag in enumerate(tags):
            if tag.startswith("B-"):
                end = next((j for j in range(i + 1, len(tags)) if not tags[j].startswith("I-")), len(tags))
                found.append((" ".join(tokens[i:end]), tag[2:]))
    return found


def read_text(path: Path) -> list[list[str]]:
    return [line.split(" ") for line in path.read_text().splitlines()]


def occurrences(text: list[list[str]], surfaces: set[str]) -> Counter[str]:
    """How often each surface stands in the text as a run of whole tokens."""
    longest = max(len(surface.split(" ")) for surface in surfaces)
    counts: Counter[str] = Counter()
    for tokens in text:
        for n in range(1, longest + 1):
            counts.update(run for run in (" ".join(tokens[i : i + n]) for i in range(len(tokens) - n + 1)))
    return Counter({surface: counts[surface] for surface in surfaces})


def test_counts_are_those_asked_for_and_reported(tmp_path: Path) -> None:
    """Sentences in each file equal the arguments and the returned counts."""
    counts = generate(tmp_path, seed=1, **SIZES)
    for split in SPLITS:
        assert len(read_conll(tmp_path / f"{split}.conll")) == counts[split] == SIZES[f"{split}_sentences"]
    for name in ("text", "text-replaced"):
        assert len(read_text(tmp_path / f"{name}.txt")) == counts[name] == SIZES["unlabelled_sentences"]


def test_same_seed_same_bytes_in_every_process(corpus: Path, tmp_path: Path) -> None:
    """Two processes with different hash seeds write the bytes this process wrote; another seed writes others."""
    arguments = ", ".join(f"{key}={value}" for key, value in SIZES.items())
    code = (
        "import sys; from pathlib import Path; from taglm_core.corpus.demo.generate import generate; "
        f"generate(Path(sys.argv[1]), seed=3, {arguments})"
    )
    for hash_seed in ("0", "4711"):
        folder = tmp_path / hash_seed
        environment = {**os.environ, "PYTHONHASHSEED": hash_seed}
        subprocess.run([sys.executable, "-c", code, str(folder)], check=True, env=environment)
        for name in FILES:
            assert (folder / name).read_bytes() == (corpus / name).read_bytes(), name
    generate(tmp_path / "other", seed=4, **SIZES)
    for name in FILES:
        assert (tmp_path / "other" / name).read_bytes() != (corpus / name).read_bytes(), name


def test_bytes_are_pinned(tmp_path: Path) -> None:
    """A change of words, templates or order is noticed: whoever means it raises the stage's version."""
    generate(tmp_path, seed=1, train_sentences=20, dev_sentences=10, test_sentences=20, unlabelled_sentences=4000)
    digest = hashlib.sha256(b"".join((tmp_path / name).read_bytes() for name in FILES)).hexdigest()
    assert digest[:16] == "1b28c64ca73eb236"


def test_labels_are_iob2_of_four_types(corpus: Path) -> None:
    """I- only follows its own type, and PER, ORG, LOC and MISC are in each split."""
    for split in SPLITS:
        sentences = read_conll(corpus / f"{split}.conll")
        for _, tags in sentences:
            for before, tag in itertools.pairwise(["O", *tags]):
                assert not tag.startswith("I-") or before[2:] == tag[2:]
        assert {kind for _, kind in entities(sentences)} == {"PER", "ORG", "LOC", "MISC"}


def test_splits_share_no_template() -> None:
    """Test sentences come from templates that make no train or dev sentence, by id and by line."""
    world = world_for(3, SIZES["unlabelled_sentences"])
    ids = {split: {s.template for s in itertools.islice(world.labelled(split), 3000)} for split in SPLITS}
    assert not (ids["train"] | ids["dev"]) & ids["test"]
    lines = [line for family in TEMPLATES.values() for line in family.strip().splitlines()]
    assert len(lines) == len(set(lines))


def test_phrases_hold_no_names() -> None:
    """Every name comes from a template's own slot, so that disjoint templates mean disjoint contexts."""
    from taglm_core.corpus.demo.lexicon import LEXICON
    from taglm_core.corpus.demo.templates import PHRASES

    assert not [entry for entry in PHRASES.values() if "@" in entry]
    assert not [entry for entries in LEXICON.values() for entry in entries if "@" in entry]


def test_splits_share_no_name(corpus: Path) -> None:
    """No test entity, and no stem of one, stands anywhere in train or dev, nor a dev entity in train."""
    world = world_for(3, SIZES["unlabelled_sentences"])
    stems = {split: {stem for name in world.pools[split] for stem in name.stems} for split in SPLITS}
    found = {split: read_conll(corpus / f"{split}.conll") for split in SPLITS}
    for split, other in itertools.permutations(SPLITS, 2):
        words = {token for tokens, _ in found[other] for token in tokens}
        assert not stems[split] & words
        assert not {surface for surface, _ in entities(found[split])} & {
            surface for surface, _ in entities(found[other])
        }
    for surface, _ in entities(found["test"]):
        assert set(surface.split(" ")) & stems["test"] or "." in surface


def test_labelled_entities_recur_in_the_text_and_are_gone_from_the_replaced(corpus: Path) -> None:
    """Each labelled entity occurs at least MIN_MENTIONS times in the text and never in its twin."""
    surfaces = {s for split in SPLITS for s, _ in entities(read_conll(corpus / f"{split}.conll"))}
    assert min(occurrences(read_text(corpus / "text.txt"), surfaces).values()) >= MIN_MENTIONS
    replaced = occurrences(read_text(corpus / "text-replaced.txt"), surfaces)
    assert not [surface for surface, count in replaced.items() if count]


def test_replaced_text_differs_in_names_only(corpus: Path) -> None:
    """Same lengths, other words the same, and a replaced token is always replaced by the same one."""
    twins: dict[str, set[str]] = defaultdict(set)
    changed = total = 0
    for original, twin in zip(read_text(corpus / "text.txt"), read_text(corpus / "text-replaced.txt"), strict=True):
        assert len(original) == len(twin)
        for word, other in zip(original, twin, strict=True):
            total += 1
            if word != other:
                changed += 1
                assert word[0].isupper()
                assert other[0].isupper()
                twins[word].add(other)
    assert all(len(others) == 1 for word, others in twins.items() if not word.endswith("."))
    assert 0.08 < changed / total < 0.3


def test_no_labelled_sentence_is_in_the_text(corpus: Path) -> None:
    """The LM never reads a labelled sentence, and no labelled sentence stands twice."""
    text = {" ".join(tokens) for tokens in read_text(corpus / "text.txt")}
    labelled = [" ".join(tokens) for split in SPLITS for tokens, _ in read_conll(corpus / f"{split}.conll")]
    assert not text & set(labelled)
    assert len(labelled) == len(set(labelled))


def test_some_names_have_two_types() -> None:
    """In each pool, stems stand for two types (a town that is a surname), yet few of all."""
    world = world_for(3, 30_000)
    for pool in world.pools.values():
        types: dict[str, set[str]] = defaultdict(set)
        for name in pool:
            if len(name.forms[0]) == 1:
                types[name.forms[0][0]].add(name.type)
        ambiguous = [stem for stem, kinds in types.items() if len(kinds) > 1]
        assert 0.05 < len(ambiguous) / len(types) < 0.3


def test_open_contexts_fit_several_types() -> None:
    """Weak templates have only slots that fit all four types, and telling templates have none of those."""
    for family in TEMPLATES:
        slots = [part for template in templates(family) for part in template.parts if isinstance(part, Slot)]
        assert all(slot.weak == family.startswith("weak") for slot in slots)
        assert not slots or family.startswith("none") is False


def test_too_little_text_is_refused(tmp_path: Path) -> None:
    """Where the names cannot recur, the error says so and what to do."""
    with pytest.raises(ConfigError, match="raise the number of unlabelled sentences"):
        generate(tmp_path, seed=1, train_sentences=50, dev_sentences=20, test_sentences=50, unlabelled_sentences=60)
