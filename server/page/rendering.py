"""HTML from templates, escaped throughout, and the files that pages load."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from http import HTTPStatus
from importlib.resources import files
from typing import Any

from fastapi import Response
from fastapi.responses import HTMLResponse
from jinja2 import Environment, PackageLoader, StrictUndefined

_NANOSECONDS = 1_000_000_000
_KINDS = {
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}


class Pages:
    """Renders the page's templates.

    Args:
        origin: the name of the log, shown on every page of the trail.
    """

    def __init__(self, origin: str) -> None:
        self._environment = Environment(
            loader=PackageLoader("server.page"),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        self._environment.globals["origin"] = origin
        self._environment.filters["instant"] = instant
        self._environment.filters["size"] = readable_size

    def page(
        self,
        template: str,
        status: int = HTTPStatus.OK,
        headers: Mapping[str, str] | None = None,
        **context: Any,  # noqa: ANN401 -- what a template shows
    ) -> Response:
        """A page of the trail."""
        text = self._environment.get_template(template).render(context)
        return HTMLResponse(text, status, headers)

    def login(self, status: int, message: str | None = None) -> Response:
        """The form that asks for the token."""
        headers = {"WWW-Authenticate": 'Bearer realm="audit trail"'} if status == 401 else None
        return self.page("login.html", status, headers, message=message)

    def problem(
        self, status: int, title: str, detail: str, headers: Mapping[str, str] | None = None
    ) -> Response:
        """A page that says what is wrong; it shows nothing of the trail and no way into it."""
        return self.page("problem.html", status, headers, title=title, detail=detail)


def static_files() -> dict[str, tuple[bytes, str]]:
    """Content and media type of each file that pages load, by name.

    All are read once, so that no path from the network ever reaches the file system.
    """
    found = {}
    for file in files("server.page").joinpath("static").iterdir():
        _, dot, suffix = file.name.rpartition(".")
        if dot + suffix in _KINDS:
            found[file.name] = (file.read_bytes(), _KINDS[dot + suffix])
    return found


def instant(time_ns: int, *, whole: bool = True) -> str:
    """A time in UTC: with all nanoseconds as RFC 3339 writes it, or to the second for reading."""
    seconds, rest = divmod(time_ns, _NANOSECONDS)
    time = datetime.fromtimestamp(seconds, UTC)
    return f"{time:%Y-%m-%dT%H:%M:%S}.{rest:09d}Z" if whole else f"{time:%Y-%m-%d %H:%M:%S}"


def readable_size(size: int) -> str:
    """A number of bytes in the largest decimal unit that leaves at least one."""
    amount = float(size)
    for unit in ("B", "kB", "MB"):
        if amount < 1000:
            return f"{amount:.0f} B" if unit == "B" else f"{amount:.1f} {unit}"
        amount /= 1000
    return f"{amount:.1f} GB"
