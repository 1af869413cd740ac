"""Types that all records share: identifiers and statuses."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Identifier:
    """A typed identifier: of a context (Nip, InternalId, ...) or of a subject (Nip, Pesel, Fingerprint)."""

    type: str
    value: str

    @property
    def nip(self) -> str | None:
        """The taxpayer's NIP, if the type contains one."""
        return self.value[:10] if self.type in {"Nip", "InternalId", "NipVatUe"} else None


@dataclass(frozen=True, slots=True)
class Status:
    """A status with the contract's text."""

    code: int
    description: str
    details: tuple[str, ...] = ()

    def body(self) -> dict[str, object]:
        """Return the JSON form, without empty `details`."""
        body: dict[str, object] = {"code": self.code, "description": self.description}
        if self.details:
            body["details"] = list(self.details)
        return body
