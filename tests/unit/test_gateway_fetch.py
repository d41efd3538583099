"""Photos by URL, against a real https server on the loopback address."""

import asyncio
import datetime
import ipaddress
import socket
import ssl
from contextlib import asynccontextmanager

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from hypothesis import given
from hypothesis import strategies as st

from inversefacenet.errors import DeadlineError
from services.gateway.addresses import is_public
from services.gateway.errors import FetchError
from services.gateway.fetch import PhotoFetcher

NAME = "photos.example"
PHOTO = bytes(range(256)) * 400
LIMIT = 2 * len(PHOTO)
NO_TRUST = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    """A self-signed certificate for one name, with its key, in one file."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, NAME)])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(NAME)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    path = tmp_path_factory.mktemp("tls") / "server.pem"
    path.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        + made.public_bytes(serialization.Encoding.PEM)
    )
    return path


class PhotoServer:
    """Answers each path with the bytes, or the coroutine, that the test gives for it."""

    def __init__(self, certificate):
        self._certificate = certificate
        self.answers = {}
        self.requests = []
        self.connections = 0
        self.gone = asyncio.Event()

    async def start(self):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self._certificate)
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0, ssl=context)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self):
        self._server.close()
        await self._server.wait_closed()

    async def _serve(self, reader, writer):
        self.connections += 1
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            self.requests.append(head)
            answer = self.answers[head.split()[1]]
            if isinstance(answer, bytes):
                writer.write(answer)
            else:
                await answer(writer)
            await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError, ssl.SSLError):
            self.gone.set()
        finally:
            writer.close()


def answer(body=b"", status="200 OK", **headers):
    lines = [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    if "transfer_encoding" not in headers and "content_length" not in headers:
        lines.append(f"content-length: {len(body)}")
    return "\r\n".join([f"HTTP/1.1 {status}", *lines, "", ""]).encode() + body


def redirect(location, status="302 Found"):
    return answer(status=status, location=location)


class Names:
    """A resolver with a fixed book; each look-up takes the next page, the last one again and again."""

    def __init__(self, **pages):
        self.pages = {name.replace("_", "."): list(book) for name, book in pages.items()}
        self.asked = []

    async def __call__(self, host, port):
        self.asked.append(host)
        pages = self.pages.get(host)
        if pages is None:
            raise socket.gaierror(socket.EAI_NONAME, "unknown name at 10.0.0.53")
        return pages.pop(0) if len(pages) > 1 else pages[0]


LOOPBACK = Names(photos_example=[["127.0.0.1"]], other_example=[["127.0.0.1"]])


def allow_loopback(address):
    """Stand in for `is_public` where the test's server must be reached."""
    return is_public(address) or address == ipaddress.ip_address("127.0.0.1")


@asynccontextmanager
async def serving(certificate, *, allow=allow_loopback, resolve=LOOPBACK, timeout=20.0, redirects=2):
    server = PhotoServer(certificate)
    await server.start()
    trust = ssl.create_default_context(cafile=str(certificate))
    fetcher = PhotoFetcher(
        timeout, LIMIT, redirects, allow, resolve=resolve, ssl_context=trust, port=server.port
    )
    server.url = f"https://{NAME}:{server.port}"
    try:
        yield server, fetcher
    finally:
        await fetcher.close()
        await server.stop()


def run(check):
    asyncio.run(asyncio.wait_for(check, 60))


async def refused(fetcher, url, match, deadline=None):
    with pytest.raises(FetchError, match=match) as caught:
        await fetcher.fetch(url, deadline)
    assert caught.value.http_status == 422
    for secret in ("127.0.0.1", "10.0.0", "unknown name", "Errno", "certificate verify"):
        assert secret not in str(caught.value)


