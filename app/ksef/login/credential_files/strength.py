"""Which keys KSeF takes."""

from typing import Final

from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes

from app.ksef.login.certificates import PrivateKey
from app.ksef.login.credential_files.refusals import CredentialRefused, Reason

_MIN_RSA_BITS: Final = 2048
_MAX_RSA_BITS: Final = 4096
_CURVES: Final = (ec.SECP256R1, ec.SECP384R1, ec.SECP521R1)


def usable_key(key: PrivateKeyTypes) -> PrivateKey:
    """Return the key when KSeF takes its kind and size. Raises CredentialRefused."""
    if isinstance(key, rsa.RSAPrivateKey):
        if key.key_size < _MIN_RSA_BITS:
            raise CredentialRefused(
                Reason.RSA_TOO_SMALL,
                f"the RSA key has {key.key_size} bits, and KSeF takes {_MIN_RSA_BITS} at the least",
            )
        if key.key_size > _MAX_RSA_BITS:
            raise CredentialRefused(
                Reason.KEY_UNSUPPORTED,
                f"the RSA key has {key.key_size} bits, and at most {_MAX_RSA_BITS} are taken here",
            )
        return key
    if isinstance(key, ec.EllipticCurvePrivateKey):
        if not isinstance(key.curve, _CURVES):
            raise CredentialRefused(
                Reason.CURVE_UNSUPPORTED,
                f"the key is on the curve {key.curve.name}, and only P-256, P-384 and P-521 are taken here",
            )
        return key
    kind = type(key).__name__.removesuffix("PrivateKey") or "unknown"
    raise CredentialRefused(
        Reason.KEY_UNSUPPORTED, f"the private key is of the kind {kind}, and KSeF takes RSA and elliptic curves"
    )
