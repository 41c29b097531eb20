"""The page in a real browser: what its user sees, and what a dishonest server cannot make them see.

The dishonest servers here alter what they send and nothing else, as whoever has altered a trail
and left the page's own scripts alone would.
"""

from __future__ import annotations

import base64
import socket
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from selenium.common.exceptions import WebDriverException
from selenium.webdriver.chrome.webdriver import WebDriver
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import Select, WebDriverWait
from sqlalchemy import update

from audit.checkpoint import Checkpoint
from audit.database import writing_sessions
from audit.keys import SigningKey
from audit.merkle import leaf_hash
from audit.receipt import Outcome
from audit.schema import entries
from audit.signed_note import NoteKey, sign_note
from blindproof.loopback import server_thread
from client_sdk import Client
from server.page import TrailReader
from tests.integration.browser import WAIT_SECONDS, browser, require_browser
from tests.integration.example_models import records
from tests.unit.audit.example_receipts import ORIGIN
from tests.unit.server.page.example_trail import (
    KEY,
    TENANTS,
    ServedPage,
    Trail,
    make_trail,
    receipt,
    served,
)

COUNT = 83
NUMBER = 41
RECEIPT_ID = receipt(NUMBER).receipt.receipt_id
STRANGER = SigningKey.from_secret(b"q" * 32)
STEPS = (
    "Key of the log",
    "Entry of the log",
    "What this page shows",
    "Server's signature over the receipt",
    "Checkpoint of the log",
    "Inclusion in that log",
)


@pytest.fixture(scope="module")
def driver() -> Iterator[WebDriver]:
    require_browser()
    with browser() as made:
        yield made


@pytest.fixture
def trail(tmp_path: Path) -> Trail:
    made = make_trail(tmp_path / "trail")
    made.log.append([receipt(number) for number in range(COUNT)])
    made.log.checkpoint(KEY)
    return made


@contextmanager
def opened(driver: WebDriver, reader: TrailReader, home: Path) -> Iterator[ServedPage]:
    """The page, with the browser logged in."""
    with served(reader, home) as page:
        driver.get(page.url)
        log_in(driver, page.token)
        wait(driver, ".bar nav")
        yield page
        driver.get("about:blank")


def log_in(driver: WebDriver, token: str) -> None:
    driver.find_element(By.ID, "token").send_keys(token)
    driver.find_element(By.CSS_SELECTOR, "form button").click()


def wait(driver: WebDriver, css: str) -> str:
    """The text of an element once it is there, also if another page had one like it."""
    waiting = WebDriverWait(driver, WAIT_SECONDS, ignored_exceptions=[WebDriverException])
    return waiting.until(lambda now: now.find_element(By.CSS_SELECTOR, css).text)


def open_receipt(driver: WebDriver, page: ServedPage) -> None:
    driver.get(f"{page.url}receipts/{RECEIPT_ID.hex()}")


def verify(driver: WebDriver) -> tuple[str, dict[str, tuple[str, str]]]:
    """Press the button: class of the verdict, and class and text of each step."""
    driver.find_element(By.CSS_SELECTOR, "#verify button").click()
    wait(driver, "#verdict.passed, #verdict.failed")
    verdict = driver.find_element(By.ID, "verdict").get_attribute("class") or ""
    steps = {}
    for item in driver.find_elements(By.CSS_SELECTOR, "#steps li"):
        title = item.find_element(By.TAG_NAME, "strong").text
        detail = item.find_element(By.TAG_NAME, "span").text
        steps[title] = (item.get_attribute("class") or "", detail)
    assert tuple(steps) == STEPS
    return verdict.removeprefix("verdict "), steps


def paste(driver: WebDriver, field: str, value: str) -> None:
    """Put text into a field at once, as pasting does."""
    element = driver.find_element(By.ID, field)
    driver.execute_script("arguments[0].closest('details')?.setAttribute('open', '')", element)
    element.clear()
    element.send_keys(value)


