"""The place without a network that the bundle is tried in: it has a loopback with two addresses, and no way out."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from environments.bundle import namespace, no_network

ENTER = namespace() if sys.platform == "linux" else None
CODE = """
import json, socket
from environments.bundle import LAN, bring_up_loopback, no_network
bring_up_loopback()
server = socket.create_server((LAN, 0))
socket.create_connection(server.getsockname(), timeout=5).close()
print(json.dumps(no_network()))
"""


@pytest.mark.skipif(ENTER is None, reason="no network namespace can be made here")
def test_it_serves_itself_and_reaches_nothing_else() -> None:
    command = [*(ENTER or []), sys.executable, "-c", CODE]
    done = subprocess.run(command, cwd=Path(__file__).parents[2], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert set(found) == {"a name", "an address", "a web page", "devices"} and all(found.values())


def test_a_network_is_not_taken_for_none(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each way out that answers is seen, and so is a device beside the loopback."""
    import environments.bundle as place

    class Answer:
        def close(self) -> None: ...

    monkeypatch.setattr(place.socket, "getaddrinfo", lambda *words: [])
    monkeypatch.setattr(place.socket, "create_connection", lambda *words, **options: Answer())
    monkeypatch.setattr(place.urllib.request, "urlopen", lambda *words, **options: Answer())
    monkeypatch.setattr(place.socket, "if_nameindex", lambda: [(1, "lo"), (2, "eth0")])
    assert not any(no_network().values())
