"""A progress that writes down what it is told."""


class Diary:
    """Satisfies `Progress`."""

    def __init__(self):
        self.events = []

    def started(self, name, total, already):
        self.events.append(("started", name, total, already))

    def advanced(self, name, count):
        self.events.append(("advanced", name, count))

    def waiting(self, name, reason):
        self.events.append(("waiting", name, reason))

    def finished(self, name):
        self.events.append(("finished", name))

    def kinds(self):
        return [event[0] for event in self.events]

    def bytes_of(self, name):
        """What has advanced under a name."""
        return sum(event[2] for event in self.events if event[:2] == ("advanced", name))
