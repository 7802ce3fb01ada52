"""Requests that nobody would send who means well, as bytes."""

import json
import random
from typing import Any, NamedTuple
from urllib.parse import quote

# Which occur nowhere else.
RATING = 3.1415926
TITLE = "zyxwvut"
FIRST_USER = 7_300_000_000


class Hostile(NamedTuple):
    """A request.

    Args:
        sent: what goes over the connection.
        user: whom it says something of; no other request does.
        ends: whether the service can know that all of it is there, and must answer.
    """

    sent: bytes
    user: int
    ends: bool = True


# JSON ---------------------------------------------------------------------------------------------

VALUES = [
    *(b"NaN", b"Infinity", b"-Infinity", b"1e400", b"-1e400", b"1e-400", b"-0.0", b"0.1e1"),
    *(str(n).encode() for n in (2**31, 2**53, 2**53 + 1, 2**63, -(2**63) - 1, 2**64, 10**400)),
    *(b"9" * 5000, b"-1", b"0", b"null", b"true", b"[]", b"{}", b"[[1]]", b'{"item": 1}', b""),
    *(b'""', b'" "', b'"\\u0000"', b'"\\ud800"', b'"\\udfff\\ud800"', b'"\xff"', b'"\xc0\x80"'),
    *(b'"1\\r\\nx-evil: 1"', b'"<img src=x onerror=alert(1)>"', b'"\\u202e"', b'"\\n"', b"'1'"),
    *(b'"1\'; DROP TABLE states; --"', b"\"' OR '1'='1\"", b'"../../../etc/passwd"', b'"1_0"'),
    *(b'"' + b"x" * n + b'"' for n in (500, 501, 100_000)),
    *(b'"nan"', b'"inf"', b'"1.0"', b'" 1 "', b'"0x1"', '"१"'.encode(), b'"1e3"', b'"%s%n{}"'),
    *(b"1" + b"0" * 30, b'"' + b"9" * 25 + b'"', b"1.5", f"{RATING}".encode(), b"/*", b"undefined"),
]


def _deep(rng: random.Random) -> bytes:
    n = rng.choice([10, 500, 2_000, 100_000])
    begin, end = rng.choice([(b"[", b"]"), (b'{"ratings":', b"}"), (b'[{"item":', b"}]")])
    inner = rng.choice(VALUES) or b"1"
    return begin * n + inner + (end * n if rng.random() < 0.7 else b"")


def _mutated(rng: random.Random, example: dict[str, Any]) -> bytes:
    """A good body with one thing wrong, mostly."""
    said = json.dumps(example).encode()
    kind = rng.randrange(12)
    if kind < 5:  # another value somewhere
        places = [at for at in range(len(said)) if said[at : at + 2] == b": "]
        at = rng.choice(places) + 2
        end = min(x for x in (said.find(b",", at), said.find(b"}", at), len(said)) if x >= at)
        return said[:at] + rng.choice(VALUES) + said[end:]
    if kind == 5:  # a name that is not known, or is there twice
        name = rng.choice([b'"k"', b'"user"', b'"ratings"', b'"__proto__"', b'"\\ud800"', b'""'])
        return said[:-1] + b", " + name + b": " + rng.choice(VALUES) + b"}"
    if kind == 6:
        return _deep(rng)
    if kind == 7:
        return said[: rng.randrange(len(said))]
    if kind == 8:
        return rng.choice(VALUES)
    if kind == 9:
        return rng.randbytes(rng.choice([1, 10, 1000]))
    if kind == 10:
        return said.decode().encode(rng.choice(["utf-16", "utf-32", "utf-8-sig", "utf-16-be"]))
    many = rng.choice([10_001, 30_000])
    one = rng.choice([b"1", b'{"item":1,"rating":3}', b"{}", b'""'])
    name = rng.choice([b"ratings", b"exclude", b"names", b"pairs", b"users", b"genres"])
    return b'{"' + name + b'":[' + b",".join([one] * many) + b"]}"


# Where it goes ------------------------------------------------------------------------------------

