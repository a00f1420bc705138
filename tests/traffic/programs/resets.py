"""How a connection ends: resets.py closed | server | client."""
import socket, struct, sys


def ending(s):
    try:
        return f"data {data!r}" if (data := s.recv(100)) else "end of data"
    except OSError as error:
        return type(error).__name__


def said_and_answered(port):
    s = socket.create_connection(("server", port), 30)
    s.sendall(b"first\n")
    assert s.makefile("rb").readline() == b"first\n"
    return s


match sys.argv[1]:
    case "closed":
        with socket.create_connection(("server", 7999), 30) as s:
            print(ending(s))
    case "server":
        with said_and_answered(7005) as s:
            s.sendall(b"second\n")
            print(ending(s))
    case "client":
        s = said_and_answered(7006)
        s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        s.close()
        with socket.create_connection(("server", 7007), 30) as s:
            print(s.recv(100).decode())