def states(steps: dict[str, tuple[str, str]]) -> list[str]:
    return [steps[title][0] for title in STEPS]


def screenshot(driver: WebDriver, path: Path) -> bytes:
    """The whole page as PNG."""
    taken = driver.execute_cdp_cmd(
        "Page.captureScreenshot", {"format": "png", "captureBeyondViewport": True}
    )
    path.write_bytes(base64.b64decode(taken["data"]))
    return path.read_bytes()


def test_a_receipt_is_found_and_verified(driver, trail, tmp_path, record_property):
    with served(trail.reader(), tmp_path / "page") as page:
        driver.get_log("browser")
        driver.get(page.url)
        log_in(driver, "wrong")
        assert wait(driver, "[role=alert]") == "That is not the token."
        log_in(driver, page.token)
        assert wait(driver, "h1") == "Receipts"
        cookie = next(iter(driver.get_cookies()))
        assert (cookie["secure"], cookie["httpOnly"], cookie["sameSite"]) == (True, True, "Strict")
        assert page.token not in cookie["value"]
        assert page.token not in driver.current_url
        assert driver.execute_script("return document.cookie") == ""

        driver.find_element(By.ID, "tenant").send_keys(TENANTS[1])
        Select(driver.find_element(By.ID, "outcome")).select_by_visible_text("answered")
        driver.find_element(By.CSS_SELECTOR, ".filter button").click()
        WebDriverWait(driver, WAIT_SECONDS).until(lambda now: "outcome=" in now.current_url)
        expected = [n for n in range(COUNT) if n % 2 == 1 and n % 5 != 4][::-1]
        rows = driver.find_elements(By.CSS_SELECTOR, "tbody tr")
        assert [int(row.find_element(By.TAG_NAME, "td").text) for row in rows] == expected
        driver.find_element(By.LINK_TEXT, RECEIPT_ID.hex()[:12]).click()

        assert wait(driver, "[data-field=receipt_id]") == RECEIPT_ID.hex()
        verdict, steps = verify(driver)
        assert states(steps) == ["passed"] * 6
        assert verdict == "passed"
        assert "entry 41 of a log of 83 entries" in wait(driver, "#verdict")
        # With nothing from elsewhere to compare with, it says what that is worth.
        assert "once you paste a key that you have from elsewhere" in wait(driver, "#verdict")
        colour = driver.find_element(By.ID, "verdict").value_of_css_property("border-left-color")

        path = tmp_path / "receipt.png"
        image = screenshot(driver, path)
        record_property("screenshot", str(path))
        print(f"screenshot: {path}")  # noqa: T201 -- where to look
        width, height = struct.unpack(">II", image[16:24])
        assert image.startswith(b"\x89PNG\r\n\x1a\n")
        assert width >= 1000
        assert height >= 1500
        assert len(image) > 50_000
        red, green, _ = rgb(colour)
        assert green > red

        # The content policy and the scripts agree: nothing was blocked, nothing failed.
        complaints = [entry["message"] for entry in driver.get_log("browser")]
        assert [line for line in complaints if "401" not in line and "[DOM]" not in line] == []
        driver.find_element(By.CSS_SELECTOR, ".bar form button").click()
        assert wait(driver, "label[for=token]") == "Token"
        open_receipt(driver, page)
        assert wait(driver, "label[for=token]") == "Token"


def test_a_key_and_a_checkpoint_from_elsewhere_make_it_proof(driver, trail, tmp_path):
    kept = trail.log.latest_checkpoint().encoded().decode()
    trail.log.append([receipt(COUNT)])
    with opened(driver, trail.reader(), tmp_path / "page") as page:
        open_receipt(driver, page)
        # The same key with another spelling would be the page's: here it is typed by the user.
        driver.execute_script("document.getElementById('log-key').defaultValue = ''")
        paste(driver, "log-key", NoteKey(ORIGIN, KEY.public).encoded())
        paste(driver, "checkpoint", kept)
        verdict, steps = verify(driver)
        assert (verdict, states(steps)) == ("passed", ["passed"] * 6)
        assert wait(driver, "#verdict").endswith("entry 41 of a log of 83 entries.")
        assert "pasted here" in steps["Checkpoint of the log"][1]


