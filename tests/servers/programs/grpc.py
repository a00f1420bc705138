"""An HTTP/2 server over cleartext, as gRPC servers are: it answers a request's body with itself, and trailers."""
import asyncio, struct

DATA, HEADERS, SETTINGS, PING, WINDOW_UPDATE = 0, 1, 4, 6, 8
END_STREAM, END_HEADERS, ACK = 1, 4, 1


def frame(kind, flags, stream, payload=b""):
    return struct.pack(">I", len(payload))[1:] + bytes([kind, flags]) + struct.pack(">I", stream) + payload


def headers(**fields):
    """Literal fields that are not indexed (RFC 7541, 6.2.2)."""
    block = b"\x88" if "status_200" in fields else b""
    for name, value in fields.items():
        if name != "status_200":
            name = name.replace("_", "-").encode()
            block += bytes([0, len(name)]) + name + bytes([len(value)]) + value.encode()
    return block


async def serve(reader, writer):
    assert await reader.readexactly(24) == b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
    writer.write(frame(SETTINGS, 0, 0))
    bodies = {}
    while True:
        head = await reader.readexactly(9)
        payload = await reader.readexactly(int.from_bytes(head[:3], "big"))
        kind, flags, stream = head[3], head[4], int.from_bytes(head[5:], "big")
        if kind == SETTINGS and not flags & ACK:
            writer.write(frame(SETTINGS, ACK, 0))
        elif kind == PING and not flags & ACK:
            writer.write(frame(PING, ACK, 0, payload))
        elif kind in (HEADERS, DATA):
            bodies[stream] = bodies.get(stream, b"") + (payload if kind == DATA else b"")
            if flags & END_STREAM:
                writer.write(frame(HEADERS, END_HEADERS, stream, headers(status_200="", content_type="application/grpc")))
                writer.write(frame(DATA, 0, stream, bodies.pop(stream)))
                writer.write(frame(HEADERS, END_HEADERS | END_STREAM, stream, headers(grpc_status="0")))
        await writer.drain()


async def connection(reader, writer):
    try:
        await serve(reader, writer)
    except (asyncio.IncompleteReadError, OSError):
        pass
    writer.close()


async def main():
    server = await asyncio.start_server(connection, "::", 50051)
    await server.serve_forever()


asyncio.run(main())
