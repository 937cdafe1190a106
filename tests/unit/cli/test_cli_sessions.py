"""`enginehouse sessions` asks page after page."""

from enginehouse.cli.sessions.run import every


class Pages:
    """A service with a long list."""

    def __init__(self, count):
        self.count, self.asked = count, []

    async def change(self, method, path, body):
        self.asked.append(path)
        options = dict(part.split("=") for part in path.partition("?")[2].split("&"))
        start, limit = int(options.get("cursor", "0")), int(options["limit"])
        end = min(start + limit, self.count)
        data = [{"id": number} for number in range(start, end)]
        return {"data": data, "next_cursor": str(end) if end < self.count else None}


async def test_all_of_a_list():
    pages = Pages(2500)
    assert [item["id"] for item in await every(pages, "/list")] == list(range(2500))
    assert pages.asked == [
        "/list?limit=1000",
        "/list?limit=1000&cursor=1000",
        "/list?limit=1000&cursor=2000",
    ]


async def test_as_many_as_are_wanted():
    pages = Pages(2500)
    assert len(await every(pages, "/list", 1200)) == 1200
    assert pages.asked == ["/list?limit=1000", "/list?limit=200&cursor=1000"]
