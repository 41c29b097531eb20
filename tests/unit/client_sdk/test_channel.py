"""The channel against a small server of its own: what is replaced, what is repeated."""

from __future__ import annotations

import asyncio
import shutil
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import grpc
import pytest

from blindproof.authority import Authority
from client_sdk import ConnectionLostError
from client_sdk.channel import RETRIED, Channels
from client_sdk.credentials import Bearer, TlsFiles
from client_sdk.transport import Transport
from wire import rpc

SECONDS = 10.0


@dataclass
class Peer:
    """A server which says who called, and fails as often as it is told to.

    Attributes:
        failures: how many calls of each method fail next.
        seen: how many there were.
        metadata: of the last one.
        going: released when calls of `rpc.INFER` may end.
    """

    address: str = ""
    failures: Counter[str] = field(default_factory=Counter)
    seen: Counter[str] = field(default_factory=Counter)
    metadata: dict[str, str] = field(default_factory=dict)
    going: asyncio.Event = field(default_factory=asyncio.Event)

    def service(self, details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler:
        method = details.method
        self.metadata = dict(details.invocation_metadata)

        async def fail(context: grpc.aio.ServicerContext) -> None:
            self.seen[method] += 1
            if self.failures[method] > 0:
                self.failures[method] -= 1
                await context.abort(grpc.StatusCode.UNAVAILABLE, "for now")

        async def answer(_request, context: grpc.aio.ServicerContext) -> bytes:
            await fail(context)
            return b" ".join(context.auth_context().get("x509_common_name", ()))

        async def stream(_requests, _context) -> AsyncIterator[bytes]:
            yield b"begun"
            await self.going.wait()
            yield b"ended"

        if method == rpc.INFER.path:
            return grpc.stream_stream_rpc_method_handler(stream)
        if method == rpc.COMPLETE_ENROLMENT.path:
            return grpc.stream_unary_rpc_method_handler(answer)
        return grpc.unary_unary_rpc_method_handler(answer)


@pytest.fixture
def files(tmp_path) -> TlsFiles:
    """The client's PEM files."""
    return TlsFiles(tmp_path / "ca.pem", tmp_path / "client.pem", tmp_path / "client.key.pem")


@asynccontextmanager
async def serving(home: Path, authority: Authority, files: TlsFiles) -> AsyncIterator[Peer]:
    """A server which knows the clients of one authority; the files are of a first client."""
    authority.write(files.ca)
    show(authority, files, "first")
    certificate, key = authority.issue(home, "localhost")
    peer = Peer()
    server = grpc.aio.server()
    server.add_generic_rpc_handlers([peer])
    credentials = grpc.ssl_server_credentials(
        [(key.read_bytes(), certificate.read_bytes())], files.ca.read_bytes(), True
    )
    peer.address = f"127.0.0.1:{server.add_secure_port('127.0.0.1:0', credentials)}"
    await server.start()
    try:
        yield peer
    finally:
        await server.stop(None)


def show(authority: Authority, files: TlsFiles, name: str) -> None:
    """Give the client another certificate."""
    certificate, key = authority.issue(files.ca.parent, name)
    shutil.copy(certificate, files.certificate)
    shutil.copy(key, files.key)


@pytest.mark.asyncio
async def test_replaced_files_are_shown_by_the_next_call(tmp_path, files):
    authority = Authority.fresh()
    async with serving(tmp_path, authority, files) as peer:
        transport = Transport(peer.address, files, SECONDS)
        assert await transport.call(rpc.GET_LOG, b"") == b"first"
        channel = transport._channels._line.channel
        assert await transport.call(rpc.GET_LOG, b"") == b"first"
        assert transport._channels._line.channel is channel  # as long as nothing has changed
        show(authority, files, "second")
        assert await transport.call(rpc.GET_LOG, b"") == b"second"
        assert channel.get_state() is grpc.ChannelConnectivity.SHUTDOWN
        await transport.close()


async def begun(channel: grpc.aio.Channel) -> grpc.aio.StreamStreamCall:
    """A call whose answer has begun and goes on when the server is told to."""
    call = channel.stream_stream(rpc.INFER.path)(iter([b"header"]), timeout=SECONDS)
    assert await call.read() == b"begun"
    return call


async def name(channels: Channels) -> bytes:
    """The name the server knows its peer by."""
    async with channels.open() as channel:
        return await channel.unary_unary(rpc.GET_LOG.path)(b"", timeout=SECONDS)


@pytest.mark.asyncio
async def test_a_call_under_way_ends_on_the_channel_it_began_on(tmp_path, files):
    authority = Authority.fresh()
    async with serving(tmp_path, authority, files) as peer:
        channels = Channels(peer.address, files)
        async with channels.open() as old:
            call = await begun(old)
            show(authority, files, "second")
            assert await name(channels) == b"second"
            assert old.get_state() is not grpc.ChannelConnectivity.SHUTDOWN
            peer.going.set()
            assert await call.read() == b"ended"
        assert old.get_state() is grpc.ChannelConnectivity.SHUTDOWN
        assert await name(channels) == b"second"
        await channels.close()


@pytest.mark.asyncio
async def test_closing_ends_calls_on_replaced_channels_too(tmp_path, files):
    authority = Authority.fresh()
    async with serving(tmp_path, authority, files) as peer:
        channels = Channels(peer.address, files)
        async with channels.open() as old:
            call = await begun(old)
            show(authority, files, "second")
            await name(channels)
            await channels.close()
            assert old.get_state() is grpc.ChannelConnectivity.SHUTDOWN
            assert call.done()


@pytest.mark.asyncio
async def test_files_that_do_not_fit_are_waited_for(tmp_path, files):
    authority = Authority.fresh()
    async with serving(tmp_path, authority, files) as peer:
        transport = Transport(peer.address, files, SECONDS)
        await transport.call(rpc.GET_LOG, b"")
        certificate, key = authority.issue(tmp_path, "second")
        shutil.copy(certificate, files.certificate)
        assert await transport.call(rpc.GET_LOG, b"") == b"first"
        shutil.copy(key, files.key)
        assert await transport.call(rpc.GET_LOG, b"") == b"second"
        await transport.close()


@pytest.mark.asyncio
async def test_unary_calls_are_repeated_while_the_server_is_unavailable(tmp_path, files):
    async with serving(tmp_path, Authority.fresh(), files) as peer:
        transport = Transport(peer.address, files, SECONDS)
        peer.failures[rpc.GET_MODEL.path] = 2
        assert await transport.call(rpc.GET_MODEL, b"") == b"first"
        assert peer.seen[rpc.GET_MODEL.path] == 3
        peer.failures[rpc.GET_MODEL.path] = 9
        with pytest.raises(ConnectionLostError):
            await transport.call(rpc.GET_MODEL, b"")
        assert peer.seen[rpc.GET_MODEL.path] == 3 + 4
        await transport.close()


@pytest.mark.asyncio
async def test_streams_are_not_repeated_by_grpc(tmp_path, files):
    async with serving(tmp_path, Authority.fresh(), files) as peer:
        transport = Transport(peer.address, files, SECONDS)
        peer.failures[rpc.COMPLETE_ENROLMENT.path] = 1
        with pytest.raises(ConnectionLostError):
            await transport.send(rpc.COMPLETE_ENROLMENT, iter([b"header"]))
        assert peer.seen[rpc.COMPLETE_ENROLMENT.path] == 1
        await transport.close()


def test_streams_and_what_changes_models_are_not_repeated_by_grpc():
    names = {method.name for method in RETRIED}
    assert not names & {"Infer", "CompleteEnrolment", "PublishModel", "WithdrawModel"}


@pytest.mark.asyncio
async def test_the_token_goes_with_every_call(tmp_path, files):
    (tmp_path / "token").write_text("abc")
    async with serving(tmp_path, Authority.fresh(), files) as peer:
        transport = Transport(peer.address, files, SECONDS, Bearer.of(None, tmp_path / "token"))
        await transport.call(rpc.GET_LOG, b"")
        assert peer.metadata["authorization"] == "Bearer abc"
        (tmp_path / "token").write_text("def")
        await transport.send(rpc.COMPLETE_ENROLMENT, iter([b"header"]))
        assert peer.metadata["authorization"] == "Bearer def"
        await transport.close()
