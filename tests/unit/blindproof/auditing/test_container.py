"""Exports are zip files of one form, and every byte of one counts."""

from __future__ import annotations

import zipfile
from io import BytesIO

import pytest

from blindproof.auditing import container
from blindproof.auditing.container import ContainerReader, ContainerWriter, Member
from blindproof.auditing.errors import ExportError

MEMBERS = {"checkpoint": b"log\n", "receipts/0.json": b"", "models/ab": bytes(300)}


def written(members):
    stream = BytesIO()
    writer = ContainerWriter(stream)
    for name, content in members.items():
        writer.add(name, content)
    writer.finish()
    return stream.getvalue()


def read(data):
    reader = ContainerReader(BytesIO(data))
    return {name: reader.read(name) for name in reader.names}


def test_members_come_back_in_their_order():
    assert list(read(written(MEMBERS)).items()) == list(MEMBERS.items())
    assert read(written({})) == {}


def test_other_zip_tools_open_it():
    with zipfile.ZipFile(BytesIO(written(MEMBERS))) as other:
        assert other.testzip() is None
        assert {name: other.read(name) for name in other.namelist()} == MEMBERS


def test_equal_members_give_equal_files():
    assert written(MEMBERS) == written(dict(MEMBERS))


def test_no_bit_may_change():
    data = written(MEMBERS)
    for at in range(len(data)):
        for bit in range(8):
            changed = data[:at] + bytes([data[at] ^ 1 << bit]) + data[at + 1 :]
            with pytest.raises(ExportError):
                read(changed)


@pytest.mark.parametrize("cut", [1, 4, 21, 22, 98, 200])
def test_a_file_that_was_cut_is_refused(cut):
    data = written(MEMBERS)
    with pytest.raises(ExportError):
        read(data[:-cut])
    with pytest.raises(ExportError):
        read(data[cut:])
    with pytest.raises(ExportError, match="no export"):
        read(b"")


@pytest.mark.parametrize("where", ["before", "between", "after"])
def test_nothing_lies_beside_the_members(where):
    data = written(MEMBERS)
    at = {"before": 0, "between": 34 + len("checkpoint"), "after": len(data)}[where]
    with pytest.raises(ExportError):
        read(data[:at] + b"hidden" + data[at:])


def test_nothing_lies_between_members_and_directory():
    stream = BytesIO()
    writer = ContainerWriter(stream)
    writer.add("a", b"1")
    stream.write(b"hidden")
    writer._offset += len(b"hidden")
    writer.finish()
    with pytest.raises(ExportError, match="belong to no member"):
        read(stream.getvalue())


def test_nothing_lies_behind_the_directory():
    data = written({"a": b"1"})
    begin, end = data.index(b"PK\x01\x02"), data.index(b"PK\x06\x06")
    directory = data[begin:end] + b"hidden"
    tail = container._tail(1, len(directory), begin)
    with pytest.raises(ExportError, match="belong to no member"):
        read(data[:begin] + directory + tail)


@pytest.mark.parametrize(
    "name",
    ["/etc/passwd", "../up", "a/../b", "a/b/c", "", "a//b", "A", "a\\b", "a b", ".a", "x" * 129],
)
def test_names_lead_nowhere(name):
    with pytest.raises(ExportError, match="no member of an export is named"):
        written({name: b""})


def test_names_are_read_as_strictly_as_they_are_written(monkeypatch):
    monkeypatch.setattr(Member, "__post_init__", lambda self: None)
    data = written({"/etc/passwd": b"root"})
    monkeypatch.undo()
    with pytest.raises(ExportError, match="named '/etc/passwd'"):
        read(data)


def test_no_name_occurs_twice():
    writer = ContainerWriter(BytesIO())
    writer.add("a", b"1")
    with pytest.raises(ExportError, match="two members named a"):
        writer.add("a", b"2")
    data = written({"a": b"1", "b": b"2"})
    with pytest.raises(ExportError, match="two members named a"):
        read(data.replace(b"b2", b"a2").replace(b"b\x01\x00\x08\x00", b"a\x01\x00\x08\x00"))


def test_what_expands_is_refused():
    stream = BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED, allowZip64=True) as bomb:
        bomb.writestr("checkpoint", bytes(10_000_000))
    assert len(stream.getvalue()) < 20_000
    with pytest.raises(ExportError, match="not an export"):
        read(stream.getvalue())


def test_a_member_that_says_it_is_compressed_is_refused():
    data = bytearray(written({"a": b"1"}))
    local, central = data.index(b"PK\x03\x04"), data.index(b"PK\x01\x02")
    data[local + 8] = data[central + 10] = zipfile.ZIP_DEFLATED
    with pytest.raises(ExportError, match="a is not stored as members of exports are"):
        read(bytes(data))


def test_there_are_limits(monkeypatch):
    monkeypatch.setattr(container, "MAX_MEMBERS", 2)
    with pytest.raises(ExportError, match="at most 2 members"):
        written(MEMBERS)
    monkeypatch.setattr(container, "MAX_MEMBERS", 3)
    data = written(MEMBERS)
    monkeypatch.setattr(container, "MAX_MEMBERS", 2)
    with pytest.raises(ExportError, match="too many members"):
        read(data)
    monkeypatch.undo()
    monkeypatch.setattr(container, "MAX_MEMBER_BYTES", 299)
    with pytest.raises(ExportError, match="300 bytes, at most 299"):
        read(data)
    monkeypatch.undo()
    with pytest.raises(ExportError, match="300 bytes, at most 10"):
        ContainerReader(BytesIO(data)).read("models/ab", 10)
    with pytest.raises(ExportError, match="no member other"):
        ContainerReader(BytesIO(data)).read("other")


def test_members_lie_beyond_four_gibibytes_too():
    far = Member("a", 1, 2, 5 << 30)
    assert int.from_bytes(far.central_header()[-8:], "little") == 5 << 30
