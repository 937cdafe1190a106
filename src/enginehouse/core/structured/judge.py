"""Judges JSON under a JSON schema; run as a program, it is a judge that can be stopped.

The validator holds the interpreter while it works, so that a schema which takes for ever would stop everybody. What
may take long is therefore given to a child: it reads the case from its standard input and writes its judgement to
its standard output. This file imports nothing of ours: a child is to be there at once.
"""

import sys
from typing import TYPE_CHECKING, Any

import msgspec

if TYPE_CHECKING:
    import jsonschema_rs

__all__ = ["MAX_FLAWS", "Unusable", "flaws_of", "is_right", "validator_of"]

MAX_FLAWS = 20
"""How many of an answer's flaws are told."""
_MAX_MESSAGE = 300
_MEMORY = 1 << 30
_REGEX = 4 << 20
"""Bytes that one compiled pattern may take; the default lets `(a{100}){100}` have all it wants."""

Flaws = list[tuple[str, str]]


class Unusable(ValueError):
    """No schema, or one that nothing can be checked under; the message says where and why."""


def validator_of(schema: dict[str, Any]) -> "jsonschema_rs.Validator":
    """A validator that fetches nothing, and whose patterns take time in proportion to the text.

    Raises:
        Unusable: with where in the schema.
    """
    import jsonschema_rs  # 3 MB that only answers under a schema need

    patterns = jsonschema_rs.RegexOptions(size_limit=_REGEX, dfa_size_limit=_REGEX)
    try:
        return jsonschema_rs.validator_for(schema, offline=True, pattern_options=patterns)
    except jsonschema_rs.ValidationError as error:
        where = _pointer(error.instance_path)
        hint = " (it may not look around or refer back, nor be huge)" if '"regex"' in error.message else ""
        raise Unusable(f"{where + ': ' if where else ''}{_short(error.message)}{hint}") from None
    except (jsonschema_rs.ReferencingError, ValueError) as error:
        raise Unusable(_short(str(error))) from None


def is_right(validator: "jsonschema_rs.Validator", value: Any) -> bool:
    """Whether a value meets the schema; one that is nested too deeply for the validator does not."""
    try:
        return validator.is_valid(value)
    except ValueError:
        return False


def flaws_of(validator: "jsonschema_rs.Validator", value: Any) -> Flaws:
    """Where a value breaks the schema, as JSON pointers with what is wrong there; the first of many."""
    flaws: Flaws = []
    if is_right(validator, value):
        return flaws
    try:
        for error in validator.iter_errors(value):
            flaws.append((_pointer(error.instance_path), _short(error.message)))
            if len(flaws) == MAX_FLAWS:
                break
    except ValueError as error:
        return [("", _short(str(error)))]
    return flaws


def _pointer(path: list[str | int]) -> str:
    return "".join([f"/{str(step).replace('~', '~0').replace('/', '~1')}" for step in path])


def _short(message: str) -> str:
    line = message.partition("\n")[0]
    return line if len(line) <= _MAX_MESSAGE else f"{line[:_MAX_MESSAGE]} …"


def _main() -> None:
    import resource  # not on every system, and needed here only

    seconds = int(sys.argv[1])
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds + 1))
    resource.setrlimit(resource.RLIMIT_AS, (_MEMORY, _MEMORY))
    case = msgspec.json.decode(sys.stdin.buffer.read())
    try:
        validator = validator_of(case["schema"])
    except Unusable as error:
        sys.stdout.buffer.write(msgspec.json.encode({"unusable": str(error)}))
        return
    flaws = flaws_of(validator, case["value"]) if "value" in case else []
    sys.stdout.buffer.write(msgspec.json.encode({"flaws": flaws}))


if __name__ == "__main__":
    _main()
