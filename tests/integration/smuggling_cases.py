# SPDX-License-Identifier: Apache-2.0
"""Bytes that must not desynchronise a connection, for a test that sends them over a socket.

REFUSED: the framing is wrong or ambiguous. The server answers once, with one of `status`, and
closes; the request hidden in the bytes is never answered. The classes are those of HAZARDS.md, of
http11probe and of the HTTP Garden.

ACCEPTED: well-formed, pipelined. The server answers in order with exactly `statuses` (interim 1xx
answers are not counted), then closes.
"""

KNOWN = "/.well-known/jwks.json"  # GET: 200
UNKNOWN = "/hidden"  # 404
TOKEN = "/oauth2/token"  # POST: reads its body, so that chunks are looked at before any answer

HIDDEN = b"GET /livez-hidden HTTP/1.1\r\nHost: localhost\r\n\r\n"
HOST = b"Host: localhost\r\n"
POST = b"POST " + TOKEN.encode() + b" HTTP/1.1\r\n" + HOST
GET = b"GET " + KNOWN.encode() + b" HTTP/1.1\r\n" + HOST
LAST = b"0\r\n\r\n"
TE = b"Transfer-Encoding: chunked"
CHUNKED = POST + TE + b"\r\n\r\n"
HIDDEN_LENGTH = b"Content-Length: %d\r\n" % len(HIDDEN)

REFUSED = []
ACCEPTED = []


def refused(name, raw, *status):
    REFUSED.append(dict(name=name, raw=raw, status=set(status or (400,))))


def accepted(name, raw, *statuses):
    ACCEPTED.append(dict(name=name, raw=raw, statuses=list(statuses)))


def refused_line(name, line, *status):
    """A request line of its own, with a good head behind it."""
    refused(name, line + b"\r\n" + HOST + b"\r\n" + HIDDEN, *status)


def refused_header(name, lines, *status):
    """Header lines (without the last CR LF) in a POST, then a body that is a request."""
    refused(name, POST + lines + b"\r\n\r\n" + HIDDEN, *status)


def refused_coding(name, lines, *status):
    """Header lines in a POST, then an empty chunked body and a request behind it."""
    refused(name, POST + lines + b"\r\n\r\n" + LAST + HIDDEN, *status)


def refused_chunks(name, body, *status):
    refused(name, CHUNKED + body + HIDDEN, *status)


# Content-Length ---------------------------------------------------------------

refused_header("two lengths, the first 0", b"Content-Length: 0\r\n" + HIDDEN_LENGTH[:-2])
refused_header("two lengths, the second 0", HIDDEN_LENGTH + b"Content-Length: 0")
refused_header("two lengths, identical", HIDDEN_LENGTH + HIDDEN_LENGTH[:-2])
refused_header("two lengths, other case", b"Content-Length: 0\r\ncontent-LENGTH: 5")
refused_header("two lengths, far apart",
               b"Content-Length: 0\r\nA: b\r\nC: d\r\n" + HIDDEN_LENGTH[:-2])
refused_header("list of lengths, identical", b"Content-Length: 3, 3")
refused_header("list of lengths", b"Content-Length: 0, 44")
refused_header("list of lengths, no space", b"Content-Length: 0,44")
refused_header("length with a comma", b"Content-Length: 3,")
refused_header("empty length", b"Content-Length:")
refused_header("blank length", b"Content-Length: \t ")
refused_header("length +3", b"Content-Length: +3")
refused_header("length -1", b"Content-Length: -1")
refused_header("length -0", b"Content-Length: -0")
refused_header("length 0x3", b"Content-Length: 0x3")
refused_header("length in octal", b"Content-Length: 010")
refused_header("length 3e0", b"Content-Length: 3e0")
refused_header("length 3.0", b"Content-Length: 3.0")
refused_header("length 1_0", b"Content-Length: 1_0")
refused_header("length in quotes", b'Content-Length: "3"')
refused_header("length with a space inside", b"Content-Length: 4 4")
refused_header("length with text", b"Content-Length: 3abc")
refused_header("length with a parameter", b"Content-Length: 3;a=b")
refused_header("length over 64 bits", b"Content-Length: 18446744073709551616")
refused_header("length that wraps to 3", b"Content-Length: 18446744073709551619")
refused_header("length of 400 digits", b"Content-Length: " + b"9" * 400)
refused_header("length in Arabic digits", b"Content-Length: \xd9\xa3")
refused_header("length with a no-break space", b"Content-Length: \xa03")
refused_header("length with NUL", b"Content-Length: 3\x00")
refused_header("length with vertical tab", b"Content-Length: \x0b3")
refused_header("space before the length's colon", b"Content-Length : 3")
refused_header("length folded", b"Content-Length:\r\n 3")
refused_header("length behind a bare CR", b"A: b\rContent-Length: 3")
refused_header("length behind a bare LF", b"A: b\nContent-Length: 3")
refused("GET with two lengths",
        GET + b"Content-Length: 0\r\n" + HIDDEN_LENGTH + b"\r\n" + HIDDEN)
