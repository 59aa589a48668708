"""A TCP proxy that spoils the connections through it, one after another, as it is told."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

UNAVAILABLE = (
    b"HTTP/1.1 503 Service Unavailable\r\n"
    b"Retry-After: 1\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
)


@dataclass
class Line:
    """A proxy at `url`. The next connections meet the `faults`, those after them none.

    A number cuts a connection off when so many bytes of answers have passed, bytes are answered in
    the server's place. `passed` counts the bytes of answers that went through.
    """

    url: str
    faults: list[int | bytes] = field(default_factory=list)
    passed: int = 0
    connections: int = 0

    def serve(self, client: socket.socket, target: tuple[str, int]) -> None:
        self.connections += 1
        fault = self.faults.pop(0) if self.faults else None
        with client, suppress(OSError), _hung_up(client):
            if isinstance(fault, bytes):
                client.recv(65536)
                client.sendall(fault)
                return
            with socket.create_connection(target) as server:
                threading.Thread(
                    target=_pass, args=(client, server), daemon=True
                ).start()
                left = fault
                while chunk := server.recv(16384):
                    chunk = chunk[:left]
                    # before the client can have them, and ask how many there were
                    self.passed += len(chunk)
                    client.sendall(chunk)
                    if left is not None and (left := left - len(chunk)) <= 0:
                        return


@contextmanager
def _hung_up(client: socket.socket) -> Iterator[None]:
    """Hang up after the block; to close is not enough while the other thread still listens."""
    try:
        yield
    finally:
        client.shutdown(socket.SHUT_RDWR)


def _pass(source: socket.socket, target: socket.socket) -> None:
    with suppress(OSError):
        while chunk := source.recv(65536):
            target.sendall(chunk)
        target.shutdown(socket.SHUT_WR)


@contextmanager
def broken_line(target: tuple[str, int], *faults: int | bytes) -> Iterator[Line]:
    """Listen on a free port until the block ends."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        line = Line(f"http://127.0.0.1:{listener.getsockname()[1]}", list(faults))

        def accept() -> None:
            with suppress(OSError):
                while True:
                    client, _ = listener.accept()
                    threading.Thread(
                        target=line.serve, args=(client, target), daemon=True
                    ).start()

        threading.Thread(target=accept, daemon=True).start()
        yield line
        listener.shutdown(socket.SHUT_RDWR)
