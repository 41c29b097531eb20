"""What is wrong with a model file, in the words of the file's author."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from protocol.errors import InputError, ModelError, ParameterError

MAX_SHOWN = 40
"""Characters of what a file says that an error repeats."""

_EITHER_WAY: set[int | str] = {"weights", "intercept"}
"""Entries that are one list or a list of lists, one number or a list."""
_ACTIVATIONS = ("square", "polynomial")


def explain(error: ValidationError) -> str:
    """The first error of a file, where it is and what to write; no number of the file's."""
    first = _telling(error.errors(include_url=False))
    where, layer_field = _place(first["loc"])
    return f"{where}: {_fault(first, layer_field)}"


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """Put a file's name before what is wrong with the model in it."""
    try:
        yield
    except (InputError, ModelError, ParameterError) as error:
        raise type(error)(f"{path}: {error}") from None


def _telling(errors: list[ErrorDetails]) -> ErrorDetails:
    """The first error; where numbers may be nested or not, of the reading that got furthest."""
    field = errors[0]["loc"][:1]
    if not set(field) & _EITHER_WAY:
        return errors[0]
    same = [error for error in errors if error["loc"][:1] == field]
    return max(same, key=lambda error: (len(error["loc"]), error["type"] != "list_type"))


def _place(loc: Sequence[int | str]) -> tuple[str, bool]:
    """Where in the file, and whether that is a field of a layer or further down."""
    parts = list(loc)
    if set(parts[:1]) & _EITHER_WAY:  # behind them pydantic names the reading it tried
        parts = [parts[0], *(part for part in parts[1:] if isinstance(part, int))]
    if parts[:1] == ["features"] and len(parts) > 2:
        _, index, kind, *fields = parts
        shown = "" if kind == "number" else f" ({kind})"  # what a column is unless it says so
        inside = ".".join(map(str, fields))
        return f"features.{index}{shown}" + (f".{inside}" if inside else ""), False
    if parts[:1] == ["layers"] and len(parts) > 1:
        _, index, *rest = parts
        if not rest:
            return f"layers.{index}", False
        kind, *fields = rest
        inside = ".".join(map(str, fields))
        return f"layers.{index} ({kind})" + (f", {inside}" if inside else ""), bool(fields)
    return ".".join(map(str, parts)) or "file", False


def _fault(first: ErrorDetails, layer_field: bool) -> str:
    context = first.get("ctx", {})
    match first["type"]:
        case "union_tag_invalid" if first["loc"][:1] == ("features",):
            given = str(context["tag"])[:MAX_SHOWN]
            return f"no kind of column '{given}'; there are {_kinds(context['expected_tags'])}"
        case "union_tag_invalid":
            given = str(context["tag"])[:MAX_SHOWN]
            return f"no layer '{given}'; there are {_kinds(str(context['expected_tags']))}"
        case "union_tag_not_found":
            return "a layer needs its 'kind'"
        case "extra_forbidden":
            return f"{_owner(first['loc'], layer_field)} has no such entry"
        case "missing":
            tuple_entry = isinstance(first["loc"][-1], int)
            return "missing: more numbers are expected" if tuple_entry else "missing"
        case "too_long":
            return f"at most {context['max_length']} entries"
        case "less_than_equal" | "greater_than_equal":
            return "too large in magnitude: rescale the model"
        case _:
            words = first["msg"].replace("Input should be", "expected")
            return words.replace("a valid array", "a list").replace("a valid ", "a ")


def _owner(loc: Sequence[int | str], layer_field: bool) -> str:
    """What has no entry of a name."""
    if layer_field:
        return "this kind of layer"
    if loc[:1] == ("features",):
        return "a column of this kind"
    return "`about`" if loc[:1] == ("about",) else "a model file"


def _kinds(tags: str) -> str:
    """Pydantic's list of kinds, activations apart."""
    kinds = [tag.strip(" '") for tag in tags.split(",")]
    others = ", ".join(kind for kind in kinds if kind not in _ACTIVATIONS)
    activations = ", ".join(kind for kind in kinds if kind in _ACTIVATIONS)
    return f"{others}; activations: {activations}" if activations else others
