// SPDX-License-Identifier: BSD-3-Clause
// Packets to mbufs and back, and payload that only a hypervisor can copy.
#include "dataplane/packet.hh"

#include "dataplane/pull_batch.hh"

#include <new>

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

// A chain of exactly p.length bytes with the packet's head at its beginning. Where it has more than
// one mbuf, the second begins with the spans of all that follow the first: they live as long as
// what they point to. Null: no memory.
rte_mbuf* make_local_chain(const packet& p, rte_mempool* pool) noexcept
{
    rte_mbuf* const first = rte_pktmbuf_alloc(pool);
    if (first == nullptr) {
        return nullptr;
    }
    const std::size_t room = rte_pktmbuf_tailroom(first);
    const std::size_t more = first->buf_len;
    std::size_t others = 0;
    while (room + others * more < p.length + others * sizeof(guest_span)) {
        ++others;
        if (others > burst::max_segments || others * sizeof(guest_span) >= more) {
            rte_pktmbuf_free(first);
            return nullptr;
        }
    }
    if (room < p.head_length) {
        rte_pktmbuf_free(first);
        return nullptr;
    }
    first->data_len = static_cast<std::uint16_t>(std::min<std::size_t>(room, p.length));
    first->pkt_len = p.length;
    std::memcpy(rte_pktmbuf_mtod(first, std::byte*), p.data, p.head_length);
    std::size_t left = p.length - first->data_len;
    guest_span* spans = nullptr;
    rte_mbuf* last = first;
    for (std::size_t i = 0; i < others; ++i) {
        rte_mbuf* const next = rte_pktmbuf_alloc(pool);
        if (next == nullptr) {
            rte_pktmbuf_free(first);
            return nullptr;
        }
        next->data_off = 0;
        if (i == 0) {
            spans = reinterpret_cast<guest_span*>(rte_pktmbuf_mtod(next, std::byte*));
            next->data_off = static_cast<std::uint16_t>(others * sizeof(guest_span));
        }
        const std::size_t size = std::min<std::size_t>(rte_pktmbuf_tailroom(next), left);
        next->data_len = static_cast<std::uint16_t>(size);
        left -= size;
        new (spans + i) guest_span{rte_pktmbuf_mtod(next, std::byte*), size};
        last->next = next;
        last = next;
        first->nb_segs = static_cast<std::uint16_t>(first->nb_segs + 1);
    }
    return first;
}

// Asks for everything behind the head, in pieces that each lie in one mbuf.
void pull_payload(const packet& p, rte_mbuf* chain, pull_batch& batch) noexcept
{
    std::size_t at = p.head_length; // in `chain`
    std::size_t left = p.length - p.head_length;
    for (const remote_span& span : p.remote->spans) {
        std::size_t done = 0;
        while (done < span.size && left > 0) {
            while (at == chain->data_len) {
                chain = chain->next;
                at = 0;
            }
            const std::size_t size = std::min({span.size - done, chain->data_len - at, left});
            batch.add(*p.remote, span.part(done, size),
                      rte_pktmbuf_mtod_offset(chain, std::byte*, at));
            done += size;
            at += size;
            left -= size;
        }
    }
    if (left > 0) { // a port's mistake: nothing may show that was in the pool before
        p.remote->unreadable = true;
    }
}

// The packet is what its chain holds.
void become_owned(packet& p, rte_mbuf* chain) noexcept
{
    p.mbuf = chain;
    p.remote = nullptr;
    p.data = rte_pktmbuf_mtod(chain, std::byte*);
    p.head_length = chain->data_len;
    p.segment_count = static_cast<std::uint16_t>(chain->nb_segs - 1);
    p.segments = chain->next == nullptr ? nullptr : static_cast<guest_span*>(chain->next->buf_addr);
}

// Makes it so if it can.
bool is_local(packet& p, rte_mempool* pool) noexcept
{
    if (p.remote != nullptr) [[unlikely]] {
        packet* const one[] = {&p};
        localise(one, pool);
    }
    return p.remote == nullptr;
}

