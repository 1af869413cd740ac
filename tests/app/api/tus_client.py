"""A tus 1.0.0 client written from the protocol's text, for tests: it knows nothing of our code."""

import base64
from collections.abc import Mapping
from dataclasses import dataclass

import httpx

ADDRESS = "/v1/uploads/resumable"
TUS = {"Tus-Resumable": "1.0.0"}
PIECE = TUS | {"Content-Type": "application/offset+octet-stream"}


def metadata(**values: str) -> dict[str, str]:
    """Write an Upload-Metadata header."""
    pairs = (f"{key} {base64.b64encode(value.encode()).decode()}" for key, value in values.items())
    return {"Upload-Metadata": ",".join(pairs)}


ZIP = metadata(filetype="application/zip", filename="night.zip")


@dataclass
class TusClient:
    """One client; `location` is the upload that it made last."""

    http: httpx.AsyncClient
    location: str = ""

    async def create(
        self, length: int | None, headers: Mapping[str, str] = ZIP, *, query: str = "", content: bytes | None = None
    ) -> httpx.Response:
        """Announce an upload."""
        told = {"Upload-Length": str(length)} if length is not None else {"Upload-Defer-Length": "1"}
        answer = await self.http.post(ADDRESS + query, headers=TUS | told | dict(headers), content=content)
        self.location = answer.headers.get("location", self.location)
        return answer

    async def patch(self, offset: int, content: object, **headers: str) -> httpx.Response:
        """Send bytes from an offset on."""
        more = {name.replace("_", "-"): value for name, value in headers.items()}
        return await self.http.patch(
            self.location,
            content=content,  # type: ignore[arg-type]  # bytes or an async iterator of them
            headers=PIECE | {"Upload-Offset": str(offset)} | more,
        )

    async def head(self) -> httpx.Response:
        """Ask how much is there."""
        return await self.http.head(self.location, headers=TUS)

    async def offset(self) -> int:
        """Give the offset that HEAD tells."""
        answer = await self.head()
        assert answer.status_code == 200, answer.status_code
        return int(answer.headers["upload-offset"])

    async def delete(self) -> httpx.Response:
        """End the upload."""
        return await self.http.delete(self.location, headers=TUS)
