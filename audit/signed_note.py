"""Signed notes, the text form of checkpoints: c2sp.org/signed-note.

A note is text that ends in a newline, an empty line, and a line for each signature: an em dash, the
key's name, and base64 of the key's identifier (4 bytes) and the signature.  An identifier is
SHA-256(name, newline, type byte, public key)[:4]: it says which key and which kind of signature to
try, and proves nothing.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass
from enum import IntEnum

from audit.errors import NoteError, SignatureError
from audit.keys import KEY_BYTES, SigningKey, verify_signature

KEY_ID_BYTES = 4
MAX_NAME = 255
MAX_NOTE_BYTES = 1 << 17
MAX_SIGNATURES = 64

_MARK = "\N{EM DASH} "
_CONTROL = re.compile(r"[\x00-\x09\x0b-\x1f]")
_VERIFIER_KEY = re.compile(r"([^+]+)\+([0-9a-f]{8})\+([A-Za-z0-9+/]+=*)")


class KeyType(IntEnum):
    """The type byte of a note's key: what its signatures are over."""

    ED25519 = 0x01
    """The note's text."""
    COSIGNATURE = 0x04
    """A witness's time and the text, see `audit.cosignature`."""


@dataclass(frozen=True)
class NoteSignature:
    """One signature line, not verified.

    Attributes:
        name: the key's name.
        key_id: 4 bytes.
        body: the signature, in the form of the key's type.
    """

    name: str
    key_id: bytes
    body: bytes

    def __post_init__(self) -> None:
        require_name(self.name)
        if len(self.key_id) != KEY_ID_BYTES or not self.body:
            raise NoteError("a signature has an identifier of 4 bytes and a body")

    def line(self) -> str:
        """The line as it stands in a note, without its newline."""
        return f"{_MARK}{self.name} {base64.b64encode(self.key_id + self.body).decode()}"

    @classmethod
    def from_line(cls, line: str) -> NoteSignature:
        """Parse a line without its newline.

        Raises:
            NoteError: malformed.
        """
        name, space, data = line.removeprefix(_MARK).partition(" ")
        if not line.startswith(_MARK) or not space:
            raise NoteError(f"not a signature line: {line[:80]!r}")
        raw = decode_base64(data, "signature")
        return cls(name, raw[:KEY_ID_BYTES], raw[KEY_ID_BYTES:])


@dataclass(frozen=True)
class NoteKey:
    """A public key that is known, by name.

    Attributes:
        name: as in signature lines; of a log, its origin.
        public: the Ed25519 key, 32 bytes.
        kind: what its signatures are over.
    """

    name: str
    public: bytes
    kind: KeyType = KeyType.ED25519

    def __post_init__(self) -> None:
        require_name(self.name)
        if len(self.public) != KEY_BYTES:
            raise NoteError(f"a public key has {KEY_BYTES} bytes, found {len(self.public)}")

    @property
    def key_id(self) -> bytes:
        """The identifier in signature lines, 4 bytes."""
        named = self.name.encode() + b"\n" + bytes((self.kind,)) + self.public
        return hashlib.sha256(named).digest()[:KEY_ID_BYTES]

    def encoded(self) -> str:
        """The key as one word, to be given to those who verify."""
        data = base64.b64encode(bytes((self.kind,)) + self.public).decode()
        return f"{self.name}+{self.key_id.hex()}+{data}"

    @classmethod
    def decoded(cls, text: str) -> NoteKey:
        """Parse what `encoded` wrote.

        Raises:
            NoteError: malformed, of an unknown type, or with an identifier of another key.
        """
        found = _VERIFIER_KEY.fullmatch(text)
        if found is None:
            raise NoteError("not a verifier key: expected name+identifier+base64")
        raw = decode_base64(found[3], "verifier key")
        try:
            kind = KeyType(raw[0])
        except ValueError as error:
            raise NoteError(f"verifier key of unknown type {raw[0]:#04x}") from error
        key = cls(found[1], raw[1:], kind)
        if key.key_id.hex() != found[2]:
            raise NoteError(f"verifier key says {found[2]}, its identifier is {key.key_id.hex()}")
        return key


