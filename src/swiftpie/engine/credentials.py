"""Content credentials (C2PA): signed statements of what made a picture, written and checked.

The key is the user's, or a local one that is made once. No list of trust has a local key: it
shows that a file is unchanged since it was signed, and not who signed it. Nothing is fetched.
"""

import io
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple

from swiftpie import __version__
from swiftpie.config import home_folder
from swiftpie.errors import ConfigError, InputError, WeightsError, require, short_reason
from swiftpie.imageio.atomic import make_folder, write_file

TYPES = {".png": "image/png", ".jpg": "image/jpeg", ".jpeg": "image/jpeg", ".webp": "image/webp"}
TYPES |= {".tif": "image/tiff", ".tiff": "image/tiff"}
STARTS = {b"\x89PNG": "image/png", b"\xff\xd8": "image/jpeg", b"II*\0": "image/tiff"}
STARTS |= {b"MM\0*": "image/tiff", b"RIFF": "image/webp"}
OWN_FACTS = "org.swiftpie.origin"  # the assertion that holds what made a picture
PARENT = "input"
SOURCES = "http://cv.iptc.org/newscodes/digitalsourcetype/"
VALID_DAYS = 3650
MANIFEST_MARK = b"c2pa\0\x11\0\x10\x80\0\0\xaa\0\x38\x9b\x71"  # the kind of a store of manifests
CHANGED = ("dataHash.mismatch", "boxesHash.mismatch", "bmffHash.mismatch", "hashedURI.mismatch")


class SigningKey(NamedTuple):
    """A private key with the certificates of its owner, all PEM."""

    private: bytes
    certificates: bytes  # the owner's first, then those that vouch for it
    algorithm: str  # as C2PA names it


@dataclass(frozen=True)
class Credentials:
    """What the credentials of a picture say, and whether they hold."""

    state: str  # "valid", "changed" since it was signed, or "invalid"
    is_trusted: bool  # the signer is on a list of trust
    signer: str
    program: str
    facts: Mapping[str, str]  # of SwiftPie's own
    inputs: tuple[str, ...]  # titles of ingredients, with the programs of their credentials
    faults: tuple[str, ...]  # codes of C2PA

    def describe(self) -> dict[str, str]:
        """Return lines for people."""
        states = {
            "valid": "valid: nothing was changed since it was signed",
            "changed": "CHANGED: the file is not what was signed",
            "invalid": f"INVALID: {', '.join(self.faults)}",
        }
        trust = "on a list of trust" if self.is_trusted else "on no list of trust"
        lines = {"credentials": states[self.state], "signed by": f"{self.signer} ({trust})"}
        lines["made with"] = self.program
        return lines | ({"made from": "; ".join(self.inputs)} if self.inputs else {})


def sign(
    picture: bytes,
    key: SigningKey,
    *,
    facts: Mapping[str, str],
    parent: bytes | None = None,
    suffix: str = "",
) -> bytes:
    """Return a picture with credentials.

    Args:
        picture: A PNG, JPEG, WebP or TIFF.
        key: Signs.
        facts: What made the picture.
        parent: The picture from which it was made, whose own credentials are kept.
        suffix: Of the file to write, which keeps the format; empty for any.

    Raises:
        ConfigError: The key cannot sign, or the suffix is that of another format.
    """
    c2pa, kind = _needed("c2pa"), _type_of(picture)
    if suffix and TYPES[suffix.lower()] != kind:
        raise ConfigError(
            f"The picture is {kind}, and {suffix} is another format. Signing keeps the format. "
            "Choose a name that ends as that of the picture."
        )
    builder = c2pa.Builder.from_json(json.dumps(_manifest(facts, has_parent=parent is not None)))
    if parent is not None:
        title = {"title": PARENT, "relationship": "parentOf", "label": PARENT}
        builder.add_ingredient(json.dumps(title), _type_of(parent), io.BytesIO(parent))
    signed = io.BytesIO()
    try:
        info = c2pa.C2paSignerInfo(key.algorithm, key.certificates, key.private, None)
        with c2pa.Signer.from_info(info) as signer:
            builder.sign(signer, kind, io.BytesIO(picture), signed)
    except c2pa.C2paError as error:
        raise ConfigError(
            f"The key cannot sign ({short_reason(error)}). A key with certificates for signing "
            "content is needed, the own first. Check both files, or leave them out for a local key."
        ) from error
    return signed.getvalue()


