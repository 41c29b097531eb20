"""What the page shows of a trail, and that it shows nothing else."""

from __future__ import annotations

import copy
import html
import json
import re
import time
from dataclasses import replace

import pytest
from sqlalchemy import text

from audit.archive import ObjectKind
from audit.checkpoint import verify_checkpoint
from audit.cosignature import Witness, WitnessPolicy, cosign
from audit.countersignatures import countersign
from audit.database import writing_sessions
from audit.fhir import audit_event
from audit.keys import SigningKey
from audit.merkle import verify_inclusion
from audit.proven_receipt import ProvenReceipt
from audit.receipt import Action, Digests, Outcome
from audit.receipt_json import receipt_from_json
from audit.signed_note import KeyType, NoteKey
from audit.signed_receipt import ReceiptSignature, SignedReceipt, sign_receipt
from server.page.chain import LINKS
from server.page.filters import Filter, nanoseconds
from server.page.findings import Finding, State
from server.page.reading import ROWS, Listing, ReceiptView, Row
from server.page.rendering import Pages, instant, readable_size
from tests.unit.audit.example_receipts import CLIENT
from tests.unit.server.page.example_trail import (
    KEY,
    MODELS,
    SECOND,
    START_NS,
    TENANTS,
    make_trail,
    receipt,
    served,
)

COUNT = 120
CANARY = "<script>alert(1)</script>\"'><img src=x onerror=alert(1)>{{7*7}}"


@pytest.fixture(scope="module")
def trail(tmp_path_factory):
    made = make_trail(tmp_path_factory.mktemp("trail"))
    made.log.append([receipt(number) for number in range(COUNT)])
    return made


@pytest.fixture(scope="module")
def client(trail, tmp_path_factory):
    with served(trail.reader(), tmp_path_factory.mktemp("page")) as page, page.authorised() as made:
        yield made


@pytest.fixture
def small(tmp_path):
    """A trail that the test may alter, and a client of its page."""
    made = make_trail(tmp_path / "trail")
    made.log.append([receipt(number) for number in range(8)])
    with served(made.reader(), tmp_path / "page") as page, page.authorised() as reader:
        yield made, reader


def listed(answer):
    """The indices in a list, in its order."""
    assert answer.status_code == 200, answer.text
    return [int(found) for found in re.findall(r'data-label="Entry"[^>]*>(\d+)<', answer.text)]


def address(number):
    return f"/receipts/{receipt(number).receipt.receipt_id.hex()}"


def following(answer):
    """Where the link to older receipts leads."""
    found = re.search(r'rel="next" href="([^"]+)"', answer.text)
    return None if found is None else html.unescape(found[1])


# ------------------------------------------------------------------------------------------- lists


def test_the_newest_receipts_come_first_and_all_can_be_reached(client):
    seen, at = [], "/"
    while at is not None:
        answer = client.get(at)
        seen.append(listed(answer))
        at = following(answer)
    assert [len(part) for part in seen] == [ROWS, ROWS, COUNT - 2 * ROWS]
    assert [index for part in seen for index in part] == list(range(COUNT))[::-1]


@pytest.mark.parametrize(
    ("query", "passes"),
    [
        ({"tenant": TENANTS[1]}, lambda n: n % 2 == 1),
        ({"actor": "ward-3/station-2"}, lambda n: n % 7 == 3),
        ({"outcome": "denied"}, lambda n: n % 5 == 4),
        ({"action": "enrol-key"}, lambda n: False),
        ({"model": MODELS[0].hex()}, lambda n: n % 2 == 0 and n % 5 != 4),
        ({"since": "2026-01-01T01:40"}, lambda n: n >= 100),
        ({"until": "2026-01-01T00:20"}, lambda n: n < 20),
        ({"since": "2026-01-01T02:10:00+01:00", "until": "2026-01-01T01:20"}, range(70, 80)),
        ({"receipt": receipt(77).receipt.receipt_id.hex()}, [77]),
        ({"receipt": receipt(77).receipt.receipt_id.hex(), "tenant": TENANTS[0]}, []),
        ({"receipt": receipt(77).receipt.receipt_id.hex(), "before": "77"}, []),
        ({"receipt": "0" * 32}, []),
        ({"tenant": TENANTS[0], "outcome": "answered", "before": "30", "actor": ""}, None),
    ],
)
def test_lists_can_be_narrowed(client, query, passes):
    if passes is None:
        expected = [n for n in range(30) if n % 2 == 0 and n % 5 != 4]
    elif callable(passes):
        expected = [n for n in range(COUNT) if passes(n)]
    else:
        expected = list(passes)
    answer = client.get("/", params=query)
    assert listed(answer) == expected[::-1][:ROWS]
    if not expected:
        assert "No receipt has all of this." in answer.text


