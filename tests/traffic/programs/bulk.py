"""A transfer each way: bulk.py MEBIBYTES. Prints seconds up and seconds down."""
import hashlib, socket, struct, sys, time

mebibytes = int(sys.argv[1])


def blocks(seed):
    block = bytearray(hashlib.shake_256(bytes([seed])).digest(1 << 20))
    for number in range(mebibytes):
        block[:8] = struct.pack("<Q", number)
        yield block


def up():
    sent = hashlib.sha256()
    with socket.create_connection(("server", 7002), 300) as s:
        for block in blocks(1):
            s.sendall(block)
            sent.update(block)
        s.shutdown(socket.SHUT_WR)
        answer = s.makefile().read()
    assert answer == f"{mebibytes << 20} {sent.hexdigest()}\n", answer


def down():
    expected, heard = hashlib.sha256(), hashlib.sha256()
    for block in blocks(2):
        expected.update(block)
    buffer = bytearray(1 << 18)
    with socket.create_connection(("server", 7003), 300) as s:
        s.sendall(f"{mebibytes} 2\n".encode())
        while length := s.recv_into(buffer):
            heard.update(memoryview(buffer)[:length])
    assert heard.digest() == expected.digest(), "the digests differ"


for direction in [up, down]:
    began = time.monotonic()
    direction()
    print(f"{time.monotonic() - began:.1f}")
