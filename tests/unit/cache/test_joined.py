"""Fewer events make the same answer."""

from hypothesis import given
from hypothesis import strategies as st

from enginehouse.core.cache.answers import digest_of, joined
from enginehouse.types import Usage
from enginehouse.types.answer import (
    Began,
    Counted,
    Finish,
    Finished,
    RefusalDelta,
    Score,
    TextDelta,
    ThinkingDelta,
    fold,
)

choices = st.integers(0, 2)
scores = st.just(()) | st.just((Score(token="a", logprob=-1.0),))
events = st.lists(
    st.builds(TextDelta, text=st.text(max_size=3), choice=choices, scores=scores)
    | st.builds(ThinkingDelta, text=st.text(max_size=3), choice=choices)
    | st.builds(RefusalDelta, text=st.text(max_size=3), choice=choices)
    | st.builds(Finished, reason=st.sampled_from(Finish), choice=choices)
    | st.just(Counted(usage=Usage(input=1)))
    | st.just(Began(id="x", model="m")),
    max_size=30,
)


@given(events)
def test_they_fold_to_the_same(told):
    assert fold(joined(told)) == fold(told)
    assert digest_of(fold(joined(told))) == digest_of(fold(told))


def test_a_thousand_words_are_one_event():
    assert len(list(joined([TextDelta(text="word ")] * 1000))) == 1
