# SPDX-License-Identifier: BSD-3-Clause
"""Random tables that track connections, and peers who answer what comes through them: Strait and
OVS, each with a tracker of its own, forward the same. What their trackers decide differently is not
made (ct_tables.py); docs/conntrack.md says what that is."""

from .compare import Comparison
from .conversations import answered_conversations
from .ct_tables import CtTableMaker
from .test_differential import SOAK_SECONDS, run, usual_and_soak

FRAMES = 60


def tracked(comparison, seeds):
    for seed in seeds:
        rules = comparison.taken(CtTableMaker(seed, nat=False, same_book=True).make())
        yield seed, (rules, answered_conversations(seed, FRAMES, comparison.oracle.forward))


@usual_and_soak(12, SOAK_SECONDS)
def test_strait_tracks_as_ovs_does(ovs, live, seeds):
    comparison = Comparison(ovs, live)
    run(comparison, tracked(comparison, seeds()))
    # A run that drops all, or translates nothing, proves nothing.
    assert comparison.counted["forwarded"] > comparison.counted["frames"] / 2
    assert comparison.counted["rewritten"] > comparison.counted["frames"] / 10
