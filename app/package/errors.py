"""Errors of package building. Each is a fault of this service, none of the client."""

from app.errors import DispatchError


class PackageLimitExceeded(DispatchError):
    """The package does not fit KSeF's limits; seal again with fewer invoices.

    The same entries would fail again, so the session must be sealed anew before a retry.
    """

    code = "package-limit-exceeded"
    title = "Package limit exceeded"


class MalformedEntry(DispatchError):
    """A stored entry cannot go into a package: its name, size, checksum or compressed bytes are wrong.

    Intake makes the entries, so this means a damaged blob or a defect, never a bad invoice.
    """

    code = "malformed-entry"
    title = "Malformed package entry"


class PartMismatch(DispatchError):
    """A stored part is not the one that was sealed (size or SHA-256 differ); it must not be sent."""

    code = "part-mismatch"
    title = "Stored part differs from the sealed one"
