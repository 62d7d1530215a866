"""A real Jupyter server in a process of its own, and notebooks run in its kernels the way JupyterLab does it: a session for the notebook,
its code cells sent over the kernel's WebSocket, one after the other."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import socket
import subprocess
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import websocket

from nbtools.errors import MachineError

START_SECONDS = 120.0  # for a server on a slow processor with a cold disk
OWN_SETTINGS = ("NBTOOLS_", "PYTHON", "MPLBACKEND", "OMP_", "MALLOC_", "VIRTUAL_ENV")  # of whoever starts the check: not the server's
LOOK_SECONDS = 5.0  # without a message, after which the server is asked whether the kernel is still there


@dataclass
class Outcome:
    """What became of a notebook's cells.

    cells   code cells that ended without an error, of `total`
    texts   what each of them printed, in order
    error   the kernel's own lines for an error, or what became of the kernel; empty where all cells ended well
    """

    total: int
    cells: int = 0
    texts: list[str] = field(default_factory=list)
    error: str = ""
    seconds: float = 0.0


class KernelLostError(Exception):
    """The kernel or its server is gone."""


class JupyterServer:
    """A running server; `url` and `token` are what a browser would be given."""

    def __init__(self, process: subprocess.Popen[bytes], url: str, token: str) -> None:
        self.process, self.url, self.token = process, url, token

    def ask(self, method: str, path: str, body: Any = None) -> Any:
        """One call of the server's REST interface; its answer, or None where it has none."""
        content = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(f"{self.url}{path}", content, {"Authorization": f"token {self.token}"}, method=method)
        with urllib.request.urlopen(request, timeout=60) as answer:
            text = answer.read()
        return json.loads(text) if text else None

    @contextlib.contextmanager
    def session(self, notebook: str) -> Iterator[str]:
        """The id of a kernel for `notebook` (its path below the server's folder); shut down at the end."""
        made = self.ask("POST", "/api/sessions", {"path": notebook, "name": "", "type": "notebook", "kernel": {"name": "python3"}})
        try:
            yield made["kernel"]["id"]
        finally:
            with contextlib.suppress(OSError):  # gone with its kernel or its server
                self.ask("DELETE", f"/api/sessions/{made['id']}")

    def run(self, notebook: str, cells: Sequence[str]) -> Outcome:
        """Run code `cells` in a kernel for `notebook`, as Run All does: up to the first that fails."""
        outcome, start = Outcome(len(cells)), time.monotonic()
        try:
            with self.session(notebook) as kernel, self.connected(kernel) as channel:
                for source in cells:
                    text, error = channel.execute(source)
                    outcome.texts.append(text)
                    if error:
                        outcome.error = error
                        break
                    outcome.cells += 1
        except (KernelLostError, OSError) as error:
            outcome.error = str(error)
        outcome.seconds = time.monotonic() - start
        return outcome

    @contextlib.contextmanager
    def connected(self, kernel: str) -> Iterator[Channel]:
        address = f"{self.url.replace('http', 'ws', 1)}/api/kernels/{kernel}/channels"
        socket_ = websocket.create_connection(address, header=[f"Authorization: token {self.token}"], timeout=LOOK_SECONDS)
        try:
            yield Channel(self, kernel, socket_)
        finally:
            socket_.close()


