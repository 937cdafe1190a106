"""Raises processes that answer in sessions until somebody kills them: each line of standard input begets one.

A line is `folder database_url`; the child says `born PID`, then `asked ID` for every question that was let in, and
`told ID` for every answer that was durable.
"""

import asyncio
import os
import sys
from pathlib import Path

from enginehouse.core.sessions import Question, Sessions
from enginehouse.settings.schema import SessionSettings
from enginehouse.stores.kv import MemoryCopies
from enginehouse.stores.sql import database_url, open_database
from enginehouse.telemetry.logs import configure_logs
from enginehouse.testing.conversations import WordRulers
from enginehouse.types import Principal
from enginehouse.types.answer import TextDelta

USERS = 4
LEASE = 0.5
ANN = Principal(user="ann")


def answer_to(question):
    """Every question has one."""
    return " ".join(f"{question}-{word}" for word in range(30))


def open_sessions(database):
    return Sessions(database, WordRulers(), SessionSettings(lease=LEASE), MemoryCopies(10**6, 60.0))


def say(text):
    os.write(1, f"{text}\n".encode())


async def live(folder, url):
    async with open_database(database_url(url, folder)) as database:
        sessions = open_sessions(database)
        await sessions.start()
        say(f"born {os.getpid()}")
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(keep(sessions))
            for number in range(USERS):
                tasks.create_task(talk(sessions, f"s{number}"))


async def keep(sessions):
    while True:
        await asyncio.sleep(0.01)
        await sessions.look_after()


async def talk(sessions, session_id):
    number = 0
    while True:
        number += 1
        question = f"{os.getpid()}.{number}"
        async with sessions.turn(ANN, Question(said=question, session_id=session_id)) as turn:
            say(f"asked {turn.asked[0].id}")
            for piece in answer_to(question).split(" "):
                turn.add(TextDelta(text=f" {piece}" if turn.so_far else piece))
                await asyncio.sleep(0.001)
            await turn.answered(finish_reason="stop")
        say(f"told {turn.message_id}")


if __name__ == "__main__":
    configure_logs("error", "json")
    for line in sys.stdin:
        place, address = line.split()
        if (child := os.fork()) == 0:
            asyncio.run(live(Path(place), "" if address == "-" else address))
            os._exit(0)
        os.waitpid(child, 0)
        say("dead")
