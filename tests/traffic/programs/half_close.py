"""Sends, shuts down, and only then reads the answer, up to its end."""
import hashlib, socket

message = b"all that I have to say\n" * 100_000
with socket.create_connection(("server", 7002), 30) as s:
    s.sendall(message)
    s.shutdown(socket.SHUT_WR)
    answer = b"".join(iter(lambda: s.recv(4096), b""))
assert answer.decode() == f"{len(message)} {hashlib.sha256(message).hexdigest()}\n", answer
print(len(message), len(answer))
