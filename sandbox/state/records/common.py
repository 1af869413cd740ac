"""What records of every kind are made of: identifiers and statuses."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Identifier:
    """A typed identifier: of a context (Nip, InternalId, ...) or of a subject (Nip, Pesel, Fingerprint)."""

    type: str
    value: str

    @property
    def nip(self) -> str | None:
        """The taxpayer behind it, if the type carries one."""
        return self.value[:10] if self.type in {"Nip", "InternalId", "NipVatUe"} else None


@dataclass(frozen=True, slots=True)
class Status:
    """A status as the contract words it."""

    code: int
    description: str
    details: tuple[str, ...] = ()

    def body(self) -> dict[str, object]:
        """The JSON form; `details` only when there are any."""
        body: dict[str, object] = {"code": self.code, "description": self.description}
        if self.details:
            body["details"] = list(self.details)
        return body
