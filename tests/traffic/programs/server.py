"""The server of the traffic tests: every port behaves in its own way."""
import asyncio, hashlib, resource, socket, struct

ended = asyncio.Queue()


async def echo(reader, writer):
    """7001: says what it hears, until the end."""
    while data := await reader.read(1 << 18):
        writer.write(data)
        await writer.drain()


async def digest(reader, writer):
    """7002: hears all, and answers only after the end."""
    digest, length = hashlib.sha256(), 0
    while data := await reader.read(1 << 18):
        digest.update(data)
        length += len(data)
    writer.write(f"{length} {digest.hexdigest()}\n".encode())


async def source(reader, writer):
    """7003: is told a number of MiB and a seed, sends so many, and ends."""
    mebibytes, seed = map(int, (await reader.readline()).split())
    block = bytearray(hashlib.shake_256(bytes([seed])).digest(1 << 20))
    for number in range(mebibytes):
        block[:8] = struct.pack("<Q", number)
        writer.write(bytes(block))
        await writer.drain()


async def greet(reader, writer):
    """7004: speaks first, as mail servers do."""
    writer.write(b"220 mail.shop ESMTP\r\n")
    while line := await reader.readline():
        word = line.split(maxsplit=1)[0].upper()
        writer.write(b"221 bye\r\n" if word == b"QUIT" else b"250 ok\r\n")
        if word == b"QUIT":
            return


async def reset(reader, writer):
    """7005: answers one line, and resets on the second."""
    writer.write(await reader.readline())
    await reader.readline()
    linger = struct.pack("ii", 1, 0)
    writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
    writer.transport.abort()


async def watch(reader, writer):
    """7006: answers one line, and remembers for 7007 how the connection ended."""
    writer.write(await reader.readline())
    try:
        await ended.put("end of data" if not await reader.read() else "more data")
    except OSError as error:
        await ended.put(type(error).__name__)


async def tell(reader, writer):
    """7007: tells how the last connection to 7006 ended."""
    writer.write((await ended.get()).encode())


async def name(reader, writer):
    """7008: says which replica it is, and by which address it was called."""
    writer.write(f"{socket.gethostname()} {writer.get_extra_info('sockname')[0]}".encode())


def behaviour(serve):
    async def run(reader, writer):
        try:
            await serve(reader, writer)
            await writer.drain()
        except OSError:
            pass
        writer.close()

    return run


async def main():
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    for port, serve in enumerate([echo, digest, source, greet, reset, watch, tell, name], 7001):
        listener = socket.create_server(("::", port), family=socket.AF_INET6, dualstack_ipv6=True, backlog=4096)
        await asyncio.start_server(behaviour(serve), sock=listener, limit=1 << 20)
    await asyncio.Event().wait()


asyncio.run(main())