class Channel:
    """A WebSocket to one kernel, with Jupyter's messages on it (https://jupyter-client.readthedocs.io/en/stable/messaging.html)."""

    def __init__(self, server: JupyterServer, kernel: str, socket_: websocket.WebSocket) -> None:
        self.server, self.kernel, self.socket = server, kernel, socket_

    def send(self, source: str) -> str:
        """Ask for `source` to be executed; the request's id."""
        number = uuid.uuid4().hex
        header = {"msg_id": number, "msg_type": "execute_request", "username": "", "session": number, "date": "", "version": "5.3"}
        content = {
            "code": source, "silent": False, "store_history": True, "user_expressions": {}, "allow_stdin": False, "stop_on_error": True,
        }  # fmt: skip
        message = {"header": header, "parent_header": {}, "metadata": {}, "content": content, "buffers": [], "channel": "shell"}
        try:
            self.socket.send(json.dumps(message))
        except (OSError, websocket.WebSocketException) as error:
            raise KernelLostError(f"The server is gone ({type(error).__name__}).") from error
        return number

    def execute(self, source: str) -> tuple[str, str]:
        """What `source` printed, and the kernel's lines for its error or an empty text. Raises KernelLostError."""
        return self.wait_for(self.send(source))

    def wait_for(self, number: str) -> tuple[str, str]:
        """The same for a request that was sent before."""
        text, error, waiting = "", "", {"idle", "reply"}
        while waiting:
            message = self._receive()
            kind, content = message["header"]["msg_type"], message["content"]
            if kind == "status" and content["execution_state"] in {"restarting", "dead"}:
                raise KernelLostError("The kernel died.")
            if message["parent_header"].get("msg_id") != number:
                continue
            if kind == "stream":
                text += content["text"]
            elif kind == "error":
                error = "\n".join(content["traceback"]) or f"{content['ename']}: {content['evalue']}"
            elif kind == "execute_reply":
                waiting.discard("reply")
            elif kind == "status" and content["execution_state"] == "idle":
                waiting.discard("idle")
        return text, error

    def _receive(self) -> dict[str, Any]:
        """The next message that comes as text. Those with bytes beside it are of live views, which nobody looks at here."""
        while True:
            try:
                code, content = self.socket.recv_data()
            except websocket.WebSocketTimeoutException:
                try:
                    self.server.ask("GET", f"/api/kernels/{self.kernel}")
                except OSError as error:
                    raise KernelLostError(f"The kernel is gone ({error}).") from error
                continue
            except (OSError, websocket.WebSocketException) as error:
                raise KernelLostError(f"The server is gone ({type(error).__name__}).") from error
            if code == websocket.ABNF.OPCODE_TEXT:
                return dict(json.loads(content))
            if code == websocket.ABNF.OPCODE_CLOSE:
                raise KernelLostError("The server closed the connection.")


@contextlib.contextmanager
def jupyter_server(
    python: Path, folder: Path, scratch: Path, *, environment: Mapping[str, str], enter: Callable[[], None], options: Sequence[str] = ()
) -> Iterator[JupyterServer]:
    """A JupyterLab server of `python`'s environment on `folder`, without the reader's own Jupyter settings; ended at the end.

    scratch  a folder for what it keeps and for its log; enter: called in its process before it starts; options: for its command line
    """
    token, port = secrets.token_hex(16), _free_port()
    command = [str(python), "-m", "jupyterlab", "--no-browser", f"--ServerApp.port={port}", "--ServerApp.port_retries=0", *options]
    if hasattr(os, "geteuid") and os.geteuid() == 0:
        command.append("--allow-root")
    apart = {name: str(scratch / name.lower()) for name in ("JUPYTER_CONFIG_DIR", "JUPYTER_RUNTIME_DIR", "JUPYTER_DATA_DIR", "IPYTHONDIR")}
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(OWN_SETTINGS)}
    scratch.mkdir(parents=True, exist_ok=True)
    with (scratch / "server.log").open("ab") as log:
        process = subprocess.Popen(
            command, cwd=folder, stdout=log, stderr=log, stdin=subprocess.DEVNULL, preexec_fn=enter,
            env={**inherited, **apart, "JUPYTER_TOKEN": token, **environment},
        )  # fmt: skip
    server = JupyterServer(process, f"http://127.0.0.1:{port}", token)
    try:
        _wait(server, scratch / "server.log")
        yield server
    finally:
        process.terminate()
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _wait(server: JupyterServer, log: Path) -> None:
    until = time.monotonic() + START_SECONDS
    while time.monotonic() < until and server.process.poll() is None:
        try:
            server.ask("GET", "/api/status")
            return
        except (urllib.error.URLError, ConnectionError):
            time.sleep(0.2)
    raise MachineError("The Jupyter server did not start.", f"Its last lines: {log.read_text(encoding='utf8', errors='replace')[-1500:]}")


def _free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])
