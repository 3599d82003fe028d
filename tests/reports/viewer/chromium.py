"""A headless Chromium for tests, driven over a pipe: no package, no port, no network."""

from __future__ import annotations

import base64
import json
import os
import selectors
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

PROGRAMS = ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome")

PATIENCE_S = 120.0
"""For anything that must come about; a loaded machine is slow, a broken page waits for ever."""

# the browser reads commands from file descriptor 3 and writes to 4
START = """
import fcntl, os, sys
pair = [fcntl.fcntl(int(fd), fcntl.F_DUPFD, 10) for fd in sys.argv[1:3]]
os.dup2(pair[0], 3)
os.dup2(pair[1], 4)
os.execv(sys.argv[3], sys.argv[3:])
"""

FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--remote-debugging-pipe", "--no-first-run"),
    *("--disable-dev-shm-usage", "--disable-extensions", "--disable-background-networking"),
    *("--disable-component-update", "--hide-scrollbars", "--force-color-profile=srgb"),
)


class Chromium:
    """One browser; pages are opened in it."""

    def __init__(self, program: str) -> None:
        commands, self._commands = os.pipe()
        self._answers, answers = os.pipe()
        self._profile = tempfile.TemporaryDirectory(prefix="vlmbench-chromium-")
        given = [program, *FLAGS, f"--user-data-dir={self._profile.name}"]
        self._process = subprocess.Popen(
            [sys.executable, "-I", "-S", "-c", START, str(commands), str(answers), *given],
            pass_fds=(commands, answers),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(commands)
        os.close(answers)
        self._buffer = b""
        self._number = 0
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._answers, selectors.EVENT_READ)
        self.events: list[dict[str, Any]] = []

    def call(self, method: str, session: str = "", **params: Any) -> Any:
        self._number += 1
        message: dict[str, Any] = {"id": self._number, "method": method, "params": params}
        if session:
            message["sessionId"] = session
        os.write(self._commands, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._read()
            if answer.get("id") == self._number:
                assert "error" not in answer, f"{method}: {answer}"
                return answer["result"]
            self.events.append(answer)

    def _read(self) -> dict[str, Any]:
        while b"\0" not in self._buffer:
            assert self._selector.select(PATIENCE_S), "the browser says nothing"
            block = os.read(self._answers, 1 << 20)
            assert block, "the browser has ended"
            self._buffer += block
        line, _, self._buffer = self._buffer.partition(b"\0")
        answer: dict[str, Any] = json.loads(line)
        return answer

    def page(self, address: str, width: int = 1280, height: int = 900) -> Page:
        """A fresh tab at this address."""
        return Page(self, address, width, height)

    def close(self) -> None:
        try:
            self.call("Browser.close")
            self._process.wait(10)
        finally:
            self._process.kill()
            self._process.wait()
            self._selector.close()
            os.close(self._commands)
            os.close(self._answers)
            self._profile.cleanup()


class Page:
    """A tab, and everything that went wrong in it."""

    def __init__(self, browser: Chromium, address: str, width: int, height: int) -> None:
        self._browser = browser
        target = browser.call("Target.createTarget", url="about:blank")["targetId"]
        attached = browser.call("Target.attachToTarget", targetId=target, flatten=True)
        self._target, self._session = target, attached["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")
        self.resize(width, height)
        self.go(address)

    def call(self, method: str, **params: Any) -> Any:
        return self._browser.call(method, self._session, **params)

    def go(self, address: str) -> None:
        self.call("Page.navigate", url=address)

    def resize(self, width: int, height: int) -> None:
        self.call(
            "Emulation.setDeviceMetricsOverride",
            **{"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False},
        )

    def media(self, **features: str) -> None:
        pairs = [{"name": name, "value": value} for name, value in features.items()]
        self.call("Emulation.setEmulatedMedia", features=pairs)

    def value(self, expression: str) -> Any:
        """The value of a JavaScript expression, awaited; an exception fails the test."""
        found = self.call(
            "Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True
        )
        assert "exceptionDetails" not in found, found["exceptionDetails"]
        return found["result"].get("value")

    def until(self, expression: str) -> None:
        """Wait for the expression to be true; while the page loads, it may also raise."""
        deadline = time.monotonic() + PATIENCE_S
        attempt = f"(() => {{ try {{ return Boolean({expression}) }} catch {{ return false }} }})()"
        while not self.value(attempt):
            assert time.monotonic() < deadline, f"never true: {expression}; {self.troubles()}"
            time.sleep(0.02)

    def click(self, selector: str) -> None:
        self.until(f"document.querySelector({json.dumps(selector)})")
        self.value(f"document.querySelector({json.dumps(selector)}).click()")

    def choose(self, label: str, value: str) -> None:
        """Choose from the drop-down with this label."""
        self.value(
            f"""{{
            const field = [...document.querySelectorAll("label.field")]
              .find((known) => known.firstChild.textContent === {json.dumps(label)});
            field.lastChild.value = {json.dumps(value)};
            field.lastChild.dispatchEvent(new Event("change"));
            }}"""
        )

    def press(self, key: str) -> None:
        """A key as the keyboard sends it; a single character is also typed."""
        typed: dict[str, Any] = {"text": key} if len(key) == 1 else {}
        if key == "Escape":  # what a dialog closes by
            typed = {"windowsVirtualKeyCode": 27}
        self.call("Input.dispatchKeyEvent", type="keyDown", key=key, **typed)
        self.call("Input.dispatchKeyEvent", type="keyUp", key=key)

    def text(self, selector: str) -> str:
        found: str = self.value(
            f"document.querySelector({json.dumps(selector)})?.textContent ?? ''"
        )
        return found

    def screenshot(self, path: Path) -> None:
        path.write_bytes(base64.b64decode(self.call("Page.captureScreenshot")["data"]))

    def troubles(self) -> list[str]:
        """Console errors, exceptions, blocked or failed requests."""
        return [json.dumps(event)[:600] for event in self._events() if _is_trouble(event)]

    def requests(self) -> list[str]:
        """Addresses of everything that the page asked for."""
        return [
            event["params"]["request"]["url"]
            for event in self._events()
            if event["method"] == "Network.requestWillBeSent"
        ]

    def _events(self) -> list[dict[str, Any]]:
        self.value("0")  # what has happened so far is reported before the answer
        return [e for e in self._browser.events if e.get("sessionId") == self._session]

    def close(self) -> None:
        self._browser.call("Target.closeTarget", targetId=self._target)


def _is_trouble(event: dict[str, Any]) -> bool:
    method, params = event["method"], event["params"]
    return (
        method in ("Runtime.exceptionThrown", "Network.loadingFailed")
        or (method == "Runtime.consoleAPICalled" and params["type"] in ("error", "warning"))
        or (method == "Log.entryAdded" and params["entry"]["level"] in ("error", "warning"))
        or method == "Page.javascriptDialogOpening"
    )
