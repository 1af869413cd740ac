"""A KSeF client written for tests only, so that the sandbox is not judged by the product's own client.

Nothing is shared with `app.ksef` or `app.package`: it builds what it sends from the standard library, lxml and
cryptography, in the plainest way.
"""

import base64
import gzip
import hashlib
import io
import secrets
import tarfile
import time
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import httpx
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.padding import PKCS7
from cryptography.x509.oid import NameOID, ObjectIdentifier
from lxml import etree

SEAL = {NameOID.ORGANIZATION_NAME: "Test sp. z o.o.", NameOID.COUNTRY_NAME: "PL", NameOID.COMMON_NAME: "Test"}
_ORGANIZATION_IDENTIFIER = ObjectIdentifier("2.5.4.97")
_OAEP = padding.OAEP(mgf=padding.MGF1(hashes.SHA256()), algorithm=hashes.SHA256(), label=None)
DIGESTS = {
    "sha1": "http://www.w3.org/2000/09/xmldsig#sha1",
    "sha256": "http://www.w3.org/2001/04/xmlenc#sha256",
    "sha384": "http://www.w3.org/2001/04/xmldsig-more#sha384",
    "sha512": "http://www.w3.org/2001/04/xmlenc#sha512",
    "sha3-256": "http://www.w3.org/2007/05/xmldsig-more#sha3-256",
    "sha3-384": "http://www.w3.org/2007/05/xmldsig-more#sha3-384",
    "sha3-512": "http://www.w3.org/2007/05/xmldsig-more#sha3-512",
}
"""Digests by the names that `cryptography` gives them."""
PrivateKey = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey

_INVOICE = """<?xml version="1.0" encoding="UTF-8"?>
<Faktura xmlns="http://crd.gov.pl/wzor/2025/06/25/13775/">
<Naglowek><KodFormularza kodSystemowy="FA (3)" wersjaSchemy="1-0E">FA</KodFormularza>
<WariantFormularza>3</WariantFormularza><DataWytworzeniaFa>{day}T00:00:00Z</DataWytworzeniaFa></Naglowek>
<Podmiot1><DaneIdentyfikacyjne><NIP>{seller}</NIP><Nazwa>Sprzedawca</Nazwa></DaneIdentyfikacyjne>
<Adres><KodKraju>PL</KodKraju><AdresL1>ul. Prosta 1</AdresL1></Adres></Podmiot1>
<Podmiot2><DaneIdentyfikacyjne><NIP>{buyer}</NIP><Nazwa>Nabywca</Nazwa></DaneIdentyfikacyjne>
<Adres><KodKraju>PL</KodKraju><AdresL1>ul. Krzywa 2</AdresL1></Adres><JST>2</JST><GV>2</GV></Podmiot2>{third}
<Fa><KodWaluty>PLN</KodWaluty><P_1>{day}</P_1><P_2>{number}</P_2><P_13_1>100.00</P_13_1><P_14_1>23.00</P_14_1>
<P_15>123.00</P_15><Adnotacje><P_16>2</P_16><P_17>{self_invoicing}</P_17><P_18>2</P_18><P_18A>2</P_18A>
<Zwolnienie><P_19N>1</P_19N></Zwolnienie><NoweSrodkiTransportu><P_22N>1</P_22N></NoweSrodkiTransportu><P_23>2</P_23>
<PMarzy><P_PMarzyN>1</P_PMarzyN></PMarzy></Adnotacje><RodzajFaktury>VAT</RodzajFaktury>
<FaWiersz><NrWierszaFa>1</NrWierszaFa><P_7>{text}</P_7><P_8A>szt.</P_8A><P_8B>1</P_8B><P_9A>100.00</P_9A>
<P_11>100.00</P_11><P_12>23</P_12></FaWiersz></Fa>{after}
</Faktura>
"""


def today() -> str:
    """The Polish day, as `P_1` has it."""
    return datetime.now(ZoneInfo("Europe/Warsaw")).date().isoformat()


def invoice(number: str, seller: str, **changes: str) -> bytes:
    """A small valid FA(3) document."""
    values = {
        "day": today(),
        "buyer": "1111111111",
        "third": "",
        "self_invoicing": "2",
        "text": "usługa",
        "after": "",
    }
    return _INVOICE.format(number=number, seller=seller, **(values | changes)).encode()


