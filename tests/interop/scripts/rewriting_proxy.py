"""An HTTPS proxy that leads every address to one HTTP server on loopback: for tools whose endpoints cannot be set.

usage: rewriting_proxy.py HOST:PORT CERTIFICATE KEY

Prints its own port. The certificate must be good for every name that is asked for, and trusted by the client.
"""

import socket
import ssl
import sys
import threading


def copy(source, target):
    try:
        while data := source.recv(65536):
            target.sendall(data)
    except OSError:
        pass
    finally:
        for end in (source, target):
            try:
                end.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass


def converse(client, server, context):
    head = b""
    while b"\r\n\r\n" not in head:
        more = client.recv(4096)
        if not more:
            return
        head += more
    if not head.startswith(b"CONNECT "):
        client.sendall(b"HTTP/1.1 405 Only CONNECT\r\ncontent-length: 0\r\n\r\n")
        return
    client.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
    with context.wrap_socket(client, server_side=True) as inner, socket.create_connection(server) as outer:
        back = threading.Thread(target=copy, args=(outer, inner), daemon=True)
        back.start()
        copy(inner, outer)
        back.join()


def main():
    address, certificate, key = sys.argv[1:]
    host, port = address.rsplit(":", 1)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        print(listener.getsockname()[1], flush=True)
        while True:
            client, _ = listener.accept()
            threading.Thread(target=converse, args=(client, (host, int(port)), context), daemon=True).start()


main()
