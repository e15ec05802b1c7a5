"""A text ends before its first stop sequence, however it is cut into pieces."""

from __future__ import annotations

from hypothesis import example, given
from hypothesis import strategies as st

from blender_core.text.stop_sequences import StopFilter, cut_at_stop

CHARACTERS = st.sampled_from("aab\x1f\u0130\n")


@given(st.lists(st.text(CHARACTERS) | st.text()), st.lists(st.text(CHARACTERS, max_size=3), max_size=3))
@example(["one E", "N", "", "D two"], ["", "END"])
def test_a_stream_ends_where_the_whole_text_does(pieces, stop):
    stream = StopFilter(stop)
    shown = "".join(stream.take(piece) for piece in pieces) + stream.rest()
    assert shown == cut_at_stop("".join(pieces), stop)
    assert not any(sequence in shown for sequence in stop if sequence)
    assert stream.rest() == ""
