"""Who hears pieces of an answer as such, whichever way they are told (`engines.base.Hear`)."""

from enginehouse.types.chunked import ENDING, chunk


def by_the_piece(hear):
    """Tells this one what the pieces are; a chunk that is told as it came has to be one."""

    def told(data, begin):
        piece = data[begin : -len(ENDING)] if begin else data
        assert not begin or chunk(piece) == data
        hear(piece)

    return told
