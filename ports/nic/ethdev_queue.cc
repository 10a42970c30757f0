// SPDX-License-Identifier: BSD-3-Clause
// Bursts of mbufs from and to an ethdev.
#include "ports/nic/ethdev_queue.hh"

#include "dataplane/offload.hh"

#include <rte_cycles.h>
#include <rte_ethdev.h>
#include <rte_mbuf.h>
#include <rte_prefetch.h>

#include <algorithm>
#include <array>
#include <cstring>

#include <sys/eventfd.h>
#include <sys/socket.h>

namespace strait::nic {

using dataplane::burst;
using dataplane::drop_reason;
using dataplane::packet;
using dataplane::packet_slot;

namespace {

// IEEE 802.3: the shortest frame, without FCS.
constexpr std::uint32_t shortest_frame = 60;

// Of packets that are the device's form already: where each came from is not known any more, and
// of each its first piece is shown.
void drop(dataplane::port_counters& counters, drop_reason reason,
          std::span<rte_mbuf* const> mbufs) noexcept
{
    counters.drop(reason, mbufs.size());
    if (counters.watcher == nullptr) [[likely]] {
        return;
    }
    for (const rte_mbuf* const m : mbufs) {
        packet p{};
        p.data = rte_pktmbuf_mtod(m, std::byte*);
        p.length = m->pkt_len;
        p.head_length = m->data_len;
        p.in_port = dataplane::no_port;
        counters.watcher->dropped(p, reason, counters);
    }
}

} // namespace

// DPDK's bonds send LACP's frames when something is sent, at least every 100 ms.
void ethdev_rx_queue::let_speak(std::uint64_t now) noexcept
{
    constexpr std::uint64_t part_of_a_second = 50;
    if (now - spoke_ > rte_get_tsc_hz() / part_of_a_second) {
        spoke_ = now;
        (void)rte_eth_tx_burst(port_id_, queue_id_, nullptr, 0);
    }
}

ethdev_rx_queue::~ethdev_rx_queue()
{
    rte_pktmbuf_free_bulk(early_.data(), early_count_);
}

std::uint16_t ethdev_rx_queue::take(std::span<rte_mbuf*> mbufs) noexcept
{
    if (asked_) [[unlikely]] {
        asked_ = false;
        (void)rte_eth_dev_rx_intr_disable(port_id_, queue_id_);
    }
    if (early_count_ != 0) [[unlikely]] {
        std::copy_n(early_.begin(), early_count_, mbufs.begin());
        return std::exchange(early_count_, std::uint16_t{0});
    }
    return rte_eth_rx_burst(port_id_, queue_id_, mbufs.data(),
                            static_cast<std::uint16_t>(mbufs.size()));
}

ports::rx_queue::poll ethdev_rx_queue::receive(burst& b,
                                               const ports::queue_context& context) noexcept
{
    if (speaks_slowly_) [[unlikely]] {
        let_speak(context.now);
    }
    std::array<rte_mbuf*, burst::capacity> mbufs;
    const std::uint16_t n = take(mbufs);
    if (n == 0) {
        return poll::empty;
    }
    std::uint64_t bytes = 0;
    for (std::uint16_t i = 0; i < n; ++i) {
        if (i + 1 < n) {
            rte_prefetch0(rte_pktmbuf_mtod(mbufs[i + 1], void*));
        }
        rte_mbuf* const m = mbufs[i];
        bytes += m->pkt_len;
        if (m->pkt_len > longest_) {
            context.counters->drop(drop_reason::frame_too_long);
            rte_pktmbuf_free(m);
        } else if (dataplane::from_mbuf(b.slots[b.count], m, b)) {
            ++b.count;
        } else {
            context.counters->drop(drop_reason::receive_error);
            rte_pktmbuf_free(m);
        }
    }
    context.counters->rx_packets.add(n);
    context.counters->rx_bytes.add(bytes);
    return b.count > 0 ? poll::taken : poll::empty;
}

void ethdev_rx_queue::release(burst& b, const ports::queue_context& /*context*/) noexcept
{
    std::array<rte_mbuf*, burst::capacity> mbufs;
    unsigned n = 0;
    for (packet_slot& p : b.packets()) {
        if (p.mbuf != nullptr) {
            mbufs[n++] = p.mbuf;
            p.mbuf = nullptr;
        }
    }
    if (n > 0) {
        rte_pktmbuf_free_bulk(mbufs.data(), n);
    }
}

bool ethdev_rx_queue::list_wakers(std::vector<pollfd>& all) noexcept
{
    if (!gone_) {
        all.push_back({.fd = waker_.get(), .events = POLLIN, .revents = 0});
    }
    return true;
}

bool ethdev_rx_queue::ask_to_wake(std::span<const pollfd> own) noexcept
{
    const int seen = own.empty() ? 0 : own.front().revents;
    if (interrupts_) {
        return ask_for_interrupt(seen != 0);
    }
    if ((seen & POLLERR) != 0) {
        // An interface that went down leaves a socket an error that is told until it is asked for.
        // A tap, which is no socket, has one for good once its interface was deleted.
        int error = 0;
        socklen_t size = sizeof error;
        gone_ = ::getsockopt(waker_.get(), SOL_SOCKET, SO_ERROR, &error, &size) != 0;
    }
    return seen == 0;
}

// What came before the device knew that it is to tell of it is looked for afterwards.
bool ethdev_rx_queue::ask_for_interrupt(bool rang) noexcept
{
    if (rang) { // of old: what it told of was taken, or is now
        eventfd_t ignored = 0;
        (void)::eventfd_read(waker_.get(), &ignored);
    }
    asked_ = true;
    if (rte_eth_dev_rx_intr_enable(port_id_, queue_id_) != 0) {
        return false; // stays awake
    }
    early_count_ = rte_eth_rx_burst(port_id_, queue_id_, early_.data(), most_early);
    return early_count_ == 0;
}

std::uint64_t device_errors::take(std::uint16_t port_id, std::uint64_t most) noexcept
{
    rte_eth_stats stats;
    if (rte_eth_stats_get(port_id, &stats) != 0) {
        return 0;
    }
    std::uint64_t before = taken_.load(std::memory_order_relaxed);
    while (before < stats.oerrors) {
        const std::uint64_t mine = std::min(stats.oerrors - before, most);
        if (taken_.compare_exchange_weak(before, before + mine, std::memory_order_relaxed)) {
            return mine;
        }
    }
    return 0;
}

ethdev_tx_queue::ethdev_tx_queue(std::uint16_t port_id, std::uint16_t queue_id,
                                 const ethdev_traits& traits, device_errors& errors) noexcept
    : port_id_{port_id},
      queue_id_{queue_id},
      takes_chains_{traits.takes_chains},
      takes_{traits.takes},
      fills_ipv4_{traits.fills_ipv4},
      pads_{are_as_said(traits.kind)},
      counts_errors_{traits.kind == driver::af_packet || traits.kind == driver::pcap},
      unsent_{traits.kind == driver::pcap ? drop_reason::transmit_error
                                          : drop_reason::receiver_full},
      errors_{errors}
{}

// Makes of the chain what the device takes. False: it cannot be done.
bool ethdev_tx_queue::prepare(rte_mbuf* m, const packet& p) const noexcept
{
    // What is to be cut ends where its payload does: the device pads what it makes of it.
    if (pads_ && m->pkt_len < shortest_frame && p.offload.segment_size == 0) {
        const auto missing = static_cast<std::uint16_t>(shortest_frame - m->pkt_len);
        char* const end = rte_pktmbuf_append(m, missing);
        if (end == nullptr) {
            return false;
        }
        std::memset(end, 0, missing);
    }
    return takes_chains_ || m->nb_segs == 1 || rte_pktmbuf_linearize(m) == 0;
}

// Says in DPDK's words what is left to do to a packet of which `m` is a copy: its headers lie in
// one piece.
void ethdev_tx_queue::ask_device(rte_mbuf* m, const packet& p) const noexcept
{
    using dataplane::offloads;
    const dataplane::offload_intent& todo = p.offload;
    constexpr unsigned l2_bits = 0x7f;
    constexpr unsigned l3_bits = 0x1ff;
    constexpr unsigned l4_bits = 0xff;
    m->l2_len = todo.network_start & l2_bits;
    m->l3_len = static_cast<unsigned>(todo.checksum_start - todo.network_start) & l3_bits;
    m->l4_len = static_cast<unsigned>(todo.header_length - todo.checksum_start) & l4_bits;
    const bool ipv6 = contains(todo.required, offloads::checksum_ipv6);
    m->ol_flags |= ipv6 ? RTE_MBUF_F_TX_IPV6 : RTE_MBUF_F_TX_IPV4;
    if (is_tcp(todo)) {
        m->ol_flags |= RTE_MBUF_F_TX_TCP_CKSUM;
    } else if (todo.segment_size == 0) {
        m->ol_flags |= RTE_MBUF_F_TX_UDP_CKSUM;
    }
    if (todo.segment_size == 0) {
        return;
    }
    // Of datagrams it means the checksum, too: told of that as well, rte_eth_tx_prepare() (22.11)
    // puts the length of the whole back into the sum.
    m->ol_flags |= is_tcp(todo) ? RTE_MBUF_F_TX_TCP_SEG : RTE_MBUF_F_TX_UDP_SEG;
    m->tso_segsz = todo.segment_size;
    auto* const frame = rte_pktmbuf_mtod(m, std::byte*);
    const std::uint16_t sum = pseudo_sum_without_length(p);
    std::memcpy(frame + todo.checksum_start + todo.checksum_offset, &sum, sizeof sum);
    if (!ipv6 && fills_ipv4_) {
        constexpr std::size_t header_checksum = 10;
        m->ol_flags |= RTE_MBUF_F_TX_IP_CKSUM;
        std::memset(frame + todo.network_start + header_checksum, 0, sizeof sum);
    }
}

// Drivers have limits of their own, and words that only their device knows. Drops what this one
// cannot do; returns how many are left.
std::uint16_t ethdev_tx_queue::let_device_look(std::span<rte_mbuf*> mbufs,
                                               const ports::queue_context& context) const noexcept
{
    std::size_t kept = 0;
    for (std::size_t at = 0; at < mbufs.size();) {
        const std::size_t good = rte_eth_tx_prepare(port_id_, queue_id_, mbufs.data() + at,
                                                    static_cast<std::uint16_t>(mbufs.size() - at));
        std::copy_n(mbufs.begin() + static_cast<std::ptrdiff_t>(at), good,
                    mbufs.begin() + static_cast<std::ptrdiff_t>(kept));
        kept += good;
        at += good;
        if (at < mbufs.size()) {
            drop(*context.counters, drop_reason::transmit_error, mbufs.subspan(at, 1));
            rte_pktmbuf_free(mbufs[at]);
            ++at;
        }
    }
    return static_cast<std::uint16_t>(kept);
}

std::size_t ethdev_tx_queue::send(std::span<packet* const> packets,
                                  const ports::queue_context& context, rte_mbuf** unsent) noexcept
{
    std::array<rte_mbuf*, burst::capacity> mbufs;
    std::uint16_t ready = 0;
    bool asked = false;
    for (packet* const p : packets) {
        rte_mbuf* const m = dataplane::own(*p, context.pool);
        if (m == nullptr) {
            context.counters->drop(drop_reason::no_memory, *p);
            continue;
        }
        if (!prepare(m, *p)) {
            drop(*context.counters, drop_reason::transmit_error, std::span{&m, 1});
            rte_pktmbuf_free(m);
            continue;
        }
        if (!p->offload.empty()) {
            ask_device(m, *p);
            asked = true;
        }
        mbufs[ready++] = m;
    }
    if (asked) {
        ready = let_device_look(std::span{mbufs}.first(ready), context);
    }
    if (ready == 0) {
        return 0;
    }
    std::uint64_t bytes = 0;
    for (const rte_mbuf* const m : std::span{mbufs}.first(ready)) {
        bytes += m->pkt_len;
    }
    std::uint64_t sent = rte_eth_tx_burst(port_id_, queue_id_, mbufs.data(), ready);
    std::size_t left = ready - sent;
    if (left > 0) {
        const std::span<rte_mbuf*> refused = std::span{mbufs}.subspan(sent, left);
        for (const rte_mbuf* const m : refused) {
            bytes -= m->pkt_len;
        }
        if (unsent != nullptr && unsent_ == drop_reason::receiver_full) {
            std::ranges::copy(refused, unsent);
        } else {
            drop(*context.counters, unsent_, refused);
            rte_pktmbuf_free_bulk(refused.data(), static_cast<unsigned>(left));
            left = 0;
        }
    }
    if (counts_errors_) {
        // These drivers fail whole bursts, or frames that no port lets through: what is said of
        // bytes is exact for the first, where the device has one queue.
        const std::uint64_t failed = errors_.take(port_id_, sent);
        if (failed > 0) {
            context.counters->drop(drop_reason::transmit_error, failed);
            bytes -= bytes * failed / sent;
            sent -= failed;
        }
    }
    context.counters->tx_packets.add(sent);
    context.counters->tx_bytes.add(bytes);
    return left;
}

std::size_t ethdev_tx_queue::transmit_some(std::span<packet*> packets,
                                           const ports::queue_context& context) noexcept
{
    // The field has what ask_device() needs, and may have overwritten.
    struct state {
        rte_mbuf* mbuf;
        std::uint16_t checksum;
    };
    const auto field_of = [](const packet& p) noexcept {
        return p.data + p.offload.checksum_start + p.offload.checksum_offset;
    };
    std::array<state, burst::capacity> before;
    for (std::size_t i = 0; i < packets.size(); ++i) {
        const packet& p = *packets[i];
        before[i] = {p.mbuf, 0};
        if (!p.offload.empty()) {
            std::memcpy(&before[i].checksum, field_of(p), sizeof before[i].checksum);
        }
    }
    std::array<rte_mbuf*, burst::capacity> unsent;
    const std::size_t left = send(packets, context, unsent.data());
    std::size_t kept = 0;
    for (std::size_t i = 0; kept < left && i < packets.size(); ++i) {
        packet& p = *packets[i];
        rte_mbuf* const m = before[i].mbuf;
        if (m != unsent[kept]) {
            continue;
        }
        if (!p.offload.empty()) {
            std::memcpy(field_of(p), &before[i].checksum, sizeof before[i].checksum);
        }
        m->ol_flags &= ~RTE_MBUF_F_TX_OFFLOAD_MASK;
        p.mbuf = m; // which may have been padded, or put into one piece
        p.length = m->pkt_len;
        p.head_length = m->data_len;
        p.segment_count = static_cast<std::uint16_t>(m->nb_segs - 1);
        packets[kept++] = &p;
    }
    return kept;
}

void ethdev_tx_queue::transmit(std::span<packet* const> packets,
                               const ports::queue_context& context) noexcept
{
    while (!packets.empty()) {
        const auto part = packets.first(std::min(packets.size(), burst::capacity));
        (void)send(part, context, nullptr);
        packets = packets.subspan(part.size());
    }
}

} // namespace strait::nic
