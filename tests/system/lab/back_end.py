# SPDX-License-Identifier: BSD-3-Clause
"""A vhost-user back end that answers what it is told to, right or wrong. It serves no ring."""

import contextlib
import os
import socket
import struct
import threading

from .process import wait_until

# Of messages.
GET_FEATURES = 1
SET_MEM_TABLE = 5
SET_VRING_BASE = 10
SET_VRING_KICK = 12
GET_PROTOCOL_FEATURES = 15
GET_QUEUE_NUM = 17
SET_VRING_ENABLE = 18
GET_INFLIGHT_FD = 31

VERSION_1 = 1 << 32
RING_PACKED = 1 << 34
PROTOCOL_FEATURES = 1 << 30
MULTIQUEUE = 1 << 0
REPLY_ACK = 1 << 3
INFLIGHT = 1 << 12

_REPLY = 5  # with version 1
_NEED_REPLY = 8


def answer(request, payload, flags=_REPLY, size=None):
    """A message; size may lie about its payload."""
    return struct.pack("<III", request, flags, len(payload) if size is None else size) + payload


def u64(number):
    return struct.pack("<Q", number)


class BackEnd:
    """Listens at path, or connects to who listens there.

    behave(peer, request, payload) is called for each message and may send what it likes to the
    socket peer; it returns whether it has: None for what a back end should answer, False to hang
    up. greeting is sent before any message has come; None for it: it hangs up at once. seen has
    the numbers of the requests, and met counts connections.
    """

    def __init__(self, path, behave=lambda *message: None, greeting=b"", connect=False,
                 features=VERSION_1 | PROTOCOL_FEATURES,
                 protocol=MULTIQUEUE | REPLY_ACK, queues=1):
        self._path = str(path)
        self._behave = behave
        self._greeting = greeting
        self._usual = {GET_FEATURES: features, GET_PROTOCOL_FEATURES: protocol,
                       GET_QUEUE_NUM: queues}
        self.met = 0
        self.seen = []
        self._ending = threading.Event()
        self._listener = None
        if not connect:
            self._listener = socket.socket(socket.AF_UNIX)
            self._listener.bind(self._path)
            self._listener.listen()
            self._listener.settimeout(0.05)
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _come_together(self):
        if self._listener:
            return self._listener.accept()[0]
        made = socket.socket(socket.AF_UNIX)
        try:
            made.connect(self._path)
        except OSError:
            made.close()
            self._ending.wait(0.02)
            raise
        return made

    def _run(self):
        while not self._ending.is_set():
            with contextlib.suppress(OSError), self._come_together() as peer:
                self.met += 1
                peer.settimeout(0.05)
                self._serve(peer)

    def _serve(self, peer):
        if self._greeting is None:
            return
        peer.sendall(self._greeting)
        while True:
            request, flags, payload = self._message(peer)
            self.seen.append(request)
            done = self._behave(peer, request, payload)
            if done is False:
                return
            if done is None and request == GET_INFLIGHT_FD:
                self._give_file(peer, payload)
            elif done is None:
                peer.sendall(self._answer(request, flags))

    def _answer(self, request, flags):
        if request in self._usual:
            return answer(request, u64(self._usual[request]))
        return answer(request, u64(0)) if flags & _NEED_REPLY else b""

    @staticmethod
    def _give_file(peer, payload):
        """Of the size that is said; what is asked for is in the last bytes."""
        file = os.memfd_create("in-flight")
        try:
            os.ftruncate(file, 4096)
            socket.send_fds(peer, [answer(GET_INFLIGHT_FD, struct.pack("<Q", 4096) + payload[8:])],
                            [file])
        finally:
            os.close(file)

    def _bytes(self, peer, size):
        data = b""
        while len(data) < size:
            if self._ending.is_set():
                raise OSError("it ends")
            try:
                some, descriptors, _, _ = socket.recv_fds(peer, size - len(data), 16)
            except TimeoutError:
                continue
            for descriptor in descriptors:
                os.close(descriptor)
            if not some:
                raise OSError("the front end hung up")
            data += some
        return data

    def _message(self, peer):
        request, flags, size = struct.unpack("<III", self._bytes(peer, 12))
        return request, flags, self._bytes(peer, size)

    def wait_met(self, times=1, timeout=60):
        wait_until(lambda: self.met >= times, timeout, f"{times} connections of a front end")

    def wait_seen(self, request, timeout=60):
        wait_until(lambda: request in self.seen, timeout, f"a front end's request {request}")

    def close(self):
        self._ending.set()
        self._thread.join(10)
        if self._listener:
            self._listener.close()
            with contextlib.suppress(FileNotFoundError):
                os.unlink(self._path)

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        self.close()
