"""Runs inside the lab's namespaces; see lab.py. Standard library only. Ends when its standard input does."""

import contextlib
import json
import socket
import subprocess
import sys
import threading
import time

HOST, OUTSIDE, PORT = "10.9.0.2", "10.9.0.1", 7007
MARK = 0x88B5  # IEEE 802 local experimental EtherType 1


def run(*command: str) -> None:
    """Run a command, bounded."""
    subprocess.run(command, check=True, timeout=10)


def say(value: object) -> None:
    """One line of JSON to the one who asks."""
    sys.stdout.write(json.dumps(value) + "\n")
    sys.stdout.flush()


def echo_forever() -> None:
    """The neighbour answers UDP datagrams with themselves."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind((HOST, PORT))
        while True:
            data, peer = server.recvfrom(2048)
            try:
                server.sendto(data, peer)
            except PermissionError:
                continue  # a packet that the output hook drops comes back as EPERM


def send_frames_forever() -> None:
    """The neighbour sends marked frames through a packet socket."""
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as sender:
        sender.bind(("inner", 0))
        frame = b"\xff" * 6 + b"\x02\x00\x00\x00\x00\x01" + MARK.to_bytes(2, "big") + b"doorwatch lab".ljust(46)
        while True:
            with contextlib.suppress(OSError):  # the egress hook's drop comes back as an error
                sender.send(frame)
            time.sleep(0.005)


def outside() -> None:
    """The one outside, in a network namespace of its own."""
    say({"ready": True})
    sys.stdin.readline()
    run("ip", "address", "add", f"{OUTSIDE}/24", "dev", "outer")
    run("ip", "link", "set", "outer", "up")
    asker = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    asker.settimeout(0.1)
    listener = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(MARK))
    listener.bind(("outer", MARK))
    say({"ready": True})
    number = 0
    for line in sys.stdin:
        if line.strip() == "echo":
            number += 1
            say({"answer": ask(asker, str(number).encode())})
        else:
            say({"answer": count(listener)})


def ask(asker: socket.socket, data: bytes) -> bool:
    """Send one datagram and wait 100 ms for its echo."""
    asker.sendto(data, (HOST, PORT))
    deadline = time.monotonic() + 0.1
    while time.monotonic() < deadline:
        try:
            if asker.recv(2048) == data:
                return True
        except TimeoutError:
            break
    return False


def count(listener: socket.socket) -> int:
    """Marked frames that arrive within 100 ms from now."""
    listener.setblocking(False)
    try:
        while listener.recv(2048):
            pass  # what came before the question
    except BlockingIOError:
        pass
    listener.settimeout(0.1)
    found, deadline = 0, time.monotonic() + 0.1
    while time.monotonic() < deadline:
        try:
            listener.recv(2048)
        except TimeoutError:
            break
        found += 1
    return found


def main() -> None:
    """Make the network, then hand questions on to the one outside."""
    target = subprocess.Popen(["sleep", "300"])
    peer = subprocess.Popen(
        ["unshare", "--net", sys.executable, "-I", __file__, "outside"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert peer.stdin is not None
    assert peer.stdout is not None
    try:
        peer.stdout.readline()
        run("ip", "link", "add", "inner", "type", "veth", "peer", "name", "outer", "netns", str(peer.pid))
        run("ip", "address", "add", f"{HOST}/24", "dev", "inner")
        run("ip", "link", "set", "inner", "up")
        peer.stdin.write(b"configure\n")
        peer.stdin.flush()
        peer.stdout.readline()
        for work in (echo_forever, send_frames_forever):
            threading.Thread(target=work, daemon=True).start()
        say({"target": target.pid})
        for line in sys.stdin.buffer:
            peer.stdin.write(line)
            peer.stdin.flush()
            sys.stdout.buffer.write(peer.stdout.readline())
            sys.stdout.buffer.flush()
    finally:
        for child in (target, peer):
            child.kill()
            child.wait()


if __name__ == "__main__":
    outside() if sys.argv[1:] == ["outside"] else main()
