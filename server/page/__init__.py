"""A page for people: the audit trail in a browser, read-only, off unless it is asked for.

Needs the extra `web`; nothing else of the server imports it before a setting asks for the page.
"""

from server.page.access import Access, read_or_create_token
from server.page.app import page_app
from server.page.listener import serving
from server.page.reading import TrailReader

__all__ = [
    "Access",
    "TrailReader",
    "page_app",
    "read_or_create_token",
    "serving",
]