def test_photo_arrives_and_nothing_of_ours_goes_out(certificate, monkeypatch):
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:9")

    async def check():
        async with serving(certificate) as (server, fetcher):
            server.answers["/a%20face.jpg?x=1"] = answer(PHOTO, set_cookie="a=b")
            for _ in range(2):
                assert await fetcher.fetch(f"{server.url}/a face.jpg?x=1#part", 30) == PHOTO
            for head in server.requests:
                lines = head.lower().splitlines()
                assert lines[0] == "get /a%20face.jpg?x=1 http/1.1"
                assert f"host: {NAME}:{server.port}" in lines
                assert "accept: image/*" in lines
                assert "accept-encoding: identity" in lines
                names = {line.partition(":")[0] for line in lines[1:] if line}
                assert names == {"host", "user-agent", "accept", "accept-encoding", "connection"}

    run(check())


def test_chunks_and_bodies_without_a_length_are_read(certificate):
    async def check():
        async with serving(certificate) as (server, fetcher):
            half = len(PHOTO) // 2
            chunks = b"".join(b"%x\r\n%b\r\n" % (half, PHOTO[i : i + half]) for i in (0, half)) + b"0\r\n\r\n"
            server.answers["/chunks"] = answer(chunks, transfer_encoding="chunked")
            server.answers["/close"] = b"HTTP/1.1 200 OK\r\n\r\n" + PHOTO
            assert await fetcher.fetch(server.url + "/chunks") == PHOTO
            assert await fetcher.fetch(server.url + "/close") == PHOTO

    run(check())


@pytest.mark.parametrize(
    "url",
    [
        "http://photos.example/a.jpg",
        "http://photos.example:PORT/a.jpg",
        "ftp://photos.example/a.jpg",
        "file:///etc/passwd",
        "data:image/png;base64,AAAA",
        "//photos.example/a.jpg",
        "photos.example/a.jpg",
        "",
        "https://",
        "https:///a.jpg",
        "https://photos.example/a.jpg",  # not the one port
        "https://photos.example:22/a.jpg",
        "https://user@photos.example:PORT/a.jpg",
        "https://user:word@photos.example:PORT/a.jpg",
        "https://photos.example\\@evil.example:PORT/",
        "https://pho tos.example:PORT/",
        "https://photos..example:PORT/",
        "https://-photos.example:PORT/",
        "https://[fe80::1%25eth0]:PORT/",
        "https://photos.example:PORT/\r\nX-Injected: 1",
        "https://" + "a" * 64 + ".example:PORT/",
        "https://photos.example:PORT/" + "a" * 9000,
    ],
)
def test_urls_of_a_wrong_form_are_refused_before_anything_is_looked_up(certificate, url):
    names = Names()

    async def check():
        async with serving(certificate, resolve=names) as (server, fetcher):
            await refused(fetcher, url.replace("PORT", str(server.port)), r"The photo's address ")
            assert not names.asked
            assert not server.connections

    run(check())


@given(
    st.one_of(
        st.text(),
        st.text("abé.:/@[]%\\0x1 #?-_").map(lambda rest: "https://" + rest),
        st.text("abé.:/@[]%-_1", min_size=1).map(lambda host: f"https://{host}/a.jpg"),
    )
)
def test_any_text_is_a_clear_error_or_looked_up(url):
    async def check():
        fetcher = PhotoFetcher(20, LIMIT, 0, resolve=Names(), ssl_context=NO_TRUST)
        await refused(fetcher, url, r"The photo's address can't be")
        await fetcher.close()

    asyncio.run(check())