IDS = [
    *("1", "-1", "1.5", "1e3", "x" * 501, "x" * 20_000, "9" * 25, "9" * 5000, "1_0", " ", ""),
    *("%00", "%ff", "%c0%af", "%2e%2e", "..", "%2e%2e%2f%2e%2e%2fetc%2fpasswd", "%0d%0ax-evil:1"),
    *("1'%20OR%201=1--", "1;DROP%20TABLE%20states", '"', "%", "%zz", "%u0000", "%ed%a0%80", "*"),
    *("{user}", "${jndi:ldap://x}", "$(id)", "<script>", "%F0%9F%98%80", "%E0%A4%A7", "%20" * 200),
]
FILES = [
    *("../gate.py", "..%2fgate.py", "%2e%2e/gate.py", "%2e%2e%2fgate.py", "..\\gate.py"),
    *("....//gate.py", "..%5cgate.py", "%252e%252e%252fgate.py", "..;/gate.py", "main.js%00"),
    *("/etc/passwd", "//etc/passwd", "%2fetc%2fpasswd", "views/../../gate.py", "views/../main.js"),
    *(".", "", "views", "main.js/", "main.js/x", "a" * 300, "a/" * 3000, "\\etc\\passwd", "CON"),
    *(
        "..%c0%af..%c0%afetc/passwd",
        "main.js::$DATA",
        "~root",
        "%2e%2e%5c",
        "main.js?x=" + "y" * 99,
    ),
]


def _calls(rng: random.Random, user: int) -> tuple[str, str, dict[str, Any] | None]:
    """A call as it should be: method, path, body."""
    rated = [{"item": 1, "rating": RATING}]
    someone = rng.choice([{"user": user}, {"ratings": rated}, {"ratings": rated, "user": 1}])
    own = f"/v1/users/{user}"
    return rng.choice(
        [
            ("PUT", f"{own}/ratings/1", {"rating": RATING}),
            ("PUT", f"{own}/ratings/2", {"rating": RATING, "state": "rating"}),
            ("PUT", f"{own}/ratings/2", {"state": "wish"}),
            ("POST", f"{own}/ratings", {"ratings": rated}),
            ("POST", "/v1/recommend", {**someone, "k": 3, "reasons": 1, "exclude": [2]}),
            ("POST", "/v1/recommend", {**someone, "year_from": 1980, "well_known": 0.5}),
            ("POST", "/v1/recommend/group", {"users": [user, 1], "min_ratings": 1}),
            ("POST", "/v1/explain", {**someone, "item": 1, "of": "rating"}),
            ("POST", "/v1/predict", {"pairs": [{"user": user, "item": 1}]}),
            ("POST", "/v1/map/position", someone),
            ("POST", "/v1/items/match", {"names": [1, TITLE]}),
            ("GET", f"/v1/items?query={TITLE}&limit=3", None),
            ("GET", "/v1/start?n=3", None),
            ("GET", f"{own}/export", None),
            ("GET", "/v1/map", None),
            ("GET", "/page/main.js", None),
        ]
    )


def _path(rng: random.Random, path: str, user: int) -> str:
    kind = rng.randrange(7)
    if kind == 0:
        return f"/page/{rng.choice(FILES)}"
    if kind == 1:
        return f"/v1/items/{rng.choice(IDS)}{rng.choice(['', '/similar'])}"
    if kind == 2:
        return f"/v1/users/{user}/ratings/{rng.choice(IDS)}"
    if kind == 3:
        value = rng.choice([*VALUES, *(one.encode() for one in IDS)])
        name = rng.choice(["limit", "query", "genre", "n", "x"])
        return f"/v1/{rng.choice(['items', 'start'])}?{name}={quote(value)}"
    if kind == 4:
        return path + rng.choice(
            ["/", "//", "?", "?" + "a=b&" * 2000, "/..", "/.", ";x", "%", "#x"]
        )
    if kind == 5:
        return rng.choice(
            ["//" + path, "http://evil.example" + path, "/%2e/v1/model", path.upper()]
        )
    return "/" + "".join(chr(rng.randrange(33, 127)) for _ in range(rng.choice([1, 20, 2000])))


# How it goes --------------------------------------------------------------------------------------

