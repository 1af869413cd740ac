"""Rejections of requests, and the two formats of their answers.

400 and 429 have the older format unless the request has `X-Error-Format: problem-details`; 401, 403 and 410 are always
problem details. Source: KSeF API 2.9, ExceptionResponse and the ...ProblemDetails schemas.
"""

import secrets
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from sandbox.clock import stamp

DESCRIPTIONS: dict[int, str] = {
    9101: "Nieprawidłowy dokument.",
    9102: "Brak podpisu.",
    9103: "Przekroczona liczba dozwolonych podpisów.",
    9105: "Nieprawidłowa treść podpisu.",
    21001: "Nieczytelna treść.",
    21111: "Nieprawidłowe wyzwanie autoryzacyjne.",
    21115: "Nieprawidłowy certyfikat.",
    21117: "Nieprawidłowy identyfikator podmiotu dla wskazanego typu kontekstu.",
    21155: "Przekroczono dozwoloną liczbę faktur w sesji.",
    21157: "Nieprawidłowy rozmiar części pakietu.",
    21161: "Przekroczono dozwoloną liczbę części pakietu.",
    21164: "Faktura o podanym identyfikatorze nie istnieje.",
    21165: "Faktura o podanym numerze KSeF nie jest jeszcze dostępna.",
    21166: "Korekta techniczna niedostępna.",
    21167: "Status faktury nie pozwala na korektę techniczną.",
    21173: "Brak sesji o wskazanym numerze referencyjnym.",
    21178: "Nie znaleziono UPO dla podanych kryteriów.",
    21180: "Status sesji nie pozwala na wykonanie operacji.",
    21184: "Sesja tymczasowo niedostępna.",
    21205: "Pakiet nie może być pusty.",
    21208: "Czas oczekiwania na requesty upload lub finish został przekroczony.",
    21217: "Nieprawidłowe kodowanie znaków.",
    21301: "Brak autoryzacji.",
    21304: "Brak uwierzytelnienia.",
    21308: "Próba wykorzystania metod autoryzacyjnych osoby zmarłej.",
    21401: "Dokument nie jest zgodny ze schemą (xsd).",
    21402: "Nieprawidłowy rozmiar pliku.",
    21403: "Nieprawidłowy skrót pliku.",
    21405: "Błąd walidacji danych wejściowych.",
    21406: "Konflikt podpisu i typu uwierzytelnienia.",
    21418: "Przekazany token kontynuacji ma nieprawidłowy format.",
    21470: "Przesłany identyfikator klucza jest nieznany lub wskazuje na wycofany klucz.",
    25001: "Brak możliwości pobrania danych do CSR dla wykorzystanego sposobu uwierzytelnienia.",
    25002: "Brak możliwości złożenia wniosku certyfikacyjnego dla wykorzystanego sposobu uwierzytelnienia.",
    25003: "Dane w CSR nie zgadzają się z danymi w użytym wektorze uwierzytelniającym.",
    25004: "Niepoprawny format CSR lub niepoprawny podpis CSR.",
    25005: "Wniosek certyfikacyjny o podanym numerze referencyjnym nie istnieje.",
    25006: "Osiągnięto limit możliwych do złożenia wniosków certyfikacyjnych.",
    25007: "Osiągnięto limit dopuszczalnej liczby posiadanych certyfikatów.",
    25008: "Certyfikat o podanym numerze seryjnym nie istnieje.",
    25009: "Nie można odwołać wskazanego certyfikatu, ponieważ jest już odwołany, zablokowany lub nieważny.",
    25010: "Nieprawidłowy typ lub długość klucza.",
    25011: "Nieprawidłowy algorytm podpisu CSR.",
    26001: "Nie można nadać tokenowi uprawnień których nie posiadasz.",
    26002: "Nie można wygenerować tokena dla obecnego typu kontekstu.",
    30001: "Podmiot lub uprawnienie już istnieje.",
}


@dataclass(frozen=True, slots=True)
class ApiError:
    """One fault of a request: a KSeF code and its details."""

    code: int
    details: tuple[str, ...] = ()

    @property
    def description(self) -> str:
        """The fixed text of the code."""
        return DESCRIPTIONS[self.code]


