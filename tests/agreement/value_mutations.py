"""What can happen to the values in an invoice: dates, amounts, numbers, codes, texts at their bounds."""

import re
from collections.abc import Callable, Sequence
from datetime import date, timedelta
from random import Random

_LEAF = re.compile(r"<([A-Za-z_][\w.:-]*)((?:\s[^<>]*)?)>([^<>]*)</\1>")
_DATE = re.compile(r"\d{4}-\d\d-\d\d")
_MOMENT = re.compile(r"\d{4}-\d\d-\d\dT.*")
_DECIMAL = re.compile(r"-?\d+\.\d+")
_INTEGER = re.compile(r"\d{1,3}")
_NIP = re.compile(r"\d{10}")
_WORD = re.compile(r".*[^\W\d].*", re.DOTALL)
_ARABIC = str.maketrans("0123456789", "٠١٢٣٤٥٦٧٨٩")
_FULL_WIDTH = str.maketrans("0123456789", "".join(map(chr, range(0xFF10, 0xFF1A))))
_SPACES = (
    " ",
    "\t",
    "\n",
    "\r\n",
    "  ",
    "\u00a0",
    "\u2003",
    "\u3000",
    "\u0085",
    "\u2028",
    "\x1c",
    "\x1f",
    "&#13;",
    "&#9;",
    "&#10;",
    "&#xA0;",
)
_LENGTHS = (0, 1, 2, 3, 19, 20, 21, 49, 50, 51, 99, 100, 101, 255, 256, 257, 511, 512, 513, 3_499, 3_500, 3_501)
_LETTERS = ("x", "ą", "𝔁", "🧾", " ", "x ", "\u0301", "&amp;", "\u00a0")

Values = Callable[[str, Random], str]


def _on(wanted: re.Pattern[str], values: Values, names: Sequence[str] = ()) -> Callable[[bytes, Random], bytes]:
    """Make a mutation that gives one value another form, among elements whose text is like `wanted` (and so named)."""

    def mutate(document: bytes, random: Random) -> bytes:
        try:
            text = document.decode("utf-8")
        except UnicodeDecodeError:
            return document
        found = [
            one
            for one in _LEAF.finditer(text)
            if wanted.fullmatch(one[3]) and (not names or one[1].rpartition(":")[2] in names)
        ]
        if not found:
            return document
        one = random.choice(found)
        changed = text[: one.start(3)] + values(one[3], random) + text[one.end(3) :]
        return changed.encode("utf-8", "surrogatepass")

    return mutate


def _as_day(value: str) -> date:
    try:
        day = date.fromisoformat(value[:10])
    except ValueError:
        return date(2026, 1, 31)
    return day if 1_000 < day.year < 9_000 else date(2026, 1, 31)


def _date(value: str, random: Random) -> str:
    day = _as_day(value)
    near = (day + timedelta(days=random.choice((-400, -30, -2, -1, 0, 1, 2, 30, 400)))).isoformat()
    bounds = (
        "1989-12-31", "1990-01-01", "2005-12-31", "2006-01-01", "2006-01-02", "2025-08-31", "2025-09-01", "2049-12-31", "2050-01-01", "2050-01-02",
        "2016-06-30", "2016-07-01", "0001-01-01", "0000-01-01", "-2026-01-01", "9999-12-31", "10000-01-01", "02026-01-01", "2026-02-29", "2024-02-29",
        "2026-02-30", "2026-04-31", "2026-13-01", "2026-00-10", "2026-01-00", "2026-1-1", "26-01-01", "20260101", "2026/01/01", "01.01.2026", "2026-W01-1",
        "2026-001", "today", f"{near}Z", f"{near}+01:00", f"{near}-14:00", f"{near}+14:01", f"{near}T00:00:00", f"{near}z", f"+{near}",
        near.translate(_ARABIC), near.translate(_FULL_WIDTH), near.replace("-", "‐"), near.replace("-", "−"),
    )  # fmt: skip
    return near if random.random() < 0.4 else random.choice(bounds)


