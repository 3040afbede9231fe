"""One login through the forms of the stand-in IAM; the hub's part of it is timed."""

from __future__ import annotations

import asyncio
import time
from typing import Any
from urllib.parse import urljoin

import aiohttp
from bs4 import BeautifulSoup


def login_seconds(port: int, user: str, scene: Any, *, late_seconds: float) -> float:
    """Seconds from the browser's arrival at the callback to the hub's answer; IAM is late only for that part."""
    return asyncio.run(_login(port, user, scene, late_seconds))


async def _login(port: int, user: str, scene: Any, late_seconds: float) -> float:
    hub = f"http://127.0.0.1:{port}"
    async with aiohttp.ClientSession(cookie_jar=aiohttp.CookieJar(unsafe=True)) as browser:
        url = f"{hub}/hub/oauth_login?next=%2Fhub%2Fapi%2Fuser"
        data: dict[str, str] | None = None
        for _ in range(12):
            async with browser.request("POST" if data else "GET", url, data=data, allow_redirects=False) as answer:
                location, text = answer.headers.get("Location"), await answer.text()
            if location:
                url, data = urljoin(url, location), None
                if url.startswith(f"{hub}/hub/oauth_callback"):
                    return await _callback(browser, url, scene, late_seconds)
            else:
                form = BeautifulSoup(text, "html.parser").find("form")
                assert form is not None, text[:500]
                fields = form.find_all(["input", "button"])
                data = {field["name"]: field.get("value", "") for field in reversed(fields) if field.get("name")}
                data |= {"username": user, "password": f"{user}-pw"} if "password" in data else {}
                url = urljoin(url, form.get("action") or url)
    raise RuntimeError("the login did not come back to the hub")


async def _callback(browser: aiohttp.ClientSession, url: str, scene: Any, late_seconds: float) -> float:
    await asyncio.to_thread(scene.control, "settings", latency_seconds=late_seconds)
    started = time.perf_counter()
    async with browser.get(url, allow_redirects=False) as answer:
        await answer.read()
        seconds = time.perf_counter() - started
        assert answer.status == 302, await answer.text()
    await asyncio.to_thread(scene.control, "settings", latency_seconds=0.0)
    return seconds