refused("HEAD with two lengths",
        b"HEAD" + GET[3:] + b"Content-Length: 0\r\n" + HIDDEN_LENGTH + b"\r\n" + HIDDEN)

# Transfer-Encoding ------------------------------------------------------------

refused_coding("CL.TE", HIDDEN_LENGTH + TE)
refused_coding("TE.CL", TE + b"\r\nContent-Length: 4")
refused_coding("TE and CL 0", TE + b"\r\nContent-Length: 0")
refused_coding("TE and CL, TE unknown", b"Transfer-Encoding: x\r\nContent-Length: 0", 400, 501)
for _name, _version in (
    ("TE on HTTP/1.0", b"HTTP/1.0"),
    ("TE on HTTP/1.0 kept alive", b"HTTP/1.0\r\nConnection: keep-alive"),
):
    refused(_name, CHUNKED.replace(b"HTTP/1.1", _version) + LAST + HIDDEN)
for _name, _lines in (
    ("TE space before colon", b"Transfer-Encoding : chunked"),
    ("TE tab before colon", b"Transfer-Encoding\t: chunked"),
    ("TE folded", b"Transfer-Encoding:\r\n chunked"),
    ("TE folded, tab", b"Transfer-Encoding:\r\n\tchunked"),
    ("TE in front folded", b"A: b\r\n Transfer-Encoding: chunked"),
    ("TE behind bare CR", b"A: b\rTransfer-Encoding: chunked"),
    ("TE behind bare LF", b"A: b\nTransfer-Encoding: chunked"),
    ("TE behind NUL", b"A: b\x00Transfer-Encoding: chunked"),
    ("TE with NUL", b"Transfer-Encoding: chunked\x00"),
    ("TE with vertical tab", b"Transfer-Encoding: \x0bchunked"),
    ("TE with form feed", b"Transfer-Encoding: chunked\x0c"),
    ("TE with CR inside", b"Transfer-Encoding: chu\rnked"),
    ("TE with CR CR LF", b"Transfer-Encoding: chunked\r"),
    ("TE name with NUL", b"Transfer-Encoding\x00: chunked"),
    ("TE name with a space", b"Transfer Encoding: chunked\r\nX : y"),
):
    refused_coding(_name, _lines)
for _name, _value in (
    ("xchunked", b"xchunked"),
    ("chunkedx", b"chunkedx"),
    ("gzip", b"gzip"),
    ("identity", b"identity"),
    ("identity, chunked", b"identity, chunked"),
    ("gzip, chunked", b"gzip, chunked"),
    ("chunked, gzip", b"chunked, gzip"),
    ("chunked, chunked", b"chunked, chunked"),
    ("chunked,", b"chunked,"),
    (", chunked", b", chunked"),
    ("empty", b""),
    ("quoted", b'"chunked"'),
    ("parameter", b"chunked;q=1"),
    ("semicolon", b"chunked;"),
    ("space inside", b"chunk ed"),
    ("no-break space", b"\xa0chunked"),
    ("other dotless letter", b"chun\xc4\xb8ed"),
):
    refused_coding("TE " + _name, b"Transfer-Encoding: " + _value, 400, 501)
refused_coding("TE twice", TE + b"\r\n" + TE)
refused_coding("TE twice, one unknown", b"Transfer-Encoding: identity\r\n" + TE, 400, 501)
refused("GET with unknown TE",
        GET + b"Transfer-Encoding: xchunked\r\n\r\n" + LAST + HIDDEN, 400, 501)

