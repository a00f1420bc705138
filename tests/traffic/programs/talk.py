"""Says a word, hears a word: talk.py HOST PORT WORD LENGTH [v4|v6]. WORD may be empty."""
import socket, sys

host, port, word, length = sys.argv[1], int(sys.argv[2]), sys.argv[3].encode(), int(sys.argv[4])
family = {"v4": socket.AF_INET, "v6": socket.AF_INET6}.get((sys.argv + [""])[5], 0)
address = socket.getaddrinfo(host, port, family, socket.SOCK_STREAM)[0]
with socket.socket(*address[:3]) as s:
    s.settimeout(30)
    s.connect(address[4])
    s.sendall(word)
    heard = b""
    while len(heard) < length:
        data = s.recv(length - len(heard))
        if not data:
            sys.exit(f"the end after {heard!r}")
        heard += data
print(heard.decode())