// Asks for a part of a payload that is not local. `offset` is from the payload's first byte. How
// much of it there is.
std::size_t ask_for_part(remote_payload& payload, std::size_t offset, std::byte* to,
                         std::size_t size, pull_batch& batch) noexcept
{
    std::size_t done = 0;
    for (const remote_span& span : payload.spans) {
        if (payload.unreadable) {
            break;
        }
        if (offset >= span.size) {
            offset -= span.size;
            continue;
        }
        const std::size_t n = std::min(span.size - offset, size - done);
        if (n == 0) {
            break;
        }
        batch.add(payload, span.part(offset, n), to + done);
        done += n;
        offset = 0;
    }
    return done;
}

bool copy_remote(remote_payload& payload, std::size_t offset, std::byte* to,
                 std::size_t size) noexcept
{
    pull_batch batch;
    const std::size_t there = ask_for_part(payload, offset, to, size, batch);
    batch.flush();
    if (payload.unreadable || there < size) {
        payload.unreadable = true;
        std::memset(to, 0, size);
        return false;
    }
    return true;
}

} // namespace

void localise(std::span<packet* const> packets, rte_mempool* pool) noexcept
{
    pull_batch batch;
    const auto wanted = [](const packet& p) noexcept { return p.remote != nullptr; };
    for (packet* const p : packets) {
        if (!wanted(*p) || p->remote->unreadable) {
            continue;
        }
        p->mbuf = make_local_chain(*p, pool);
        if (p->mbuf != nullptr) {
            pull_payload(*p, p->mbuf, batch);
        }
    }
    batch.flush();
    for (packet* const p : packets) {
        if (!wanted(*p) || p->mbuf == nullptr) {
            continue;
        }
        if (p->remote->unreadable) {
            rte_pktmbuf_free(p->mbuf);
            p->mbuf = nullptr;
        } else {
            become_owned(*p, p->mbuf);
        }
    }
}

