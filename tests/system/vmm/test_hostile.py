# SPDX-License-Identifier: BSD-3-Clause
"""Back ends and guests that keep no rule. The VMM goes on, or says in a sentence why not, and the
switch beside it serves others."""

import contextlib
import datetime
import random
import signal
import socket

import pytest

import lab as parts
from lab import back_end

pytestmark = pytest.mark.sanitized

MIB = 1 << 20
PATIENT = parts.BareGuest.PATIENT
ECHO = "52:54:00:00:00:0e"


def echoing(bridge, path):
    made = bridge.guest("net echo", path, extra=f",mac={ECHO}")
    bridge.wait_serving(made)
    return made


PINGS = f"dst={ECHO} ping=200 stop"


def pinged(guest, other):
    """A guest did PINGS, the other one echoed: none was lost or changed."""
    other.finish()
    assert guest.number("ping") == 200 and guest.number("ping_bad") == 0


def complaints(guest, device):
    """What the VMM says of a device's back end, each time, without its socket's path."""
    start = f"warning net{device}: "
    return [line.removeprefix(start).split(": ", 1)[1].removesuffix("; trying again")
            for line in guest.log() if line.startswith(start)]


def wait_complaint(guest, device):
    parts.wait_until(lambda: complaints(guest, device), 60,
                     f"{guest.name} saying something of its device {device}")


def test_resets_without_end(lab):
    """A guest that never stops asking for its reset begins anew each time, and ends when told."""
    guest = lab.bare_guest("hello end=resets", reboot=True)
    guest.wait_told("hello", times=20)
    guest.process.signal(signal.SIGTERM)
    guest.process.signal(signal.SIGHUP)
    assert guest.wait(30) in (0, 4)  # a reset, once it was asked to end, is its way to
    assert guest.console().count("end=resets") >= guest.console().count("hello=") - 1


# ---- back ends ----

def test_accepts_nothing(lab, tmp_path):
    """A back end that listens, and whose queue of connections is full."""
    path = str(tmp_path / "full.sock")
    with socket.socket(socket.AF_UNIX) as listener, contextlib.ExitStack() as waiting:
        listener.bind(path)
        listener.listen(0)
        for _ in range(2):
            one = waiting.enter_context(socket.socket(socket.AF_UNIX))
            one.setblocking(False)
            one.connect_ex(path)
        guest = lab.bare_guest("net sleep=1500 end=poweroff", [f"socket={path}"]).finish()
        assert complaints(guest, 0) == ["the back end accepts no more connections"]


def garbage(seed, size=4096):
    return random.Random(seed).randbytes(size)


def on(request, act):
    """Behaves but for that request."""
    def behave(peer, number, payload):
        return act(peer, number, payload) if number == request else None
    return behave


def says(*arguments, **options):
    """Sends a message of that number with these contents."""
    def act(peer, number, _payload):
        peer.sendall(back_end.answer(number, *arguments, **options))
        return True
    return act


def raw(data):
    """Sends bytes and hangs up."""
    def act(peer, _number, _payload):
        peer.sendall(data)
        return False
    return act


def hangs_up(*_message):
    return False


def is_silent(*_message):
    return True


FIRST = back_end.GET_FEATURES
ELSE = "the back end answered something else than it was asked"
HUNG_UP = "the back end hung up"
LATE = "the back end did not answer within 2000 ms"

# By name: how it is not as it should be before it is given anything, and what is said of it.
GREETINGS = {
    "garbage": ({"greeting": garbage(1)}, ELSE),
    "zeros": ({"greeting": bytes(64)}, ELSE),
    "hangs up": ({"behave": hangs_up}, HUNG_UP),
    "half an answer": ({"behave": on(FIRST, raw(back_end.answer(FIRST, back_end.u64(0))[:7]))},
                       HUNG_UP),
    "silent": ({"behave": is_silent}, LATE),
    "no protocol features": ({"features": back_end.VERSION_1},
                             "the back end does not speak vhost-user's protocol features"),
    "no virtio 1.0": ({"features": back_end.PROTOCOL_FEATURES},
                      "the back end does not offer virtio 1.0"),
    "a long answer": ({"behave": on(FIRST, says(bytes(4096)))}, ELSE),
    "a lying length": ({"behave": on(FIRST, says(bytes(8), size=0xffffffff))}, ELSE),
    "no reply": ({"behave": on(FIRST, says(bytes(8), flags=1))}, ELSE),
    "no payload": ({"behave": on(FIRST, says(b""))}, ELSE),
    "silent later": ({"behave": on(back_end.GET_QUEUE_NUM, is_silent)}, LATE),
    "hangs up later": ({"behave": on(back_end.GET_PROTOCOL_FEATURES, hangs_up)}, HUNG_UP),
    "answers another": ({"behave": on(back_end.GET_QUEUE_NUM, lambda peer, number, _: peer.sendall(
        back_end.answer(number + 1, back_end.u64(1))) or True)}, ELSE),
}


