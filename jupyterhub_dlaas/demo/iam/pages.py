"""The web pages of the stand-in IAM: log in, sign the AUP, approve. No scripts, nothing from other hosts."""

from __future__ import annotations

from collections.abc import Iterable
from html import escape

from aiohttp import web

_STYLE = """
:root { color-scheme: light dark; --ink: #1c2733; --paper: #f3f6f9; --card: #fff; --line: #c5d0db; --act: #0b5cad; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e8eef4; --paper: #131a21; --card: #1c2630; --line: #44525f; --act: #7db8f5; }
}
* { box-sizing: border-box }
body { margin: 0; min-height: 100vh; display: grid; place-items: center; padding: 1rem;
  font: 16px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--paper) }
main { width: min(26rem, 100%); background: var(--card); border: 1px solid var(--line); border-radius: .75rem;
  padding: 2rem; box-shadow: 0 6px 24px rgb(0 0 0 / .08) }
h1 { font-size: 1.35rem; margin: 0 0 .25rem } p { margin: .5rem 0 1rem }
label { display: block; font-weight: 600; margin-top: 1rem } label.check { font-weight: 400 }
input[type=text], input[type=password] { width: 100%; font: inherit; padding: .55rem .7rem; margin-top: .25rem;
  border: 1px solid var(--line); border-radius: .4rem; background: transparent; color: inherit }
button { font: inherit; font-weight: 600; padding: .55rem 1.2rem; margin: 1.25rem .5rem 0 0; border-radius: .4rem;
  border: 1px solid var(--act); background: var(--act); color: var(--card); cursor: pointer }
button.quiet { background: transparent; color: var(--act) }
:focus-visible { outline: 3px solid var(--act); outline-offset: 2px }
.problem { border-left: 4px solid #c62828; padding: .4rem .8rem; background: rgb(198 40 40 / .1) }
footer { margin-top: 1.5rem; font-size: .85rem; opacity: .8 }
"""
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; frame-ancestors 'none'"


def page(title: str, body: str, *, organisation: str, status: int = 200) -> web.Response:
    """A whole page. There is no `form-action`: browsers apply it to the redirect after a form, too."""
    text = (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)} - {escape(organisation)}</title><style>{_STYLE}</style></head>"
        f"<body><main><h1>{escape(title)}</h1>{body}"
        f"<footer>{escape(organisation)}: the demo's stand-in for INDIGO IAM</footer></main></body></html>"
    )
    headers = {"Content-Security-Policy": _POLICY, "Cache-Control": "no-store", "Referrer-Policy": "no-referrer"}
    return web.Response(text=text, content_type="text/html", status=status, headers=headers)


def login(to: str, *, organisation: str, problem: str = "", user: str = "") -> web.Response:
    """User name and password; `to` is where the login was on its way to. A wrong password is this page again."""
    told = f'<p class="problem" role="alert">{escape(problem)}</p>' if problem else ""
    body = (
        f'{told}<form method="post" action="/login"><input type="hidden" name="to" value="{escape(to)}">'
        '<label for="username">User name</label>'
        f'<input id="username" name="username" type="text" value="{escape(user)}" autocomplete="username" '
        "required autofocus>"
        '<label for="password">Password</label><input id="password" name="password" type="password" '
        'autocomplete="current-password" required><button type="submit">Sign in</button></form>'
    )
    return page("Sign in", body, organisation=organisation)


def approve(
    client: str, scopes: Iterable[str], user: str, csrf: str, action: str, *, organisation: str
) -> web.Response:
    """Asks whether `client` may have these scopes."""
    listed = "".join(f"<li>{escape(scope)}</li>" for scope in scopes)
    body = (
        f"<p>You are signed in as <strong>{escape(user)}</strong>. <strong>{escape(client)}</strong> asks for:</p>"
        f'<ul>{listed}</ul><form method="post" action="{escape(action)}">'
        f'<input type="hidden" name="csrf" value="{escape(csrf)}">'
        '<label class="check"><input type="checkbox" name="remember" value="yes" checked> Remember this</label>'
        '<button type="submit" name="decision" value="authorize">Authorize</button>'
        '<button type="submit" name="decision" value="deny" class="quiet">Deny</button></form>'
    )
    return page("Approve access", body, organisation=organisation)


def aup(to: str, csrf: str, *, organisation: str) -> web.Response:
    """The Acceptable Use Policy, to be signed before anything else is possible."""
    body = (
        "<p>Use the data lake for science, keep your password to yourself, and cite the data you use.</p>"
        f'<form method="post" action="/aup/sign"><input type="hidden" name="to" value="{escape(to)}">'
        f'<input type="hidden" name="csrf" value="{escape(csrf)}">'
        '<button type="submit" name="decision" value="sign">I have read it and accept</button></form>'
    )
    return page("Acceptable Use Policy", body, organisation=organisation)


def note(title: str, sentence: str, *, organisation: str, status: int = 200) -> web.Response:
    """A page that only says something."""
    return page(title, f"<p>{escape(sentence)}</p>", organisation=organisation, status=status)