HEADERS = [
    b"Authorization: Bearer " + b"x" * 5000,
    b"Authorization: Basic dXNlcjpwYXNz",
    b"Authorization: Bearer",
    b"Authorization: Bearer \xff\xfe",
    b"Authorization: Bearer a\r\nAuthorization: Bearer b",
    b"Authorization:",
    *(
        b"Host: " + host
        for host in (b"[", b"]:x", b"a" * 5000, b"\xe2\x84\x80", b"a@b:99999999", b"")
    ),
    *(b"Content-Encoding: " + how for how in (b"gzip", b"br", b"x" * 999)),
    b"Range: bytes=" + b"0-1," * 2000 + b"5-",
    *(b"Range: bytes=" + what for what in (b"-1", b"9-1", b"0-99999999999999999999", b"a-b", b"")),
    *(b"If-Modified-Since: " + when for when in (b"x", b"Mon, 99 Foo 99999 99:99:99 GMT", b"-1")),
    *(b"If-Range: " + what for what in (b"x", b"\xff", b"Mon, 32 Feb 0000 00:00:00 GMT")),
    b"If-None-Match: " + b'"x",' * 2000,
    *(b"X-Forwarded-For: " + who for who in (b"1.2.3.4", b"x" * 5000, b"\xff", b"::1, , ,[")),
    *(b"Sec-Fetch-Site: " + what for what in (b"cross-site", b"same-site", b"none", b"x")),
    *(b"Connection: " + what for what in (b"close", b"keep-alive, x", b"Upgrade, HTTP2-Settings")),
    b"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: eA==\r\nSec-WebSocket-Version: 13",
    b"Connection: Upgrade\r\nUpgrade: h2c",
    *(b"Expect: " + what for what in (b"100-continue", b"x")),
    b"Cookie: " + b"a=b; " * 1000,
    b"\r\n".join(b"X-%d: %d" % (n, n) for n in range(1000)),
    b"X-Large: " + b"x" * 100_000,
    b"X-Large: " + b"x" * 1_000_000,
    b" folded: yes",
    b"X: a\r\n b",
    b"X: a\x00b",
    b"X : a",
    b"X\xff: a",
    b"no colon",
    b": no name",
    b"X: a\nY: b",
    b"X: a\rY: b",
]
TYPES = [
    *(b"text/plain", b"application/json; charset=utf-16", b"application/x-www-form-urlencoded"),
    *(b"multipart/form-data; boundary=x", b"application/xml", b"application/vnd.x+json", b""),
    *(b"application/json;" + b"a=b;" * 500, b"application/json; charset*=x''%ff", b"\xff/\xff"),
]
NO_REQUESTS = [
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(range(256)),
    *(b"\r\n" * 100, b"GET /health\r\n\r\n", b"GET\r\n\r\n", b"\0" * 100, b"\xff" * 5000),
    b"GET /health HTTP/9.9\r\nHost: localhost\r\n\r\n",
    b"GET /health HTTP/1.1\nHost: localhost\n\n",
    b"GET  /health  HTTP/1.1\r\nHost: localhost\r\n\r\n",
    b"GET /health HTTP/1.1 x\r\nHost: localhost\r\n\r\n",
    b"GET /\xc3\xa9 HTTP/1.1\r\nHost: localhost\r\n\r\n",
    b"GET health HTTP/1.1\r\nHost: localhost\r\n\r\n",
    b"GET http:// HTTP/1.1\r\nHost: localhost\r\n\r\n",
    b"GET /health?\x00 HTTP/1.1\r\nHost: localhost\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: localhost\r\nX: " + b"y" * 3_000_000,
    b"GET /" + b"y" * 3_000_000,
    b"A" * 3_000_000,
    *(
        method + b" " + path + b" HTTP/1.1\r\nHost: localhost\r\n\r\n"
        for method in (b"CONNECT", b"TRACE", b"OPTIONS", b"PROPFIND", b"get", b"X" * 99, b"PURGE")
        for path in (b"localhost:443", b"*", b"/v1/model")
    ),
    b"ssh -V\r\n\r\n",
    b"*1\r\n$4\r\nPING\r\n",
    b"\x05\x01\x00",
    b"EHLO localhost\r\n",
]


