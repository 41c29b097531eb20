"""What a list of receipts is narrowed to, as it stands in an address."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Annotated, Any
from urllib.parse import urlencode

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from audit.merkle import MAX_SIZE
from audit.receipt import MAX_TIME_NS, Action, Outcome
from protocol.accountability import MAX_TOKEN

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


def _within_years(time: datetime) -> datetime:
    """Refuse a time whose offset leads out of the years that UTC can be written in."""
    try:
        if time.tzinfo is not None:
            time.astimezone(UTC)
    except OverflowError as error:
        raise ValueError("no such time in UTC") from error
    return time


Name = Annotated[str, Field(max_length=MAX_TOKEN)]
Time = Annotated[datetime, AfterValidator(_within_years)]


class Filter(BaseModel):
    """What receipts must say to be listed; None for anything.

    Attributes:
        tenant, actor, action, outcome: as the receipt has them.
        model: digest of the model's card, 64 hexadecimal digits.
        since, until: times, UTC unless they say otherwise; the first is included, the second not.
        receipt: a receipt's id, 32 hexadecimal digits.
        before: only entries before this index.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    tenant: Name | None = None
    actor: Name | None = None
    action: Action | None = None
    outcome: Outcome | None = None
    model: Annotated[str, Field(pattern="^[0-9a-f]{64}$")] | None = None
    since: Time | None = None
    until: Time | None = None
    receipt: Annotated[str, Field(pattern="^[0-9a-f]{32}$")] | None = None
    before: Annotated[int, Field(ge=0, le=MAX_SIZE)] | None = None

    @model_validator(mode="before")
    @classmethod
    def _without_empty_fields(cls, values: Any) -> Any:  # noqa: ANN401 -- not validated yet
        """A form sends its empty fields too."""
        if not isinstance(values, dict):
            return values
        stripped = {
            name: value.strip() if isinstance(value, str) else value
            for name, value in values.items()
        }
        return {name: value for name, value in stripped.items() if value != ""}

    @property
    def is_empty(self) -> bool:
        """Whether every receipt passes, wherever the list begins."""
        return self.model_copy(update={"before": None}) == Filter()

    def address(self, before: int | None) -> str:
        """The address of the list with the same filter that begins elsewhere."""
        given = self.model_dump(mode="json", exclude_none=True) | {"before": before}
        query = urlencode({name: value for name, value in given.items() if value is not None})
        return f"/?{query}" if query else "/"


def nanoseconds(time: datetime | None) -> int | None:
    """A time as receipts have it, within what they can have."""
    if time is None:
        return None
    aware = time.replace(tzinfo=UTC) if time.tzinfo is None else time
    return min(max(0, (aware - _EPOCH) // _MICROSECOND * 1000), MAX_TIME_NS)
