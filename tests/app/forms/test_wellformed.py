"""Faults of XML syntax: which rule is broken, and where, in both languages."""

import pytest
from lxml import etree

from app.domain.findings import Finding
from app.forms.wellformed import explain_syntax_error, make_parser

PROLOG = '<?xml version="1.0" encoding="UTF-8"?>\n'


def explained(text: str) -> Finding:
    document = text.encode()
    with pytest.raises(etree.XMLSyntaxError) as caught:
        etree.fromstring(document, make_parser())
    return explain_syntax_error(caught.value, document)


@pytest.mark.parametrize(
    ("text", "english", "polish"),
    [
        (
            "<F><P_7>x</P_8></F>",
            "<P_7> of line 2 is closed by </P_8> (column",
            "<P_7> z wiersza 2 jest zamykany przez </P_8> (",
        ),
        ("<F><a:b xmlns:a='u'>x</a:c></F>", "<b> of line 2 is closed by </c> (", "przez </c> ("),
        ("<F>a ]]> b</F>", "]]> stands in the text", "w tekście jest ciąg ]]>"),
        ("<F><!-- a -- b --></F>", "two hyphens (--) stand inside a comment", "dwa łączniki (--)"),
        ("<F><!-- a ---></F>", "two hyphens (--)", "dwa łączniki (--)"),
        ("<F><!-- a </F>", "a comment has no end", "komentarz nie ma końca"),
        ("<F><![CDATA[ a </F>", "a CDATA section has no end", "sekcja CDATA nie ma końca"),
        ("<F>&nbsp;</F>", "&nbsp; is not defined", "&nbsp; nie jest zdefiniowane"),
        ("<F a='&x;'/>", "&x; is not defined", "&x; nie jest"),
        ("<F>a & b</F>", "a bare & or < stands in the text", "goły znak &"),
        ("<F>a &amp b</F>", "a bare & stands in the text", "goły znak &"),
        ("<F>a < b</F>", "a < begins no tag", "znak < nie zaczyna znacznika"),
        ("<F><1a/></F>", "begin the names of elements with a letter", "zaczynać literą"),
        ("<F a=1/>", "the value of an attribute is not in quotes", "nie jest w cudzysłowie"),
        ("<F a/>", "the attribute a has no value", "atrybut a nie ma wartości"),
        ("<F a='1' a='2'/>", "the attribute a is given twice", "atrybut a jest podany dwa razy"),
        ("<F xmlns:x='u' xmlns:y='u' x:a='1' y:a='2'/>", "the attribute a is given twice", "atrybut a jest podany"),
        ("<F a='<'/>", "a < stands in the value of an attribute", "w wartości atrybutu jest znak <"),
        ("<F a='1'b='2'/>", "a blank is missing between two attributes", "brakuje odstępu między atrybutami"),
        ("<F><a /b></F>", "a tag holds something that is no attribute", "nie jest atrybutem"),
        ("<F/>\n<G/>", "a second root element <G> follows", "drugi element główny <G>"),
        ("<F/> koniec", "text follows the last element", "po ostatnim elemencie jest tekst"),
        ("<F></F></G>", "a closing tag follows that closes nothing", "niczego nie zamyka"),
        ("<F>\x01</F>", "the character U+0001 may not occur in XML", "znak U+0001 nie może wystąpić w XML"),
        ("<F>\ufffe</F>", "the character U+FFFE may not occur in XML", "znak U+FFFE"),
        ("<F a='\x0b'/>", "a character may not occur in XML", "znak niedozwolony w XML"),
        ("<F>&#0;</F>", "the character U+0000 may not occur", "znak U+0000"),
        ("<F>&#xZZ;</F>", "a character reference (&#...;) is malformed", "odwołanie znakowe"),
        ("<F><a>", "it ends before <a> of line 2 is closed", "przed zamknięciem <a> z wiersza 2"),
        ("<F></F", "its > is missing", "brakuje >"),
        ("<x:F/>", "the prefix x is not declared", "przedrostek x nie jest zadeklarowany"),
        ("<a:b:F xmlns:a='u'/>", "a:b:F is no valid name", "a:b:F nie jest poprawną nazwą"),
        ("koniec", "there is no element in it", "nie ma w nim żadnego elementu"),
        ("<F><?xml version='1.0'?></F>", "does not stand at the very start", "nie stoi na samym początku"),
        ("<F><?php x</F>", "a processing instruction has no end", "instrukcja przetwarzania nie ma końca"),
        ("<F xmlns:x=''/>", "a namespace declaration (xmlns) is not allowed so", "deklaracja przestrzeni nazw"),
        ("<a>" * 300, "nested too deeply", "zbyt głęboko"),
    ],
)
def test_the_broken_rule_is_named_with_its_place(text: str, english: str, polish: str) -> None:
    found = explained(PROLOG + text)
    assert english in found.message
    assert polish in found.message_pl
    assert "(column " in found.message
    assert found.line is not None
    assert found.line >= 2


@pytest.mark.parametrize(
    ("prolog", "english", "polish"),
    [
        ('<?xml encoding="UTF-8"?>', "the XML declaration has no version", "deklaracja XML nie podaje wersji"),
        ('<?xml encoding="UTF-8" version="1.0"?>', "has no version, or not first", "nie podaje wersji na początku"),
        ("<?xml version=1.0?>", "the XML declaration (<?xml ... ?>) is malformed", "deklaracja XML (<?xml ... ?>)"),
        ('<?xml version="1.0" encoding="UTF-8">', "is malformed", "jest źle zapisana"),
        ('<?xml version="1.0" standalone="maybe"?>', "standalone", "standalone"),
        ('\n<?xml version="1.0"?>', "does not stand at the very start", "nie stoi na samym początku"),
    ],
)
def test_a_fault_of_the_declaration_is_named(prolog: str, english: str, polish: str) -> None:
    found = explained(prolog + "<F/>")
    assert english in found.message
    assert polish in found.message_pl


def test_a_long_name_is_cut() -> None:
    found = explained(f"<F><{'a' * 500}></{'b' * 500}></F>")
    assert f"<{'a' * 60}> of line 1 is closed by </{'b' * 60}>" in found.message
