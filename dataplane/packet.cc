// SPDX-License-Identifier: BSD-3-Clause
// Packets to mbufs and back.
#include "dataplane/packet.hh"

#include <rte_mbuf.h>

namespace strait::dataplane {

namespace {

// Makes the packet's own mbuf say what the packet says: headers may have been pushed or popped.
rte_mbuf* give_own_mbuf(packet& p) noexcept
{
    rte_mbuf* const m = p.mbuf;
    const auto offset = p.data - static_cast<std::byte*>(m->buf_addr);
    m->data_off = static_cast<std::uint16_t>(offset);
    m->data_len = p.head_length;
    m->pkt_len = p.length;
    p.mbuf = nullptr;
    return m;
}

} // namespace

rte_mbuf* own(packet& p, rte_mempool* pool) noexcept
{
    if (p.mbuf != nullptr && p.destinations <= 1) {
        return give_own_mbuf(p);
    }
    rte_mbuf* const first = rte_pktmbuf_alloc(pool);
    if (first == nullptr) {
        return nullptr;
    }
    rte_mbuf* last = first;
    std::size_t offset = 0;
    while (offset < p.length) {
        std::uint16_t room = rte_pktmbuf_tailroom(last);
        if (room == 0) {
            rte_mbuf* const next = rte_pktmbuf_alloc(pool);
            if (next == nullptr) {
                rte_pktmbuf_free(first);
                return nullptr;
            }
            next->data_off = 0;
            room = rte_pktmbuf_tailroom(next);
            last->next = next;
            last = next;
            first->nb_segs = static_cast<std::uint16_t>(first->nb_segs + 1);
        }
        const auto size =
            static_cast<std::uint16_t>(std::min<std::size_t>(room, p.length - offset));
        copy_frame(p, offset, rte_pktmbuf_mtod_offset(last, std::byte*, last->data_len), size);
        last->data_len = static_cast<std::uint16_t>(last->data_len + size);
        offset += size;
    }
    first->pkt_len = p.length;
    return first;
}

bool from_mbuf(packet_slot& p, rte_mbuf* m, burst& b) noexcept
{
    if (m->nb_segs > burst::max_segments ||
        b.segments_used + m->nb_segs > burst::segment_capacity) {
        return false;
    }
    const std::size_t contiguous = std::min<std::size_t>(m->pkt_len, head_copy);
    if (m->data_len < contiguous) {
        // Short first segments are rare enough to be flattened.
        if (rte_pktmbuf_linearize(m) != 0) {
            return false;
        }
    }
    p.data = rte_pktmbuf_mtod(m, std::byte*);
    p.length = m->pkt_len;
    p.head_length = m->data_len;
    p.segments = b.segments.data() + b.segments_used;
    p.segment_count = 0;
    p.mbuf = m;
    p.destinations = 0;
    p.offload = {};
    for (rte_mbuf* s = m->next; s != nullptr; s = s->next) {
        b.segments[b.segments_used++] = {rte_pktmbuf_mtod(s, std::byte*), s->data_len};
        ++p.segment_count;
    }
    return true;
}

void copy_frame(const packet& p, std::size_t offset, void* to, std::size_t size) noexcept
{
    auto* out = static_cast<std::byte*>(to);
    if (offset < p.head_length) {
        const std::size_t n = std::min<std::size_t>(size, p.head_length - offset);
        std::memcpy(out, p.data + offset, n);
        out += n;
        size -= n;
        offset = 0;
    } else {
        offset -= p.head_length;
    }
    for (std::size_t i = 0; size > 0 && i < p.segment_count; ++i) {
        const guest_span& s = p.segments[i];
        if (offset >= s.size()) {
            offset -= s.size();
            continue;
        }
        const std::size_t n = std::min(size, s.size() - offset);
        s.copy_out(out, offset, n);
        out += n;
        size -= n;
        offset = 0;
    }
}

} // namespace strait::dataplane
