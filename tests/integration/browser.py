"""A real browser without a window, for pages that servers on loopback show."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from selenium import webdriver
from selenium.webdriver.chrome.options import Options
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.chrome.webdriver import WebDriver

CHROMIUM, CHROMEDRIVER = Path("/usr/bin/chromium"), Path("/usr/bin/chromedriver")
WAIT_SECONDS = 30
_FLAGS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
    "--force-color-profile=srgb",
)


def require_browser() -> None:
    """Skip the test where there is no browser; where the whole gate runs, that is a failure."""
    missing = [str(path) for path in (CHROMIUM, CHROMEDRIVER) if not path.exists()]
    if not missing:
        return
    reason = f"no browser: {' and '.join(missing)} missing (Debian: chromium, chromium-driver)"
    if os.environ.get("CI") == "true":
        pytest.fail(reason)
    pytest.skip(reason)


@contextmanager
def browser(*, dark: bool = False, width: int = 1280, height: int = 1000) -> Iterator[WebDriver]:
    """A browser with an empty profile, which takes the certificate of any server.

    Args:
        dark: whether its user likes dark pages.
        width: of its window.
        height: of its window.
    """
    with tempfile.TemporaryDirectory(prefix="browser") as profile:
        options = Options()
        options.binary_location = str(CHROMIUM)
        options.accept_insecure_certs = True
        for flag in (*_FLAGS, f"--user-data-dir={profile}", f"--window-size={width},{height}"):
            options.add_argument(flag)
        options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
        # The driver is named, so that selenium looks for none and reports nothing to anybody.
        service = Service(executable_path=str(CHROMEDRIVER))
        driver = webdriver.Chrome(options=options, service=service)
        try:
            driver.set_page_load_timeout(WAIT_SECONDS)
            scheme = "dark" if dark else "light"
            media = [{"name": "prefers-color-scheme", "value": scheme}]
            driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": media})
            yield driver
        finally:
            driver.quit()
