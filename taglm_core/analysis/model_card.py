"""The model card of a tagger: what the store knows about it, in Markdown; what the store lacks is called unknown."""

from __future__ import annotations

import json
from collections.abc import Iterator

import yaml

from taglm_core.analysis.tagger_facts import TaggerFacts
from taglm_core.config.embedding import Context
from taglm_core.config.shortest import shortest_settings
from taglm_core.evaluation.evaluated import PREDICTIONS, SCORES
from taglm_core.evaluation.intervals import f1_intervals
from taglm_core.evaluation.predictions import read_predictions
from taglm_core.evaluation.tables import markdown_table, markdown_text
from taglm_core.pipeline.context import PipelineContext
from taglm_core.pipeline.kinds import recipe_inputs
from taglm_core.pipeline.roles import DEV_CORPUS, LABELLED, TRAIN_CORPUS, VECTORS
from taglm_core.store.store import Artifact
from taglm_core.tagging.exported import ExportedTagger, VectorsIncluded
from taglm_core.tagging.trained import load_spec

ROUNDS = 1_000  # of the bootstrap
UNKNOWN = "unknown"
NO_LICENCE = "not recorded; name it before you pass the model on"


def model_card(context: PipelineContext, tagger: Artifact, index: ExportedTagger) -> str:
    """Return the model card of a tagger.

    Args:
        context: context that gives the store and the present experiment.
        tagger: the tagger.
        index: index of its export.
    """
    subject = TaggerFacts.of(context, tagger, index)
    parts = [_summary, _usage, _labels, _data, _language_models, _scores, _intended_use, _limits, _environment,
             _licences, _rebuilding]  # fmt: skip
    return "\n".join(line for part in parts for line in part(subject))


def _summary(subject: TaggerFacts) -> Iterator[str]:
    spec, _ = load_spec(subject.tagger.path)
    kinds = sorted({tag.partition("-")[2] for tag in spec.tags} - {""})
    yield f"# {markdown_text(subject.manifest.label)}\n"
    yield (
        f"This model finds entities in text: {', '.join(markdown_text(kind) for kind in kinds)}. It is a sequence "
        f"tagger (bidirectional {spec.config.cell.upper()} with a CRF) of {subject.manifest.counts['parameters']:,} "
        f"parameters that TagLM trained, seed {subject.manifest.recipe.config['seed']}."
    )
    yield (
        "The tagger reads the states of the language models below.\n" if spec.lm else
        "The tagger reads no language model: it is a baseline.\n"
    )  # fmt: skip
    yield f"Digest: `{subject.tagger.ref.digest}`.\n"


def _usage(_: TaggerFacts) -> Iterator[str]:
    yield "## How to use it\n"
    yield "FOLDER is the folder of this file.\n\n```python\nfrom taglm import Tagger\n"
    yield 'Tagger.load("FOLDER").tag("Anna Smith lives in Rome.")\n```\n'
    yield '```\necho "Anna Smith lives in Rome." | taglm predict FOLDER -\n```\n'


def _labels(subject: TaggerFacts) -> Iterator[str]:
    yield "## Labels\n"
    roles = [TRAIN_CORPUS, DEV_CORPUS] if subject.learnt_from_dev else [TRAIN_CORPUS]
    counts: dict[str, int] = {}
    for role in roles:
        corpus = subject.find("corpus", subject.manifest.recipe.inputs.get(role))
        if corpus is None:
            yield "The training sentences are no longer in the store, so the numbers of entities are unknown.\n"
            return
        found = json.loads((corpus.path / "counts.json").read_bytes()).get("entities", {})
        for kind, number in found.items():
            counts[kind] = counts.get(kind, 0) + number
    rows = [[kind, f"{number:,}"] for kind, number in sorted(counts.items())]
    yield markdown_table((["type", "entities in training"], rows))


