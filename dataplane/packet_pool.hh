// SPDX-License-Identifier: BSD-3-Clause
// Pools of mbufs, for owned packets and for what NICs receive. Who owns a pool, and when it may go,
// is its maker's business.
#pragma once

#include <cstdint>
#include <string>

struct rte_mempool;

namespace strait::dataplane {

struct pool_settings {
    std::string name; // of the mempool, unique in the process
    unsigned packets;
    unsigned cache;             // mbufs a worker keeps at hand
    std::uint16_t private_size; // bytes; handover_area at least, if its packets change workers
    std::uint16_t data_room;    // bytes an mbuf, headroom included
};

// Null, with rte_errno set, when there is no memory. Control threads, after EAL started.
[[nodiscard]] rte_mempool* make_packet_pool(const pool_settings& settings);

} // namespace strait::dataplane
