# SPDX-License-Identifier: BSD-3-Clause
"""What two guests do first."""


def up(*guests):
    """Waits for guests that were begun at once."""
    for guest in guests:
        guest.wait_up()
        print(f"{guest.name} is up after {guest.boot_seconds:.1f} s")


def exchange(one, two, size):
    """Each pings the other without a loss and sends it a stream of size bytes, compared."""
    for sender, receiver in ((one, two), (two, one)):
        sender.wait_ping(receiver, 60)
        assert sender.ping(receiver, count=5, timeout=10).lost == 0
        stream = sender.stream(receiver, size=size, timeout=120)
        print(f"{stream.mbit_per_s:.0f} Mbit/s from {sender.name} to {receiver.name}")
