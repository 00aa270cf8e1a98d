#!/usr/bin/env python3
"""Opens a report.html in headless Chromium as its readers do: wide and narrow, by day and by night.

    tests/html/check.py REPORT.html [FOLDER]

It fails if the page asks for anything from the network or another file, writes an error to the console, is wider than the
window, or has text that lies outside of it. Pictures of all four go to FOLDER (report-1280-light.png and so on): look at them.
It needs Chromium, and nothing else: it talks to it over a pipe.
"""

import base64
import json
import os
import pathlib
import select
import shutil
import subprocess
import sys
import tempfile
import time

SIZES = [(1280, 900), (390, 844)]
SCHEMES = ["light", "dark"]
PATIENCE = 60
# Elements that stick out of the window, unless they lie in a part that scrolls by itself.
OUTSIDE = """(() => {
  const scrolled = e => e.closest('.scroll') !== null;
  const out = [...document.querySelectorAll('body *')].filter(e => !scrolled(e) && e.getClientRects().length > 0
    && (e.getBoundingClientRect().right > WIDTH + 1 || e.getBoundingClientRect().left < -1));
  return JSON.stringify({ width: document.documentElement.scrollWidth,
    height: document.documentElement.scrollHeight, out: out.slice(0, 5).map(e => e.outerHTML.slice(0, 120)) });
})()"""


class Browser:
    """Chromium behind two pipes, in its DevTools protocol: messages end with a zero byte."""

    def __init__(self, folder):
        to_read, self.write_end = os.pipe()
        self.read_end, to_write = os.pipe()
        name = next((n for n in ("chromium", "chromium-browser", "google-chrome") if shutil.which(n)), None)
        if name is None:
            sys.exit("no Chromium is installed: apt install chromium")
        flags = ["--headless", "--no-sandbox", "--remote-debugging-pipe", "--disable-gpu", "--hide-scrollbars", "--no-first-run",
                 "--disable-background-networking", "--disable-component-update", f"--user-data-dir={folder}"]
        # The protocol's pipes are descriptors 3 and 4; ours may be these themselves.
        high = [os.dup2(to_read, 100), os.dup2(to_write, 101)]

        def place():
            os.dup2(100, 3)
            os.dup2(101, 4)

        self.process = subprocess.Popen([name, *flags], preexec_fn=place, pass_fds=(3, 4, *high),
                                        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        for end in (to_read, to_write, *high):
            os.close(end)
        self.number, self.rest, self.events = 0, b"", []

    def read(self, until):
        while b"\0" not in self.rest:
            left = until - time.monotonic()
            if left <= 0 or not select.select([self.read_end], [], [], left)[0]:
                sys.exit("Chromium does not answer")
            some = os.read(self.read_end, 1 << 20)
            if not some:
                sys.exit("Chromium has ended")
            self.rest += some
        message, self.rest = self.rest.split(b"\0", 1)
        return json.loads(message)

    def ask(self, method, session=None, **params):
        self.number += 1
        message = {"id": self.number, "method": method, "params": params}
        if session:
            message["sessionId"] = session
        os.write(self.write_end, json.dumps(message).encode() + b"\0")
        until = time.monotonic() + PATIENCE
        while True:
            answer = self.read(until)
            if answer.get("id") == self.number:
                if "error" in answer:
                    sys.exit(f"{method}: {answer['error']}")
                return answer["result"]
            self.events.append(answer)

    def wait(self, method):
        until = time.monotonic() + PATIENCE
        while not any(event.get("method") == method for event in self.events):
            self.events.append(self.read(until))

    def end(self):
        self.ask("Browser.close")
        self.process.wait(PATIENCE)


def visit(browser, url, size, scheme, picture):
    """What is wrong with the page."""
    width, height = size
    target = browser.ask("Target.createTarget", url="about:blank")["targetId"]
    session = browser.ask("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
    for domain in ("Page", "Network", "Runtime", "Log"):
        browser.ask(f"{domain}.enable", session)
    browser.ask("Emulation.setDeviceMetricsOverride", session, width=width, height=height, deviceScaleFactor=1, mobile=width < 500)
    browser.ask("Emulation.setEmulatedMedia", session, features=[{"name": "prefers-color-scheme", "value": scheme}])
    browser.events.clear()
    browser.ask("Page.navigate", session, url=url)
    browser.wait("Page.loadEventFired")
    found = json.loads(browser.ask("Runtime.evaluate", session, expression=OUTSIDE.replace("WIDTH", str(width)))["result"]["value"])
    shot = browser.ask("Page.captureScreenshot", session, captureBeyondViewport=True,
                       clip={"x": 0, "y": 0, "width": width, "height": found["height"], "scale": 1})
    picture.write_bytes(base64.b64decode(shot["data"]))
    wrong = []
    for event in browser.events:
        params, method = event.get("params", {}), event.get("method")
        asked = params.get("request", {}).get("url", "") if method == "Network.requestWillBeSent" else url
        if asked != url and not asked.startswith("data:"):
            wrong.append(f"asks for {asked}")
        if method in ("Runtime.exceptionThrown", "Runtime.consoleAPICalled") or method == "Log.entryAdded":
            wrong.append(f"says in the console: {json.dumps(params)[:200]}")
    if found["width"] > width or found["out"]:
        wrong.append(f"is wider than the window: {found}")
    browser.ask("Target.closeTarget", targetId=target)
    return wrong


def main():
    if len(sys.argv) not in (2, 3):
        sys.exit(__doc__)
    page = pathlib.Path(sys.argv[1]).resolve(strict=True)
    folder = pathlib.Path(sys.argv[2] if len(sys.argv) == 3 else ".")
    folder.mkdir(parents=True, exist_ok=True)
    failed = False
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        browser = Browser(profile)
        try:
            for size in SIZES:
                for scheme in SCHEMES:
                    picture = folder / f"report-{size[0]}-{scheme}.png"
                    wrong = visit(browser, page.as_uri(), size, scheme, picture)
                    failed |= bool(wrong)
                    print(f"{picture}: {'; '.join(wrong) or 'fine'}")
        finally:
            browser.end()
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