@dataclass(frozen=True)
class SignedNote:
    """A text and its signature lines, well formed and not verified.

    Attributes:
        text: ends in a newline.
        signatures: one or more.
    """

    text: str
    signatures: tuple[NoteSignature, ...]

    def __post_init__(self) -> None:
        require_text(self.text)
        if not 0 < len(self.signatures) <= MAX_SIGNATURES:
            raise NoteError(f"a note has 1 to {MAX_SIGNATURES} signatures")

    def encoded(self) -> bytes:
        """The note in UTF-8."""
        lines = "".join(f"{signature.line()}\n" for signature in self.signatures)
        return f"{self.text}\n{lines}".encode()

    @classmethod
    def decoded(cls, data: bytes) -> SignedNote:
        """Parse a note; whatever `encoded` would not have written is refused.

        Raises:
            NoteError: malformed or too large.
        """
        if len(data) > MAX_NOTE_BYTES:
            raise NoteError(f"note of {len(data)} bytes, at most {MAX_NOTE_BYTES}")
        try:
            whole = data.decode()
        except UnicodeDecodeError as error:
            raise NoteError("a note must be UTF-8") from error
        text, blank, lines = whole.rpartition("\n\n")
        if not blank or not lines.endswith("\n"):
            raise NoteError("a note must end in a blank line and signature lines")
        if lines.count("\n") > MAX_SIGNATURES:
            raise NoteError(f"note of more than {MAX_SIGNATURES} signatures")
        signatures = tuple(map(NoteSignature.from_line, lines[:-1].split("\n")))
        return cls(text + "\n", signatures)

    def with_signatures(self, added: Iterable[NoteSignature]) -> SignedNote:
        """The same text with further signatures, each line once."""
        return SignedNote(self.text, tuple(dict.fromkeys((*self.signatures, *added))))

    def by_key(self, key: NoteKey) -> tuple[NoteSignature, ...]:
        """The lines that claim to be a key's."""
        return tuple(
            line for line in self.signatures if (line.name, line.key_id) == (key.name, key.key_id)
        )


def sign_note(text: str, name: str, key: SigningKey) -> SignedNote:
    """A note with one signature over its text.

    Raises:
        NoteError: a text or a name which notes cannot have.
    """
    require_text(text)
    named = NoteKey(name, key.public)
    return SignedNote(text, (NoteSignature(name, named.key_id, key.sign(text.encode())),))


def verify_note(note: SignedNote, key: NoteKey) -> None:
    """Check that a key has signed the text; lines of other keys are ignored.

    Raises:
        SignatureError: it has not, or a line that claims to be its does not verify.
    """
    if key.kind is not KeyType.ED25519:
        raise SignatureError(f"'{key.name}' is not a key for signatures over a text")
    lines = note.by_key(key)
    if not lines:
        raise SignatureError(f"the note has no signature of '{key.name}' ({key.key_id.hex()})")
    for line in lines:
        verify_signature(key.public, line.body, note.text.encode())


def require_name(name: str) -> None:
    """Refuse a name that signature lines cannot hold.

    Raises:
        NoteError: empty, too long, or with a space, a plus or a control character.
    """
    bad = "+" in name or not name.isprintable() or any(letter.isspace() for letter in name)
    if bad or not 0 < len(name) <= MAX_NAME:
        raise NoteError(f"key names have 1 to {MAX_NAME} characters, no space and no plus")


def require_text(text: str) -> None:
    """Refuse a text that notes cannot hold.

    Raises:
        NoteError: empty, not ended by a newline, or with a control character or a lone surrogate.
    """
    if not text.endswith("\n") or text == "\n":
        raise NoteError("the text of a note must end in a newline")
    if _CONTROL.search(text):
        raise NoteError("a note must not hold control characters")
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise NoteError("the text of a note must have a UTF-8 form") from error


def decode_base64(text: str, name: str) -> bytes:
    """Decode standard base64 in its one canonical form.

    Raises:
        NoteError: other characters, padding or unused bits.
    """
    try:
        raw = base64.b64decode(text.encode("ascii"), validate=True)
    except (UnicodeEncodeError, binascii.Error) as error:
        raise NoteError(f"{name}: not base64") from error
    if base64.b64encode(raw).decode() != text or not raw:
        raise NoteError(f"{name}: base64 is empty or not canonical")
    return raw
