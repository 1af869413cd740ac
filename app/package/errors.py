"""What can go wrong while a package is made. All of it is ours, none of it the client's."""

from app.errors import DispatchError


class PackageLimitExceeded(DispatchError):
    """The package does not fit KSeF's limits; seal again with fewer invoices.

    The same entries will fail again, so repeating without sealing anew is useless.
    """

    code = "package-limit-exceeded"
    title = "Package limit exceeded"


class MalformedEntry(DispatchError):
    """A stored entry cannot go into a package: its name, size, checksum or compressed bytes are wrong.

    Entries are made by us at intake, so this means a damaged blob or a defect, never a bad invoice.
    """

    code = "malformed-entry"
    title = "Malformed package entry"


class PartMismatch(DispatchError):
    """A stored part is not the one that was sealed (size or SHA-256 differ); it must not be sent."""

    code = "part-mismatch"
    title = "Stored part differs from the sealed one"
