"""A KSeF that says what the test tells it to say, and a clock that is moved by hand."""

import base64
import hashlib
import json
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import NameOID

from app.ksef.answers import SystemWarning
from app.ksef.transport import KsefTransport, RequestRecord

Reply = httpx.Response | Exception | Callable[[httpx.Request], Any]
START = datetime(2026, 11, 22, 10, 0, tzinfo=UTC)
CHALLENGE = "20261122-CR-0123456789-ABCDEF0123-AA"


class Clock:
    def __init__(self) -> None:
        self.time = START
        self.slept: list[float] = []

    def now(self) -> datetime:
        return self.time

    def move(self, **by: float) -> None:
        self.time += timedelta(**by)

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.move(seconds=seconds)


class FakeKsef:
    """Answers each (method, path) with its replies in turn; the last one is repeated."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.seen: list[httpx.Request] = []
        self.records: list[RequestRecord] = []
        self.warnings: list[tuple[str, SystemWarning]] = []
        self._replies: dict[tuple[str, str], list[Reply]] = {}
        self.http = httpx.AsyncClient(transport=httpx.MockTransport(self._handle))
        self.transport = KsefTransport(
            "https://ksef.example/v2",
            self.http,
            on_request=self.records.append,
            on_warning=lambda operation, warning: self.warnings.append((operation, warning)),
        )

    def on(self, method: str, path: str, *replies: Reply) -> None:
        self._replies[(method, path)] = list(replies)

    def calls(self, path: str) -> list[httpx.Request]:
        return [request for request in self.seen if request.url.path == f"/v2{path}"]

    async def _handle(self, request: httpx.Request) -> httpx.Response:
        await request.aread()
        self.seen.append(request)
        replies = self._replies.get((request.method, request.url.path.removeprefix("/v2")))
        if replies is None:
            return httpx.Response(404)
        reply = replies.pop(0) if len(replies) > 1 else replies[0]
        if isinstance(reply, Exception):
            raise reply
        if isinstance(reply, httpx.Response):
            return httpx.Response(reply.status_code, headers=reply.headers, content=reply.content)
        answer = reply(request)
        made: httpx.Response = await answer if isinstance(answer, Awaitable) else answer
        return made

    def allow_login(self, *, access_minutes: float = 15) -> None:
        """Answer every step of a login; access tokens are named access-1, access-2 ..."""
        count = {"access": 0}

        def token(kind: str, minutes: float) -> dict[str, str]:
            if kind == "access":
                count["access"] += 1
                kind = f"access-{count['access']}"
            until = self.clock.now() + timedelta(minutes=minutes)
            return {"token": kind, "validUntil": until.isoformat()}

        started = {"referenceNumber": "20261122-AU-1", "authenticationToken": token("auth", 45)}
        self.on(
            "POST",
            "/auth/challenge",
            lambda _: json_answer(
                200,
                {
                    "challenge": CHALLENGE,
                    "timestamp": self.clock.now().isoformat(),
                    "timestampMs": int(self.clock.now().timestamp() * 1000) + 7,
                    "clientIp": "192.0.2.1",
                },
            ),
        )
        self.on("POST", "/auth/xades-signature", json_answer(202, started))
        self.on("POST", "/auth/ksef-token", json_answer(202, started))
        self.on("GET", "/auth/20261122-AU-1", auth_status(200))
        self.on(
            "POST",
            "/auth/token/redeem",
            lambda _: json_answer(
                200,
                {"accessToken": token("access", access_minutes), "refreshToken": token("refresh", 7 * 24 * 60)},
            ),
        )
        self.on(
            "POST", "/auth/token/refresh", lambda _: json_answer(200, {"accessToken": token("access", access_minutes)})
        )


def json_answer(status: int, document: Any, **headers: str) -> httpx.Response:
    kind = "application/problem+json" if status >= 400 else "application/json"
    return httpx.Response(status, content=json.dumps(document).encode(), headers={"Content-Type": kind, **headers})


def auth_status(code: int, **more: Any) -> httpx.Response:
    return json_answer(
        200,
        {
            "startDate": "2026-11-22T10:00:00.1234567",
            "authenticationMethod": "SomethingNew",
            "authenticationMethodInfo": {"category": "FromTheFuture", "code": "x.y", "displayName": "Seal"},
            "status": {"code": code, "description": f"status {code}", "details": ["because"]},
            **more,
        },
    )


def published_key(
    key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey, usage: list[str], valid_from: datetime, valid_to: datetime
) -> dict[str, Any]:
    """An entry of GET /security/public-key-certificates."""
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Ministerstwo Finansów")])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(valid_from)
        .not_valid_after(valid_to)
        .sign(key, hashes.SHA256())
    )
    spki = key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    der = certificate.public_bytes(Encoding.DER)
    return {
        "certificate": base64.b64encode(der).decode(),
        "certificateId": base64.b64encode(hashlib.sha256(der).digest()).decode(),
        "publicKeyId": base64.b64encode(hashlib.sha256(spki).digest()).decode(),
        "validFrom": valid_from.isoformat(),
        "validTo": valid_to.isoformat(),
        "usage": usage,
    }
