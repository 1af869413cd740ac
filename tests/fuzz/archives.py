"""`python -m tests.fuzz.archives [libFuzzer options] [folders]`: fuzz the readers of upload bodies."""

from tests.fuzz.running import run

DICTIONARY = (
    b"PK\x01\x02", b"PK\x03\x04", b"PK\x05\x06", b"PK\x06\x06", b"PK\x06\x07", b"PK\x07\x08", b"|PK|", b"ustar\0" + b"00", b"ustar  \0",
    b"\x1f\x8b\x08", b"--x\r\n", b"--x--\r\n", b"\r\n\r\n", b"Content-Disposition: form-data; filename=", b"Content-Type: ", b"application/zip",
    b"application/x-tar", b"application/gzip", b"application/x-ndjson", b'{"name":"', b'"xml_base64":"', b'"xml":"', b"path=", b"size=",
    b"GNU.sparse.", b"__MACOSX/", b"._", b"../", b"\xff\xff\xff\xff", b"\xff\xff", b"\x01\x00\x10\x00", b"\x75\x70",
)  # fmt: skip

if __name__ == "__main__":
    run("app.reading", "tests.fuzz.archive_target:check_archive", DICTIONARY)
