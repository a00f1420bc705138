"""Both ends of a WebSocket (RFC 6455): websocket.py serve | talk. Either side speaks unasked."""
import base64, hashlib, os, socket, struct, sys

TEXT, CLOSE, PING, PONG = 1, 8, 9, 10


def accept(key):
    return base64.b64encode(hashlib.sha1(key + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11").digest())


def send(file, opcode, data, masked):
    length = len(data)
    size = bytes([length]) if length < 126 else b"\x7e" + struct.pack(">H", length)
    if masked:
        mask = os.urandom(4)
        data = bytes(b ^ mask[i % 4] for i, b in enumerate(data))
        size = bytes([size[0] | 0x80]) + size[1:] + mask
    file.write(bytes([0x80 | opcode]) + size + data)
    file.flush()


def receive(file):
    opcode, length = file.read(2)
    masked, length = length & 0x80, length & 0x7F
    if length == 126:
        (length,) = struct.unpack(">H", file.read(2))
    mask = file.read(4) if masked else bytes(4)
    return opcode & 0xF, bytes(b ^ mask[i % 4] for i, b in enumerate(file.read(length)))


def head(file):
    return b"".join(iter(file.readline, b"\r\n"))


def serve():
    listener = socket.create_server(("::", 8082), family=socket.AF_INET6, dualstack_ipv6=True)
    while True:
        with listener.accept()[0] as s, s.makefile("rwb") as file:
            key = head(file).split(b"Sec-WebSocket-Key: ")[1].split(b"\r\n")[0]
            file.write(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n")
            file.write(b"Sec-WebSocket-Accept: " + accept(key) + b"\r\n\r\n")
            send(file, TEXT, b"news that nobody asked for", masked=False)
            while (message := receive(file))[0] != CLOSE:
                opcode, data = message
                send(file, PONG if opcode == PING else opcode, data, masked=False)
            send(file, CLOSE, message[1], masked=False)


def talk():
    key = base64.b64encode(os.urandom(16))
    with socket.create_connection(("websocket", 8082), 30) as s, s.makefile("rwb") as file:
        file.write(b"GET /chat HTTP/1.1\r\nHost: websocket\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n")
        file.write(b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: " + key + b"\r\n\r\n")
        file.flush()
        answer = head(file)
        assert b" 101 " in answer and accept(key) in answer, answer
        assert receive(file) == (TEXT, b"news that nobody asked for")
        for opcode, data in [(TEXT, b"hello"), (PING, b"are you there"), (TEXT, b"long " * 10_000)]:
            send(file, opcode, data, masked=True)
            assert receive(file) == (PONG if opcode == PING else opcode, data)
        send(file, CLOSE, struct.pack(">H", 1000), masked=True)
        assert receive(file) == (CLOSE, struct.pack(">H", 1000))
        assert file.read() == b""
    print("done")


{"serve": serve, "talk": talk}[sys.argv[1]]()