def beside_a_right_one(bridge, lab, tmp_path, wrong, words, options=""):
    """Runs a guest with a device for each wrong back end, and one more, with which it does PINGS
    after the words; the guest and the back ends, after each has been tried twice."""
    others, nets = [], []
    for number, behaviour in enumerate(wrong):
        path = tmp_path / f"wrong{number}"
        others.append(lab.back_end(path, **behaviour))
        nets.append(f"socket={path}{options}")
    nets.append(f"socket={bridge.add('vm1')}")
    echo = echoing(bridge, bridge.add("vm2"))
    guest = lab.bare_guest(f"{PATIENT} {words} net device={len(wrong)} {PINGS} button",
                           nets=nets)
    guest.wait_told("button", "waiting")
    pinged(guest, echo)
    for other in others:
        other.wait_met(2)
    return guest


@pytest.mark.parametrize("names", [list(GREETINGS)[:7], list(GREETINGS)[7:]], ids=["1", "2"])
def test_wrong_greeting(bridge, lab, tmp_path, names):
    """The guest boots, each back end is tried again, and a right one beside them serves."""
    guest = beside_a_right_one(bridge, lab, tmp_path, [GREETINGS[name][0] for name in names], "")
    for device, name in enumerate(names):
        wait_complaint(guest, device)
        assert complaints(guest, device) == [GREETINGS[name][1]], name
    info = guest.vm("info")["nets"]
    assert [net["serving"] for net in info] == [False] * len(names) + [True]
    guest.press()
    guest.finish()


# As above, when it has been given, or is about to be, what it needs to serve.
SERVING = {
    "refuses the memory": (on(back_end.SET_MEM_TABLE, says(back_end.u64(1))),
                           "the back end refused SET_MEM_TABLE"),
    "hangs up on the memory": (on(back_end.SET_MEM_TABLE, hangs_up), HUNG_UP),
    "is silent on a kick": (on(back_end.SET_VRING_KICK, is_silent), LATE),
    "answers garbage": (on(back_end.SET_VRING_ENABLE, raw(garbage(2))), ELSE),
    "gives no file": (on(back_end.GET_INFLIGHT_FD, says(bytes(24))),
                      "the back end gave no file of descriptors in flight"),
    "hangs up on the file": (on(back_end.GET_INFLIGHT_FD, hangs_up), HUNG_UP),
    "answers twice": (on(back_end.SET_VRING_KICK, lambda peer, number, _: peer.sendall(
        2 * back_end.answer(number, back_end.u64(0))) or True), ELSE),
}


def test_wrong_service(bridge, lab, tmp_path):
    packed = {"features": (back_end.VERSION_1 | back_end.PROTOCOL_FEATURES | back_end.RING_PACKED),
              "protocol": back_end.REPLY_ACK | back_end.INFLIGHT | back_end.MULTIQUEUE}
    words = "packed=1 " + " ".join(f"net device={device}" for device in range(len(SERVING)))
    guest = beside_a_right_one(bridge, lab, tmp_path,
                               [{"behave": behave, **packed} for behave, _ in SERVING.values()],
                               f"{words} packed=0", options=",packed=on")
    assert set(guest.told("net")) == {"ok"}
    for device, (name, (_, said)) in enumerate(SERVING.items()):
        wait_complaint(guest, device)
        assert set(complaints(guest, device)) == {said}, name
    guest.press()
    guest.finish()


def test_wild_promises(lab, tmp_path):
    """Every feature, and more queues than there can be: the guest is offered what is known."""
    every = (1 << 64) - 1
    other = lab.back_end(tmp_path / "net", features=every, queues=every)
    guest = lab.bare_guest(f"{PATIENT} queues=8 packed=1 net button",
                           nets=[f"socket={tmp_path}/net,queues=16,packed=on"])
    other.wait_met()
    guest.wait_told("button", "waiting")
    known = (1 << 36) - 1
    assert guest.number("net_offered") & ~known == 0
    assert guest.number("net_max_pairs") == 16
    guest.press()
    guest.finish()


