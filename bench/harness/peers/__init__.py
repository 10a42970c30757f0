# SPDX-License-Identifier: BSD-3-Clause
# The switches under comparison. Each is started fresh for a scenario in a folder of its own; all
# poll on one worker CPU, everything else they do stays on the other one.

from .base import TAP, VHOST, XEN, Settings, Switch
from .linux_bridge import LinuxBridge
from .ovs import Ovs, OvsRules
from .strait import Before, Strait
from .strait_tunnel import StraitPair, StraitTunnel
from .testpmd import Macswap, Testpmd
from .vpp import Vpp

# In the order in which tables have them.
PEERS = {one.name: one for one in (Testpmd, Macswap, Vpp, Ovs, OvsRules, LinuxBridge)}

__all__ = ["Before", "LinuxBridge", "Macswap", "Ovs", "OvsRules", "PEERS", "Settings", "Strait",
           "StraitPair", "StraitTunnel", "Switch", "TAP", "Testpmd", "VHOST", "Vpp", "XEN"]