def read(data: bytes) -> Credentials | None:
    """Return the credentials of a picture, checked; None if it has none.

    Raises:
        MissingExtra: It seems to have some, and the package that checks them is not installed.
        InputError: They cannot be read.
    """
    if MANIFEST_MARK not in data:
        return None
    c2pa = _needed("c2pa")
    try:
        reader = c2pa.Reader.try_create(_type_of(data), io.BytesIO(data))
    except c2pa.C2paError as error:
        raise InputError(
            f"The credentials of the picture cannot be read ({short_reason(error)}). Sign a "
            "picture again that was saved without them."
        ) from error
    if reader is None:
        return None
    with reader:
        return _credentials(json.loads(reader.json()))


def _credentials(store: dict[str, Any]) -> Credentials:
    active = store["manifests"][store["active_manifest"]]
    found = store.get("validation_results", {}).get("activeManifest", {})
    faults = tuple(str(failure["code"]) for failure in found.get("failure", ()))
    real = tuple(code for code in faults if code != "signingCredential.untrusted")
    is_changed = any(code.endswith(CHANGED) for code in real)
    facts = [said["data"] for said in active.get("assertions", ()) if said["label"] == OWN_FACTS]
    return Credentials(
        state="changed" if is_changed else "invalid" if real else "valid",
        is_trusted=store.get("validation_state") == "Trusted",
        signer=_signer_of(active),
        program=_program_of(active),
        facts={str(name): str(value) for name, value in (facts[0] if facts else {}).items()},
        inputs=tuple(_input(ingredient, store) for ingredient in active.get("ingredients", ())),
        faults=real,
    )


def _signer_of(manifest: Mapping[str, Any]) -> str:
    info = manifest.get("signature_info") or {}
    return str(info.get("common_name") or info.get("issuer") or "an unnamed signer")


def _program_of(manifest: Mapping[str, Any]) -> str:
    (info, *_) = manifest.get("claim_generator_info") or [{"name": "an unnamed program"}]
    return " ".join(str(info[name]) for name in ("name", "version") if info.get(name))


def _input(ingredient: Mapping[str, Any], store: Mapping[str, Any]) -> str:
    title = str(ingredient.get("title", "a picture"))
    own = store["manifests"].get(ingredient.get("active_manifest"))
    if own is None:
        return f"{title}, without credentials"
    return f"{title}, with credentials by {_signer_of(own)} ({_program_of(own)})"


def _manifest(facts: Mapping[str, str], *, has_parent: bool) -> dict[str, Any]:
    """Return the statements: which model's work it is, and what made it."""
    kind = "compositeWithTrainedAlgorithmicMedia" if has_parent else "trainedAlgorithmicMedia"
    made = {"digitalSourceType": f"{SOURCES}{kind}"}
    actions: list[dict[str, Any]] = [{"action": "c2pa.created", **made}]
    if has_parent:
        opened = {"action": "c2pa.opened", "parameters": {"ingredientIds": [PARENT]}}
        actions = [opened, {"action": "c2pa.edited", **made}]
    return {
        "claim_generator_info": [{"name": "SwiftPie", "version": __version__}],
        "assertions": [
            {"label": "c2pa.actions", "data": {"actions": actions}},
            {"label": OWN_FACTS, "data": dict(facts)},
        ],
    }


def _type_of(data: bytes) -> str:
    """Return the kind of a picture's file.

    Raises:
        InputError: It is another one.
    """
    for start, kind in STARTS.items():
        if data.startswith(start):
            return kind
    raise InputError(
        f"The file is no picture that holds credentials. One of {', '.join(TYPES)} is needed."
    )