def _data(subject: TaggerFacts) -> Iterator[str]:
    yield "## Data\n"
    labelled = None if subject.trained is None else subject.trained.labelled
    text = None if subject.trained is None else subject.trained.unlabelled
    inputs = subject.manifest.recipe.inputs
    rows = []
    for use, role in (("training", TRAIN_CORPUS), ("development", DEV_CORPUS)):
        name = UNKNOWN if labelled is None else labelled.name
        rows.append([f"{use}, labelled", name, *_size(subject, inputs.get(role))])
    for split, pointer in subject.evaluations().items():
        digest = pointer.recipe.inputs[LABELLED.name(split=split)]
        if digest not in (inputs.get(TRAIN_CORPUS), inputs.get(DEV_CORPUS)):
            rows.append([f"{split}, labelled", UNKNOWN if labelled is None else labelled.name, *_size(subject, digest)])
    for digest in sorted(subject.texts()):
        rows.append(["language models, text", UNKNOWN if text is None else text.name, *_size(subject, digest)])
    vectors = next((one.digest for one in recipe_inputs(subject.manifest.recipe) if one.kind == "word-vectors"), None)
    if vectors is not None:
        found = subject.find("word-vectors", vectors)
        digest = UNKNOWN if found is None else found.manifest.recipe.inputs[VECTORS][:12]
        rows.append(["word vectors", "a file", "-", "-", f"`{digest}`"])
    headers = ["use", "name", "sentences", "tokens", "digest"]
    yield _table(headers, rows, text_columns=2)
    if subject.learnt_from_dev:
        yield "The last training read the development sentences as well.\n"


def _size(subject: TaggerFacts, digest: str | None) -> list[str]:
    corpus = subject.find("corpus", digest)
    if digest is None or corpus is None:
        return [UNKNOWN, UNKNOWN, UNKNOWN if digest is None else f"`{digest[:12]}`"]
    counts = corpus.manifest.counts
    return [f"{counts['sentences']:,}", f"{counts['tokens']:,}", f"`{digest[:12]}`"]


def _language_models(subject: TaggerFacts) -> Iterator[str]:
    models = list(subject.language_models())
    if not models:
        return
    yield "## Language models\n"
    rows = []
    for name, direction, digest in models:
        model = subject.find("language-model", digest)
        if model is None:
            rows.append([f"{name}, {direction}", *[UNKNOWN] * 4, f"`{digest[:12]}`"])
            continue
        config, counts = model.manifest.recipe.config, model.manifest.counts
        size = f"{config['input']['kind']} input, {config['layers']} x LSTM {config['units']}"
        size += "" if config["projection"] is None else f" projected to {config['projection']}"
        perplexity = model.manifest.metrics.get("heldout/perplexity")
        rows.append([
            f"{name}, {direction}", size, f"{counts['parameters']:,}",
            f"{counts['training_tokens_total']:,}" if "training_tokens_total" in counts else UNKNOWN,
            UNKNOWN if perplexity is None else f"{perplexity:.2f}", f"`{digest[:12]}`",
        ])  # fmt: skip
    headers = ["model", "kind", "parameters", "tokens read in training", "held-out perplexity", "digest"]
    yield _table(headers, rows, text_columns=2)


def _scores(subject: TaggerFacts) -> Iterator[str]:
    yield "## Scores\n"
    newest = {split: pointer.digest for split, pointer in subject.evaluations().items()}
    if not newest:
        yield "The store has no evaluation of this tagger.\n"
    else:
        yield (
            f"In per cent, by conlleval's rules, with 95 % intervals (bootstrap over sentences, {ROUNDS:,} rounds). "
            "The intervals say nothing about other trainings or other kinds of text.\n"
        )
    for split, digest in sorted(newest.items(), key=lambda item: item[0] != "test"):
        yield from _split_scores(subject, split, digest)
    if "test" not in newest:
        yield "There are no test figures.\n"


def _split_scores(subject: TaggerFacts, split: str, digest: str) -> Iterator[str]:
    evaluation = subject.find("evaluation", digest)
    if evaluation is None:
        return
    data = json.loads((evaluation.path / SCORES).read_bytes())
    micro, by_type = f1_intervals(read_predictions(evaluation.path / PREDICTIONS), rounds=ROUNDS)
    scores, rows = data["scores"], []
    for name, found, interval in [
        ("all", scores["micro"], micro),
        *((name, scores["per_type"][name], by_type[name]) for name in sorted(scores["per_type"])),
    ]:
        shares = [f"{100 * found[share]:.2f}" for share in ("precision", "recall", "f1")]
        rows.append([name, f"{found['gold']:,}", *shares, f"{100 * interval.low:.2f} to {100 * interval.high:.2f}"])
    chosen = " Training chose its best epoch on this split, so the figures are too high." if split == "dev" else ""
    yield f"### {split}, {scores['sentences']:,} sentences\n"
    yield markdown_table((["type", "gold entities", "precision", "recall", "F1", "95 % interval of F1"], rows))
    errors = ", ".join(f"{100 * found['error']:.2f} of {name}" for name, found in data.get("calibration", {}).items())
    yield f"Expected calibration error, in points: {errors or UNKNOWN}.{chosen}\n"


def _intended_use(_: TaggerFacts) -> Iterator[str]:
    yield "## Intended use\n"
    yield (
        "Finding entities of the types above in text of the same kind and language as the training sentences. A person "
        "should check the results before decisions about people rest on them.\n"
    )


