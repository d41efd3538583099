"""Health, reflection, TLS and an orderly end over gRPC."""

import asyncio
import datetime
import ipaddress
import threading
from dataclasses import dataclass

import grpc
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from gateway_support import FakeReconstructor, broken_backend_error, wait_started
from google.protobuf import descriptor_pb2
from grpc import aio
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from grpc_support import RECONSTRUCT, opened, request, serve, until
from test_gateway_grpc import KEYS

SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING
NAMES = ("Reconstruction", "Rendering", "Editing", "Tracking", "Model")
SERVICES = tuple(f"inversefacenet.v1.{name}Service" for name in NAMES)


def asked(service=""):
    return health_pb2.HealthCheckRequest(service=service)


def test_health_is_proved_for_every_service_and_needs_no_key():
    reconstructor = FakeReconstructor()

    async def check(service):
        health = health_pb2_grpc.HealthStub(service.channel)
        for name in ("", *SERVICES):
            assert (await health.Check(asked(name))).status == SERVING
        with pytest.raises(aio.AioRpcError) as caught:
            await health.Check(asked("other"))
        assert caught.value.code() is grpc.StatusCode.NOT_FOUND
        reconstructor.backend.error = broken_backend_error()
        assert (await health.Check(asked())).status == NOT_SERVING
        reconstructor.backend.error = None
        assert (await health.Check(asked())).status == SERVING

    serve(check, reconstructor, api_keys=KEYS)


def test_watchers_see_each_change_and_are_let_go_at_the_end():
    reconstructor = FakeReconstructor()

    async def run():
        async with opened(reconstructor) as service:
            health = health_pb2_grpc.HealthStub(service.channel)
            watch = health.Watch(asked())
            other = health.Watch(asked("other"))
            assert (await watch.read()).status == SERVING
            assert (await other.read()).status == health_pb2.HealthCheckResponse.SERVICE_UNKNOWN
            reconstructor.backend.error = broken_backend_error()
            assert (await watch.read()).status == NOT_SERVING
            reconstructor.backend.error = None
            assert (await watch.read()).status == SERVING
            # A watch isn't work.
            assert service.count("requests_in_flight") == 0
            await service.gateway.drain()
            assert (await watch.read()).status == NOT_SERVING
            closing = asyncio.ensure_future(service.gateway.close())
            assert await watch.read() is aio.EOF
            await closing

    asyncio.run(asyncio.wait_for(run(), 60))


def test_the_end_answers_what_was_accepted_and_takes_no_more():
    reconstructor = FakeReconstructor()

    async def run():
        async with opened(reconstructor, drain_delay=60.0) as service:
            health = health_pb2_grpc.HealthStub(service.channel)
            reconstructor.detector.hold = threading.Event()
            accepted = service.photos.Reconstruct(request())
            await wait_started(reconstructor)
            draining = asyncio.ensure_future(service.gateway.drain())
            await until(lambda: service.gateway.engine.draining)
            assert (await health.Check(asked())).status == NOT_SERVING
            draining.cancel()
            closing = asyncio.ensure_future(service.gateway.close())
            await asyncio.sleep(0)
            reconstructor.detector.hold.set()
            assert (await accepted).faces
            await closing
            with pytest.raises(aio.AioRpcError) as caught:
                await service.photos.Reconstruct(request())
            assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
            assert service.count("requests_total", route=RECONSTRUCT, outcome="ok") == 1

    asyncio.run(asyncio.wait_for(run(), 60))