def test_only_port_443_unless_told_otherwise():
    names = Names(photos_example=[["10.0.0.1"]])

    async def check():
        fetcher = PhotoFetcher(5, LIMIT, 0, resolve=names)
        await refused(fetcher, "https://photos.example:8443/", "on port 443")
        assert not names.asked
        for url in ("https://photos.example/", "https://photos.example:443/"):
            await refused(fetcher, url, "must exist and lead to public addresses")
        assert names.asked == [NAME, NAME]
        await fetcher.close()

    run(check())


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1",
        "127.1",
        "2130706433",
        "0x7f.1",
        "0",
        "[::1]",
        "[::ffff:127.0.0.1]",
        "[64:ff9b::7f00:1]",
        "10.0.0.1",
        "169.254.169.254",
        "[fd00:ec2::254]",
        "localhost",
        "LOCALHOST.",
        "name-that-is-nowhere.invalid",
    ],
)
def test_the_systems_resolver_leads_nowhere_inside(certificate, host):
    async def check():
        async with serving(certificate, allow=is_public, resolve=None) as (server, fetcher):
            await refused(
                fetcher, f"https://{host}:{server.port}/", "must exist and lead to public addresses"
            )
            assert not server.connections

    run(check())


@pytest.mark.parametrize(
    "addresses",
    [["8.8.8.8", "10.0.0.1"], ["10.0.0.1", "8.8.8.8"], ["2606:2800::1", "::1"], ["fe80::1%1"], [], ["what"]],
)
def test_one_private_address_spoils_the_name(certificate, addresses):
    async def check():
        names = Names(photos_example=[addresses])
        async with serving(certificate, allow=is_public, resolve=names) as (server, fetcher):
            await refused(fetcher, server.url + "/", "must exist and lead to public addresses alone")

    run(check())


def test_connection_goes_to_the_address_that_was_checked(certificate):
    """A name that answers first with a public address and then with an inner one gains nothing."""
    checked = []

    def allow(address):
        checked.append(str(address))
        return str(address) == "127.0.0.1"

    async def check():
        names = Names(photos_example=[["127.0.0.1"], ["127.0.0.2"]])
        async with serving(certificate, allow=allow, resolve=names) as (server, fetcher):
            server.answers["/"] = answer(PHOTO)
            assert await fetcher.fetch(server.url + "/") == PHOTO
            assert names.asked == [NAME]
            assert checked == ["127.0.0.1"]
            # The next request asks again, and is told by what the name says now.
            await refused(fetcher, server.url + "/", "must exist and lead to public addresses")
            assert checked == ["127.0.0.1", "127.0.0.2"]
            assert server.connections == 1

    run(check())


def test_a_dead_address_is_passed_over_for_the_next(certificate):
    async def check():
        names = Names(photos_example=[["127.0.0.3", "127.0.0.1"]])  # nobody listens at the first
        async with serving(certificate, allow=lambda address: True, resolve=names) as (server, fetcher):
            server.answers["/"] = answer(PHOTO)
            assert await fetcher.fetch(server.url + "/") == PHOTO
            names.pages[NAME] = [["127.0.0.3"]]
            await refused(fetcher, server.url + "/", "could not be reached")

    run(check())


def test_redirects_are_followed_up_to_the_limit(certificate):
    async def check():
        async with serving(certificate, redirects=2) as (server, fetcher):
            server.answers["/1"] = redirect("/2", "301 Moved Permanently")
            server.answers["/2"] = redirect(f"//{NAME}:{server.port}/3", "307 Temporary Redirect")
            server.answers["/3"] = answer(PHOTO)
            server.answers["/0"] = redirect("1")
            assert await fetcher.fetch(server.url + "/1") == PHOTO
            await refused(fetcher, server.url + "/0", "more than 2 redirects")

    run(check())


@pytest.mark.parametrize(
    ("location", "match"),
    [
        ("http://photos.example/", "must be https"),
        ("https://10.0.0.1:PORT/", "lead to public addresses"),
        ("https://inner.example:PORT/", "lead to public addresses"),
        ("https://[::1]:PORT/", "lead to public addresses"),
        ("https://photos.example:22/", "on port"),
        ("https://user:word@photos.example:PORT/", "without user"),
        ("file:///etc/passwd", "must be https"),
        ("https://[", "can't be used"),
        ("https://１２７.0.0.1/", "can't be read"),
        ("/" + "a" * 9000, "longer than 8192"),
    ],
)
def test_each_redirect_is_checked_anew(certificate, location, match):
    names = Names(photos_example=[["127.0.0.1"]], inner_example=[["10.0.0.1"]])

    async def resolve(host, port):
        return [host] if host[0] in ":1" else await names(host, port)

    async def check():
        async with serving(certificate, resolve=resolve) as (server, fetcher):
            server.answers["/"] = redirect(location.replace("PORT", str(server.port)))
            await refused(fetcher, server.url + "/", match)
            assert server.connections == 1

    run(check())


