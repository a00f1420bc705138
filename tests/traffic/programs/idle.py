"""Connections that are idle for SECONDS, and then used: one as it was opened, one after words, one half closed."""
import socket, sys, time

silent = socket.create_connection(("server", 7001), 30)
spoken = socket.create_connection(("server", 7001), 30)
waiting = socket.create_connection(("server", 7006), 30)
spoken.sendall(b"before")
assert spoken.recv(100) == b"before"
waiting.sendall(b"before\n")
assert waiting.recv(100) == b"before\n"
# Nothing is on the way to the other server any more: what carried this ends meanwhile.
with socket.create_connection(("other", 7008), 30) as s:
    assert s.recv(100).startswith(b"other-0")
time.sleep(int(sys.argv[1]))
for s in [silent, spoken]:
    s.sendall(b"after")
    assert s.recv(100) == b"after"
waiting.shutdown(socket.SHUT_WR)
assert waiting.recv(100) == b""
with socket.create_connection(("server", 7007), 30) as s:
    assert s.recv(100) == b"end of data"
with socket.create_connection(("other", 7008), 30) as s:
    assert s.recv(100).startswith(b"other-0")
