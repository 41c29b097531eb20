"""Reports say the same in three forms, and nothing that came from others is more than text."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from html.parser import HTMLParser

import pytest

from blindproof.auditing.errors import ExportError
from blindproof.auditing.findings import Status, Subject, failed, not_checked, passed
from blindproof.auditing.rendering import as_html, as_json, as_text, write_report
from tests.unit.blindproof.auditing.example_trail import LOG_KEY, verified


class Page(HTMLParser):
    """Tags, attributes and texts of a page."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.attributes, self.text = [], [], ""
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += attrs

    def handle_data(self, data):
        self.text += data


@pytest.fixture(scope="module")
def report(exported):
    return verified(exported)


@pytest.fixture
def hostile(report):
    """As if somebody had chosen names to be shown."""
    name = "<script>alert(1)</script>\x1b[31m{{ 7 * 7 }}\"'"
    first = report.receipts[0]
    finding = failed(Subject.MODEL, name)
    receipts = (replace(first, findings=(finding,)), *report.receipts[1:])
    return replace(report, receipts=receipts)


def test_text_says_everything(report):
    text = as_text(report)
    assert text.startswith("Everything in this file was checked and holds.\n")
    assert report.sha256.hex() in text
    assert LOG_KEY.encoded() in text
    assert "the whole log: each of its 6 entries" in text
    assert "  proof: 4 passed\n" in text
    assert "predict denied (busy)" in text
    for one in report.receipts:
        assert f"Entry {one.index}: {one.receipt.receipt_id.hex()}" in text
    for sentence in report.assumptions:
        assert sentence in text


def test_the_short_text_shows_what_failed_and_sums_up_what_was_not_checked(report):
    bad = replace(report.receipts[1], findings=(failed(Subject.PROOF, "no proof"),))
    open_ones = [
        replace(one, findings=(not_checked(Subject.PROOF, "left out"),))
        for one in report.receipts[2:4]
    ]
    changed = replace(report, receipts=(report.receipts[0], bad, *open_ones))
    text = as_text(changed, every=False)
    assert text.startswith("Something does not hold.\n")
    assert "Receipts: 1 passed, 1 failed, 2 not checked\n" in text
    assert "FAILED       proof: no proof" in text
    assert "proof, 2 times: left out" in text
    assert "Entry 0" not in text
    assert "Entry 2" not in text


def test_verdicts_are_the_worst_finding(report):
    assert report.status is Status.PASSED
    for finding, status in (
        (passed(Subject.CONTENTS, ""), Status.PASSED),
        (not_checked(Subject.CONTENTS, ""), Status.NOT_CHECKED),
        (failed(Subject.CONTENTS, ""), Status.FAILED),
    ):
        assert replace(report, findings=(*report.findings, finding)).status is status
        one = replace(report.receipts[0], findings=(finding,))
        assert replace(report, receipts=(*report.receipts, one)).status is status


def test_json_is_for_programs(report):
    content = json.loads(as_json(report))
    assert content["format"] == "blindproof audit report 1"
    assert content["verdict"] == "passed"
    assert content["checkpoint"]["size"] == 6
    assert content["log_key"] == LOG_KEY.encoded()
    receipts = content["receipts"]
    assert [one["index"] for one in receipts] == list(range(6))
    assert receipts[4]["reason"] == "busy"
    assert receipts[1]["findings"][-1] == {
        "subject": "proof",
        "status": "passed",
        "detail": report.receipts[1].findings[-1].detail,
    }
    broken = replace(report, checkpoint=None, receipts=(replace(report.receipts[0], receipt=None),))
    assert json.loads(as_json(broken))["checkpoint"] is None


def test_the_page_needs_nothing_but_itself(report):
    text = as_html(report)
    page = Page(text)
    assert not {"script", "link", "img", "iframe", "object", "form"} & set(page.tags)
    names = {name for name, _ in page.attributes}
    assert not {"src", "href", "style", "onclick", "onload"} & names
    assert "url(" not in text
    assert "@import" not in text
    assert re.findall(r"https?://", text) == []
    assert "default-src 'none'" in text
    assert "Everything in this file was checked and holds." in page.text
    assert "the whole log: each of its 6 entries" in page.text
    for one in report.receipts:
        assert one.receipt.receipt_id.hex() in page.text
    for sentence in report.assumptions:
        assert sentence in page.text


def test_what_others_wrote_is_shown_as_text(hostile):
    page = Page(as_html(hostile))
    assert "script" not in page.tags
    assert "<script>alert(1)</script>" in page.text
    assert "{{ 7 * 7 }}" in page.text
    assert "\x1b" not in as_text(hostile)
    assert "\x1b" not in as_json(hostile)


def test_a_receipt_that_cannot_be_read_is_still_reported(report):
    unread = replace(report.receipts[0], receipt=None, findings=(failed(Subject.RECEIPT, "gone"),))
    changed = replace(report, receipts=(unread,))
    assert "Entry 0\n  FAILED       receipt: gone\n" in as_text(changed)
    assert "Entry 0" in Page(as_html(changed)).text
    assert "There are no receipts" in Page(as_html(replace(report, receipts=()))).text


def test_the_name_of_the_file_says_which_form(report, tmp_path):
    for name, begin in (("a.txt", "Everything"), ("a.json", "{"), ("a.html", "<!doctype html>")):
        write_report(report, tmp_path / name)
        assert (tmp_path / name).read_text().startswith(begin)
    with pytest.raises(ExportError, match=r"\*.html, \*.json or \*.txt"):
        write_report(report, tmp_path / "a.pdf")