def zip_package(documents: Mapping[str, bytes]) -> bytes:
    """A ZIP, deflated."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in documents.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def tar_package(documents: Mapping[str, bytes], tar_format: int = tarfile.USTAR_FORMAT) -> bytes:
    """A tar.gz of ustar headers."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tar_format) as archive:
        for name, content in documents.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    return gzip.compress(buffer.getvalue())


def sha256(data: bytes) -> str:
    """Base64, as KSeF writes hashes."""
    return base64.b64encode(hashlib.sha256(data).digest()).decode()


def encrypt(data: bytes, key: bytes, iv: bytes) -> bytes:
    """AES-256-CBC with PKCS#7."""
    padder = PKCS7(128).padder()
    encryptor = Cipher(algorithms.AES256(key), modes.CBC(iv)).encryptor()
    return encryptor.update(padder.update(data) + padder.finalize()) + encryptor.finalize()


def encrypt_unpadded(key: bytes, iv: bytes) -> bytes:
    """What decrypts under the right key, and for certain ends in no padding; noise would look right once in 256 times."""
    encryptor = Cipher(algorithms.AES256(key), modes.CBC(iv)).encryptor()
    return encryptor.update(b"no padding here!" * 4) + encryptor.finalize()


def make_certificate(
    attributes: Mapping[ObjectIdentifier, str], key: PrivateKey | None = None, *, days: int = 30, age: int = 1
) -> tuple[x509.Certificate, PrivateKey]:
    """A self-signed certificate that began `age` days ago and lives for `days`."""
    key = key or ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(oid, value) for oid, value in attributes.items()])
    start = datetime.now(UTC) - timedelta(days=age)
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    builder = builder.serial_number(x509.random_serial_number()).not_valid_before(start)
    return builder.not_valid_after(start + timedelta(days=days)).sign(key, hashes.SHA256()), key


def seal_certificate(nip: str, key: PrivateKey | None = None) -> tuple[x509.Certificate, PrivateKey]:
    """A company seal of a NIP, by default with an elliptic key."""
    return make_certificate({**SEAL, _ORGANIZATION_IDENTIFIER: f"VATPL-{nip}"}, key)


def auth_request(challenge: str, nip: str, *, version: str = "2.0", policy: str = "") -> str:
    """An unsigned AuthTokenRequest."""
    return (
        f'<AuthTokenRequest xmlns="http://ksef.mf.gov.pl/auth/token/{version}"><Challenge>{challenge}</Challenge>'
        f"<ContextIdentifier><Nip>{nip}</Nip></ContextIdentifier>"
        f"<SubjectIdentifierType>certificateSubject</SubjectIdentifierType>{policy}</AuthTokenRequest>"
    )


@dataclass(frozen=True)
class SignatureShape:
    """What a test may change about a signature; the default is one that KSeF takes."""

    signing_time: str | None = None
    certificate_property: bool = True
    certificate_digest: str | None = None
    target: str = "#sig"
    properties_type: str = "http://uri.etsi.org/01903#SignedProperties"
    der_value: bool = False
    declare_transforms: bool = True
    enveloping: bool = False
    base64_object: bool = False
    """Carry the document in Base64 (enveloping only)."""
    digest: hashes.HashAlgorithm = field(default_factory=hashes.SHA256)
    """Of the references and of the certificate."""
    value_digest: hashes.HashAlgorithm = field(default_factory=hashes.SHA256)
    pss: bool = False
    leave_out: str = ""
    """The transform that leaves the signature out, instead of enveloped-signature."""