rte_mbuf* own(packet& p, rte_mempool* pool) noexcept
{
    if (!is_local(p, pool)) [[unlikely]] {
        return nullptr;
    }
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

namespace {

// What of a remote payload there is room for behind the head.
std::size_t more_of_remote(const packet_slot& p) noexcept
{
    const std::byte* const end = p.head.data() + p.head.size();
    return std::min(static_cast<std::size_t>(end - p.data), std::size_t{p.length}) - p.head_length;
}

void ask_for_more(packet_slot& p, pull_batch& batch) noexcept
{
    remote_payload& payload = *p.remote;
    const std::size_t size = more_of_remote(p);
    payload.uncounted |= !payload.unreadable && size > 0; // until it was read
    (void)ask_for_part(payload, 0, p.data + p.head_length, size, batch);
}

// What was asked for is there.
void take_more(packet_slot& p) noexcept
{
    remote_payload& payload = *p.remote;
    std::size_t size = more_of_remote(p);
    if (payload.unreadable) {
        return; // what is behind the head's end is looked at by nobody
    }
    payload.uncounted = false;
    p.head_length = static_cast<std::uint16_t>(p.head_length + size);
    while (!payload.spans.empty()) {
        remote_span& first = payload.spans.front();
        if (size < first.size) {
            first = first.part(size, first.size - size);
            return;
        }
        size -= first.size;
        payload.spans = payload.spans.subspan(1);
    }
    p.remote = nullptr;
}

void lengthen_from_segments(packet_slot& p, burst& b) noexcept
{
    if (p.segment_count == 0 || p.mbuf != nullptr) { // an mbuf's first piece is no slot
        return;
    }
    std::byte* const end = p.head.data() + p.head.size();
    auto at = static_cast<std::size_t>(p.segments - b.segments.data());
    while (p.segment_count > 0 && p.data + p.head_length < end) {
        guest_span& from = b.segments[at];
        const std::size_t room = static_cast<std::size_t>(end - p.data) - p.head_length;
        const std::size_t size = std::min(from.size(), room);
        from.copy_out(p.data + p.head_length, 0, size);
        p.head_length = static_cast<std::uint16_t>(p.head_length + size);
        from = from.subspan(size);
        if (from.empty()) {
            ++at;
            ++p.segments;
            --p.segment_count;
        }
    }
}

} // namespace

void lengthen_heads(std::span<packet_slot* const> packets, burst& b) noexcept
{
    pull_batch batch;
    for (packet_slot* const p : packets) {
        if (p->remote == nullptr) {
            lengthen_from_segments(*p, b);
        } else {
            ask_for_more(*p, batch);
        }
    }
    batch.flush();
    for (packet_slot* const p : packets) {
        if (p->remote != nullptr) {
            take_more(*p);
        }
    }
}

void lengthen_head(packet_slot& p, burst& b) noexcept
{
    packet_slot* const one[] = {&p};
    lengthen_heads(one, b);
}

packet_slot* clone_packet(packet& from, burst& to, rte_mempool* pool,
                          std::size_t most_head) noexcept
{
    if (!is_local(from, pool)) [[unlikely]] {
        return nullptr;
    }
    const std::size_t head = std::min<std::size_t>(from.head_length, most_head);
    const std::size_t left = from.head_length - head;
    const std::size_t count = from.segment_count + (left > 0 ? 1U : 0U);
    if (to.count == burst::capacity || count > burst::max_segments ||
        to.segments_used + count > burst::segment_capacity) {
        return nullptr;
    }
    packet_slot& p = to.slots[to.count++];
    static_cast<packet&>(p) = from;
    p.data = p.head.data();
    if (head > longest_head) {
        p.data -= head - longest_head;
    }
    std::memcpy(p.data, from.data, head);
    p.head_length = static_cast<std::uint16_t>(head);
    p.segments = to.segments.data() + to.segments_used;
    p.segment_count = static_cast<std::uint16_t>(count);
    p.mbuf = nullptr;
    p.destinations = 0;
    if (left > 0) {
        to.segments[to.segments_used++] = guest_span{from.data + head, left};
    }
    std::copy_n(from.segments, from.segment_count, to.segments.data() + to.segments_used);
    to.segments_used += from.segment_count;
    ++from.destinations;
    return &p;
}

packet_slot* move_packet(packet_slot& from, burst& to) noexcept
{
    if (to.count == burst::capacity ||
        to.segments_used + from.segment_count > burst::segment_capacity) {
        return nullptr;
    }
    packet_slot& p = to.slots[to.count++];
    static_cast<packet&>(p) = from;
    if (from.mbuf == nullptr) { // the head lies in the slot
        p.data = p.room.data() + (from.data - from.room.data());
        std::memcpy(p.data, from.data, from.head_length);
    }
    p.segments = to.segments.data() + to.segments_used;
    std::copy_n(from.segments, from.segment_count, to.segments.data() + to.segments_used);
    to.segments_used += from.segment_count;
    from.mbuf = nullptr;
    return &p;
}

std::size_t room_before(const packet_slot& p) noexcept
{
    const std::byte* const begin =
        p.mbuf != nullptr ? static_cast<const std::byte*>(p.mbuf->buf_addr) : p.room.data();
    return static_cast<std::size_t>(p.data - begin);
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
    p.remote = nullptr;
    p.destinations = 0;
    p.offload = {};
    for (rte_mbuf* s = m->next; s != nullptr; s = s->next) {
        b.segments[b.segments_used++] = {rte_pktmbuf_mtod(s, std::byte*), s->data_len};
        ++p.segment_count;
    }
    return true;
}

bool copy_frame(const packet& p, std::size_t offset, void* to, std::size_t size) noexcept
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
    if (p.remote != nullptr && size > 0) [[unlikely]] {
        return copy_remote(*p.remote, offset, out, size);
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
    return true;
}

} // namespace strait::dataplane
