"""Plain names of the elements of FA_RR(1) that senders ask about most."""

from typing import Final

from app.forms.fa_rr1.key_fields import FA_RR1_NAMESPACE
from app.forms.xsd.vocabulary import Vocabulary

_LABELS: Final[dict[str, tuple[str, str]]] = {
    "Podmiot1": ("supplier, the flat-rate farmer", "dostawca, rolnik ryczałtowy"),
    "Podmiot2": ("buyer, who issues the invoice", "nabywca, który wystawia fakturę"),
    "Podmiot3": ("third party", "podmiot trzeci"),
    "KodWaluty": ("currency", "waluta"),
    "RodzajFaktury": ("kind of invoice", "rodzaj faktury"),
    "DataWytworzeniaFa": ("creation time", "data i czas wytworzenia"),
    "P_1M": ("place of issue", "miejsce wystawienia"),
    "P_4A": ("date of purchase", "data dokonania nabycia"),
    "P_4AA": ("date of purchase of the line", "data dokonania nabycia w wierszu"),
    "P_4B": ("issue date", "data wystawienia"),
    "P_4C": ("invoice number", "numer faktury"),
    "P_5": ("name of the product or service", "nazwa produktu rolnego lub usługi rolniczej"),
    "P_6A": ("unit of measure", "jednostka miary"),
    "P_6B": ("quantity", "ilość"),
    "P_6C": ("class or quality", "klasa lub jakość"),
    "P_7": ("unit price without the refund of tax", "cena jednostkowa bez zryczałtowanego zwrotu podatku"),
    "P_8": ("value of the line without the refund of tax", "wartość wiersza bez zryczałtowanego zwrotu podatku"),
    "P_9": ("rate of the refund of tax", "stawka zryczałtowanego zwrotu podatku"),
    "P_10": ("refund of tax for the line", "kwota zryczałtowanego zwrotu podatku w wierszu"),
    "P_11": ("value of the line with the refund of tax", "wartość wiersza ze zryczałtowanym zwrotem podatku"),
    "P_11_1": ("value of all products and services", "wartość nabytych produktów lub usług"),
    "P_11_2": ("refund of tax", "kwota zryczałtowanego zwrotu podatku"),
    "P_12_1": ("total due, in figures", "kwota należności ogółem, cyfrowo"),
    "P_12_2": ("total due, in words", "kwota należności ogółem, słownie"),
    "FakturaRRWiersz": ("invoice line", "wiersz faktury"),
    "NrWierszaFa": ("line number", "numer wiersza"),
    "KodKraju": ("country code", "kod kraju"),
    "AdresL1": ("first line of the address", "pierwszy wiersz adresu"),
    "IDWew": ("internal identifier", "identyfikator wewnętrzny"),
}

FA_RR1_VOCABULARY: Final = Vocabulary(FA_RR1_NAMESPACE, _LABELS)