def test_reflection_describes_everything():
    async def check(service):
        stub = reflection_pb2_grpc.ServerReflectionStub(service.channel)
        wanted = [
            reflection_pb2.ServerReflectionRequest(list_services=""),
            reflection_pb2.ServerReflectionRequest(file_containing_symbol=SERVICES[0]),
        ]
        listed, described = [answer async for answer in stub.ServerReflectionInfo(iter(wanted))]
        names = {service.name for service in listed.list_services_response.service}
        assert names == {*SERVICES, "grpc.health.v1.Health", "grpc.reflection.v1alpha.ServerReflection"}
        files = [
            descriptor_pb2.FileDescriptorProto.FromString(raw)
            for raw in described.file_descriptor_response.file_descriptor_proto
        ]
        names = {file.name for file in files}
        assert {"inversefacenet/v1/reconstruction.proto", "google/rpc/status.proto"} <= names

    serve(check, api_keys=KEYS)


@dataclass
class Pair:
    """A certificate and its key as PEM."""

    certificate: bytes
    key: bytes


def make_pair(name, issuer=None):
    """Make a certificate for the loopback address, signed by another or by itself."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    signer = key
    issuer_name = subject
    if issuer is not None:
        signer = serialization.load_pem_private_key(issuer.key, None)
        issuer_name = x509.load_pem_x509_certificate(issuer.certificate).subject
    now = datetime.datetime.now(datetime.UTC)
    address = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
    made = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer_name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(hours=1))
        .add_extension(x509.BasicConstraints(ca=issuer is None, path_length=None), critical=True)
        .add_extension(x509.SubjectAlternativeName([address]), critical=False)
        .sign(signer, hashes.SHA256())
    )
    private = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    return Pair(made.public_bytes(serialization.Encoding.PEM), private)


@pytest.fixture(scope="module")
def authority():
    return make_pair("an authority")


@pytest.fixture
def tls(tmp_path, authority):
    """The settings of a server with a certificate of the authority."""
    server = make_pair("gateway", authority)
    (tmp_path / "server.pem").write_bytes(server.certificate)
    (tmp_path / "server.key").write_bytes(server.key)
    (tmp_path / "clients.pem").write_bytes(authority.certificate)
    return {"tls_certificate": tmp_path / "server.pem", "tls_key": tmp_path / "server.key"}


async def ready(service):
    health = health_pb2_grpc.HealthStub(service.channel)
    return (await health.Check(asked())).status == SERVING


async def refused(service):
    with pytest.raises(aio.AioRpcError) as caught:
        await ready(service)
    assert caught.value.code() is grpc.StatusCode.UNAVAILABLE


def test_tls_protects_the_port(authority, tls):
    trusting = grpc.ssl_channel_credentials(authority.certificate)

    async def check(service):
        assert await ready(service)
        assert (await service.photos.Reconstruct(request())).faces

    serve(check, credentials=trusting, **tls)
    serve(refused, credentials=grpc.ssl_channel_credentials(make_pair("another").certificate), **tls)
    serve(refused, **tls)


def test_mutual_tls_asks_clients_for_a_certificate(authority, tls, tmp_path):
    tls = {**tls, "tls_client_ca": tmp_path / "clients.pem"}
    known = make_pair("a client", authority)
    stranger = make_pair("a stranger")

    async def check(service):
        assert await ready(service)

    def credentials(pair):
        return grpc.ssl_channel_credentials(authority.certificate, pair.key, pair.certificate)

    serve(check, credentials=credentials(known), **tls)
    serve(refused, credentials=credentials(stranger), **tls)
    serve(refused, credentials=grpc.ssl_channel_credentials(authority.certificate), **tls)


def test_no_interface_is_opened_where_it_is_off():
    async def run():
        from gateway_support import make_settings

        from services.gateway.gateway import Gateway

        gateway = Gateway(make_settings(grpc_port=""), FakeReconstructor())
        await gateway.open()
        assert gateway.grpc_port is None
        await gateway.close()

    asyncio.run(run())


def test_a_file_that_holds_no_certificate_is_told(tls):
    tls["tls_certificate"].write_bytes(b"nothing")

    async def run():
        with pytest.raises(OSError, match="IFN_TLS_"):
            async with opened(**tls):
                pass

    asyncio.run(run())
