"""Access control for requests, and the headers that restrict a browser's use of the page."""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import re
from urllib.parse import urlsplit

from flask import Flask, Request, Response, redirect, render_template, request, session, url_for
from werkzeug.wrappers import Response as AnyResponse

from millrace.errors import InvalidSettingError
from millrace.settings import BridgeSettings

OPEN_ENDPOINTS = frozenset({"healthz", "readyz", "static", "sign_in"})
_ORIGIN = re.compile(r"https?://(?:[A-Za-z0-9.-]+|\[[0-9A-Fa-f:.]+\])(?::(?:[0-9]{1,5}|\*))?")


def is_loopback(host: str) -> bool:
    """Return whether ``host`` can be reached from this machine only."""
    address = _ip_address(host.strip("[]"))
    return host == "localhost" if address is None else address.is_loopback


def check_exposure(settings: BridgeSettings) -> None:
    """Raise ``InvalidSettingError`` if other machines could reach the bridge without authentication.

    Raises it also for a token shorter than 16 characters and for an invalid origin.
    """
    if not (is_loopback(settings.host) or settings.token or settings.user_header):
        raise InvalidSettingError(
            f"MILLRACE_BRIDGE__HOST is {settings.host!r}, which is not loopback, and no authentication is set",
            hint="set MILLRACE_BRIDGE__TOKEN, or MILLRACE_BRIDGE__USER_HEADER behind a reverse proxy that sets it",
        )
    if settings.token is not None and len(settings.token.get_secret_value()) < 16:
        raise InvalidSettingError("MILLRACE_BRIDGE__TOKEN has fewer than 16 characters")
    for origin in (*settings.airflow_origins, *filter(None, [settings.cors_origin])):
        # The origin is copied into a header unchanged: a space or a semicolon would open the policy.
        if not _ORIGIN.fullmatch(origin):
            raise InvalidSettingError(
                f"MILLRACE_BRIDGE__AIRFLOW_ORIGINS or __CORS_ORIGIN contains {origin!r}, which is not an origin",
                hint="an origin is a scheme, host and port, such as http://127.0.0.1:8080",
            )


def guard(app: Flask, settings: BridgeSettings) -> None:
    """Refuse requests without permission, and add security headers to every response.

    Without a token and a user header every request is allowed. With a token, a script sends it as
    ``Authorization: Bearer``, and a browser gets a cookie by signing in. The token is never part of an address.
    Raises ``InvalidSettingError`` as ``check_exposure`` does.
    """
    check_exposure(settings)
    secret = settings.token.get_secret_value() if settings.token is not None else ""
    app.config.update(
        # The signing key is derived from the token, so a new token invalidates all cookies.
        SECRET_KEY=hashlib.sha256(b"millrace bridge session\0" + secret.encode()).hexdigest(),
        SESSION_COOKIE_NAME="millrace_bridge",
        SESSION_COOKIE_HTTPONLY=True,
        SESSION_COOKIE_SAMESITE="Lax",
        SESSION_COOKIE_SECURE=settings.url.startswith("https:"),
        MAX_CONTENT_LENGTH=16 * 1024,
    )
    policy = "; ".join(
        (
            "default-src 'none'",
            "script-src 'self'",
            "style-src 'self'",
            "img-src 'self'",
            "connect-src 'self'",
            "worker-src 'self'",
            "base-uri 'none'",
            "form-action 'self'",
            " ".join(("frame-ancestors 'self'", *settings.airflow_origins)),
        )
    )
    headers = {
        "Content-Security-Policy": policy,
        "X-Content-Type-Options": "nosniff",
        "Referrer-Policy": "same-origin",
    }
    cors_headers = {
        "Access-Control-Allow-Origin": settings.cors_origin or "",
        "Access-Control-Allow-Credentials": "true",
        "Access-Control-Allow-Headers": "Authorization, Last-Event-ID",
    }

    @app.before_request
    def _authorize() -> AnyResponse | tuple[str, int] | None:
        if not _host_is_known(request, settings):
            return f"this server is not {request.host[:200]}; MILLRACE_BRIDGE__URL sets its name\n", 421
        if request.method == "OPTIONS" or request.endpoint in OPEN_ENDPOINTS:
            return None
        if _allowed(request, settings, secret):
            return None
        # Browsers name text/html among the types they accept; scripts accept anything and name no type.
        is_browser = any(mimetype == "text/html" for mimetype, _ in request.accept_mimetypes)
        if secret and request.method == "GET" and is_browser:
            return redirect(url_for("sign_in", next=request.full_path.rstrip("?")))
        message = "authentication is required: send the token as `Authorization: Bearer ...`\n"
        return Response(message, 401, {"WWW-Authenticate": "Bearer"})

    @app.route("/sign-in", methods=["GET", "POST"])
    def sign_in() -> AnyResponse | str | tuple[str, int]:
        """Check the token from the form and set a cookie for it."""
        is_post = request.method == "POST"
        if is_post and secret and _is_token(request.form.get("token", ""), secret):
            session["signed_in"] = True
            return redirect(_local_path(request.args.get("next", "")))
        page = render_template("sign_in.html", refused=is_post, needed=bool(secret))
        return (page, 403) if is_post else page

    @app.after_request
    def _headers(response: Response) -> Response:
        response.headers.update(headers)
        if settings.cors_origin and request.headers.get("Origin") == settings.cors_origin:
            response.headers.update(cors_headers)
        if settings.cors_origin:
            response.headers.add("Vary", "Origin")
        return response


def _allowed(incoming: Request, settings: BridgeSettings, secret: str) -> bool:
    if settings.user_header and incoming.headers.get(settings.user_header, "").strip():
        return True
    if secret:
        scheme, _, given = incoming.headers.get("Authorization", "").partition(" ")
        is_authorized = scheme.lower() == "bearer" and _is_token(given.strip(), secret)
        return is_authorized or session.get("signed_in") is True
    return not settings.user_header


def _is_token(text: str, secret: str) -> bool:
    """Compare in constant time."""
    return hmac.compare_digest(text.encode("utf-8", "replace"), secret.encode())


def _host_is_known(incoming: Request, settings: BridgeSettings) -> bool:
    """Return whether the request's host name may belong to this bridge; always true with authentication.

    A page of another site can let its own name point to 127.0.0.1 and then read everything that is open to this
    machine (DNS rebinding). Such a name contains a dot.
    """
    if settings.token or settings.user_header:
        return True
    name = urlsplit(f"//{incoming.host}").hostname or ""
    own_name = urlsplit(settings.url).hostname
    return "." not in name or name == own_name or _ip_address(name) is not None or name.endswith(".localhost")


def _ip_address(name: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(name)
    except ValueError:
        return None


def _local_path(target: str) -> str:
    """Return ``target`` if it is a path of this server, else ``/``: a sign-in link must not lead to another site."""
    is_path = target.startswith("/") and not target.startswith(("//", "/\\")) and target.isprintable()
    return target if is_path else "/"