def _moment(value: str, random: Random) -> str:
    day = value[:10]
    return random.choice(
        (
            f"{day}T12:00:00", f"{day}T12:00:00Z", f"{day}T12:00:00z", f"{day}T12:00:00.123456789Z", f"{day}T12:00:00.Z", f"{day}T12:00:00." + "1" * 30 + "Z",
            f"{day}T24:00:00Z", f"{day}T24:00:01Z", f"{day}T25:00:00Z", f"{day}T23:59:60Z", f"{day}T23:59:59.999Z", f"{day}T12:60:00Z", f"{day}T12:00Z",
            f"{day}T12:00:00+14:00", f"{day}T12:00:00+14:01", f"{day}T12:00:00-00:00", f"{day}T12:00:00+0100", f"{day}T12:00:00+01", f"{day} 12:00:00",
            f"{day}t12:00:00Z", day, "2021-12-31T23:59:59Z", "2025-08-31T23:59:59Z", "2025-09-01T00:00:00Z", "2025-09-01T00:00:00", "2025-09-01T00:00:00+02:00",
            "2025-08-31T22:00:00Z", "2050-01-01T23:59:59Z", "2050-01-02T00:00:00Z", "2050-01-01T23:59:59", "2050-01-01T23:59:59.5Z", "9999-12-31T23:59:59Z",
            "2026-02-29T00:00:00Z", "-2026-01-01T00:00:00Z", "12026-01-01T00:00:00Z", "0000-01-01T00:00:00Z",
        )
    )  # fmt: skip


def _decimal(value: str, random: Random) -> str:
    whole, _, part = value.partition(".")
    return random.choice(
        (
            f"+{value}", f"-{value}", f"--{value}", f"0{value}", f"-0{value}", f"{value}0", f"{whole}.{part}000000", f"{whole}.", f".{part}", whole, f"-{whole}",
            "0", "-0", "0.0", "-0.00", "00", "0.00", f"{value}e0", "1E3", "1e-2", value.replace(".", ","), f"1 {value}", f"1\u00a0{value}", f"{value}PLN",
            "9" * 14, "9" * 14 + ".99", "9" * 15 + ".99", "9" * 16, "9" * 16 + ".99", "9" * 17, "9" * 18 + ".99", "1" * 22, "1" * 29 + ".9", f"{whole}.1",
            f"{whole}.12", f"{whole}.123", f"{whole}.123456", f"{whole}.1234567", f"{whole}.12345678", f"{whole}.123456789", f"{whole}." + "0" * 40,
            "INF", "-INF", "NaN", "nan", "0x10", "1_000", "١.٠٠", value.translate(_ARABIC), value.translate(_FULL_WIDTH), "−1.00", "½", "²",
            "100", "100.00", "100.000000", "100.01", "0.000001", "1/2", "", " ",
        )
    )  # fmt: skip


def _integer(value: str, random: Random) -> str:
    return random.choice(
        (
            "0", "1", "2", "3", "4", "5", "6", "7", "8", "9", "10", "11", "12", "23", "127", "128", "-1", "-128", "-129", f"0{value}", f"+{value}",
            f"{value}.0", f"{value}.", f" {value} ", f"\n{value}", f"{value}\u00a0", f"{value}x", "true", "", " ", value.translate(_ARABIC), "1e1",
            "99999999999999", "100000000000000", "999999999999999999999999", f"{value}{value}", "nie", "1 2", "00000000000000000001", "-0", "+0",
        )
    )  # fmt: skip


def _nip(value: str, random: Random) -> str:
    value = value or "5265877635"
    other = (
        value[:-1] + str((int(value[-1]) + random.randint(1, 9)) % 10) if value.isascii() and value.isdigit() else value
    )
    place = random.randrange(len(value))
    arabic = value[:place] + value[place].translate(_ARABIC) + value[place + 1 :]
    return random.choice(
        (
            other, other, other, value[::-1], arabic, value[0] + value[1:].translate(_FULL_WIDTH), f"{value[:3]}-{value[3:6]}-{value[6:8]}-{value[8:]}",
            f"PL{value}", f"0{value[1:]}", f"{value[0]}00{value[3:]}", value[:-1], f"{value}0", f" {value} ", f"{value}\n", f"{value}\u00a0", "0000000000",
            "1111111111", "5517035945", "5260250274", "", "9999999999", value.replace("6", "O"),
        )
    )  # fmt: skip