def test_a_filter_stays_while_pages_are_turned(client):
    first = client.get("/", params={"tenant": TENANTS[0], "since": "2026-01-01T00:00"})
    second = client.get(following(first))
    assert listed(first) + listed(second) == [n for n in range(COUNT) if n % 2 == 0][::-1]


def test_thousands_of_receipts_are_paged_quickly(tmp_path):
    count = 6000
    made = make_trail(tmp_path / "trail")
    for start in range(0, count, 2000):
        made.log.append([receipt(number) for number in range(start, start + 2000)])
    with served(made.reader(), tmp_path / "page") as page, page.authorised() as client:
        client.get("/")
        for path in ("/", "/?before=60", "/?outcome=denied&before=3000", f"{address(5)}/inclusion"):
            begun = time.perf_counter()
            assert client.get(path).status_code == 200
            assert time.perf_counter() - begun < 1


def test_an_empty_log_is_shown_as_one(tmp_path):
    made = make_trail(tmp_path / "trail")
    with served(made.reader(), tmp_path / "page") as page, page.authorised() as client:
        assert "0 in the log" in client.get("/").text
        assert "no checkpoint" in client.get("/checkpoints").text
        assert client.get("/checkpoint").text.split("\n")[1] == "0"
        assert "Nothing that it must extend" in client.get("/checkpoints").text


# ------------------------------------------------------------------------------------ one receipt


def test_a_receipt_is_shown_with_all_its_fields(client):
    shown = receipt(77).receipt
    page = client.get(address(77)).text
    fields = dict(re.findall(r'data-field="(\w+)" class="[^"]*">([^<]*)<', page))
    assert fields.pop("time") == "2026-01-01T01:17:00.123456789Z"
    for name, digest in shown.digests.named():
        assert fields.pop(f"digest_{name}") == (digest.hex() if digest else "")
    for name in ("subject", "receipt_id", "request_id", "idempotency_digest"):
        assert fields.pop(name) == getattr(shown, name).hex()
    assert fields.pop("reason") == ""
    for name, value in fields.items():
        assert value == str(getattr(shown, name)), name
    # Everything that a receipt has is there.
    assert len(fields) + 6 == len(vars(shown)) - 1
    assert "✓" not in page, "marks are the style sheet's"
    assert "blindproof audit verify" in page


def test_a_receipt_that_is_not_there_is_not_found(client):
    for part in ("", "/json", "/fhir", "/proven", "/entry", "/inclusion"):
        assert client.get(f"/receipts/{'0' * 32}{part}").status_code == 404


def test_files_are_what_the_log_holds(trail, client):
    entry = trail.log.entry(77)
    assert client.get(f"{address(77)}/entry").content == entry.data
    signed = receipt_from_json(client.get(f"{address(77)}/json").text)
    assert signed == entry.receipt()
    fhir = client.get(f"{address(77)}/fhir")
    assert fhir.headers["Content-Type"] == "application/fhir+json"
    assert fhir.json() == audit_event(entry.receipt())
    proven = ProvenReceipt.from_json(client.get(f"{address(77)}/proven").text)
    assert proven.verify(trail.reader().log_key).size == COUNT
    for part, ending in (("json", ".json"), ("fhir", ".fhir.json"), ("entry", ".entry")):
        disposition = client.get(f"{address(77)}/{part}").headers["Content-Disposition"]
        assert disposition.startswith("attachment; ")
        assert f'{ending}"' in disposition


