"""Keys as PEM: ed25519 and ECDSA on P-256."""

from typing import TYPE_CHECKING

from verifier.errors import InvalidProblem, Unsupported

if TYPE_CHECKING:
    from securesystemslib.signer._crypto_signer import CryptoSigner
    from securesystemslib.signer._key import SSlibKey

MAX_KEY_BYTES = 64 * 2**10

_ACCEPTED = "an ed25519 key, or an ECDSA key on the curve P-256"


def signer_of(key_pem: bytes, password: bytes | None = None) -> "CryptoSigner":
    """The signer of a private key.

    Args:
        key_pem: PKCS#8 or SEC1, as `openssl genpkey -algorithm ed25519` writes it.
        password: of an encrypted key.
    Raises:
        InvalidProblem: it is no such key, or encrypted and the password is missing or wrong.
        Unsupported: the libraries are not installed.
    """
    require_libraries()
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.serialization import load_pem_private_key
    from securesystemslib.signer import CryptoSigner  # type: ignore[attr-defined]

    if b"PUBLIC KEY" in key_pem[:200]:
        raise _refused("the key to sign with is a public key: give the private one")
    try:
        key = load_pem_private_key(key_pem[: MAX_KEY_BYTES + 1], password)
    except TypeError:  # of the library: a password too many, or one missing
        if password is None:
            raise _refused("the key is encrypted: give its password", "KEY_ENCRYPTED") from None
        raise _refused("the key is not encrypted: give no password") from None
    except (ValueError, UnsupportedAlgorithm) as error:
        hint = " or the password is wrong" if password is not None else ""
        raise _refused(f"the key is no PEM private key{hint} ({str(error)[:120]}); expected {_ACCEPTED}") from None
    _require_kind(key.public_key())
    return CryptoSigner(key)


def public_key_of(public_key_pem: bytes) -> "SSlibKey":
    """The public key of a PEM text; errors as in `signer_of`."""
    require_libraries()
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.serialization import load_pem_public_key
    from securesystemslib.signer import SSlibKey  # type: ignore[attr-defined]

    if b"PRIVATE KEY" in public_key_pem[:200]:
        raise _refused("the key to verify with is a private key: give the public one (openssl pkey -pubout)")
    try:
        key = load_pem_public_key(public_key_pem[: MAX_KEY_BYTES + 1])
    except (ValueError, UnsupportedAlgorithm) as error:
        raise _refused(f"the key is no PEM public key ({str(error)[:120]}); expected {_ACCEPTED}") from None
    _require_kind(key)
    return SSlibKey.from_crypto(key)


def require_libraries() -> None:
    """Unsupported, where the optional dependencies are missing."""
    try:
        import cryptography
        import securesystemslib  # noqa: F401
    except ImportError as error:
        raise Unsupported(
            f"attestations need {error.name}, which is not installed: pip install 'verifier[gate]'"
        ) from None
    del cryptography


def _require_kind(key: object) -> None:
    from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePublicKey
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    on_p256 = isinstance(key, EllipticCurvePublicKey) and isinstance(key.curve, SECP256R1)
    if not on_p256 and not isinstance(key, Ed25519PublicKey):
        raise _refused(f"the key must be {_ACCEPTED}, got {type(key).__name__}")


def _refused(message: str, reason: str = "KEY_REFUSED") -> InvalidProblem:
    return InvalidProblem(message, field="key", reason=reason)
