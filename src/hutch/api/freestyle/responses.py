"""What the freestyle dialect answers, for the OpenAPI document and for tests: `present` writes it as plain dicts."""

from pydantic import BaseModel, ConfigDict


class Answer(BaseModel):
    """Nothing beyond what is declared."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Error(Answer):
    """What went wrong: `error` and `code` are the same."""

    error: str
    code: str
    message: str