class AlteredEntry(TrailReader):
    """Sends an entry in which another ward has asked."""

    def entry(self, receipt_id):
        entry = super().entry(receipt_id)
        assert entry.data.count(b"ward-") == 1
        return replace(entry, data=entry.data.replace(b"ward-", b"wart-"))


class AnotherEntry(TrailReader):
    """Sends another receipt of the log, and what proves that one."""

    def entry(self, receipt_id):
        return self._log.entry(NUMBER + 1)

    def inclusion(self, receipt_id, size):
        return self._log.inclusion_proof(NUMBER + 1, size)


class UnreadableEntry(TrailReader):
    """Sends an entry with a byte too many."""

    def entry(self, receipt_id):
        entry = super().entry(receipt_id)
        return replace(entry, data=entry.data + b"n")


class OtherView(TrailReader):
    """Shows an answered request as a refused one."""

    def view(self, receipt_id):
        view = super().view(receipt_id)
        refused = replace(view.receipt, outcome=Outcome.DENIED, reason="request-refused")
        return replace(view, receipt=refused)


class LessSound(TrailReader):
    """Shows a soundness that is a tenth of a bit better."""

    def view(self, receipt_id):
        view = super().view(receipt_id)
        return replace(view, receipt=replace(view.receipt, soundness_bits=128.6))


class AlteredProof(TrailReader):
    """Sends a proof with one bit changed."""

    def inclusion(self, receipt_id, size):
        proof = super().inclusion(receipt_id, size)
        *rest, last = proof.hashes
        return replace(proof, hashes=(*rest, bytes([last[0] ^ 1]) + last[1:]))


class OtherPlace(TrailReader):
    """Says that the entry is the next one."""

    def inclusion(self, receipt_id, size):
        proof = super().inclusion(receipt_id, size)
        return replace(proof, index=proof.index + 1)


class LongerProof(TrailReader):
    """Sends a hash too many."""

    def inclusion(self, receipt_id, size):
        proof = super().inclusion(receipt_id, size)
        return replace(proof, hashes=(*proof.hashes, bytes(32)))


class ShorterProof(TrailReader):
    """Sends a hash too few."""

    def inclusion(self, receipt_id, size):
        proof = super().inclusion(receipt_id, size)
        return replace(proof, hashes=proof.hashes[:-1])


class UnsignedCheckpoint(TrailReader):
    """Sends a checkpoint of another root under the signature of the log's."""

    def checkpoint(self):
        note = super().checkpoint()
        return replace(note, text=Checkpoint(ORIGIN, COUNT, bytes(32)).text())


class ForeignCheckpoint(TrailReader):
    """Sends a checkpoint that another key has signed, under the log's name."""

    def checkpoint(self):
        return sign_note(super().checkpoint().text, ORIGIN, STRANGER)


class OtherLog(TrailReader):
    """Sends a checkpoint of a log of another name, by the same key."""

    def checkpoint(self):
        origin, size, root, _ = super().checkpoint().text.split("\n")
        return sign_note(f"{origin}.other\n{size}\n{root}\n", ORIGIN, KEY)