# Chunks -----------------------------------------------------------------------

for _name, _body in (
    ("size 0x3", b"0x3\r\nabc\r\n0\r\n\r\n"),
    ("size +3", b"+3\r\nabc\r\n0\r\n\r\n"),
    ("size -1", b"-1\r\nabc\r\n0\r\n\r\n"),
    ("size with a space in front", b" 3\r\nabc\r\n0\r\n\r\n"),
    ("size with a space behind", b"3 \r\nabc\r\n0\r\n\r\n"),
    ("size with a tab behind", b"3\t\r\nabc\r\n0\r\n\r\n"),
    ("size 1_0", b"1_0\r\n0123456789abcdef\r\n0\r\n\r\n"),
    ("size in quotes", b'"3"\r\nabc\r\n0\r\n\r\n'),
    ("size not hex", b"g\r\nabc\r\n0\r\n\r\n"),
    ("size empty", b"\r\nabc\r\n0\r\n\r\n"),
    ("size of two words", b"3 3\r\nabc\r\n0\r\n\r\n"),
    ("size list", b"3,3\r\nabc\r\n0\r\n\r\n"),
    ("size with NUL", b"3\x00\r\nabc\r\n0\r\n\r\n"),
    ("size with bare LF", b"3\nabc\r\n0\r\n\r\n"),
    ("size with bare CR", b"3\rabc\r\n0\r\n\r\n"),
    ("size with CR CR LF", b"3\r\r\nabc\r\n0\r\n\r\n"),
    ("size with LF CR", b"3\n\rabc\r\n0\r\n\r\n"),
    ("last size with bare LF", b"3\r\nabc\r\n0\n\r\n"),
    ("data longer than said", b"3\r\nabcdef\r\n0\r\n\r\n"),
    ("data shorter than said", b"5\r\nabc\r\n0\r\n\r\n"),
    ("data without a line end", b"3\r\nabc0\r\n\r\n"),
    ("data with bare LF", b"3\r\nabc\n0\r\n\r\n"),
    ("data with bare CR", b"3\r\nabc\r0\r\n\r\n"),
    ("data with two line ends", b"3\r\nabc\r\n\r\n0\r\n\r\n"),
    ("extension without a name", b"3;\r\nabc\r\n0\r\n\r\n"),
    ("extension with bare LF", b"3;a\nabc\r\n0\r\n\r\n"),
    ("extension with bare CR", b"3;a\rb\r\nabc\r\n0\r\n\r\n"),
    ("extension with LF in quotes", b'3;a="\n"\r\nabc\r\n0\r\n\r\n'),
    ("extension with NUL", b"3;a=\x00\r\nabc\r\n0\r\n\r\n"),
    ("trailer without a colon", b"0\r\nabc\r\n\r\n"),
    ("trailer that is a request", b"0\r\nGET /livez-hidden HTTP/1.1\r\n\r\n"),
    ("trailer without a name", b"0\r\n: a\r\n\r\n"),
    ("trailer with a space before the colon", b"0\r\na : b\r\n\r\n"),
    ("trailer folded", b"0\r\na: b\r\n c\r\n\r\n"),
    ("trailer with bare LF", b"0\r\na: b\n\r\n"),
    ("trailer with bare CR", b"0\r\na: b\rc: d\r\n\r\n"),
    ("trailer with NUL", b"0\r\na: \x00\r\n\r\n"),
    ("end with bare LF", b"0\r\n\n"),
    ("end with bare CR", b"0\r\n\r"),
    ("no last chunk", b"3\r\nabc\r\n"),
):
    refused_chunks("chunk " + _name, _body)
for _name, _body in (
    ("size over 64 bits", b"10000000000000000\r\nabc\r\n0\r\n\r\n"),
    ("size that wraps to 3", b"10000000000000003\r\nabc\r\n0\r\n\r\n"),
    ("size of 2^64 - 1", b"ffffffffffffffff\r\n" + b"a" * 20000),
    ("size of 400 zeros", b"0" * 400 + b"\r\n\r\n"),
    ("extension of 8 KiB", b"3;" + b"a" * 8192 + b"\r\nabc\r\n0\r\n\r\n"),
    ("trailers of 8 KiB", b"0\r\n" + b"a: b\r\n" * 1400 + b"\r\n"),
):
    refused_chunks("chunk " + _name, _body, 400, 413, 431)