def test_inclusion_is_proven_at_any_size(trail, client):
    entry = trail.log.entry(77)
    for size in (78, 100, None):
        proof = client.get(f"{address(77)}/inclusion", params={"size": size} if size else {}).json()
        assert (proof["index"], proof["size"]) == (77, size or COUNT)
        root = trail.log.inclusion_proof(77, size).head.root
        hashes = [bytes.fromhex(item) for item in proof["hashes"]]
        verify_inclusion(root, proof["size"], 77, entry.receipt().leaf, hashes)
    for size in ("77", "121"):
        assert client.get(f"{address(77)}/inclusion", params={"size": size}).status_code == 404


def finding(page, label):
    """State and text of a finding, as a page shows it."""
    found = re.search(
        rf'<dt>{re.escape(label)}</dt>\s*<dd><span class="mark (\w+)">([^<]*)</span>([^<]*)', page
    )
    assert found is not None, label
    return found[1], html.unescape(f"{found[2]}:{found[3]}")


def shown(client, number, label):
    return finding(html.unescape(client.get(address(number)).text), label)


def test_what_is_archived_is_said_and_nothing_else(small):
    trail, client = small
    for number, label in ((1, "Request"), (1, "Response and proof")):
        assert shown(client, number, label)[0] == "absent"
    assert "not answered" in shown(client, 4, "Response and proof")[1]
    name = receipt(1).receipt.receipt_id
    sessions = writing_sessions(trail.log.engine)
    with sessions() as session, session.begin():
        kept = [
            trail.archive.keep(ObjectKind.REQUEST, name, b"q" * 2500, tenant="t", seal=True),
            trail.archive.keep(ObjectKind.RESPONSE, name, b"a" * 999, tenant="t"),
        ]
        trail.archive.record_within(session, kept)
    assert shown(client, 1, "Request")[1].startswith("archived, sealed: 2.6 kB since ")
    assert shown(client, 1, "Response and proof")[1].startswith("archived: 999 B since ")
    with sessions() as session, session.begin():
        session.execute(text("UPDATE audit_objects SET removed_ns = :at"), {"at": START_NS})
    removed = shown(client, 1, "Response and proof")
    assert removed[0] == "absent"
    assert "rule of retention, at 2026-01-01 00:00:00 UTC" in removed[1]


def test_models_and_enrolments_are_found_by_their_digests(small):
    trail, client = small
    assert shown(client, 1, "Model card and registration")[0] == "absent"
    key = b"k" * 32
    enrolled = replace(
        receipt(9).receipt, action=Action.ENROL_KEY, digests=Digests(key=key), soundness_bits=None
    )
    trail.log.append([sign_receipt(enrolled, KEY)])
    assert shown(client, 9, "Enrolled key and proof")[0] == "absent"
    with writing_sessions(trail.log.engine)() as session, session.begin():
        kept = [
            trail.archive.keep(ObjectKind.MODEL, MODELS[1], b"m" * 10, tenant="t"),
            trail.archive.keep(ObjectKind.ENROLMENT, key, b"e" * 20, tenant="t"),
        ]
        trail.archive.record_within(session, kept)
    assert shown(client, 1, "Model card and registration")[1].startswith("archived: 10 B ")
    assert shown(client, 9, "Enrolled key and proof")[1].startswith("archived: 20 B ")
    assert "Response and proof" not in client.get(address(9)).text
    assert "Model card and registration" not in client.get(address(4)).text


def test_the_page_claims_no_verified_proof(client):
    state, found = shown(client, 77, "Proof")
    assert (state, found.split(":")[0]) == ("neutral", "not verified here")
    assert "128.5 bits" in found
    assert shown(client, 79, "Proof") == ("absent", "none: The receipt names no proof.")