def _limits(subject: TaggerFacts) -> Iterator[str]:
    spec, _ = load_spec(subject.tagger.path)
    text, vectors = subject.index.text, subject.index.vectors
    versions = "".join(f", {name} {version}" for name, version in text.versions.items())
    yield "## Limits\n"
    yield f"- Language: raw text is split into sentences and tokens as `{text.language}`. No other language was tested."
    yield "- Domain: the scores are of text like the training sentences. No other domain was tested."
    yield (
        f"- Tokenizer: {text.tokenizer}{versions}. The scores are of sentences that came tokenised, so errors of this "
        "tokenizer are not in them."
    )
    words = f"- Unknown words: the tagger has trained vectors of {len(spec.words.words):,} words."
    if vectors is None:
        through = "context" if spec.config.characters.kind == "none" else "their characters and context"
        yield f"{words} It reads other words through {through} alone."
    elif vectors is VectorsIncluded.REFERENCE:
        yield f"{words} Vectors of other words are in a file that is not included; without it scores are lower."
    elif vectors is VectorsIncluded.NEEDED:
        yield f"{words} Vectors of other words are included for the labelled corpora alone: new text lacks them."
    else:
        yield f"{words} Vectors of other words are in the included table, if their source had the word."
    reads = "a document at a time" if spec.embedding.context is Context.DOCUMENT else "one sentence at a time"
    yield (
        f"- Context: the language models read {reads}."
        if spec.lm
        else "- Context: the tagger reads one sentence at a time."
    )
    yield (
        "- Not tested: text in capitals, spelling errors, output of text or speech recognition, and differences "
        "between groups of people in the names that are found.\n"
    )


def _environment(subject: TaggerFacts) -> Iterator[str]:
    made = subject.manifest.made
    libraries = ", ".join(f"{name} {version}" for name, version in made.get("libraries", {}).items())
    facts = ("device", "instruction_set", "threads", "precision")
    machine = [f"{name.replace('_', ' ')} {made[name]}" for name in facts if name in made]
    models = [subject.find("language-model", digest) for _, _, digest in subject.language_models()]
    yield "## Environment\n"
    yield f"- Python {made.get('python', UNKNOWN)}; {libraries or 'libraries unknown'}"
    yield f"- {made.get('platform', 'platform unknown')}; {', '.join(machine) or 'machine unknown'}"
    yield f"- Training of the tagger: {subject.manifest.seconds:,.0f} s"
    if models:
        known = [model.manifest.seconds for model in models if model is not None]
        complete = len(known) == len(models)
        yield f"- Training of the language models: {f'{sum(known):,.0f} s' if complete else UNKNOWN}"
    yield ""


def _licences(subject: TaggerFacts) -> Iterator[str]:
    yield "## Licences\n"
    rows = [["code", "Apache-2.0"], ["labelled data", _licence(subject, "labelled")]]
    if subject.index.language_models:
        rows.append(["text of the language models", _licence(subject, "unlabelled")])
    if any(one.kind == "word-vectors" for one in recipe_inputs(subject.manifest.recipe)):
        rows.append(["word vectors", NO_LICENCE])
    yield _table(["part", "licence"], rows, text_columns=2)


def _licence(subject: TaggerFacts, section: str) -> str:
    """Return the licence of a data source: of the present settings if they are of the same source, else as trained."""
    trained = getattr(subject.trained, section, None)
    present = getattr(subject.present, section, None)
    if trained is None:
        return NO_LICENCE
    newer = present.licence if present is not None and present.name == trained.name else None
    return newer or trained.licence or NO_LICENCE


def _rebuilding(subject: TaggerFacts) -> Iterator[str]:
    yield "## How to build it again\n"
    if subject.trained is None:
        yield "This version of TagLM cannot read the settings that the tagger was trained with.\n"
        return
    text = yaml.safe_dump(shortest_settings(subject.trained), sort_keys=False, allow_unicode=True, width=120)
    yield (
        "The store records the settings, but not the command that ran. Save these settings as `experiment.yaml`, with "
        "the data at the same paths:\n"
    )
    yield f"```yaml\n{text}```\n\n```\ntaglm run experiment.yaml\n```\n"
    yield (
        "The run trains all variants and seeds of the experiment. On a CPU the same versions, instruction set and "
        "number of threads give the same bits.\n"
    )


def _table(headers: list[str], rows: list[list[str]], *, text_columns: int) -> str:
    """Return a table whose cells in backquotes stay code."""
    return markdown_table((headers, rows), text_columns=text_columns).replace("\\`", "`")