# Header lines -----------------------------------------------------------------

for _name, _lines in (
    ("no colon", b"abc"),
    ("no name", b": abc"),
    ("space in a name", b"a b: c"),
    ("slash in a name", b"a/b: c"),
    ("8-bit in a name", b"\xc3\xa9: c"),
    ("NUL in a name", b"a\x00b: c"),
    ("space before colon", b"a : b"),
    ("obs-fold", b"a: b\r\n c: d"),
    ("line of a space", b"a: b\r\n "),
    ("NUL in a value", b"a: b\x00c"),
    ("bell in a value", b"a: \x07"),
    ("escape in a value", b"a: \x1b[0m"),
    ("DEL in a value", b"a: \x7f"),
    ("CR in a value", b"a: b\rc"),
    ("bare LF", b"a: b\nc: d"),
    ("LF CR", b"a: b\n\rc: d"),
    ("end by bare LF", b"a: b\r\n\n"),
    ("end by LF LF", b"a: b\n\n"),
    ("two Host", HOST[:-2]),
    ("another Host", b"Host: evil.example"),
):
    refused_header("header " + _name, _lines)
for _name, _value in (
    ("empty", b""),
    ("list", b"localhost, evil.example"),
    ("with a space", b"localhost evil.example"),
    ("with a user", b"evil.example@localhost"),
    ("with a path", b"localhost/evil"),
    ("with a scheme", b"http://localhost"),
    ("with a bad port", b"localhost:80a"),
    ("with a signed port", b"localhost:+80"),
    ("with a huge port", b"localhost:65536"),
    ("8-bit", b"\xc3\xa9.example"),
    ("open bracket", b"[::1"),
    ("bare IPv6", b"::1"),
):
    refused("Host " + _name,
            b"GET " + KNOWN.encode() + b" HTTP/1.1\r\nHost: " + _value + b"\r\n\r\n" + HIDDEN)
refused("no Host", b"GET " + KNOWN.encode() + b" HTTP/1.1\r\n\r\n" + HIDDEN)
refused("white space in front of the first header",
        b"GET " + KNOWN.encode() + b" HTTP/1.1\r\n Host: localhost\r\n\r\n" + HIDDEN)
refused_header("unknown expectation", b"Expect: 200-ok", 417)
refused_header("Connection that is no list of tokens", b"Connection: clo se")
refused("101 headers", GET + b"a: b\r\n" * 100 + b"\r\n" + HIDDEN, 431)
refused("headers of 17 KiB", GET + b"a: " + b"b" * 17000 + b"\r\n\r\n" + HIDDEN, 431)

# Request lines ----------------------------------------------------------------