def test_redirect_to_nowhere_is_refused(certificate):
    async def check():
        async with serving(certificate) as (server, fetcher):
            server.answers["/latin"] = b"HTTP/1.1 302 Found\r\nlocation: /\xe9\r\ncontent-length: 0\r\n\r\n"
            await refused(fetcher, server.url + "/latin", "redirects to an address that can't be read")
            server.answers["/none"] = answer(status="302 Found")
            await refused(fetcher, server.url + "/none", "more than 2 redirects")

    run(check())


@pytest.mark.parametrize("status", ["404 Not Found", "500 Oops", "206 Partial Content", "304 Not Modified"])
def test_any_other_status_is_told(certificate, status):
    async def check():
        async with serving(certificate) as (server, fetcher):
            server.answers["/"] = answer(status=status)
            await refused(fetcher, server.url + "/", f"status {status[:3]} instead of 200")

    run(check())


def test_one_byte_too_many_is_refused_and_by_its_own_word_not_even_read(certificate):
    async def check():
        async with serving(certificate) as (server, fetcher):
            server.answers["/"] = answer(content_length=LIMIT + 1)  # and never sends it
            await refused(fetcher, server.url + "/", f"larger than {LIMIT} bytes")
            server.answers["/"] = b"HTTP/1.1 200 OK\r\n\r\n" + bytes(LIMIT + 1)
            await refused(fetcher, server.url + "/", f"larger than {LIMIT} bytes")
            server.answers["/"] = answer(bytes(LIMIT))
            assert len(await fetcher.fetch(server.url + "/")) == LIMIT

    run(check())


@pytest.mark.parametrize("chunked", [True, False])
def test_a_body_without_end_is_cut_off(certificate, chunked):
    async def endless(writer):
        writer.write(answer(transfer_encoding="chunked") if chunked else b"HTTP/1.1 200 OK\r\n\r\n")
        while True:
            writer.write(b"%x\r\n%b\r\n" % (len(PHOTO), PHOTO) if chunked else PHOTO)
            await writer.drain()

    async def check():
        async with serving(certificate) as (server, fetcher):
            server.answers["/"] = endless
            await refused(fetcher, server.url + "/", "larger than|more than a photo needs")
            await server.gone.wait()  # the connection was closed, not left behind

    run(check())


def test_many_tiny_chunks_are_cut_off(certificate):
    async def check():
        async with serving(certificate) as (server, fetcher):
            body = b"1\r\nx\r\n" * 20_000 + b"0\r\n\r\n"
            server.answers["/"] = answer(body, transfer_encoding="chunked")
            await refused(fetcher, server.url + "/", "too many small pieces")

    run(check())


@pytest.mark.parametrize(
    "line", [b"HTTP/1.1 103 Early Hints\r\n\r\n", b"HTTP/1.1 200 OK\r\n" + b"a: b\r\n" * 100_000]
)
def test_headers_without_end_are_cut_off(certificate, line):
    async def endless(writer):
        while True:
            writer.write(line * 64)
            await writer.drain()

    async def check():
        async with serving(certificate) as (server, fetcher):
            server.answers["/"] = endless
            await refused(fetcher, server.url + "/", "more than a photo needs|broke off")
            await server.gone.wait()

    run(check())