def _code(value: str, random: Random) -> str:
    return random.choice(
        (
            value.lower(), value.upper(), value.swapcase(), f" {value}", f"{value} ", f"\n{value}\n", f"{value}\u00a0", f"{value}{value}", value[:-1], "",
            "VAT", "KOR", "ZAL", "ROZ", "UPR", "KOR_ZAL", "KOR_ROZ", "KSEF", "PL", "XI", "GB", "EL", "GR", "PLN", "EUR", "XXX", "HRK", "CNH", "XTS", "23",
            "8", "5", "0 KR", "0 WDT", "0 EX", "zw", "oo", "np I", "np II", "np", "ZW", "0KR", "0\u00a0KR", "22", "4", "3", "7",
        )
    )  # fmt: skip


def _length(value: str, random: Random) -> str:
    letter, length = random.choice(_LETTERS), random.choice(_LENGTHS)
    filled = letter * (length // len(letter) + 1)
    return letter * length if letter.startswith("&") else filled[:length]


def _spaces(value: str, random: Random) -> str:
    space = random.choice(_SPACES)
    middle = random.randint(0, len(value))
    return random.choice(
        (space + value, value + space, space + value + space, value[:middle] + space + value[middle:], space, space * 2)
    )


def _same_in_other_words(value: str, random: Random) -> str:
    """The same value for XML: as references, in a section, with comments."""
    at = random.randint(0, len(value))
    safe = value.replace("]]>", "")
    return random.choice(
        (
            "".join(f"&#{ord(char)};" for char in value), "".join(f"&#x{ord(char):X};" for char in value), f"<![CDATA[{safe}]]>",
            f"{safe[:at]}<![CDATA[{safe[at:]}]]>", f"{value[:at]}<!-- -->{value[at:]}", f"<!-- a -->{value}", f"{value}<!-- b -->",
            f"<![CDATA[]]>{value}", f" <!-- --> {value}", f"<![CDATA[ {safe} ]]>",
        )
    )  # fmt: skip


def _mark(value: str, random: Random) -> str:
    return random.choice(
        (
            f"{value}, {random.randrange(10**6)}",
            f"{value} {random.choice('ąęßñж中🧾')}",
            f"<{value}>",
            f"&lt;{value}&gt;",
            f"{value}]]>",
        )
    )


_ANY = re.compile(r"[\s\S]*")
_KEYS = ("P_1", "P_2", "NIP", "RodzajFaktury")
MUTATIONS: dict[str, Callable[[bytes, Random], bytes]] = {
    "date": _on(_DATE, _date),
    "issue date": _on(_DATE, _date, ("P_1",)),
    "moment": _on(_MOMENT, _moment),
    "decimal": _on(_DECIMAL, _decimal),
    "integer": _on(_INTEGER, _integer),
    "NIP": _on(_NIP, _nip),
    "seller's, buyer's and others' NIP": _on(_ANY, _nip, ("NIP",)),
    "code": _on(_WORD, _code),
    "code of a list": _on(
        _ANY, _code, ("RodzajFaktury", "KodWaluty", "KodKraju", "P_12", "GTU", "Procedura", "TypKorekty")
    ),
    "length": _on(_WORD, _length),
    "length of the number": _on(_ANY, _length, ("P_2",)),
    "spaces": _on(_ANY, _spaces),
    "spaces in what identifies": _on(_ANY, _spaces, _KEYS),
    "same in other words": _on(_ANY, _same_in_other_words),
    "what identifies, in other words": _on(_ANY, _same_in_other_words, _KEYS),
    "words": _on(_WORD, _mark),
    "marks": _on(
        _ANY,
        _integer,
        (
            "P_16",
            "P_17",
            "P_18",
            "P_18A",
            "P_19",
            "P_19N",
            "P_22N",
            "P_23",
            "P_PMarzyN",
            "JST",
            "GV",
            "Rola",
            "FP",
            "TP",
        ),
    ),
}