def _framed(rng: random.Random, body: bytes) -> tuple[bytes, bytes, bool]:
    """Headers that say where the body ends, what is sent of it, and whether that is its end."""
    good = b"Content-Length: %d" % len(body)
    chunked = b"Transfer-Encoding: chunked"
    pieces = b"".join(
        b"%x\r\n%b\r\n" % (len(body[at : at + 7000]), body[at : at + 7000])
        for at in range(0, len(body), 7000)
    )
    whole = pieces + b"0\r\n\r\n"
    return rng.choice(
        [
            *[(good, body, True)] * 90,
            (chunked, whole, True),
            (chunked, pieces + b"0\r\nX: y\r\n\r\n", True),
            (chunked, pieces + b"0\r\n" + b"X: y\r\n" * 30_000 + b"\r\n", False),
            (chunked, b"zz\r\n" + whole, False),
            (chunked, b"-1\r\n" + whole, False),
            (chunked, b"ffffffffffffffffff\r\n" + whole, False),
            (chunked, b"1;" + b"x" * 100_000 + b"\r\nx\r\n" + whole, False),
            (chunked, b"0" * 100_000 + b"\r\n\r\n", False),
            (chunked, pieces, False),
            (chunked + b"\r\n" + good, whole, False),
            (good + b"\r\n" + chunked, body, False),
            *(
                (b"Transfer-Encoding: " + coding + b"\r\n" + good, body, False)
                for coding in (
                    b"identity",
                    b"xchunked",
                    b"chunked, gzip",
                    b" chunked",
                    b"\x0bchunked",
                )
            ),
            (b"Content-Length: %d\r\nContent-Length: %d" % (len(body), len(body) + 1), body, False),
            (b"Content-Length: %d, %d" % (len(body), len(body)), body, False),
            *(
                (b"Content-Length: " + length, body, False)
                for length in (b"-1", b"+5", b"0x5", b"99999999999999999999", b"1e3", b"", b"\xb2")
            ),
            (b"Content-Length: %d" % (len(body) + 5), body, False),
            (b"Content-Length: %d" % max(0, len(body) - 5), body, False),
            (b"Content-Length: 2000000", b" " * 2_000_000, True),
            (b"Content-Length: 999999999", body, False),
            (b"", body, False),
        ]
    )


def hostile(rng: random.Random, user: int, key: str) -> Hostile:
    """One request."""
    if rng.random() < 0.08:
        return Hostile(
            rng.choice([*NO_REQUESTS, rng.randbytes(rng.choice([1, 50, 5000]))]), user, False
        )

    def wrong(share: float) -> bool:
        return rng.random() < share

    method, path, example = _calls(rng, user)
    body = b"" if example is None else json.dumps(example).encode()
    if example is not None and wrong(0.6):
        body = _mutated(rng, example)
    if wrong(0.25):
        path = _path(rng, path, user)
    if wrong(0.05):
        method = rng.choice(["DELETE", "PATCH", "HEAD", "OPTIONS", "POST", "GET", "PUT", "TRACE"])
    kind = rng.choice(TYPES) if wrong(0.1) else b"application/json"
    headers = [b"Content-Type: " + kind]
    ends = True
    if wrong(0.9):
        headers.append(b"Authorization: Bearer " + key.encode())
    if wrong(0.25):
        headers.append(rng.choice(HEADERS))
        ends = False
    framing, sent, is_end = _framed(rng, body)
    headers.append(framing)
    rng.shuffle(headers)
    version = rng.choice(["HTTP/1.1"] * 20 + ["HTTP/1.0", "HTTP/1.2"])
    lines = [f"{method} {path} {version}".encode(), b"Host: localhost", *filter(None, headers)]
    whole = b"\r\n".join(lines) + b"\r\n\r\n" + sent
    if wrong(0.05):
        whole *= rng.choice([2, 50])
    if wrong(0.03):
        whole, ends = whole[: rng.randrange(len(whole))], False
    ends = ends and is_end and version != "HTTP/1.2" and " " not in path
    return Hostile(whole, user, ends)