for _name, _line in (
    ("HTTP/0.9", b"GET " + KNOWN.encode()),
    ("no target", b"GET HTTP/1.1"),
    ("two spaces before the target", b"GET  " + KNOWN.encode() + b" HTTP/1.1"),
    ("two spaces before the version", b"GET " + KNOWN.encode() + b"  HTTP/1.1"),
    ("space behind the version", b"GET " + KNOWN.encode() + b" HTTP/1.1 "),
    ("space in front", b" GET " + KNOWN.encode() + b" HTTP/1.1"),
    ("tabs", b"GET\t" + KNOWN.encode() + b"\tHTTP/1.1"),
    ("vertical tab", b"GET\x0b" + KNOWN.encode() + b" HTTP/1.1"),
    ("space in the target", b"GET /a b HTTP/1.1"),
    ("request in the target", b"GET /a HTTP/1.1 /b HTTP/1.1"),
    ("CR in the target", b"GET /a\rb HTTP/1.1"),
    ("NUL in the target", b"GET /a\x00b HTTP/1.1"),
    ("control in the target", b"GET /a\x01b HTTP/1.1"),
    ("DEL in the target", b"GET /a\x7fb HTTP/1.1"),
    ("8-bit in the target", b"GET /\xc3\xa9 HTTP/1.1"),
    ("backslash in the target", b"GET /a\\b HTTP/1.1"),
    ("fragment", b"GET " + KNOWN.encode() + b"#a HTTP/1.1"),
    ("dot segment", b"GET /v1/../" + KNOWN.encode()[1:] + b" HTTP/1.1"),
    ("encoded dot segment", b"GET /v1/%2e%2e" + KNOWN.encode() + b" HTTP/1.1"),
    ("encoded slash", b"GET /.well-known%2fjwks.json HTTP/1.1"),
    ("encoded backslash", b"GET /.well-known%5cjwks.json HTTP/1.1"),
    ("%00", b"GET /%00 HTTP/1.1"),
    ("%zz", b"GET /%zz HTTP/1.1"),
    ("cut escape", b"GET /%4 HTTP/1.1"),
    ("asterisk", b"OPTIONS * HTTP/1.1"),
    ("CONNECT", b"CONNECT localhost:80 HTTP/1.1"),
    ("relative target", b"GET hidden HTTP/1.1"),
    ("another scheme", b"GET ftp://localhost/ HTTP/1.1"),
    ("user in the authority", b"GET http://evil@localhost/ HTTP/1.1"),
    ("empty authority", b"GET http:///hidden HTTP/1.1"),
    ("method with brackets", b"G[E]T / HTTP/1.1"),
    ("method of 40 letters", b"A" * 40 + b" / HTTP/1.1"),
    ("version in small letters", b"GET / http/1.1"),
    ("version HTTP/1.10", b"GET / HTTP/1.10"),
    ("version HTTP/1", b"GET / HTTP/1"),
    ("version with a comma", b"GET / HTTP/1,1"),
    ("version of another protocol", b"GET / ICAP/1.0"),
):
    refused_line("line: " + _name, _line, 400, 501)
for _version in (b"HTTP/0.9", b"HTTP/1.2", b"HTTP/1.9", b"HTTP/2.0", b"HTTP/3.0", b"HTTP/9.9"):
    refused_line("version " + _version.decode(), b"GET / " + _version, 505)
refused("HTTP/2 preface", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + HIDDEN, 400, 505)
refused("line ended by bare LF", GET.replace(b"\r\n", b"\n", 1) + b"\r\n" + HIDDEN)
refused("line ended by bare CR", GET.replace(b"\r\n", b"\r", 1) + b"\r\n" + HIDDEN)
refused("all bare LF", GET.replace(b"\r\n", b"\n") + b"\n" + HIDDEN)
refused("line ended by CR CR LF", GET.replace(b"\r\n", b"\r\r\n", 1) + b"\r\n" + HIDDEN)
refused("three empty lines in front", b"\r\n\r\n\r\n" + GET + b"\r\n" + HIDDEN)
refused("bare LF in front", b"\n" + GET + b"\r\n" + HIDDEN)
refused("TLS hello", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + HIDDEN)
refused("SOCKS", b"\x05\x01\x00" + HIDDEN)
refused("NULs", b"\x00" * 16 + HIDDEN)
refused("target of 9 KiB", b"GET /" + b"a" * 9000 + b" HTTP/1.1\r\n" + HOST + b"\r\n" + HIDDEN, 414)

# Well-formed ------------------------------------------------------------------


def known(*headers, method=b"GET", version=b"HTTP/1.1", body=b""):
    lines = b"".join(line + b"\r\n" for line in headers)
    return method + b" " + KNOWN.encode() + b" " + version + b"\r\n" + HOST + lines + b"\r\n" + body


def unknown(*headers, method=b"GET", version=b"HTTP/1.1", body=b""):
    return known(*headers, method=method, version=version, body=body).replace(
        KNOWN.encode(), UNKNOWN.encode(), 1)


def posted(*headers, body=b""):
    """Goes nowhere, but its body has to be read past."""
    return unknown(*headers, method=b"POST", body=body)


CLOSE = b"Connection: close"
KEEP = b"Connection: keep-alive"
CHUNKS = b"3\r\nabc\r\n0\r\n\r\n"

