"""Sentences of the documents are short enough to be read once: 38 words at most."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from markdown_it import MarkdownIt

ROOT = Path(__file__).resolve().parents[2]
DOCUMENTS = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])
MOST_WORDS = 38
END_OF_SENTENCE = re.compile(r"(?<=[.!?:;])\s+(?=[A-ZŻŹĆĄŚĘŁÓŃ`*\[(])")
MARKDOWN = MarkdownIt("commonmark").enable("table")


def _sentences(text: str) -> Iterator[tuple[int, str]]:
    """Yield each sentence outside code blocks with the line of its paragraph; a table cell is a paragraph."""
    line = 1
    for token in MARKDOWN.parse(text):
        line = token.map[0] + 1 if token.map else line
        if token.type == "inline":
            for sentence in END_OF_SENTENCE.split(token.content):
                yield line, sentence


def _long(text: str) -> list[str]:
    return [f"{line}: {sentence}" for line, sentence in _sentences(text) if len(sentence.split()) > MOST_WORDS]


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_no_sentence_has_more_than_38_words(path: Path) -> None:
    assert _long(path.read_text(encoding="utf-8")) == []


def test_a_long_sentence_is_found_in_a_paragraph_and_in_a_table_but_not_in_code() -> None:
    long = " ".join(["word"] * 39)
    assert len(_long(f"A start. {long}.\n\n| a | b |\n| --- | --- |\n| {long} | c |\n\n```\n{long}\n```\n")) == 2