class Rejection(Exception):
    """Base of the errors that become an error answer."""


class BadRequest(Rejection):
    """400 with one or more coded faults."""

    def __init__(self, *errors: ApiError) -> None:
        self.errors = errors
        super().__init__(", ".join(str(error.code) for error in errors))


class Unauthorized(Rejection):
    """401: the token is missing or not valid."""


class Forbidden(Rejection):
    """403 with a reason code; `security` has the members that the contract names for that reason."""

    def __init__(self, reason: str, detail: str, security: dict[str, Any] | None = None) -> None:
        self.reason = reason
        self.detail = detail
        self.security = security
        super().__init__(reason)


class Gone(Rejection):
    """410: the operation's status is no longer kept."""


class TooManyRequests(Rejection):
    """429 with the seconds to wait."""

    def __init__(self, limit: int, window: str, retry_after: int) -> None:
        self.retry_after = retry_after
        self.detail = f"Przekroczono limit {limit} żądań na {window}. Spróbuj ponownie po {retry_after} sekundach."
        super().__init__(self.detail)


class Unprocessable(Rejection):
    """A bare HTTP status without a body: 404, 411, 413, 415."""

    def __init__(self, status: int) -> None:
        self.status = status
        super().__init__(str(status))


def bad(code: int, *details: str) -> BadRequest:
    """Create a 400 with a single fault."""
    return BadRequest(ApiError(code, details))


def rejection_response(rejection: Rejection, request: Request, now: datetime) -> Response:
    """Build the answer to a rejected request, in the format that the request asks for."""
    wants_problem = request.headers.get("x-error-format", "").strip().lower() == "problem-details"
    trace = secrets.token_hex(16)
    base = {"instance": request.url.path, "timestamp": stamp(now), "traceId": trace}
    response: Response
    match rejection:
        case BadRequest() if wants_problem:
            response = _problem(400, "Bad Request", "Żądanie jest nieprawidłowe.", base, _errors(rejection))
        case BadRequest():
            response = JSONResponse(_exception_body(rejection, now, trace), status_code=400)
        case Unauthorized():
            response = _problem(401, "Unauthorized", str(rejection) or "Wymagane jest uwierzytelnienie.", base)
        case Forbidden():
            extra: dict[str, Any] = {"reasonCode": rejection.reason}
            if rejection.security is not None:
                extra["security"] = rejection.security
            response = _problem(403, "Forbidden", rejection.detail, base, extra)
        case Gone():
            response = _problem(410, "Gone", str(rejection), base)
        case TooManyRequests() if wants_problem:
            response = _problem(429, "Too Many Requests", rejection.detail, base)
        case TooManyRequests():
            status = {"code": 429, "description": "Too Many Requests", "details": [rejection.detail]}
            response = JSONResponse({"status": status}, status_code=429)
        case Unprocessable():
            response = Response(status_code=rejection.status)
        case _:
            raise rejection
    if isinstance(rejection, TooManyRequests):
        response.headers["Retry-After"] = str(rejection.retry_after)
    return response


def _errors(rejection: BadRequest) -> dict[str, Any]:
    return {
        "errors": [
            {"code": error.code, "description": error.description, "details": list(error.details)}
            for error in rejection.errors
        ]
    }


def _exception_body(rejection: BadRequest, now: datetime, trace: str) -> dict[str, Any]:
    return {
        "exception": {
            "exceptionDetailList": [
                {
                    "exceptionCode": error.code,
                    "exceptionDescription": error.description,
                    "details": list(error.details),
                }
                for error in rejection.errors
            ],
            "serviceCode": f"00-{trace}-{secrets.token_hex(8)}-00",
            "serviceCtx": "srvSANDBOX",
            "serviceName": "Undefined",
            # KSeF writes this time without an offset, unlike all others.
            "timestamp": stamp(now).removesuffix("+00:00"),
        }
    }


def _problem(
    status: int, title: str, detail: str, base: dict[str, Any], extra: dict[str, Any] | None = None
) -> JSONResponse:
    body = {"title": title, "status": status, "detail": detail, **base, **(extra or {})}
    return JSONResponse(body, status_code=status, media_type="application/problem+json")