def test_a_countersignature_is_shown_once_there_is_one(small):
    trail, client = small
    assert shown(client, 1, "Client's countersignature")[0] == "absent"
    name = receipt(1).receipt.receipt_id
    signature = receipt(1).countersigned(CLIENT).client
    countersign(trail.log, name, signature)
    state, found = shown(client, 1, "Client's countersignature")
    assert state == "passed"
    assert CLIENT.public.hex() in found
    assert receipt_from_json(client.get(f"{address(1)}/json").text).client == signature
    altered(trail, "UPDATE audit_countersignatures SET signature = zeroblob(64)")
    assert shown(client, 1, "Client's countersignature")[0] == "failed"
    assert client.get(f"{address(1)}/json").status_code == 500


def test_a_receipt_of_another_signer_is_found_out(tmp_path):
    made = make_trail(tmp_path / "trail")
    good = receipt(1)
    forged = SignedReceipt(good.receipt, ReceiptSignature(KEY.public, bytes(64)))
    foreign = sign_receipt(receipt(2).receipt, SigningKey.from_secret(b"z" * 32))
    made.log.append([receipt(0), forged, foreign])
    with served(made.reader(), tmp_path / "page") as page, page.authorised() as client:
        states = [shown(client, number, "Server's signature")[0] for number in range(3)]
    assert states == ["passed", "failed", "failed"]


# -------------------------------------------------------------------------------------- checkpoints


def test_the_current_checkpoint_is_signed_and_extends_what_is_kept(small):
    trail, client = small
    key = trail.reader().log_key
    first = client.get("/checkpoint")
    assert verify_checkpoint(first.content, key)[0].size == 8
    assert client.get("/checkpoint").content == first.content
    trail.log.append([receipt(8)])
    assert verify_checkpoint(client.get("/checkpoint").content, key)[0].size == 9
    assert client.get("/checkpoints/8").content == first.content
    assert client.get("/checkpoints/7").status_code == 404


def test_cosignatures_stay_with_the_current_checkpoint(small):
    trail, client = small
    note = trail.log.checkpoint(KEY)
    line = cosign(note, "witness.example/one", SigningKey.from_secret(b"w" * 32), 1_767_225_600)
    trail.log.keep_checkpoint(note.with_signatures([line]).encoded(), trail.reader().log_key)
    assert line.line() in client.get("/checkpoint").text


def test_the_chain_is_checked_link_by_link(tmp_path):
    made = make_trail(tmp_path / "trail")
    for number in range(LINKS + 3):
        made.log.append([receipt(number)])
        made.log.checkpoint(KEY)
    with served(made.reader(), tmp_path / "page") as page, page.authorised() as client:
        first = html.unescape(client.get("/checkpoints").text)
        sizes = re.findall(r"<h2>(\d+) entries</h2>", first)
        assert sizes == [str(size) for size in range(LINKS + 3, 3, -1)]
        assert first.count("mark passed") == 2 * LINKS
        rest = html.unescape(client.get(following(client.get("/checkpoints"))).text)
        assert re.findall(r"<h2>(\d+) entries</h2>", rest) == ["3", "2", "1"]
        assert rest.count("mark passed") == 3 + 2
        assert finding(first, "The one before")[1].endswith(
            f"All {LINKS + 2} entries come first here, in their order."
        )


def test_a_fork_in_the_chain_is_shown(small, tmp_path):
    trail, client = small
    other = make_trail(tmp_path / "other")
    other.log.append([receipt(100 + number) for number in range(5)])
    forked = other.log.checkpoint(KEY).encoded()
    trail.log.checkpoint(KEY)
    altered(trail, "INSERT INTO audit_checkpoints VALUES (5, :note)", note=forked)
    page = html.unescape(client.get("/checkpoints").text)
    assert finding(page, "The one before")[0] == "failed"
    assert page.count("mark failed") == 1


@pytest.mark.parametrize("note", [b"", b"nothing\n", None])
def test_a_damaged_checkpoint_is_shown(small, note):
    trail, client = small
    kept = trail.log.checkpoint(KEY).encoded()
    damaged = kept.replace(b"\n8\n", b"\n9\n") if note is None else note
    altered(trail, "UPDATE audit_checkpoints SET note = :note", note=damaged)
    page = html.unescape(client.get("/checkpoints").text)
    assert finding(page, "Log's signature")[0] == "failed"
    assert "mark passed" not in page


