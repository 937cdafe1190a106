"""The chat on a terminal: a prompt with line editing, answers as they come, and what Ctrl-C means when."""

from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager, suppress

from rich.console import Console
from rich.status import Status
from rich.text import Text

from enginehouse.cli.chat.answer import Answer, Figures, Piece
from enginehouse.cli.chat.chat import Chat, Leave
from enginehouse.cli.chat.commands import completions
from enginehouse.cli.console import for_terminal
from enginehouse.errors import EnginehouseError

__all__ = ["Terminal", "converse", "edit_lines", "figures_line"]

HINT = "Ctrl-C again, Ctrl-D or /exit leaves; /help lists the commands."


class Terminal:
    """Satisfies `Screen`, and reads lines."""

    def __init__(self, console: Console) -> None:
        self._console = console
        # The two bytes tell readline that the colour takes no room, or it would miscount the line.
        self._prompt = "> " if console.no_color else "\x01\x1b[1;36m\x02> \x01\x1b[0m\x02"

    def read(self) -> str:
        """A line, edited to the user's liking.

        Raises:
            EOFError: Ctrl-D.
            KeyboardInterrupt: Ctrl-C.
        """
        return input(self._prompt).encode("utf-8", "replace").decode("utf-8")

    @contextmanager
    def answering(self, model: str) -> Generator[Callable[[Piece], None]]:
        """A sign that something happens, until the first piece comes."""
        with self._console.status(Text(f"{for_terminal(model)} ...", style="dim")) as waiting:
            yield _Writer(self._console, waiting).write

    def ended(self, model: str, answer: Answer) -> None:
        """The line ends, and the figures follow."""
        del model
        if answer.began:
            self._console.line()
            self._console.print(figures_line(answer.figures()), style="dim")

    def note(self, text: str) -> None:
        """Dimmer than an answer."""
        self._console.print(for_terminal(text), style="dim")

    def failed(self, message: str) -> None:
        """In red."""
        self._console.print(for_terminal(message), style="red")


class _Writer:
    """Writes the pieces of one answer; reasoning is dimmer and stands apart."""

    def __init__(self, console: Console, waiting: Status) -> None:
        self._console = console
        self._waiting = waiting
        self._thought = False

    def write(self, piece: Piece) -> None:
        """Show what came."""
        if piece.thought or piece.text:
            self._waiting.stop()
        if piece.thought:
            self._thought = True
            self._console.out(for_terminal(piece.thought), end="", style="dim", highlight=False)
        if piece.text:
            if self._thought:
                self._console.out("\n", highlight=False)
            self._thought = False
            self._console.out(for_terminal(piece.text), end="", highlight=False)


def converse(chat: Chat, terminal: Terminal) -> None:
    """Read and obey until the user leaves. Ctrl-C stops an answer; at the prompt it leaves when it comes twice."""
    warned = False
    while True:
        try:
            line = terminal.read()
        except EOFError:
            return
        except KeyboardInterrupt:
            if warned:
                return
            warned = True
            terminal.note(f"\n{HINT}")
            continue
        warned = False
        try:
            chat.obey(line)
        except Leave:
            return
        except KeyboardInterrupt:
            terminal.note("[stopped]")
        except EnginehouseError as error:
            terminal.failed(error.message)


def figures_line(figures: Figures) -> str:
    """What an answer took, in one line."""
    about = "" if figures.counted else "about "
    parts = [f"{about}{figures.tokens} token{'s' if figures.tokens != 1 else ''}"]
    if figures.rate is not None:
        parts.append(f"{figures.rate:.1f} tokens/s")
    if figures.ttft is not None:
        parts.append(f"first after {figures.ttft:.2f} s")
    return " · ".join(parts)


def edit_lines(models: Callable[[], Sequence[str]]) -> None:
    """Give `input` line editing, a history of this chat, and Tab for commands and names of models."""
    try:
        import readline
    except ImportError:  # not on Windows
        return
    found: list[str] = []

    def complete(_: str, state: int) -> str | None:
        if state == 0:
            found.clear()
            line = readline.get_line_buffer()
            with suppress(EnginehouseError):  # a service that does not answer completes nothing
                found.extend(completions(line, models() if line.startswith("/model ") else ()))
        return found[state] if state < len(found) else None

    readline.set_completer(complete)
    readline.set_completer_delims(" ")
    is_libedit = "libedit" in (readline.__doc__ or "")
    readline.parse_and_bind("bind ^I rl_complete" if is_libedit else "tab: complete")