@pytest.mark.parametrize(
    ("dishonest", "failed"),
    [
        (AlteredEntry, "What this page shows, Server's signature, Inclusion"),
        (AnotherEntry, "What this page shows"),
        (UnreadableEntry, "Entry of the log, Inclusion"),
        (OtherView, "What this page shows"),
        (LessSound, "What this page shows"),
        (AlteredProof, "Inclusion"),
        (OtherPlace, "Inclusion"),
        (LongerProof, "Inclusion"),
        (ShorterProof, "Inclusion"),
        (UnsignedCheckpoint, "Checkpoint of the log"),
        (ForeignCheckpoint, "Checkpoint of the log"),
        (OtherLog, "Checkpoint of the log"),
    ],
)
def test_whatever_a_server_alters_is_seen(driver, trail, tmp_path, dishonest, failed):
    reader = dishonest(trail.log, trail.archive, KEY)
    with opened(driver, reader, tmp_path / "page") as page:
        open_receipt(driver, page)
        verdict, steps = verify(driver)
        seen = [title for title in STEPS if steps[title][0] == "failed"]
        expected = failed.split(", ")
        assert len(seen) == len(expected)
        assert all(map(str.startswith, seen, expected))
        assert verdict == "failed"
        assert wait(driver, "#verdict").startswith("Not verified")
        colour = driver.find_element(By.CSS_SELECTOR, "#steps li.failed span")
        red, green, blue = rgb(colour.value_of_css_property("color"))
        assert red > 2 * max(green, blue)


def test_an_altered_row_of_the_database_is_seen(driver, trail, tmp_path):
    """Altered with its leaf and its columns, so that the row is one whole."""
    data = trail.log.entry(NUMBER).data.replace(b"ward-6", b"ward-9")
    row = {"data": data, "leaf": leaf_hash(data), "actor": "ward-9/station-2"}
    with writing_sessions(trail.log.engine)() as session, session.begin():
        session.execute(update(entries).where(entries.c.position == NUMBER).values(row))
    with opened(driver, trail.reader(), tmp_path / "page") as page:
        open_receipt(driver, page)
        assert wait(driver, "[data-field=actor]") == "ward-9/station-2"
        assert "does not verify" in wait(driver, ".findings .failed")
        verdict, steps = verify(driver)
        assert verdict == "failed"
        assert steps["Server's signature over the receipt"][0] == "failed"
        assert steps["Inclusion in that log"][0] == "failed"


def test_a_history_that_the_operator_rewrote_is_seen_with_an_old_checkpoint(
    driver, trail, tmp_path
):
    """All of it is signed again by the right key: only what was kept elsewhere tells."""
    kept = trail.log.latest_checkpoint().encoded().decode()
    rewritten = make_trail(tmp_path / "rewritten")
    without = [number for number in range(COUNT + 1) if number != 7]
    rewritten.log.append([receipt(number) for number in without])
    with opened(driver, rewritten.reader(), tmp_path / "page") as page:
        open_receipt(driver, page)
        verdict, _ = verify(driver)
        assert verdict == "passed"
        paste(driver, "checkpoint", kept)
        verdict, steps = verify(driver)
        assert verdict == "failed"
        assert states(steps) == ["passed"] * 5 + ["failed"]
        assert "was altered" in steps["Inclusion in that log"][1]


@pytest.mark.parametrize(
    ("key", "wrong"),
    [
        (NoteKey(ORIGIN, STRANGER.public).encoded(), "failed"),
        (NoteKey(ORIGIN, KEY.public).encoded()[:-2], "skipped"),
        ("", "skipped"),
    ],
)
def test_a_key_from_elsewhere_is_the_one_that_counts(driver, trail, tmp_path, key, wrong):
    with opened(driver, trail.reader(), tmp_path / "page") as page:
        open_receipt(driver, page)
        paste(driver, "log-key", key)
        verdict, steps = verify(driver)
        assert verdict == "failed"
        first = "passed" if wrong == "failed" else "failed"
        assert states(steps) == [first, "passed", "passed", wrong, wrong, "skipped"]


def test_a_session_that_has_ended_says_so(driver, trail, tmp_path):
    with opened(driver, trail.reader(), tmp_path / "page") as page:
        open_receipt(driver, page)
        wait(driver, "#verify button")
        driver.delete_all_cookies()
        verdict, steps = verify(driver)
        assert verdict == "failed"
        assert steps["Entry of the log"][1] == "The session has ended: log in again."


def test_the_first_and_the_last_receipt_verify_too(driver, trail, tmp_path):
    with opened(driver, trail.reader(), tmp_path / "page") as page:
        for number in (0, COUNT - 1, COUNT - 2, 64, 4):
            driver.get(f"{page.url}receipts/{receipt(number).receipt.receipt_id.hex()}")
            verdict, steps = verify(driver)
            assert (verdict, states(steps)) == ("passed", ["passed"] * 6), steps


