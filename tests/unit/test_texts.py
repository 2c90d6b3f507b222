"""What may be written where people read it, and which countries there are."""

from typing import Any

import pytest
from pydantic import TypeAdapter, ValidationError

from services.contracts.countries import COUNTRIES
from services.contracts.session import Address, GivenAddress
from services.texts import Reason, Remark, Title

ADA = {"name": "Ada", "street": "1 Row", "city": "London", "postal_code": "N1", "country": "GB"}
GOOD = [
    "Ada Lovelace",
    "12 St James's Square, Flat 3/4 (2nd floor) #5",
    "Đặng Thị Ngọc",
    "\u0645\u062d\u0645\u062f \u0628\u0646 \u0633\u0644\u0645\u0627\u0646",
    "\u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645",
    "क्\u200dष",
    "東京都千代田区1-1",
    "O\u00a0Brien",
    "e\u0301",
    "👩\u200d🚀 T-shirt",
    "\u0600\u0661",
]
BAD = {
    "blank": "   ",
    "no-break space": "\u00a0",
    "line break": "a\nb\r\nc",
    "tab": "a\tb",
    "escape": "a\x1b[31mb",
    "C1 control": "a\x9bb",
    "line separator": "a\u2028b",
    "right-to-left override": "Lon\u202edon",
    "isolate": "Lon\u2066don",
    "direction mark": "London\u200f",
    "zero-width space": "\u200b",
    "zero-width space inside": "Lon\u200bdon",
    "byte order mark": "\ufeffLondon",
    "soft hyphen": "Lon\u00addon",
    "word joiner": "Lon\u2060don",
    "tag": "London\U000e0041",
    "lone joiner": "\u200d",
    "joiner at the end": "London\u200d",
    "joiner in a space": "a \u200c b",
    "two joiners": "a\u200d\u200db",
    "hangul filler": "\u3164",
    "blank pattern": "\u2800",
    "combining mark alone": "\u0301",
    "private use": "\ue000",
    "unassigned": "\uffff",
}


def faults(shape: Any, value: Any) -> list[str]:
    try:
        TypeAdapter(shape).validate_python(value)
    except ValidationError as error:
        return [f"{fault['loc']}: {fault['msg']}" for fault in error.errors()]
    return []


@pytest.mark.parametrize("text", GOOD)
def test_real_names_are_taken(text: str) -> None:
    """Every script's letters, its marks, and the joiners that spell it."""
    for shape in (Title, Reason, Remark):
        assert faults(shape, text) == []


@pytest.mark.parametrize("text", BAD.values(), ids=BAD.keys())
def test_what_cannot_be_read_is_refused(text: str) -> None:
    """Blank, control, direction and invisible characters are refused in every field, with one message."""
    assert "text that can be read" in faults(Title, text)[0]
    for field in ("name", "street", "city", "postal_code"):
        [fault] = faults(GivenAddress, ADA | {field: text})
        assert field in fault


def test_reasons_may_have_lines() -> None:
    """A page's text area sends them; nothing else of what is refused in a line is let in by that."""
    for shape in (Reason, Remark):
        assert faults(shape, "too far away\r\n\tand too late\n") == []
        assert faults(shape, "\r\n")
        assert faults(shape, "a\u202eb")
        assert faults(shape, "a\x00b")
    assert faults(Reason, "")
    assert faults(Remark, "") == []


def test_a_country_is_one_that_there_is() -> None:
    """The assigned codes alone are taken for a new order; what is stored is read as it is, erased ones too."""
    assert len(COUNTRIES) == 249
    assert all(len(code) == 2 and code.isascii() and code.isupper() for code in COUNTRIES)
    for code in ("XX", "QQ", "ZZ", "EU", "UK", "XK", "AN", "SU"):
        assert "ISO 3166-1" in faults(GivenAddress, ADA | {"country": code})[0]
    assert faults(GivenAddress, ADA) == []
    assert faults(Address, ADA | {"country": "ZZ", "name": "a\nb"}) == []