def load_key(private: Path, certificates: Path) -> SigningKey:
    """Return a user's key.

    Raises:
        ConfigError: A file cannot be read, or holds no key of a kind that signs.
    """
    try:
        return _key_of(private.read_bytes(), certificates.read_bytes())
    except (OSError, ValueError, TypeError) as error:
        raise ConfigError(
            f"--key '{private}' and --certificates '{certificates}' cannot be used "
            f"({short_reason(error)}). A private key without a password and its certificates are "
            "needed, both PEM. Check the files."
        ) from error


def _key_of(private: bytes, certificates: bytes) -> SigningKey:
    """Return a key by its bytes.

    Raises:
        ValueError: It is no key, or of a kind that does not sign content.
    """
    _needed("cryptography.hazmat.primitives.serialization")
    from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    match load_pem_private_key(private, None):
        case ec.EllipticCurvePrivateKey(curve=curve) if curve.key_size in {256, 384, 521}:
            algorithm = {256: "es256", 384: "es384", 521: "es512"}[curve.key_size]
        case ed25519.Ed25519PrivateKey():
            algorithm = "ed25519"
        case rsa.RSAPrivateKey():
            algorithm = "ps256"
        case other:
            raise ValueError(f"{type(other).__name__} does not sign content")
    return SigningKey(private, certificates, algorithm)


def local_key() -> SigningKey:
    """Return the key of this machine's user, which is made when it is first needed.

    Raises:
        WeightsError: Its files are broken.
    """
    folder = home_folder() / "credentials"
    file = folder / "local.pem"
    if not file.exists():
        make_folder(folder)
        folder.chmod(0o700)  # for the user alone
        write_file(file, _made_key())
        file.chmod(0o600)
    private, mark, certificates = file.read_bytes().partition(b"-----BEGIN CERTIFICATE-----")
    try:
        return _key_of(private, mark + certificates)
    except ValueError as error:
        raise WeightsError(
            f"The local key in '{file}' is broken ({short_reason(error)}). Delete the file; a new "
            "key is made."
        ) from error


def _made_key() -> bytes:
    """Return a new private key and its certificates, as PEM; nothing else can be signed with it.

    C2PA refuses certificates that vouch for themselves, so a second key vouches, and is forgotten.
    """
    _needed("cryptography.x509")
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

    def name(text: str) -> x509.Name:
        parts = ((NameOID.COMMON_NAME, text), (NameOID.ORGANIZATION_NAME, "SwiftPie"))
        return x509.Name([x509.NameAttribute(*part) for part in parts])

    def certificate(owner: Any, *, is_root: bool) -> x509.Certificate:  # noqa: ANN401 - a public key
        now = datetime.now(UTC)
        subject = name(f"SwiftPie, local {'root' if is_root else 'key'}")
        unused = (
            *("content_commitment", "key_encipherment", "data_encipherment"),
            *("key_agreement", "encipher_only", "decipher_only"),
        )
        purposes = dict.fromkeys(unused, False)
        usage = x509.KeyUsage(
            digital_signature=not is_root, key_cert_sign=is_root, crl_sign=is_root, **purposes
        )
        builder = (
            x509.CertificateBuilder(name("SwiftPie, local root"), subject, owner)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(hours=1))
            .not_valid_after(now + timedelta(days=VALID_DAYS))
            .add_extension(x509.BasicConstraints(is_root, None), critical=True)
            .add_extension(usage, critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(owner), critical=False)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(root.public_key()),
                critical=False,
            )
        )
        if not is_root:
            uses = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.EMAIL_PROTECTION])
            builder = builder.add_extension(uses, critical=True)
        return builder.sign(root, hashes.SHA256())

    root, own = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    plain = serialization.NoEncryption()
    pem, kind = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    chain = (
        certificate(own.public_key(), is_root=False),
        certificate(root.public_key(), is_root=True),
    )
    return own.private_bytes(pem, kind, plain) + b"".join(
        certificate.public_bytes(pem) for certificate in chain
    )


def _needed(module: str) -> Any:  # noqa: ANN401 - the packages have types for us only in part
    return require(module, extra="credentials", use="A content credential")