def test_the_page_of_a_real_server_shows_what_it_answered(driver, world, fresh_keys, tmp_path):
    settings = world.settings.model_copy(
        update={
            "server_id": "server with a page",
            "state": tmp_path / "state",
            "audit_page": f"localhost:{free_port()}",
        }
    )
    with server_thread(settings) as address:
        digest = world.models["private"].digest
        with Client(address, model=digest, keys=fresh_keys(), ca=world.ca) as client:
            answered = client.predict(records(1), packing="single").receipt.signed.receipt
        token = (tmp_path / "state" / "audit-page.token").read_text().strip()
        driver.get(f"https://{settings.audit_page}/?outcome=answered&action=predict")
        log_in(driver, token)
        wait(driver, "tbody tr")
        driver.get(f"https://{settings.audit_page}/?action=predict&model={digest.hex()}")
        driver.find_element(By.LINK_TEXT, answered.receipt_id.hex()[:12]).click()
        assert wait(driver, "[data-field=digest_proof]") == answered.digests.proof.hex()
        assert findings(driver) == {
            "Server's signature": "verifies",
            "Client's countersignature": "verifies",
            "Request": "archived",
            "Response and proof": "archived",
            "Model card and registration": "archived",
            "Proof": "not verified here",
        }
        paste(driver, "log-key", client.log_key)
        verdict, steps = verify(driver)
        assert (verdict, states(steps)) == ("passed", ["passed"] * 6)
        driver.get(f"https://{settings.audit_page}/?action=enrol-key")
        driver.find_element(By.CSS_SELECTOR, "td[data-label=Receipt] a").click()
        assert wait(driver, "[data-field=action]") == "enrol-key"
        assert findings(driver)["Enrolled key and proof"] == "archived"
        assert verify(driver)[0] == "passed"
        driver.get(f"https://{settings.audit_page}/checkpoints")
        wait(driver, ".chain")
        assert driver.find_elements(By.CSS_SELECTOR, ".mark.failed") == []
        assert driver.find_elements(By.CSS_SELECTOR, ".mark.passed") != []
        driver.get("about:blank")


def findings(driver: WebDriver) -> dict[str, str]:
    """The title of each finding of the server, by its label."""
    return {
        found.find_element(By.TAG_NAME, "dt").text: found.find_element(
            By.CSS_SELECTOR, ".mark"
        ).text
        for found in driver.find_elements(By.CSS_SELECTOR, ".findings > div")
    }


def free_port() -> int:
    """A port on which nobody listens now."""
    with socket.create_server(("localhost", 0)) as listening:
        return listening.getsockname()[1]


@pytest.mark.parametrize(("dark", "width"), [(True, 1280), (False, 500)])
def test_the_page_fits_its_window_and_its_user(trail, tmp_path, dark, width):
    require_browser()
    trail.log.checkpoint(KEY)
    with (
        browser(dark=dark, width=width) as driver,
        opened(driver, trail.reader(), tmp_path / "page") as page,
    ):
        for path in ("", f"receipts/{RECEIPT_ID.hex()}", "checkpoints"):
            driver.get(page.url + path)
            wait(driver, "h1")
            script = "return [document.documentElement.scrollWidth, innerWidth]"
            content, window = driver.execute_script(script)
            assert content <= window
            body = driver.find_element(By.TAG_NAME, "body")
            ink = sum(rgb(body.value_of_css_property("color")))
            paper = sum(rgb(body.value_of_css_property("background-color")))
            assert (ink > paper) == dark
            assert len(screenshot(driver, tmp_path / f"{path[:8] or 'list'}.png")) > 20_000


def rgb(colour: str) -> list[int]:
    """Red, green and blue of a colour as CSS writes it."""
    return [int(float(part)) for part in colour[colour.index("(") + 1 : -1].split(",")[:3]]
