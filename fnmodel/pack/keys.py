"""Keys for signatures of images: ECDSA on the curve P-256, in PEM files that other tools read.

A private key is PKCS 8, encrypted where a password is given; a public key is what
`cosign generate-key-pair` and `openssl ec -pubout` write, too.
"""

import hashlib
import os
from dataclasses import dataclass, field
from pathlib import Path

from fnmodel.errors import SigningError, UsageError

try:
    from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.hazmat.primitives.serialization import (
        BestAvailableEncryption,
        Encoding,
        NoEncryption,
        PrivateFormat,
        PublicFormat,
        load_pem_private_key,
        load_pem_public_key,
    )
except ImportError as error:
    raise SigningError(
        "signatures need the package cryptography", hint="pip install 'fnmodel[signing]'"
    ) from error

PASSWORD = "FNMODEL_SIGNING_PASSWORD"  # noqa: S105 - the name of a variable
_FOREIGN = (b"ENCRYPTED COSIGN PRIVATE KEY", b"ENCRYPTED SIGSTORE PRIVATE KEY")


@dataclass(frozen=True)
class PublicKey:
    """Checks signatures; `name` is what people call it: its file."""

    name: str
    key: ec.EllipticCurvePublicKey = field(repr=False)

    @staticmethod
    def load(path: Path) -> "PublicKey":
        """Read a PEM file.

        Raises:
            SigningError: it cannot be read, or is not a public key on P-256.

        """
        data = _read(path, "public")
        try:
            key = load_pem_public_key(data)
        except (ValueError, TypeError, UnsupportedAlgorithm) as error:
            raise SigningError(
                f"{path} is not a public key in PEM", hint="`fnmodel keygen` writes one"
            ) from error
        if not isinstance(key, ec.EllipticCurvePublicKey) or not _on_p256(key.curve):
            raise _other_curve(path)
        return PublicKey(path.name, key)

    @property
    def fingerprint(self) -> str:
        """The digest of the key in its binary form (DER, SubjectPublicKeyInfo)."""
        return f"sha256:{hashlib.sha256(self._bytes(Encoding.DER)).hexdigest()}"

    @property
    def pem(self) -> bytes:
        """What the key's file holds."""
        return self._bytes(Encoding.PEM)

    def accepts(self, signature: bytes, data: bytes) -> bool:
        """Whether this is a signature of the data (ASN.1, over SHA-256) by the private key."""
        try:
            self.key.verify(signature, data, ec.ECDSA(hashes.SHA256()))
        except InvalidSignature:
            return False
        return True

    def _bytes(self, encoding: Encoding) -> bytes:
        return self.key.public_bytes(encoding, PublicFormat.SubjectPublicKeyInfo)


@dataclass(frozen=True)
class PrivateKey:
    """Makes signatures; neither the key nor its password is ever printed."""

    name: str
    key: ec.EllipticCurvePrivateKey = field(repr=False)

    @staticmethod
    def load(path: Path, password: str | None = None) -> "PrivateKey":
        """Read a PEM file, decrypting it with the password where it is encrypted.

        Raises:
            SigningError: it cannot be read or decrypted, or is not a private key on P-256.

        """
        data = _read(path, "private")
        if any(mark in data for mark in _FOREIGN):
            raise SigningError(
                f"{path} is in cosign's own format",
                hint="`fnmodel keygen` makes one to sign with; cosign's public keys can be trusted",
            )
        secret = password.encode() if password else None
        try:
            key = load_pem_private_key(data, secret)
        except TypeError as error:  # a password for a plain key, or none for an encrypted one
            if secret is not None:
                return PrivateKey.load(path)
            raise SigningError(
                f"{path} is encrypted", hint=f"set {PASSWORD} to its password"
            ) from error
        except (ValueError, UnsupportedAlgorithm) as error:
            if secret is not None and b"ENCRYPTED" in data:
                raise SigningError(
                    f"the password does not open {path}", hint=f"check {PASSWORD}"
                ) from error
            raise SigningError(
                f"{path} is not a private key in PEM", hint="`fnmodel keygen` writes one"
            ) from error
        if not isinstance(key, ec.EllipticCurvePrivateKey) or not _on_p256(key.curve):
            raise _other_curve(path)
        return PrivateKey(path.name, key)

    @property
    def public(self) -> PublicKey:
        """The key that checks what this one signs."""
        return PublicKey(self.name, self.key.public_key())

    def sign(self, data: bytes) -> bytes:
        """Return a signature of the data: ECDSA over SHA-256, as ASN.1."""
        return self.key.sign(data, ec.ECDSA(hashes.SHA256()))


def generate(private: Path, public: Path, password: str | None = None) -> PublicKey:
    """Write a new pair of keys: the private one for its owner's eyes only (mode 0600).

    Raises:
        UsageError: one of the files is there already, or cannot be written.

    """
    key = ec.generate_private_key(ec.SECP256R1())
    closed = BestAvailableEncryption(password.encode()) if password else NoEncryption()
    secret = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, closed)
    made = PublicKey(public.name, key.public_key())
    _write(private, secret, 0o600)
    try:
        _write(public, made.pem, 0o644)
    except UsageError:
        private.unlink()
        raise
    return made


def _write(path: Path, data: bytes, mode: int) -> None:
    try:
        # Never over another key: what it signed could not be signed or checked again.
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    except FileExistsError as error:
        raise UsageError(
            f"{path} is there already", hint="name another one: fnmodel keygen NAME"
        ) from error
    except OSError as error:
        raise UsageError(
            f"{path} cannot be written: {error.strerror}", hint="name a folder that you may write"
        ) from error
    with os.fdopen(handle, "wb") as file:
        file.write(data)


def _read(path: Path, kind: str) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise SigningError(
            f"the {kind} key {path} cannot be read: {error.strerror}",
            hint="mend `signing:` in fnmodel.yaml; `fnmodel keygen` makes a pair of keys",
        ) from error


def _on_p256(curve: ec.EllipticCurve) -> bool:
    return isinstance(curve, ec.SECP256R1)


def _other_curve(path: Path) -> SigningError:
    return SigningError(
        f"{path} is not a key on the curve P-256", hint="`fnmodel keygen` makes one that is"
    )