def test_witnesses_lines_are_checked_if_their_keys_are_known(tmp_path):
    made = make_trail(tmp_path / "trail")
    made.log.append([receipt(0)])
    note = made.log.checkpoint(KEY)
    secret = SigningKey.from_secret(b"w" * 32)
    lines = [cosign(note, f"witness.example/{name}", secret, START_NS // SECOND) for name in "ab"]
    keys = [NoteKey(f"witness.example/{n}", secret.public, KeyType.COSIGNATURE) for n in "ab"]
    stranger = cosign(note, "stranger.example", secret, 0)
    forged = copy.copy(lines[1])
    object.__setattr__(forged, "body", lines[1].body[:-1] + bytes([lines[1].body[-1] ^ 1]))
    signed = note.with_signatures([lines[0], forged, stranger])
    made.log.keep_checkpoint(signed.encoded(), made.reader().log_key)
    states = {}
    for known in (keys, None):
        policies = [WitnessPolicy((Witness(key),), 1) for key in known or []]
        for policy in policies or [None]:
            with (
                served(made.reader(policy), tmp_path / "page") as page,
                page.authorised() as client,
            ):
                shown = html.unescape(client.get("/checkpoints").text)
            for name in ("witness.example/a", "witness.example/b", "stranger.example"):
                key = (name, policy and policy.witnesses[0].name)
                states[key] = finding(shown, f"Witness {name}")
    a, b, stranger = "witness.example/a", "witness.example/b", "stranger.example"
    assert states[(a, a)] == (
        "passed",
        "verifies: Signed at 2026-01-01 00:00:00 UTC, by the witness's clock.",
    )
    assert states[(b, b)][0] == "failed"
    assert {states[key][0] for key in [(a, None), (b, a), (stranger, a)]} == {"neutral"}


# ------------------------------------------------------------------------------------------- damage


def altered(trail, statement, **values):
    """Change the database behind the log's back."""
    with writing_sessions(trail.log.engine)() as session, session.begin():
        session.execute(text(statement), values)


def test_an_altered_entry_is_named(small):
    trail, client = small
    altered(trail, "UPDATE audit_entries SET data = zeroblob(100) WHERE position = 3")
    for path in ("/", address(3), f"{address(3)}/json", f"{address(3)}/entry"):
        answer = client.get(path)
        assert answer.status_code == 500
        assert "The log is not what it was" in answer.text
        assert "entry 3" in answer.text
    assert client.get(address(2)).status_code == 200


def test_a_row_filed_under_another_name_is_not_listed_under_it(small):
    trail, client = small
    altered(trail, "UPDATE audit_entries SET actor = 'somebody' WHERE position = 3")
    assert client.get("/?actor=somebody").status_code == 500


def test_a_row_filed_under_another_id_is_not_shown_for_it(small):
    trail, client = small
    wanted, other = (one.receipt.receipt_id for one in trail.receipts()[2:4])
    for row, name in ((2, bytes(16)), (3, wanted), (2, other)):
        altered(
            trail, "UPDATE audit_entries SET receipt_id = :name WHERE position = :row",
            name=name, row=row,
        )  # fmt: skip
    for path in (f"/receipts/{wanted.hex()}", f"/receipts/{wanted.hex()}/entry"):
        assert client.get(path).status_code == 500


def test_a_truncated_log_is_refused(small):
    trail, client = small
    altered(trail, "DELETE FROM audit_entries WHERE position = 7")
    for path in ("/", "/checkpoint", "/checkpoints"):
        assert client.get(path).status_code == 500


def test_a_database_that_is_gone_is_said_to_be(small):
    trail, client = small
    path = trail.home / "audit.db"
    path.rename(path.with_suffix(".away"))
    answer = client.get("/")
    assert answer.status_code == 503
    assert "cannot be read now" in answer.text
    assert str(trail.home) not in answer.text
    path.with_suffix(".away").rename(path)
    assert client.get("/").status_code == 200


# ----------------------------------------------------------------------------------------- escaping


def planted(signed):
    """A receipt with a canary in every text field, which no receipt could have."""
    planted = copy.copy(signed.receipt)
    for name in ("tenant", "actor", "reason", "software_version", "purpose", "time_source"):
        object.__setattr__(planted, name, CANARY)
    return planted


def test_nothing_that_a_receipt_says_becomes_markup():
    pages = Pages(CANARY)
    row = Row(0, planted(receipt(0)))
    wanted = Filter.model_construct(tenant=CANARY, actor=CANARY, model=CANARY, receipt=CANARY)
    listing = pages.page(
        "receipts.html",
        listing=Listing((row,), None, 1),
        wanted=wanted,
        filtered=True,
        actions=list(Action),
        outcomes=list(Outcome),
        since=CANARY,
        until=CANARY,
        model_address=lambda digest: f"/?model={CANARY}",
    )
    found = Finding(State.NEUTRAL, CANARY, CANARY)
    view = ReceiptView(0, planted(receipt(1)), CANARY, [(CANARY, found)])
    labels = {name: CANARY for name, _ in receipt(1).receipt.digests.named()}
    shown = pages.page("receipt.html", view=view, digest_labels=labels)
    problem = pages.problem(500, CANARY, CANARY)
    login = pages.login(401, CANARY)
    for page, count in ((listing, 11), (shown, 15), (problem, 2), (login, 1)):
        body = page.body.decode()
        assert body.count("&lt;script&gt;") >= count
        assert "<script>" not in body
        assert "<img src=x" not in body
        assert "\"'>" not in body
        assert "49" not in re.findall(r"alert\(1\)&gt;(..)", body)


@pytest.mark.parametrize(
    "query", ["since=0001-01-01T00:00:00%2B23:59", "until=9999-12-31T23:59:59-23:59"]
)
def test_times_outside_the_years_of_utc_are_not_understood(client, query):
    assert client.get(f"/?{query}").status_code == 422


@pytest.mark.parametrize("name", ["tenant", "actor"])
def test_nothing_that_a_query_says_becomes_markup(client, name):
    answer = client.get("/", params={name: CANARY})
    assert answer.status_code == 200
    assert "&lt;script&gt;" in answer.text
    assert "<script>" not in answer.text
    for path in (f"/{CANARY}", f"/?{CANARY}=1", f"/receipts/{CANARY}"):
        assert "<script>" not in client.get(path).text
        assert "<img src=x" not in client.get(path).text


# ------------------------------------------------------------------------------------------- values


def test_times_are_exact():
    assert instant(START_NS + 1) == "2026-01-01T00:00:00.000000001Z"
    assert instant(START_NS + SECOND - 1, whole=False) == "2026-01-01 00:00:00"
    given = Filter.model_validate({"since": "2026-01-01T00:00", "until": "2026-01-01T02:00+02:00"})
    assert nanoseconds(given.since) == nanoseconds(given.until) == START_NS
    assert nanoseconds(Filter.model_validate({"since": "1066-10-14T09:00"}).since) == 0
    assert nanoseconds(Filter.model_validate({"since": "9999-01-01T00:00"}).since) == (1 << 63) - 1
    assert nanoseconds(None) is None


@pytest.mark.parametrize(
    ("size", "shown"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1000, "1.0 kB"),
        (2_345_678, "2.3 MB"),
        (5 * 10**12, "5000.0 GB"),
    ],
)
def test_sizes_are_readable(size, shown):
    assert readable_size(size) == shown


def test_addresses_keep_the_filter():
    wanted = Filter.model_validate({"tenant": "a/b&c", "outcome": "denied", "before": 7})
    assert wanted.address(3) == "/?tenant=a%2Fb%26c&outcome=denied&before=3"
    assert wanted.address(None) == "/?tenant=a%2Fb%26c&outcome=denied"
    assert Filter().address(None) == "/"
    assert Filter(before=3).is_empty
    assert not wanted.is_empty


def test_a_fhir_file_is_json(client):
    assert json.loads(client.get(f"{address(4)}/fhir").text)["outcome"] == "4"
