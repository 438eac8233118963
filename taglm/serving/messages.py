"""What requests and answers hold, and how a refused request is described."""

from __future__ import annotations

import json
from dataclasses import dataclass
from http import HTTPStatus
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from taglm.serving.batching import Input, characters_of

Name = Annotated[str, Field(min_length=1)]
EXPECTED = (
    'JSON such as {"text": "Anna Smith lives in Rome."}, {"text": ["One text.", "Another."]} or '
    '{"tokens": [["Anna", "Smith", "lives"]]}'
)
REMEDY = "correct the request; /openapi.json describes every field"
BYTES_PER_CHARACTER = 16  # `\ud83d\ude00` is one character; a token of one character has quotes and a comma


@dataclass(frozen=True, slots=True)
class Limits:
    """What a request may ask for.

    Attributes:
        characters: of all texts of a request together.
        texts: texts or sentences of a request.
        seconds: from the first byte of a request to its answer.
        waiting: requests that wait for their turn.
    """

    characters: int = 100_000
    texts: int = 256
    seconds: float = 30.0
    waiting: int = 256

    @property
    def bytes(self) -> int:
        """Return the largest body of a request."""
        return self.characters * BYTES_PER_CHARACTER + 65_536


class RequestRefused(Exception):
    """A request that gets no entities.

    Args:
        status: HTTP status.
        found: what the server found.
        expected: what it expected.
        remedy: what the client can do.
        headers: further headers of the answer.
    """

    def __init__(
        self, status: HTTPStatus, found: str, expected: str, remedy: str, headers: dict[str, str] | None = None
    ) -> None:
        super().__init__(f"found {found}; expected {expected}; {remedy}")
        self.status, self.found, self.expected, self.remedy, self.headers = status, found, expected, remedy, headers

    def to_dict(self) -> dict[str, Any]:
        """Return the body of the answer."""
        return {"error": {"found": self.found, "expected": self.expected, "remedy": self.remedy}}


class TagRequest(BaseModel):
    """Texts or tokenised sentences to tag: `text` or `tokens`, one of them."""

    model_config = ConfigDict(
        extra="forbid", strict=True, frozen=True, json_schema_extra={"examples": [{"text": "Anna lives in Rome."}]}
    )

    text: str | list[str] | None = Field(None, description="one text or several; the server tokenises them")
    tokens: list[list[Name]] | None = Field(None, description="tokenised sentences; never split or joined")
    threshold: float = Field(0.0, ge=0, le=1, description="least confidence of an entity")
    labels: list[str] | None = Field(None, description="types of entities to return; all if not given")
    baseline: bool = Field(False, description="whether to return what the baseline says, if the export includes one")

    @model_validator(mode="after")
    def _one_of_two(self) -> TagRequest:
        if (self.text is None) == (self.tokens is None):
            raise ValueError(
                "text and tokens are both given" if self.text is not None else "neither text nor tokens is given"
            )
        return self

    @property
    def inputs(self) -> list[Input]:
        """Return the texts or sentences."""
        return [self.text] if isinstance(self.text, str) else list(self.text or self.tokens or [])


class FoundEntity(BaseModel):
    """An entity; places are positions in the text, in code points, and in its tokens, the end exclusive."""

    text: str
    label: str
    start: int
    end: int
    token_start: int
    token_end: int
    confidence: float = Field(description="posterior probability that exactly these tokens have this type")


class TaggedText(BaseModel):
    """The entities of a text; those of the baseline if the request asked for them."""

    entities: list[FoundEntity]
    baseline: list[FoundEntity] | None = None


class ModelDescription(BaseModel):
    """The tagger that answered; a registered model has a version."""

    name: str
    label: str
    digest: str
    version: str | None = None


class TagAnswer(BaseModel):
    """Answer to `/tag`: a result for each text, in order."""

    results: list[TaggedText]
    model: ModelDescription


class Fault(BaseModel):
    """Why a request was refused."""

    found: str
    expected: str
    remedy: str


class Refusal(BaseModel):
    """Answer to a request that was refused."""

    error: Fault


def read_request(body: bytes, limits: Limits, labels: tuple[str, ...]) -> TagRequest:
    """Return the request of a body.

    Args:
        body: UTF-8 JSON.
        limits: what it may ask for.
        labels: types of entities that the tagger finds.

    Raises:
        RequestRefused: it is no such request, or asks for too much.
    """
    try:
        request = TagRequest.model_validate_json(body)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False)[0]
        malformed = first["type"] == "json_invalid"
        where = ".".join(str(part) for part in first["loc"])
        said = first["msg"].removeprefix("Value error, ")
        found = f"{where}: {said}" if where else said
        status = HTTPStatus.BAD_REQUEST if malformed else HTTPStatus.UNPROCESSABLE_ENTITY
        raise RequestRefused(status, found, EXPECTED, REMEDY) from error
    unknown = sorted(set(request.labels or ()) - set(labels))
    if unknown:
        found, known = f"labels {json.dumps(unknown, ensure_ascii=False)}", f"some of {', '.join(labels)}"
        raise RequestRefused(HTTPStatus.UNPROCESSABLE_ENTITY, found, known, "leave out labels, or correct them")
    inputs = request.inputs
    split = "split the request, or start the server with a larger"
    if len(inputs) > limits.texts:
        raise too_large(f"{len(inputs):,} texts", f"at most {limits.texts:,} in a request", f"{split} --max-texts")
    if (size := sum(map(characters_of, inputs))) > limits.characters:
        expected = f"at most {limits.characters:,} in a request"
        raise too_large(f"{size:,} characters", expected, f"{split} --max-characters")
    return request


def too_large(found: str, expected: str, remedy: str) -> RequestRefused:
    """Return the refusal of a request that is too large."""
    return RequestRefused(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, found, expected, remedy)