def sign(document: str, certificate: x509.Certificate, key: PrivateKey, shape: SignatureShape | None = None) -> bytes:
    """Sign with XAdES, written out by hand: enveloped unless the shape says otherwise."""
    shape = shape or SignatureShape()
    ds, sha = "http://www.w3.org/2000/09/xmldsig#", DIGESTS[shape.digest.name]
    exclusive = "http://www.w3.org/2001/10/xml-exc-c14n#"
    der = certificate.public_bytes(serialization.Encoding.DER)
    moment = shape.signing_time or (datetime.now(UTC) - timedelta(minutes=1)).isoformat(timespec="seconds")
    signing_certificate = (
        f'<x:SigningCertificateV2><x:Cert><x:CertDigest><ds:DigestMethod Algorithm="{sha}"/><ds:DigestValue>'
        f"{shape.certificate_digest or _digest(der, shape)}</ds:DigestValue></x:CertDigest></x:Cert></x:SigningCertificateV2>"
    )
    properties = (
        f'<x:SignedProperties xmlns:x="http://uri.etsi.org/01903/v1.3.2#" xmlns:ds="{ds}" Id="props">'
        f"<x:SignedSignatureProperties><x:SigningTime>{moment}</x:SigningTime>"
        f"{signing_certificate if shape.certificate_property else ''}</x:SignedSignatureProperties>"
        "</x:SignedProperties>"
    )
    c14n = f'<ds:Transform Algorithm="{exclusive}"/>'
    carried = base64.b64encode(document.encode()).decode() if shape.base64_object else document
    content = f'<ds:Object xmlns:ds="{ds}" Id="content">{carried}</ds:Object>' if shape.enveloping else document
    uri = "#content" if shape.enveloping else ""
    enveloped = shape.leave_out or f'<ds:Transform Algorithm="{ds}enveloped-signature"/>'
    if shape.enveloping:
        enveloped = ""

    def reference(target: str, transforms: str, covered: bytes, kind: str = "") -> str:
        listed = f"<ds:Transforms>{transforms}</ds:Transforms>" if transforms else ""
        return (
            f'<ds:Reference URI="{target}"{kind}>{listed}<ds:DigestMethod Algorithm="{sha}"/>'
            f"<ds:DigestValue>{_digest(covered, shape)}</ds:DigestValue></ds:Reference>"
        )

    if shape.base64_object:
        of_document = reference(uri, f'<ds:Transform Algorithm="{ds}base64"/>', document.encode())
    else:
        of_document = reference(uri, enveloped + c14n, _canonical(content))
    info = (
        f'<ds:SignedInfo xmlns:ds="{ds}"><ds:CanonicalizationMethod Algorithm="{exclusive}"/>'
        f'<ds:SignatureMethod Algorithm="{_method(key, shape)}"/>'
        + of_document
        + reference(
            "#props",
            c14n if shape.declare_transforms else "",
            _canonical(properties),
            f' Type="{shape.properties_type}"',
        )
        + "</ds:SignedInfo>"
    )
    signature = (
        f'<ds:Signature xmlns:ds="{ds}" Id="sig">{info}'
        f"<ds:SignatureValue>{_signature_value(_canonical(info), key, shape)}</ds:SignatureValue>"
        f"<ds:KeyInfo><ds:X509Data><ds:X509Certificate>{base64.b64encode(der).decode()}</ds:X509Certificate>"
        f"</ds:X509Data></ds:KeyInfo>{content if shape.enveloping else ''}<ds:Object>"
        f'<x:QualifyingProperties xmlns:x="http://uri.etsi.org/01903/v1.3.2#" Target="{shape.target}">'
        f"{properties}</x:QualifyingProperties></ds:Object></ds:Signature>"
    )
    if shape.enveloping:
        return signature.encode()
    before, closing, after = document.rpartition("</")
    return f"{before}{signature}{closing}{after}".encode()


def _canonical(xml: str) -> bytes:
    return etree.tostring(etree.fromstring(xml), method="c14n", exclusive=True)


def _digest(data: bytes, shape: SignatureShape) -> str:
    digest = hashes.Hash(shape.digest)
    digest.update(data)
    return base64.b64encode(digest.finalize()).decode()


def _method(key: PrivateKey, shape: SignatureShape) -> str:
    digest = shape.value_digest.name
    new = digest.startswith("sha3-")
    if isinstance(key, ec.EllipticCurvePrivateKey):
        return f"http://www.w3.org/{2021 if new else 2001}/04/xmldsig-more#ecdsa-{digest}"
    if shape.pss:
        return f"http://www.w3.org/2007/05/xmldsig-more#{digest}-rsa-MGF1"
    return f"http://www.w3.org/2001/04/xmldsig-more#rsa-{digest}"


def _signature_value(data: bytes, key: PrivateKey, shape: SignatureShape) -> str:
    digest = shape.value_digest
    if isinstance(key, rsa.RSAPrivateKey):
        scheme = padding.PSS(padding.MGF1(digest), digest.digest_size) if shape.pss else padding.PKCS1v15()
        return base64.b64encode(key.sign(data, scheme, digest)).decode()
    value = key.sign(data, ec.ECDSA(digest))
    if not shape.der_value:
        r, s = decode_dss_signature(value)
        width = (key.key_size + 7) // 8
        value = r.to_bytes(width) + s.to_bytes(width)
    return base64.b64encode(value).decode()


