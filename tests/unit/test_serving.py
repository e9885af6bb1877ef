"""Serving: where the words of a text stand."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from bakeoff.measure.tasks.served_entities import join_words, split_words

words = st.text(min_size=1).filter(lambda text: not any(character.isspace() for character in text))


@given(st.text())
def test_a_text_is_split_at_white_space_and_each_word_knows_where_it_stands(text: str) -> None:
    found = split_words(text)
    assert [word.text for word in found] == text.split()
    assert all(text[word.start : word.end] == word.text for word in found)


@given(st.lists(words))
def test_words_joined_by_blanks_are_split_into_the_same_words_again(tokens: list[str]) -> None:
    text, found = join_words(tokens)
    assert text == " ".join(tokens)
    assert split_words(text) == found