def test_serves_and_hangs_up(lab, tmp_path):
    """Again and again, at once: the VMM does not run after it, and its log stays short."""
    seen = []

    def behave(peer, number, _payload):
        seen.append(number)
        if seen[-2:] == [back_end.SET_VRING_ENABLE] * 2:  # it has both rings
            peer.sendall(back_end.answer(number, back_end.u64(0)))
            return False
        return None
    other = lab.back_end(tmp_path / "net", behave=behave)
    guest = lab.bare_guest(f"{PATIENT} net sleep=2000", nets=[f"socket={tmp_path}/net"]).finish()
    assert set(complaints(guest, 0)) == {HUNG_UP}
    assert 2 < other.met < 100
    assert len(guest.log()) < 100


def test_wrong_clients(lab, tmp_path):
    """Who connects to a VMM that listens."""
    paths = [tmp_path / f"net{number}" for number in range(3)]
    guest = lab.bare_guest(f"{PATIENT} net button",
                           nets=[f"socket={path},server=on" for path in paths])
    guest.wait_told("button", "waiting")
    wrong = [{"greeting": garbage(3)}, {"greeting": None}, {"behave": is_silent}]
    for path, behaviour in zip(paths, wrong):
        lab.back_end(path, connect=True, **behaviour).wait_met(2)
    for device, said in enumerate((ELSE, None, LATE)):
        wait_complaint(guest, device)
        # Whether who hangs up at once is noticed by a message or an answer is a matter of luck.
        assert said is None or set(complaints(guest, device)) == {said}
    guest.press()
    guest.finish()
    assert not any(path.exists() for path in paths)


@pytest.mark.parametrize("server", [False, True], ids=["connects", "listens"])
def test_right_after_wrong(bridge, lab, server):
    """At the socket where there was garbage the switch serves all the same."""
    path = bridge.switch.socket("vm1")
    wrong = lab.back_end(path, greeting=garbage(4), connect=server)
    guest = lab.bare_guest(f"{PATIENT} net link=1 {PINGS}",
                           nets=[f"socket={path},server={'on' if server else 'off'}"])
    wrong.wait_met(2)
    wrong.close()
    echo = echoing(bridge, bridge.add("vm2"))
    bridge.add("vm1", mode="client" if server else "server")
    guest.finish()
    pinged(guest, echo)


# ---- guests ----

def poke(bridge, lab, tmp_path, seed, count):
    """A guest that accesses what it likes, where it likes, before and after its devices run; then
    two others, to see that the switch is what it was."""
    disks = {name: tmp_path / name for name in ("rw", "ro")}
    for disk in disks.values():
        disk.write_bytes(bytes(MIB))
    if "vm1" not in {port["name"] for port in bridge.switch.ctl("port list")}:
        for name in ("vm1", "vm2"):
            bridge.add(name)
    one, two = (bridge.switch.socket(name) for name in ("vm1", "vm2"))
    guest = lab.bare_guest(
        f"poke={seed},{count} end=poweroff", cpus=2,
        nets=[f"socket={one}", f"socket={tmp_path}/absent,queues=2,packed=on"],
        disks=[disks["rw"], f"{disks['ro']},read-only=on"])
    status = guest.wait(600)
    why = f"seed {seed}: status {status}\n{guest.console()[-2000:]}\n{guest.log()}"
    if status == 3:  # by something that KVM cannot do
        assert sum(line.startswith("error vm: the guest cannot go on: ")
                   for line in guest.log()) == 1, why
    else:
        assert status == 0 and guest.told("poke") == ["done"], why
        assert guest.told("end") == ["poweroff"], why
    assert len(guest.log()) < 100, why
    assert disks["ro"].read_bytes() == bytes(MIB), why
    echo = echoing(bridge, two)
    pinged(bridge.guest(f"net {PINGS}", one).finish(), echo)
    return guest


def seed_of_today():
    return int(datetime.date.today().strftime("%Y%m%d"))


def test_every_port(lab):
    """Nobody is at a port that nobody was given."""
    guest = lab.bare_guest("ports end=poweroff")
    assert guest.wait(300) == 0
    assert guest.number("ports_that_answer") == 0, guest.console()


@pytest.mark.parametrize("seed", [1, 2, 3, "today's"])
def test_poke(bridge, lab, tmp_path, seed):
    poke(bridge, lab, tmp_path, seed_of_today() if seed == "today's" else seed, 2000)


@pytest.mark.soak
@pytest.mark.parametrize("part", range(4))
def test_poke_for_long(bridge, lab, tmp_path, part):
    first = seed_of_today() * 1000 + part * 100
    for seed in range(first, first + 25):
        poke(bridge, lab, tmp_path, seed, 20_000).close()
