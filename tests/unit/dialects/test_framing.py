"""Events and lines, wherever the network cuts them."""

import pytest

from enginehouse.dialects.framing import Lines, Sent, ServerSentEvents
from enginehouse.errors import UpstreamDied

STREAM = b"\xef\xbb\xbf: hi\nevent: a\ndata: \xc3\xa9\ndata: two\n\ndata:x\n\n\nid: 1\n\ndata: no end"


@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\r"])
def test_every_cut_in_two_gives_the_same_events(end):
    stream = STREAM.replace(b"\n", end)
    for place in range(len(stream) + 1):
        reader = ServerSentEvents()
        events = reader.feed(stream[:place]) + reader.feed(stream[place:])
        assert events == [Sent(b"a", b"\xc3\xa9\ntwo"), Sent(b"", b"x")], place


def test_a_line_has_a_limit():
    lines = Lines()
    for _ in range(16):
        assert lines.feed(b"x" * 1024 * 1024) == []
    with pytest.raises(UpstreamDied, match="16 MiB"):
        lines.feed(b"x")
