"""`python -m nbtools.bundle.trial PROFILE`: use a model and the reviews in a process without network access.

An audit hook refuses and records every name lookup and every connection that is not local. A hook cannot be removed, so this is a
separate process. It does not see compiled extensions that open sockets themselves; the only one here, hf-xet, is not used while the Hub
is switched off.
"""

from __future__ import annotations

import ipaddress
import json
import os
import sys
from typing import Any

ASKED: list[str] = []
WATCHED = {
    "socket.getaddrinfo": 0,
    "socket.gethostbyname": 0,
    "socket.connect": 1,
    "socket.sendto": 1,
}  # event -> position of the address in its arguments


def refuse_the_network(event: str, arguments: tuple[Any, ...]) -> None:
    """The audit hook. Raises ConnectionRefusedError for any address that is not this machine."""
    if event not in WATCHED:
        return
    address = arguments[WATCHED[event]]
    if not isinstance(address, tuple) and not event.startswith("socket.get"):
        return  # the path of a local socket
    host = address[0] if isinstance(address, tuple) else address
    if not is_local(host):
        ASKED.append(str(host))
        raise ConnectionRefusedError(f"the network is refused in this trial: {host}")


def is_local(host: Any) -> bool:
    """Whether a host name or address is this machine."""
    if host is None or host in ("", "localhost"):
        return True
    text = host.decode() if isinstance(host, bytes) else str(host)
    try:
        return ipaddress.ip_address(text.partition("%")[0]).is_loopback
    except ValueError:
        return False


def attempt(profile: str) -> dict[str, Any]:
    """Load the model and the reviews, and generate a text."""
    import nbtools

    model = nbtools.load_model(profile, verbose=False)
    reviews = nbtools.load_reviews("package", max_reviews=20)
    text = nbtools.generate(model, "The movie was", max_new_tokens=8, seed=0)
    return {"text": text, "reviews": len(reviews.train) + len(reviews.validation) + len(reviews.test), "asked": ASKED}


if __name__ == "__main__":
    os.environ["HF_HUB_OFFLINE"] = "1"
    os.environ["NBTOOLS_PROGRESS"] = "0"
    sys.addaudithook(refuse_the_network)
    from nbtools.errors import CourseError

    try:
        found = attempt(sys.argv[1])
    except CourseError as error:
        found = {"problem": error.problem, "remedy": error.remedy, "asked": ASKED}
    print(json.dumps(found))
