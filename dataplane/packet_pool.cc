// SPDX-License-Identifier: BSD-3-Clause
// Making pools, with and without huge pages.
#include "dataplane/packet_pool.hh"

#include <rte_eal.h>
#include <rte_mbuf.h>
#include <rte_mempool.h>

namespace strait::dataplane {

// rte_pktmbuf_pool_create() would give every packet pages of its own where there are no huge pages,
// so that each is contiguous for a device. What runs without huge pages copies by the processor, or
// sees virtual addresses: there the pool is told not to mind, and leaves it to us to say that an
// mbuf's address to a device is its own. Physical ones are given in huge pages alone.
rte_mempool* make_packet_pool(const pool_settings& settings)
{
    if (rte_eal_has_hugepages() != 0) {
        return rte_pktmbuf_pool_create(settings.name.c_str(), settings.packets, settings.cache,
                                       settings.private_size, settings.data_room, SOCKET_ID_ANY);
    }
    rte_pktmbuf_pool_private layout{};
    layout.mbuf_data_room_size = settings.data_room;
    layout.mbuf_priv_size = settings.private_size;
    rte_mempool* const pool = rte_mempool_create_empty(
        settings.name.c_str(), settings.packets,
        static_cast<unsigned>(sizeof(rte_mbuf) + settings.private_size + settings.data_room),
        settings.cache, sizeof layout, SOCKET_ID_ANY, RTE_MEMPOOL_F_NO_IOVA_CONTIG);
    if (pool == nullptr) {
        return nullptr;
    }
    rte_pktmbuf_pool_init(pool, &layout);
    if (rte_mempool_populate_default(pool) < 0) {
        rte_mempool_free(pool);
        return nullptr;
    }
    rte_mempool_obj_iter(
        pool,
        [](rte_mempool* p, void* context, void* object, unsigned index) {
            rte_pktmbuf_init(p, context, object, index);
            auto* const m = static_cast<rte_mbuf*>(object);
            rte_mbuf_iova_set(m, reinterpret_cast<rte_iova_t>(m->buf_addr));
        },
        nullptr);
    return pool;
}

} // namespace strait::dataplane
