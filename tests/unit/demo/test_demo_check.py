"""The scientist of `dlaas demo --check`: how it reads pages, and what it says when a step fails."""

from __future__ import annotations

import ast
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from jupyterhub_dlaas.demo import check
from jupyterhub_dlaas.demo.check.__main__ import play, steps
from jupyterhub_dlaas.demo.check.scientist import Person, Scientist
from jupyterhub_dlaas.demo.check.web import Browser, Failed, read

PAGE = """<style>p {}</style><h1>Server Options</h1><form action="/spawn" method="post">
<input type="hidden" name="_xsrf" value="x">
<input type="radio" name="environment" value="escape/a" checked><input type="radio" name="environment" value="escape/b">
<input type="text" name="who"><input type="password" name="secret"><button name="go" value="1">Go</button></form>"""


def test_a_form_is_sent_as_a_browser_would() -> None:
    form = read("http://x/", 200, PAGE).forms[0]
    assert form.fields == {"_xsrf": "x", "environment": "escape/a", "who": "", "secret": ""}
    assert form.choices == {"environment": ["escape/a", "escape/b"]}
    assert (form.text, form.password, form.buttons) == ("who", "secret", [("go", "1")])


def test_a_pages_text_is_what_a_person_reads() -> None:
    assert read("http://x/", 200, PAGE).text == "Server Options Go"


def test_it_imports_nothing_of_the_package_but_itself() -> None:
    for path in Path(check.__file__).parent.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            names = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            names += [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            ours = [name for name in names if name.startswith("jupyterhub")]
            assert all(name.startswith("jupyterhub_dlaas.demo.check") for name in ours), path


def test_work_with_data_is_done_again_after_two_lifetimes() -> None:
    names = [name for name, _ in steps(Scientist(Browser("http://x"), Person("a", "b"), print), 1)]
    assert names.index("rucio whoami") < names.index("wait two token lifetimes") < names.index("rucio whoami again")
    assert {
        "rucio download again",
        "datalake upload again",
        "make available again",
        "read it in a kernel again",
    } <= set(names)
    assert (names[0], names[-1]) == ("log in", "stop")


@pytest.fixture
async def hub() -> AsyncIterator[TestServer]:
    async def page(_: web.Request) -> web.Response:
        return web.Response(text="<p>Sorry, you may not log in.</p>", status=403, content_type="text/html")

    app = web.Application()
    app.router.add_get("/hub/login", page)
    async with TestServer(app) as server:
        yield server


async def test_a_refused_login_fails_with_the_pages_words(hub: TestServer) -> None:
    async with Browser(str(hub.make_url(""))) as browser:
        with pytest.raises(Failed, match="403: Sorry, you may not log in"):
            await Scientist(browser, Person("a", "b"), print).log_in()


async def test_the_first_failure_ends_it_with_code_1_and_its_name(
    hub: TestServer, capsys: pytest.CaptureFixture[str]
) -> None:
    assert await play(str(hub.make_url("")), Person("a", "b"), 1) == 1
    said = capsys.readouterr()
    assert "Failed at: log in" in said.err
    assert "server options" not in said.out


async def test_nothing_there_is_said_with_its_address() -> None:
    async with Browser("http://127.0.0.1:1") as browser:
        with pytest.raises(Failed, match=r"127\.0\.0\.1:1/hub/login\?next=%2Fhub%2Fhome cannot be reached"):
            await Scientist(browser, Person("a", "b"), print).log_in()
