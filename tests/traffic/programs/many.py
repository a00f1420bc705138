"""Many connections: many.py short COUNT AT_ONCE | at_once COUNT. Prints how many did all that they should."""
import asyncio, resource, sys

most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


async def say(reader, writer, number):
    word = f"{number:016}".encode()
    writer.write(word)
    heard = await reader.readexactly(len(word))
    assert heard == word, (heard, word)


async def end(reader, writer):
    writer.write_eof()
    assert await reader.read() == b"", "something after the end"
    writer.close()


async def short(count, at_once):
    numbers = iter(range(count))
    lost = []

    async def work():
        for number in numbers:
            try:
                reader, writer = await asyncio.open_connection("server", 7001)
                await say(reader, writer, number)
                await end(reader, writer)
            except Exception as error:
                lost.append(f"{number}: {error!r}")

    await asyncio.gather(*[work() for _ in range(at_once)])
    return count - len(lost), lost[:5]


async def at_once(count):
    every = await asyncio.gather(*[asyncio.open_connection("server", 7001) for _ in range(count)])
    # All are open before the first is used, and all are used thrice before the first ends.
    for turn in range(3):
        await asyncio.gather(*[say(*one, turn * count + n) for n, one in enumerate(every)])
    await asyncio.gather(*[end(*one) for one in every])
    return count, []


done, lost = asyncio.run({"short": short, "at_once": at_once}[sys.argv[1]](*map(int, sys.argv[2:])))
print(done)
for line in lost:
    print(line, file=sys.stderr)
