"""Free ports of the loopback interface."""

import random
import socket


def free_port(beside: int = 0) -> int:
    """A free loopback port; with `beside`, one whose neighbour that many ports further is free too."""
    while True:
        # Below the range the kernel hands out, so that no outgoing connection takes it meanwhile.
        port = random.SystemRandom().randrange(10_000, 32_000 - beside)
        if is_free(port) and is_free(port + beside):
            return port


def first_free(wanted: int) -> int:
    """The wanted port, or the next free one above it."""
    return next((port for port in range(wanted, min(wanted + 100, 65_536)) if is_free(port)), 0) or free_port()


def is_free(port: int) -> bool:
    """Whether nobody listens on the port, on loopback or on all interfaces."""
    with socket.socket() as tried:
        # As servers do: connections that have ended do not keep a port busy.
        tried.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            tried.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True
