# SPDX-License-Identifier: BSD-3-Clause
"""Random tables that track connections, and peers who answer what comes through them: Strait and
OVS, each with a tracker of its own, forward the same. What their trackers decide differently is not
made (ct_tables.py); docs/conntrack.md says what that is."""

import ipaddress

from .compare import Comparison
from .conversations import CLIENTS, CLIENTS6, answered_conversations
from .ct_tables import CtTableMaker
from .test_differential import SOAK_SECONDS, run, usual_and_soak

FRAMES = 60
# What answers go to where a client was translated.
_SEEN_AS = [ipaddress.ip_address(clients[2]).packed for clients in (CLIENTS, CLIENTS6)]


def tracked(comparison, seeds):
    for seed in seeds:
        maker = CtTableMaker(seed, nat=seed % 2 == 0, same_book=True)
        rules = comparison.taken(maker.make())
        frames = answered_conversations(seed, FRAMES, comparison.oracle.forward)
        comparison.counted["translated"] += sum(
            frame.port == 2 and any(address in frame.data for address in _SEEN_AS)
            for frame in frames)
        yield seed, (rules, frames)


@usual_and_soak(12, SOAK_SECONDS)
def test_strait_tracks_as_ovs_does(ovs, live, seeds):
    comparison = Comparison(ovs, live)
    run(comparison, tracked(comparison, seeds()))
    # A run that drops all, or translates nothing, proves nothing.
    assert comparison.counted["forwarded"] > comparison.counted["frames"] / 2
    assert comparison.counted["translated"] > comparison.counted["frames"] / 20