def random_nip() -> str:
    """A NIP with a right checksum that no other test uses."""
    while True:
        nip = "5" + "".join(secrets.choice("123456789") for _ in range(8))
        total = sum(w * int(d) for w, d in zip((6, 5, 7, 2, 3, 4, 5, 6, 7), nip, strict=True)) % 11
        if total < 10:
            return f"{nip}{total}"


@dataclass
class Package:
    """A package ready to be sent; tests spoil single fields before they send it."""

    plain: bytes
    compression: str | None = "Zip"
    part_bytes: int = 50_000_000
    key: bytes = field(default_factory=lambda: secrets.token_bytes(32))
    iv: bytes = field(default_factory=lambda: secrets.token_bytes(16))

    def encrypted_parts(self) -> list[bytes]:
        """The parts, in order."""
        step = self.part_bytes
        return [
            encrypt(self.plain[start : start + step], self.key, self.iv) for start in range(0, len(self.plain), step)
        ]


class HandClient:
    """One login of one NIP."""

    def __init__(self, base_url: str, nip: str | None = None) -> None:
        self.nip = nip or random_nip()
        self.base_url = base_url
        self.access_token = ""
        self.refresh_token = ""
        self.connect()

    def connect(self) -> None:
        """Have no connection open: what the client says next arrives at whoever listens now."""
        self.http = httpx.Client(base_url=self.base_url, timeout=60)

    def close(self) -> None:
        """Let go of the connections."""
        self.http.close()

    def call(self, method: str, path: str, *, token: str | None = None, **more: Any) -> httpx.Response:
        """Any call with the access token, or another one; an empty one sends none."""
        token = self.access_token if token is None else token
        headers = {**({"Authorization": f"Bearer {token}"} if token else {}), **more.pop("headers", {})}
        return self.http.request(method, path, headers=headers, **more)

    def challenge(self) -> dict[str, Any]:
        """A new challenge."""
        body: dict[str, Any] = self.http.post("/auth/challenge").json()
        return body

    def post_signed(self, body: bytes, query: str = "") -> httpx.Response:
        """Send a signed login request."""
        headers = {"Content-Type": "application/xml"}
        return self.http.post(f"/auth/xades-signature{query}", content=body, headers=headers)

    def login(self) -> "HandClient":
        """Log in with a fresh seal of the NIP."""
        document = auth_request(self.challenge()["challenge"], self.nip)
        return self.finish_login(self.post_signed(sign(document, *seal_certificate(self.nip))))

    def post_token(self, token: str, **changes: Any) -> httpx.Response:
        """Log in with a KSeF token; `changes` override members of the request."""
        challenge = self.challenge()
        key_id, key = self.public_key("KsefTokenEncryption")
        moment = changes.pop("timestamp_ms", challenge["timestampMs"])
        sealed = key.encrypt(f"{token}|{moment}".encode(), _OAEP)
        body = {
            "challenge": challenge["challenge"],
            "contextIdentifier": {"type": "Nip", "value": self.nip},
            "encryptedToken": base64.b64encode(sealed).decode(),
            "publicKeyId": key_id,
        }
        return self.http.post("/auth/ksef-token", json=body | changes)

    def finish_login(self, started: httpx.Response) -> "HandClient":
        """Poll the status and fetch the tokens."""
        assert started.status_code == 202, started.text
        status = self.login_status(started)
        assert status["code"] == 200, status
        redeemed = self.call("POST", "/auth/token/redeem", token=_authentication_token(started))
        assert redeemed.status_code == 200, redeemed.text
        self.access_token = redeemed.json()["accessToken"]["token"]
        self.refresh_token = redeemed.json()["refreshToken"]["token"]
        return self

    def login_status(self, started: httpx.Response) -> dict[str, Any]:
        """The final status of a login."""
        token = _authentication_token(started)
        path = f"/auth/{started.json()['referenceNumber']}"

        def ask() -> dict[str, Any]:
            status: dict[str, Any] = self.call("GET", path, token=token).json()["status"]
            return status

        return poll(ask, lambda status: status["code"] != 100)

    def public_key(self, usage: str) -> tuple[str, rsa.RSAPublicKey]:
        """The published key for a usage, with its id."""
        for item in self.http.get("/security/public-key-certificates").json():
            if usage in item["usage"]:
                certificate = x509.load_der_x509_certificate(base64.b64decode(item["certificate"]))
                key = certificate.public_key()
                assert isinstance(key, rsa.RSAPublicKey)
                return item["publicKeyId"], key
        raise AssertionError(usage)

    def open_body(self, package: Package) -> dict[str, Any]:
        """The request that opens a session for a package."""
        key_id, key = self.public_key("SymmetricKeyEncryption")
        file: dict[str, Any] = {
            "fileSize": len(package.plain),
            "fileHash": sha256(package.plain),
            "fileParts": [
                {"ordinalNumber": number, "fileSize": len(part), "fileHash": sha256(part)}
                for number, part in enumerate(package.encrypted_parts(), start=1)
            ],
        }
        if package.compression:
            file["compressionType"] = package.compression
        return {
            "formCode": {"systemCode": "FA (3)", "schemaVersion": "1-0E", "value": "FA"},
            "batchFile": file,
            "encryption": {
                "encryptedSymmetricKey": base64.b64encode(key.encrypt(package.key, _OAEP)).decode(),
                "initializationVector": base64.b64encode(package.iv).decode(),
                "publicKeyId": key_id,
            },
            "offlineMode": False,
        }

    def open(self, body: dict[str, Any], **more: Any) -> dict[str, Any]:
        """Open a session that must open."""
        response = self.call("POST", "/sessions/batch", json=body, **more)
        assert response.status_code == 201, response.text
        opened: dict[str, Any] = response.json()
        return opened

    def put(self, upload: Mapping[str, Any], content: bytes, **headers: str) -> httpx.Response:
        """Upload one part the way the answer says."""
        return httpx.request(
            upload["method"], upload["url"], content=content, headers={**upload["headers"], **headers}, timeout=60
        )

    def upload(self, opened: Mapping[str, Any], package: Package) -> None:
        """Upload every part."""
        parts = package.encrypted_parts()
        for upload in opened["partUploadRequests"]:
            answer = self.put(upload, parts[upload["ordinalNumber"] - 1])
            assert answer.status_code == 201, answer.text

    def close_session(self, reference: str) -> httpx.Response:
        """Close a session."""
        return self.call("POST", f"/sessions/batch/{reference}/close")

    def status(self, reference: str) -> dict[str, Any]:
        """The session's present status document."""
        body: dict[str, Any] = self.call("GET", f"/sessions/{reference}").json()
        return body

    def final_status(self, reference: str, seconds: float = 60) -> dict[str, Any]:
        """The session's last status document."""
        return poll(lambda: self.status(reference), lambda body: int(body["status"]["code"]) >= 200, seconds)

    def send(
        self, package: Package, change: Callable[[dict[str, Any]], None] | None = None, **more: Any
    ) -> tuple[str, dict[str, Any]]:
        """Open, upload, close and wait; the reference number and the last status."""
        body = self.open_body(package)
        if change:
            change(body)
        opened = self.open(body, **more)
        self.upload(opened, package)
        closed = self.close_session(opened["referenceNumber"])
        assert closed.status_code == 204, closed.text
        return opened["referenceNumber"], self.final_status(opened["referenceNumber"])

    def send_documents(self, documents: Mapping[str, bytes], **more: Any) -> tuple[str, dict[str, Any]]:
        """Send documents as one ZIP."""
        return self.send(Package(zip_package(documents)), **more)

    def invoices(self, reference: str, kind: str = "") -> list[dict[str, Any]]:
        """All invoices of a session, page by page."""
        found: list[dict[str, Any]] = []
        headers: dict[str, str] = {}
        while True:
            path = f"/sessions/{reference}/invoices{kind}?pageSize=1000"
            body = self.call("GET", path, headers=headers).json()
            found += body["invoices"]
            if not body.get("continuationToken"):
                return found
            headers = {"x-continuation-token": body["continuationToken"]}


def _authentication_token(started: httpx.Response) -> str:
    return str(started.json()["authenticationToken"]["token"])


def poll(
    ask: Callable[[], dict[str, Any]], done: Callable[[dict[str, Any]], bool], seconds: float = 60
) -> dict[str, Any]:
    """Ask until the answer satisfies; the sandbox is a process of its own, so there is real time to wait."""
    deadline = time.monotonic() + seconds
    while not done(answer := ask()):
        assert time.monotonic() < deadline, answer
        time.sleep(0.02)
    return answer
