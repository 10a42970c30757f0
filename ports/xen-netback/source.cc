// SPDX-License-Identifier: BSD-3-Clause
// Requests are copied out of the ring once, checked, and then used. What Linux's backend forgives,
// and so what guests rely on, is forgiven here; what it gives a device up for, too.
#include "ports/xen-netback/source.hh"

#include "dataplane/parse.hh"
#include "ports/xen-netback/fault.hh"

#include <algorithm>
#include <cstring>
#include <new>

#include <rte_mbuf.h>

namespace strait::xen {

using dataplane::burst;
using dataplane::drop_reason;
using dataplane::head_copy;
using dataplane::packet_slot;
using dataplane::remote_copy;
using dataplane::segmentation;
using netif::tx_request;
using ports::queue_context;
using ports::rx_queue;

source::source(netif::tx_ring ring, guest& g, event_channel& channel, bool left_behind) noexcept
    : ring_{ring},
      taken_{ring.response_producer()},
      answered_{taken_},
      notified_{taken_},
      shown_{taken_},
      guest_{g},
      channel_{channel}
{
    if (left_behind) {
        finish_answers();
    }
}

// Frames whose answers were written but not published: each went where it had to, and its requests
// are overwritten. To take them for requests would send what lies in other pages. An answer lies
// over its request's grant, the rest of which is as it was.
void source::finish_answers() noexcept
{
    const auto answer_to = [](std::uint16_t id, std::int16_t status) noexcept {
        constexpr unsigned half = 16; // where the status begins
        return std::uint32_t{id} | std::uint32_t{static_cast<std::uint16_t>(status)} << half;
    };
    const std::uint32_t ready = ring_.request_producer() - answered_;
    if (ready > netif::ring_size) {
        return; // receive() will say so
    }
    std::uint16_t id = 0; // of the frame's first request
    std::int16_t status = netif::status::okay;
    bool extras = false; // what is to come of the frame
    bool parts = false;
    bool any_null = false;
    for (std::uint32_t i = 0; i < ready; ++i, ++answered_) {
        const auto slot = ring_.read<tx_request>(answered_);
        const bool is_null = slot.grant == answer_to(id, netif::status::null);
        if (extras && (is_null || !any_null)) {
            // With its answer an extra info lost what says whether another follows: then one does
            // if it has its answer, too. Drivers send one.
            constexpr unsigned flags_at = 8;
            any_null = is_null;
            extras = is_null || (slot.grant >> flags_at & netif::extra_more) != 0;
            ring_.write(answered_, netif::tx_response{.id = id, .status = netif::status::null});
            continue;
        }
        extras = false;
        if (parts) {
            ring_.write(answered_, netif::tx_response{.id = slot.id, .status = status});
        } else if (slot.grant == answer_to(slot.id, netif::status::okay) ||
                   slot.grant == answer_to(slot.id, netif::status::error)) {
            id = slot.id;
            status = slot.grant == id ? netif::status::okay : netif::status::error;
            extras = (slot.flags & netif::tx_flag::extra_info) != 0;
            any_null = false;
        } else {
            break; // the first that nobody took
        }
        parts = (slot.flags & netif::tx_flag::more_data) != 0;
    }
    ring_.publish_responses(answered_);
    taken_ = answered_;
    shown_.store(answered_, std::memory_order_relaxed);
}

rx_queue::poll source::receive(burst& b, const queue_context& context) noexcept
{
    if (!gather_.due(context.now) || fault() != nullptr) {
        return rx_queue::poll::empty;
    }
    std::uint32_t ready = ring_.request_producer() - taken_;
    if (ready == 0) {
        return rx_queue::poll::empty;
    }
    if (ready > netif::ring_size) [[unlikely]] {
        fail(fault_text::index);
        context.counters->drop(drop_reason::malformed_descriptor);
        return rx_queue::poll::empty;
    }
    if (context.expected != nullptr) {
        context.expected->prefetch_ring(std::min<std::size_t>(ready, burst::capacity),
                                        context.from);
    }
    const std::uint32_t before = taken_;
    while (ready > 0 && frame_count_ < burst::capacity) {
        const std::uint32_t at = taken_;
        const taking t = take(b, context, ready);
        ready -= taken_ - at;
        if (t == taking::stop) {
            break;
        }
    }
    const std::uint32_t count = taken_ - before;
    if (count == 0) {
        return rx_queue::poll::empty;
    }
    gather_.took(context.now, std::max<std::size_t>(frame_count_, 1), context.packet_cost);
    finish(b, context);
    return rx_queue::poll::taken;
}

bool source::ask_to_wake(bool notified) noexcept
{
    if (fault() != nullptr) {
        return true;
    }
    // As long as it is polled the guest tells of nothing: what it asks by is left behind. A
    // notification of earlier, not taken, would hold back the next.
    if (notified) {
        (void)channel_.take();
    }
    ring_.ask_for_events(taken_ + 1);
    std::atomic_thread_fence(std::memory_order_seq_cst);
    return !waits();
}

// The extra infos behind a frame's first slot. False: the ring cannot be gone on with.
bool source::take_extras(std::uint32_t ready, std::uint32_t& used, frame& f,
                         const tx_request& first, bool& multicast) noexcept
{
    netif::extra_info extra; // NOLINT(cppcoreguidelines-pro-type-member-init): read below
    do {
        if (used == ready) {
            fail(fault_text::missing_extra);
            return false;
        }
        extra = ring_.read<netif::extra_info>(taken_ + used);
        ++used;
        std::uint64_t body = 0;
        std::memcpy(&body, extra.body, sizeof extra.body);
        const dataplane::mac_address mac{body};
        switch (static_cast<netif::extra>(extra.type)) {
        case netif::extra::gso:
            f.segment_size = static_cast<std::uint16_t>(body);
            f.kind = extra.body[2] == netif::gso_tcp_v4   ? segmentation::tcp_ipv4
                     : extra.body[2] == netif::gso_tcp_v6 ? segmentation::tcp_ipv6
                                                          : segmentation::none;
            if (f.segment_size == 0 || f.kind == segmentation::none) {
                fail(fault_text::gso);
                return false;
            }
            break;
        case netif::extra::multicast_add:
            multicast = true;
            answers_[f.first_answer].status =
                guest_.multicasts.add(mac) ? netif::status::okay : netif::status::error;
            break;
        case netif::extra::multicast_del:
            multicast = true;
            guest_.multicasts.remove(mac);
            break;
        case netif::extra::hash: // nobody needs what the guest hashed
        case netif::extra::xdp:
            break;
        default:
            fail(fault_text::extra_type);
            return false;
        }
        answers_[answer_count_++] = {.id = first.id, .status = netif::status::null};
    } while ((extra.flags & netif::extra_more) != 0);
    return true;
}

// One frame, or one message about multicasts. `taken_` goes on only when all of it was there.
source::taking source::take(burst& b, const queue_context& context, std::uint32_t ready) noexcept
{
    std::array<tx_request, netif::fatal_slots> parts;
    parts[0] = ring_.read<tx_request>(taken_);
    const tx_request& first = parts[0];
    if (!guest_.rate.take(first.size, context.now)) {
        return taking::stop;
    }
    frame& f = *::new (&frames_[frame_count_]) // where it stays, as in sink.cc
               frame{.first_answer = static_cast<std::uint16_t>(answer_count_),
                     .answers = 0,
                     .first_piece = static_cast<std::uint16_t>(piece_count_),
                     .pieces = 0,
                     .packet = 0,
                     .segment_size = 0,
                     .kind = segmentation::none,
                     .checksum_blank = (first.flags & netif::tx_flag::checksum_blank) != 0,
                     .payload = false,
                     .read = false,
                     .fault = dataplane::offload_fault::none};
    const std::size_t answers_before = answer_count_;
    const auto stop = [&](const char* why) {
        fail(why);
        context.counters->drop(drop_reason::malformed_descriptor);
        answer_count_ = answers_before;
        return taking::stop;
    };

    std::uint32_t used = 1;
    answers_[answer_count_++] = {.id = first.id, .status = netif::status::okay};
    bool multicast = false;
    if ((first.flags & netif::tx_flag::extra_info) != 0 &&
        !take_extras(ready, used, f, first, multicast)) [[unlikely]] {
        return stop(fault());
    }
    if (multicast) {
        taken_ += used;
        return taking::nothing;
    }

    std::size_t count = 1;
    std::uint32_t behind = 0; // bytes in all slots but the first
    while ((parts[count - 1].flags & netif::tx_flag::more_data) != 0) {
        if (used == ready) [[unlikely]] {
            return stop(fault_text::missing_slot);
        }
        if (count + 1 == netif::fatal_slots) [[unlikely]] {
            return stop(fault_text::too_many_slots);
        }
        tx_request& part = parts[count];
        part = ring_.read<tx_request>(taken_ + used);
        ++used;
        if (part.offset + part.size > page_size) [[unlikely]] {
            return stop(fault_text::crosses_page);
        }
        behind += part.size;
        answers_[answer_count_++] = {.id = part.id, .status = netif::status::okay};
        ++count;
    }
    f.answers = static_cast<std::uint16_t>(answer_count_ - answers_before);
    const std::uint32_t total = first.size;
    const auto refuse = [&](drop_reason reason) {
        answer_all(f, netif::status::error);
        context.counters->drop(reason);
        taken_ += used;
        return taking::nothing;
    };
    if (count > netif::max_slots || behind > total) [[unlikely]] {
        return refuse(drop_reason::malformed_descriptor);
    }
    parts[0].size = static_cast<std::uint16_t>(total - behind);
    if (parts[0].offset + parts[0].size > page_size) [[unlikely]] {
        return stop(fault_text::crosses_page);
    }
    if (total < dataplane::ethernet_header) [[unlikely]] {
        return refuse(drop_reason::frame_too_short);
    }
    taken_ += used;
    gather(b, f, std::span{parts}.first(count), total);
    ++frame_count_;
    return taking::frame;
}

// Notes what is to be copied of a frame: its head into the burst's next slot, from however many
// slots it takes; the rest is its payload.
void source::gather(burst& b, frame& f, std::span<const tx_request> parts,
                    std::uint32_t total) noexcept
{
    f.packet = static_cast<std::uint16_t>(b.count);
    packet_slot& p = b.slots[b.count++];
    const auto head = static_cast<std::uint16_t>(std::min<std::uint32_t>(total, head_copy));
    p.data = p.head.data();
    p.length = total;
    p.head_length = head;
    p.segment_count = 0;
    p.mbuf = nullptr;
    p.remote = nullptr;
    p.offload = {};
    const std::size_t first_span = span_count_;
    const auto owner = static_cast<std::uint16_t>(guest_.domain);
    std::uint32_t copied = 0;
    for (const tx_request& part : parts) {
        const auto size = static_cast<std::uint16_t>(
            std::min<std::uint32_t>(part.size, static_cast<std::uint32_t>(head) - copied));
        if (size > 0) {
            ::new (&pieces_[piece_count_++]) remote_copy(remote_copy::pull(
                {.reference = part.grant, .offset = part.offset, .owner = owner, .size = size},
                p.data + copied));
            copied += size;
        }
        if (size < part.size) {
            spans_[span_count_++] = {.reference = part.grant,
                                     .offset = static_cast<std::uint16_t>(part.offset + size),
                                     .owner = owner,
                                     .size = static_cast<std::uint16_t>(part.size - size)};
        }
    }
    f.pieces = static_cast<std::uint16_t>(piece_count_ - f.first_piece);
    if (span_count_ > first_span) {
        f.payload = true;
        dataplane::remote_payload& payload = payloads_[frame_count_];
        payload = {.copier = guest_.hypervisor,
                   .spans = std::span{spans_}.subspan(first_span, span_count_ - first_span),
                   .unreadable = false};
        p.remote = &payload;
    }
}

// What the guest left undone becomes the packets' intent. Headers that are longer than the head,
// as with many options, are hardly ever seen: their rest is copied in one call more.
void source::infer(burst& b, std::span<const remote_copy> pieces) noexcept
{
    const auto look = [&b](frame& f) noexcept {
        f.fault =
            dataplane::infer_offload(b.slots[f.packet], f.checksum_blank, f.kind, f.segment_size);
    };
    std::array<packet_slot*, burst::capacity> longer;
    std::size_t count = 0;
    for (frame& f : std::span{frames_}.first(frame_count_)) {
        f.read = std::ranges::all_of(pieces.subspan(f.first_piece, f.pieces),
                                     [](const remote_copy& c) { return c.done(); });
        f.fault = dataplane::offload_fault::none;
        if (f.read && (f.checksum_blank || f.kind != segmentation::none)) {
            look(f);
            if (f.fault == dataplane::offload_fault::beyond_head) [[unlikely]] {
                longer[count++] = &b.slots[f.packet];
            }
        }
    }
    if (count == 0) [[likely]] {
        return;
    }
    dataplane::lengthen_heads(std::span{longer}.first(count), b);
    for (frame& f : std::span{frames_}.first(frame_count_)) {
        if (f.fault == dataplane::offload_fault::beyond_head) {
            look(f);
        }
    }
}

// Copies the heads, and takes out of the burst what could not be read or is no frame.
void source::finish(burst& b, const queue_context& context) noexcept
{
    const std::span pieces = std::span{pieces_}.first(piece_count_);
    if (!pieces.empty()) {
        guest_.hypervisor->copy(pieces);
        guest_.counters.copies.add(pieces.size());
    }
    if (context.expected != nullptr) {
        context.expected->prefetch_buffers(b.count, context.from);
    }
    infer(b, pieces);
    std::size_t kept = 0;
    std::uint64_t bytes = 0;
    for (const frame& f : std::span{frames_}.first(frame_count_)) {
        packet_slot& p = b.slots[f.packet];
        drop_reason reason{};
        if (!f.read) [[unlikely]] {
            guest_.counters.source_errors.add(1);
            reason = drop_reason::grant_error;
        } else if (f.fault != dataplane::offload_fault::none) [[unlikely]] {
            // Of grants that cannot be read, release() tells.
            reason = p.remote != nullptr && p.remote->unreadable ? drop_reason::grant_error
                                                                 : drop_reason::bad_offload;
        } else {
            bytes += p.length;
            if (kept != f.packet) [[unlikely]] { // a gap in front of it
                packet_slot& to = b.slots[kept];
                static_cast<dataplane::packet&>(to) = p;
                to.data = to.head.data();
                std::memcpy(to.data, p.data, p.head_length);
            }
            ++kept;
            continue;
        }
        answer_all(f, netif::status::error);
        context.counters->drop(reason);
    }
    b.count = kept;
    context.counters->rx_packets.add(kept);
    context.counters->rx_bytes.add(bytes);
}

// Extra infos keep their own answer.
void source::answer_all(const frame& f, std::int16_t status) noexcept
{
    for (answer& a : std::span{answers_}.subspan(f.first_answer, f.answers)) {
        a.status = a.status == netif::status::null ? a.status : status;
    }
}

void source::release(burst& b, const queue_context& context) noexcept
{
    for (const packet_slot& p : b.packets()) {
        if (p.mbuf != nullptr) [[unlikely]] { // made local on its way
            rte_pktmbuf_free(p.mbuf);
        }
    }
    for (std::size_t i = 0; i < frame_count_; ++i) {
        const frame& f = frames_[i];
        if (f.payload && payloads_[i].unreadable) [[unlikely]] {
            guest_.counters.source_errors.add(1);
            answer_all(f, netif::status::error);
        }
    }
    for (const answer& a : std::span{answers_}.first(answer_count_)) {
        ring_.write(answered_++, netif::tx_response{.id = a.id, .status = a.status});
    }
    ring_.publish_responses(answered_);
    shown_.store(answered_, std::memory_order_relaxed);
    answer_count_ = frame_count_ = piece_count_ = span_count_ = 0;
    context.notifications->add(*this);
}

void source::notify_if_wanted() noexcept
{
    const std::uint32_t published = answered_;
    if (published - ring_.wanted_event() < published - notified_) {
        channel_.notify();
        guest_.counters.notifications.add(1);
    }
    notified_ = published;
}

} // namespace strait::xen
