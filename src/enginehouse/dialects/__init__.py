"""Dialects: how requests, answers, streams and errors are written by others, to and from our own words.

Everything here is pure and synchronous: bytes in, values out, and back. A face reads requests and writes answers;
an engine's client writes requests and reads answers; both use the same codec of `dialects.base.Codec`.
"""