@pytest.mark.parametrize("encoding", ["gzip", "br", "deflate, gzip", "GZIP"])
def test_compressed_bodies_are_refused_unread(certificate, encoding):
    async def check():
        async with serving(certificate) as (server, fetcher):
            server.answers["/"] = answer(PHOTO, content_encoding=encoding)
            await refused(fetcher, server.url + "/", "compressed")
            server.answers["/"] = answer(PHOTO, content_encoding="identity")
            assert await fetcher.fetch(server.url + "/") == PHOTO

    run(check())


async def drip(writer):
    writer.write(answer(content_length=len(PHOTO)))
    for _ in range(10_000):
        writer.write(b"x")
        await writer.drain()
        await asyncio.sleep(0.02)


async def silence(writer):
    await asyncio.sleep(30)


@pytest.mark.parametrize("slow", [drip, silence])
def test_time_limits_hold_for_the_whole(certificate, slow):
    async def check():
        async with serving(certificate, timeout=0.4) as (server, fetcher):
            server.answers["/"] = slow
            await refused(fetcher, server.url + "/", r"did not send it within 0\.4 s")
            with pytest.raises(DeadlineError, match="time ran out"):
                await fetcher.fetch(server.url + "/", 0.1)
            with pytest.raises(DeadlineError, match="time ran out"):
                await fetcher.fetch(server.url + "/", -1)
            await refused(fetcher, server.url + "/", r"did not send it within 0\.4 s", deadline=9)

    run(check())


def test_a_resolver_that_hangs_counts_too(certificate):
    async def resolve(host, port):
        await asyncio.sleep(30)

    async def check():
        async with serving(certificate, resolve=resolve, timeout=0.2) as (server, fetcher):
            await refused(fetcher, server.url + "/", "did not send it within")

    run(check())


def test_a_certificate_for_another_name_is_refused(certificate):
    async def check():
        async with serving(certificate) as (server, fetcher):
            server.answers["/"] = answer(PHOTO)
            other = server.url.replace(NAME, "other.example") + "/"
            await refused(fetcher, other, "no trusted certificate for its name")
            assert not server.requests

    run(check())


def test_a_certificate_that_nobody_vouches_for_is_refused(certificate):
    async def check():
        async with serving(certificate) as (server, _):
            server.answers["/"] = answer(PHOTO)
            stranger = PhotoFetcher(20, LIMIT, 0, allow_loopback, resolve=LOOPBACK, port=server.port)
            await refused(stranger, server.url + "/", "no trusted certificate for its name")
            await stranger.close()
            assert not server.requests

    run(check())


@pytest.mark.parametrize(
    "broken",
    [
        b"",
        b"\x00\xff\x00\r\n\r\n",
        b"SSH-2.0-OpenSSH_9.6\r\n\r\n",
        answer(PHOTO)[:-1],
        answer(b"zz\r\n", transfer_encoding="chunked"),
        answer(b"f" * 30 + b"\r\n", transfer_encoding="chunked"),
        answer(PHOTO, content_length="9" * 5000),
        answer(PHOTO, content_length="-1"),
        answer(PHOTO, transfer_encoding="gzip, chunked"),
        b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\ncontent-length: 5\r\n\r\nabcd",
        b"HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n",
    ],
)
def test_broken_answers_are_refused(certificate, broken):
    async def check():
        async with serving(certificate) as (server, fetcher):
            server.answers["/"] = broken
            await refused(fetcher, server.url + "/", "could not be reached, or broke off|status 101")

    run(check())


def test_a_server_without_tls_is_refused(certificate):
    async def check():
        async with serving(certificate) as (_, fetcher):
            plain = await asyncio.start_server(lambda reader, writer: writer.close(), "127.0.0.1", 0)
            fetcher._port = plain.sockets[0].getsockname()[1]
            await refused(fetcher, f"https://{NAME}:{fetcher._port}/", "could not be reached")
            plain.close()
            await plain.wait_closed()

    run(check())
