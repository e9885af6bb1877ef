"""Character spans: each marks the words that it touches."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from bakeoff.measure.tasks.label_schemes import read_entities
from bakeoff.measure.tasks.served_entities import split_words as split_as_served
from bakeoff.measure.tasks.spans import Span, align_spans, split_words

TEXTS = st.text("ab é/.,+हि \n\u2028", max_size=30)


def words_of(text: str) -> list[str]:
    return [text[word.start : word.end] for word in split_words(text)]


def test_punctuation_is_set_apart() -> None:
    assert words_of("Ada, C++ (Java/Go).") == [
        *("Ada", ",", "C", "+", "+", "(", "Java", "/", "Go", ")", "."),
    ]
    assert words_of("naïve हिन्दी 5°") == ["naïve", "हिन्दी", "5°"]  # marks of a script are no punctuation


@given(text=TEXTS)
def test_words_divide_the_words_that_a_served_model_reads(text: str) -> None:
    joined = ["".join(words_of(word.text)) for word in split_as_served(text)]
    assert joined == [word.text for word in split_as_served(text)]
    assert "".join(words_of(text)) == "".join(joined)


@st.composite
def marked_words(draw: st.DrawFn) -> tuple[str, list[Span]]:
    """A text with spans on borders of words, none of which share a word."""
    text = draw(TEXTS)
    words = split_words(text)
    spans, at = [], 0
    while at < len(words):
        last = min(at + draw(st.integers(0, 2)), len(words) - 1)
        if draw(st.booleans()):
            spans.append(Span(words[at].start, words[last].end, draw(st.sampled_from(["A", "B"]))))
        at = last + 1
    return text, spans


@given(marked=marked_words())
def test_spans_come_back_from_the_tags(marked: tuple[str, list[Span]]) -> None:
    text, spans = marked
    aligned, words = align_spans(text, reversed(spans)), split_words(text)
    found = [
        Span(words[first].start, words[last].end, kind) for kind, first, last in read_entities(aligned.tags)
    ]
    assert found == spans
    assert (aligned.n_widened, aligned.n_dropped) == (0, 0)
    assert len(aligned.tokens) == len(aligned.tags) == len(words)


@given(text=TEXTS, start=st.integers(0, 30), length=st.integers(1, 10))
def test_any_span_marks_exactly_the_words_that_it_touches(text: str, start: int, length: int) -> None:
    span = Span(start, start + length, "A")
    touched = [word.start < span.end and word.end > span.start for word in split_words(text)]
    assert [tag != "O" for tag in align_spans(text, [span]).tags] == touched


def test_a_span_within_a_word_takes_the_whole_word_and_is_counted() -> None:
    aligned = align_spans("Javascript and Go ", [Span(0, 4, "SKILL"), Span(14, 18, "SKILL")])
    assert aligned.tags == ("B-SKILL", "O", "B-SKILL")
    assert (aligned.n_widened, aligned.n_dropped) == (1, 0)  # blanks around a word are no other border


def test_of_spans_that_share_a_word_the_first_and_longest_counts() -> None:
    text = "New York City"
    spans = [Span(0, 3, "A"), Span(0, 8, "CITY"), Span(0, 8, "CITY"), Span(4, 13, "B"), Span(9, 13, "O")]
    aligned = align_spans(text, spans)
    assert aligned.tags == ("B-CITY", "I-CITY", "O")
    assert aligned.n_dropped == 2


def test_a_span_without_a_word_is_counted() -> None:
    aligned = align_spans("a   b", [Span(1, 3, "A")])
    assert (aligned.tags, aligned.n_dropped) == (("O", "O"), 1)
