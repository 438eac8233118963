"""Configuration of an experiment."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, ValidationError, field_validator, model_validator

from taglm_core.config.base import Settings, home_expanded, over_preset
from taglm_core.config.data import DemoConfig, LabelledConfig, TextFormat, UnlabelledConfig, complete_sources
from taglm_core.config.embedding import EmbeddingConfig
from taglm_core.config.explain import explain_all
from taglm_core.config.language_model import LanguageModelConfig
from taglm_core.config.raw_text import TextConfig
from taglm_core.config.tagger import PRESETS, TaggerConfig, VariantConfig

_SQLITE = "sqlite:///"


class SignificanceConfig(Settings):
    """Significance tests of differences between variants."""

    rounds: int = Field(10_000, ge=100, description="rounds of approximate randomisation and bootstrap")
    seed: int = Field(1, ge=0, description="seed of both")


class RegistryConfig(Settings):
    """Registered and exported taggers. No key contains any of these settings."""

    register_best: bool = Field(True, description="register the tagger with the best dev F1 in MLflow; sweeps do not")
    vectors: Literal["table", "needed", "reference"] = Field(
        "table", description="word vectors that a registered or exported tagger includes: table, all of the file (new "
        "words have vectors); needed, those of words in the labelled corpora; reference, none (who loads the tagger "
        "gives the file)"
    )  # fmt: skip


class RunConfig(Settings):
    """Devices, processes, intervals, store and tracking of a run. No key contains any of these settings.

    Threads, ranks and precision may change rounding and the draws of dropout; every manifest records them.
    """

    store: Path = Field(Path("data/store"), description="folder of the store")
    device: Literal["auto", "cpu", "cuda"] = Field("auto", description="device of training")
    device_share: int = Field(
        1, ge=1, description="trainings side by side on one CUDA device, the same for all runs of a machine; one alone "
        "leaves half of the device idle or more, so raise this as far as its memory allows"
    )  # fmt: skip
    ranks: int | None = Field(
        None, ge=1, description="processes that train one language model together, each with an equal share of the "
        "streams; null: one per CUDA device (as many as divide the streams), or one without CUDA"
    )  # fmt: skip
    precision: Literal["auto", "float32", "tf32", "bfloat16"] = Field(
        "auto", description="precision of multiplications in training; auto: bfloat16 for language models on CUDA "
        "devices that support it, else float32. Weights, losses and scores are always float32"
    )  # fmt: skip
    compile: bool = Field(False, description="use torch.compile for the parts of a language model that it speeds up")
    threads: int = Field(1, ge=1, description="threads of one training or embedding process")
    workers: int | None = Field(None, ge=1, description="training processes side by side; null: one per core")
    checkpoint_seconds: float = Field(60.0, ge=0, description="time between checkpoints")
    checkpoint_steps: int | None = Field(
        None, ge=1, description="steps between checkpoints, in addition; null: by time alone"
    )
    keep_checkpoints: int = Field(2, ge=1, description="checkpoints kept while training")
    evaluate_steps: int = Field(500, ge=1, description="LM steps between evaluations on held-out text")
    log_steps: int = Field(20, ge=1, description="LM steps between journal lines")
    memory_limit: str = Field("2GB", description="memory DuckDB may use before it spills")
    tracking: bool = Field(True, description="log to MLflow")
    tracking_uri: str | None = Field(None, description="MLflow store; null: sqlite in data/, or MLFLOW_TRACKING_URI")

    @field_validator("store", mode="after")
    @classmethod
    def _home_is_expanded(cls, store: Path) -> Path:
        return home_expanded(store)

    @field_validator("tracking_uri", mode="after")
    @classmethod
    def _home_of_a_database_is_expanded(cls, uri: str | None) -> str | None:
        """Expand the home folder in `sqlite:///~/mlflow.db`."""
        if uri is None or not uri.startswith(_SQLITE):
            return uri
        return f"{_SQLITE}{home_expanded(Path(uri.removeprefix(_SQLITE)))}"

    @field_validator("memory_limit", mode="after")
    @classmethod
    def _is_a_size(cls, limit: str) -> str:
        if not re.fullmatch(r"\d+(\.\d+)?\s*(%|[KMGT](i?B)?|(kilo|mega|giga|tera)bytes?)", limit, re.IGNORECASE):
            raise ValueError(f"found {limit!r}; expected a number and a unit, such as 2GB or 500MB")
        return limit


class Experiment(Settings):
    """An experiment: corpora, language models, tagger, and the variants and seeds to compare."""

    name: str = Field("demo", pattern=r"^[A-Za-z0-9][\w.-]*$", description="name of the experiment")
    demo: DemoConfig = DemoConfig()
    labelled: LabelledConfig | None = Field(
        LabelledConfig(), description="labelled corpora; null: train language models alone"
    )
    unlabelled: UnlabelledConfig | None = Field(
        UnlabelledConfig(), description="text for language models; null if no variant has an lm"
    )
    language_models: dict[str, LanguageModelConfig] = Field(
        default_factory=lambda: {"main": LanguageModelConfig()}, description="language models by name"
    )
    embedding: EmbeddingConfig = EmbeddingConfig()
    tagger: TaggerConfig = TaggerConfig()
    variants: tuple[VariantConfig, ...] = Field(
        (VariantConfig(name="baseline"), VariantConfig(name="TagLM", lm=("main",))),
        min_length=1,
        description="arms of the comparison; the first is the reference",
    )
    seeds: tuple[int, ...] = Field((1, 2, 3), min_length=1, description="tagger seeds, the same for every variant")
    significance: SignificanceConfig = SignificanceConfig()
    text: TextConfig = TextConfig()
    registry: RegistryConfig = RegistryConfig()
    run: RunConfig = RunConfig()

    @model_validator(mode="before")
    @classmethod
    def _name_sources(cls, given: Any) -> Any:
        return complete_sources(given)

    @model_validator(mode="after")
    def _sources_fit(self) -> Experiment:
        if self.labelled is None and self.unlabelled is None:
            raise ValueError("labelled and unlabelled are both null; name one of them to learn from")
        if self.unlabelled is None:
            for index, variant in enumerate(self.variants):
                if variant.lm:
                    raise ValueError(
                        f"unlabelled.path: missing; variants.{index} ({variant.name}) reads the language model "
                        f"{variant.lm[0]}, trained on it; name a text, or leave the variant out: "
                        "variants=[{name: baseline}]"
                    )
        if self.labelled is None:
            for name, config in self.language_models.items():
                if config.fine_tune is not None:
                    raise ValueError(
                        f"language_models.{name}.fine_tune: reads the labelled training sentences, but labelled is "
                        "null; name labelled data, or leave fine_tune out"
                    )
        return self

    @model_validator(mode="after")
    def _names_fit(self) -> Experiment:
        if self.labelled is None:
            return self  # no variant is trained
        names = [variant.name for variant in self.variants]
        if len({name.lower() for name in names}) != len(names):
            raise ValueError(f"variants: names must differ, not {names}")
        if len(set(self.seeds)) != len(self.seeds) or min(self.seeds) < 0:
            raise ValueError(f"seeds: must differ and be 0 or more, not {list(self.seeds)}")
        for index, variant in enumerate(self.variants):
            for lm in variant.lm:
                if lm not in self.language_models:
                    known = ", ".join(self.language_models) or "nothing"
                    raise ValueError(f"variants.{index}.lm: no language model {lm!r}; language_models has: {known}")
                missing = set(variant.directions) - set(self.language_models[lm].directions)
                if missing:
                    raise ValueError(
                        f"variants.{index}.directions: {sorted(missing)} not in language_models.{lm}.directions"
                    )
            self._check_tagger(index, variant)
        return self

    def _check_tagger(self, index: int, variant: VariantConfig) -> None:
        try:
            config = self.tagger_of(variant)
        except ValidationError as error:
            lines = "; ".join(explain_all(error, TaggerConfig))
            raise ValueError(f"variants.{index}.tagger: {lines}") from error
        except ValueError as error:  # an unknown preset
            raise ValueError(f"variants.{index}.tagger: {error}") from error
        if config.lm.position == "only" and not variant.lm:
            raise ValueError(
                f"variants.{index}: tagger.lm.position is only, but the variant has no lm to read; give it an lm, or "
                "another position in its tagger section"
            )

    @property
    def data_set(self) -> str:
        """Return the name of the labelled data, or of the text if there is none; MLflow experiments carry it."""
        source = self.labelled or self.unlabelled
        if source is None:
            raise ValueError("the experiment has no data")  # validators refuse that
        return source.name

    @property
    def splits(self) -> tuple[str, ...]:
        """Return the names of the labelled splits of the experiment."""
        if self.labelled is None:
            return ()
        return ("train", "dev") if self.labelled.test is None else ("train", "dev", "test")

    def text_reading(self) -> dict[str, Any]:
        """Return how the text of the language models is read, for the config of its step; nothing new for lines."""
        given = self.unlabelled
        if given is None or given.format in (TextFormat.AUTO, TextFormat.TOKENISED):
            return {"format": "text"}
        reading: dict[str, Any] = {"format": "text", "text_format": str(given.format)}
        if given.format is TextFormat.CONLLU:
            return reading
        if given.format is not TextFormat.DOCUMENTS:
            reading["column"] = given.column
        return {**reading, **self.text.segmenting()}

    def tagger_of(self, variant: VariantConfig) -> TaggerConfig:
        """Return the tagger settings of a variant: the tagger section with its preset and settings merged in."""
        return TaggerConfig.model_validate(over_preset(variant.tagger, PRESETS, self.tagger.model_dump()))