accepted("one", known(CLOSE), 200)
accepted("two", known() + unknown(CLOSE), 200, 404)
accepted("three", unknown() + known() + unknown(CLOSE), 404, 200, 404)
accepted("forty", known() * 39 + unknown(CLOSE), *[200] * 39, 404)
accepted("empty line between", known() + b"\r\n" + unknown(CLOSE), 200, 404)
accepted("two empty lines in front", b"\r\n\r\n" + known(CLOSE), 200)
accepted("HEAD has no body", known(method=b"HEAD") + unknown(CLOSE), 200, 404)
accepted("GET with a body", known(b"Content-Length: 5", body=b"hello") + unknown(CLOSE), 200, 404)
accepted("GET with a request for a body",
         known(HIDDEN_LENGTH[:-2], body=HIDDEN) + unknown(CLOSE), 200, 404)
accepted("GET with chunks", known(TE, body=CHUNKS) + unknown(CLOSE), 200, 404)
accepted("GET with length 0", known(b"Content-Length: 0") + unknown(CLOSE), 200, 404)
accepted("POST without a length", posted() + known(CLOSE), 404, 200)
accepted("POST with a body to nowhere",
         posted(HIDDEN_LENGTH[:-2], body=HIDDEN) + known(CLOSE), 404, 200)
accepted("POST with a body, other method",
         known(HIDDEN_LENGTH[:-2], method=b"POST", body=HIDDEN) + known(CLOSE), 405, 200)
accepted("chunks in pieces",
         posted(TE, body=b"1\r\na\r\n00002\r\nbc\r\nA\r\n0123456789\r\n0\r\n\r\n") + known(CLOSE),
         404, 200)
accepted("chunks with a request in them",
         posted(TE, body=b"%x\r\n" % len(HIDDEN) + HIDDEN + b"\r\n0\r\n\r\n") + known(CLOSE),
         404, 200)
accepted("chunk extensions",
         posted(TE, body=b'3;a;b="c;d"\r\nabc\r\n0;x=y\r\n\r\n') + known(CLOSE),
         404, 200)
accepted("trailers",
         posted(TE, body=b"3\r\nabc\r\n0\r\nContent-Length: 44\r\nHost: evil.example\r\n\r\n")
         + known(CLOSE), 404, 200)
accepted("TE in capitals", posted(b"TRANSFER-ENCODING:\tCHUNKED ", body=CHUNKS) + known(CLOSE),
         404, 200)
accepted("names in other case",
         known(b"cOnTeNt-LeNgTh:5", body=b"hello") + unknown(CLOSE), 200, 404)
accepted("8-bit in a value", known(b"User-Agent: caf\xc3\xa9 \xff") + unknown(CLOSE), 200, 404)
accepted("empty value", known(b"X-Empty:") + unknown(CLOSE), 200, 404)
accepted("nothing after close", known(CLOSE) + known(), 200)
accepted("close among others", known(b"Connection: x, Close , y") + known(), 200)
accepted("HTTP/1.0 closes", known(version=b"HTTP/1.0") + known(), 200)
accepted("HTTP/1.0 kept alive", known(KEEP, version=b"HTTP/1.0") + unknown(CLOSE), 200, 404)
accepted("HTTP/1.0 without Host", b"GET /hidden HTTP/1.0\r\n\r\n" + HIDDEN, 404)
accepted("absolute form", known(CLOSE).replace(b"GET /", b"GET http://localhost/", 1), 200)
accepted("two slashes are a path", known().replace(b"GET /", b"GET //", 1) + known(CLOSE), 404, 200)
accepted("decoded once", known().replace(b"jwks", b"%256Awks", 1) + known(CLOSE), 404, 200)
accepted("escapes in a known path", known(CLOSE).replace(b"jwks", b"%6Awks", 1), 200)
accepted("query", known(CLOSE).replace(b"json ", b"json?a=%2F..&b=//x? ", 1), 200)
accepted("unknown method", known(method=b"BREW") + known(CLOSE), 405, 200)
accepted("expectation with its body",
         posted(b"Expect: 100-continue", b"Content-Length: 5", body=b"hello") + known(CLOSE),
         404, 200)
accepted("good, then bad", known() + b"GET / HTTP/1.9\r\n\r\n" + HIDDEN, 200, 505)
accepted("good, then two lengths",
         known() + POST + b"Content-Length: 0\r\n" + HIDDEN_LENGTH + b"\r\n" + HIDDEN, 200, 400)
