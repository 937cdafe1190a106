"""Ray is imported where engines run on a fleet, and nowhere else: seen in a process that has imported nothing."""

import subprocess
import sys

HOUSE = """
import asyncio, sys
from pathlib import Path
from enginehouse.app import open_house
from enginehouse.cli import app
from enginehouse.settings.schema import Settings

async def main():
    settings = Settings(data_dir=Path(sys.argv[1]), default_models=False, fleet={"placement": "local"})
    async with open_house(settings, {}) as house:
        assert house.ground.fleet is None
        print(sorted(name for name in sys.modules if name.partition(".")[0] == "ray"))

asyncio.run(main())
"""


def test_a_house_without_a_fleet_leaves_ray_alone(tmp_path):
    command = [sys.executable, "-c", HOUSE, str(tmp_path)]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=100, check=False)
    assert ran.stdout.splitlines()[-1:] == ["[]"], ran.stderr
