// SPDX-License-Identifier: BSD-3-Clause
// DPDK's EAL inside a unit test: no hugepages, no PCI, nothing shared with other processes; and
// what tests of packets need: a pool, frames, packets that lie as a guest's do.
#pragma once

#include "dataplane/engine.hh"
#include "dataplane/packet.hh"

#include <rte_eal.h>
#include <rte_lcore.h>
#include <rte_mbuf.h>
#include <rte_mempool.h>
#include <unistd.h>

#include <gtest/gtest.h>

#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <deque>
#include <memory>
#include <mutex>
#include <sstream>
#include <stdexcept>
#include <string>
#include <vector>

namespace strait::test {

// A mempool behind a lock: what one thread gives back and another takes is ordered in a way that
// ThreadSanitizer sees, which DPDK's own pools, in a library that is not instrumented, are not.
class locked_pool {
public:
    static constexpr const char* name = "test_locked";

    static void register_once()
    {
        rte_mempool_ops ops{};
        std::snprintf(ops.name, sizeof ops.name, "%s", name);
        ops.alloc = [](rte_mempool* pool) {
            pool->pool_data = new locked_pool;
            return 0;
        };
        ops.free = [](rte_mempool* pool) { delete &of(pool); };
        ops.enqueue = [](rte_mempool* pool, void* const* objects, unsigned n) {
            const std::lock_guard lock{of(pool).mutex_};
            of(pool).objects_.insert(of(pool).objects_.end(), objects, objects + n);
            return 0;
        };
        ops.dequeue = [](rte_mempool* pool, void** objects, unsigned n) {
            const std::lock_guard lock{of(pool).mutex_};
            std::deque<void*>& all = of(pool).objects_;
            if (all.size() < n) {
                return -ENOBUFS;
            }
            std::copy_n(all.begin(), n, objects);
            all.erase(all.begin(), all.begin() + n);
            return 0;
        };
        ops.get_count = [](const rte_mempool* pool) {
            const std::lock_guard lock{of(pool).mutex_};
            return static_cast<unsigned>(of(pool).objects_.size());
        };
        if (rte_mempool_register_ops(&ops) < 0) {
            throw std::runtime_error{"no room for another kind of mempool"};
        }
    }

private:
    static locked_pool& of(const rte_mempool* pool)
    {
        return *static_cast<locked_pool*>(pool->pool_data);
    }
    std::mutex mutex_;
    std::deque<void*> objects_;
};

// Starts EAL once a process: main on lcore 0 and `workers` more, which float over all CPUs.
inline void start_eal(unsigned workers = 0, unsigned mebibytes = 128)
{
    static bool started = false;
    if (started) {
        return;
    }
    started = true;
    std::ostringstream lcores;
    lcores << 0;
    for (unsigned i = 1; i <= workers; ++i) {
        lcores << ',' << i << "@(0-" << std::max(1L, sysconf(_SC_NPROCESSORS_ONLN)) - 1 << ')';
    }
    std::vector<std::string> words{"test",
                                   "--no-huge",
                                   "--no-pci",
                                   "--no-shconf",
                                   "--no-telemetry",
                                   "-m",
                                   std::to_string(mebibytes),
                                   "--lcores",
                                   lcores.str()};
    std::vector<char*> argv;
    for (std::string& w : words) {
        argv.push_back(w.data());
    }
    if (rte_eal_init(static_cast<int>(argv.size()), argv.data()) < 0) {
        throw std::runtime_error{"EAL did not start"};
    }
    locked_pool::register_once();
}

struct free_pool {
    void operator()(rte_mempool* pool) const noexcept { rte_mempool_free(pool); }
};
using pool_ptr = std::unique_ptr<rte_mempool, free_pool>;

// As straitd makes it: room for the hand-over's note, and for 2,048 bytes of a frame.
inline pool_ptr make_pool(unsigned count = 2048, std::uint16_t room = 2048)
{
    static unsigned made = 0;
    const std::string name = "test_pool_" + std::to_string(++made);
    pool_ptr pool{rte_pktmbuf_pool_create_by_ops(
        name.c_str(), count, 0, dataplane::handover_area,
        static_cast<std::uint16_t>(room + RTE_PKTMBUF_HEADROOM), SOCKET_ID_ANY, locked_pool::name)};
    if (!pool) {
        throw std::runtime_error{"no memory for a pool"};
    }
    return pool;
}

using frame = std::vector<std::uint8_t>;

inline std::uint64_t mac_value(const std::string& text)
{
    return dataplane::mac_address::parse(text).value().value();
}

// Destination, source, EtherType and a payload that counts up from `seed`, `length` bytes in all.
inline frame make_frame(const std::string& destination, const std::string& source,
                        std::size_t length, std::uint8_t seed = 0, std::uint16_t type = 0x88b5)
{
    frame f(length);
    for (std::size_t i = 14; i < length; ++i) {
        f[i] = static_cast<std::uint8_t>(seed + i * 7 + i / 251);
    }
    const auto to = dataplane::mac_address{mac_value(destination)}.bytes();
    const auto from = dataplane::mac_address{mac_value(source)}.bytes();
    for (std::size_t i = 0; i < 6 && i + 6 < length; ++i) {
        f[i] = to[i];
        f[6 + i] = from[i];
    }
    if (length >= 14) {
        f[12] = static_cast<std::uint8_t>(type >> 8);
        f[13] = static_cast<std::uint8_t>(type);
    }
    return f;
}

// `f` with an 802.1Q tag of this control information in front of its EtherType.
inline frame with_tag(frame f, std::uint16_t control, std::uint16_t type = 0x8100)
{
    const std::uint8_t tag[] = {
        static_cast<std::uint8_t>(type >> 8), static_cast<std::uint8_t>(type),
        static_cast<std::uint8_t>(control >> 8), static_cast<std::uint8_t>(control)};
    f.insert(f.begin() + 12, std::begin(tag), std::end(tag));
    return f;
}

inline rte_mbuf* alloc(rte_mempool* pool)
{
    rte_mbuf* const m = rte_pktmbuf_alloc(pool);
    if (m == nullptr) {
        throw std::runtime_error{"the test's pool is empty"};
    }
    return m;
}

inline rte_mbuf* to_mbuf(const frame& f, rte_mempool* pool)
{
    rte_mbuf* const first = alloc(pool);
    rte_mbuf* last = first;
    std::size_t at = 0;
    for (;;) {
        const auto n = static_cast<std::uint16_t>(
            std::min<std::size_t>(f.size() - at, rte_pktmbuf_tailroom(last)));
        std::copy_n(f.begin() + static_cast<std::ptrdiff_t>(at), n,
                    rte_pktmbuf_mtod(last, std::uint8_t*));
        last->data_len = n;
        at += n;
        first->pkt_len = static_cast<std::uint32_t>(at);
        if (at == f.size()) {
            return first;
        }
        last->next = alloc(pool);
        last = last->next;
        ++first->nb_segs;
    }
}

inline frame from_mbuf_chain(const rte_mbuf* m)
{
    frame f;
    for (; m != nullptr; m = m->next) {
        const auto* const data = rte_pktmbuf_mtod(m, const std::uint8_t*);
        f.insert(f.end(), data, data + m->data_len);
    }
    return f;
}

inline frame bytes_of(const dataplane::packet& p)
{
    frame f(p.length);
    dataplane::copy_frame(p, 0, f.data(), f.size());
    return f;
}

// A packet as a guest's lies: its head private, the rest in `pieces` segments elsewhere.
class borrowed_packet {
public:
    explicit borrowed_packet(frame f, std::size_t pieces = 1) : memory_{std::move(f)}
    {
        dataplane::packet_slot& p = *slot_;
        const std::size_t head = std::min(memory_.size(), dataplane::head_copy);
        p.data = p.head.data();
        p.length = static_cast<std::uint32_t>(memory_.size());
        p.head_length = static_cast<std::uint16_t>(head);
        std::copy_n(memory_.data(), head, reinterpret_cast<std::uint8_t*>(p.data));
        const std::size_t rest = memory_.size() - head;
        std::size_t at = head;
        for (std::size_t i = 0; i < pieces && rest > 0; ++i) {
            const std::size_t n = i + 1 == pieces ? memory_.size() - at : rest / pieces;
            segments_.emplace_back(memory_.data() + at, n);
            at += n;
        }
        p.segments = segments_.data();
        p.segment_count = static_cast<std::uint16_t>(segments_.size());
        p.destinations = 1;
    }
    [[nodiscard]] dataplane::packet& get() noexcept { return *slot_; }

private:
    frame memory_;
    std::unique_ptr<dataplane::packet_slot> slot_{new dataplane::packet_slot{}};
    std::vector<dataplane::guest_span> segments_;
};

} // namespace strait::test
