// SPDX-License-Identifier: BSD-3-Clause
// Taking packets out of a guest's transmit virtqueue. Staged over the burst: descriptors are
// copied, checked and translated and the frames' first lines asked for; then heads are copied.
// Payload stays where it is until a sink copies it, or own() does.
#include "ports/gather.hh"
#include "ports/vhost/guarded_kick.hh"
#include "ports/vhost/kick.hh"
#include "ports/vhost/offload.hh"
#include "ports/vhost/packed_layout.hh"
#include "ports/vhost/split_layout.hh"

#include <algorithm>
#include <cstring>
#include <type_traits>

namespace strait::vhost {

namespace {

using dataplane::burst;
using dataplane::drop_reason;
using dataplane::guest_span;
using dataplane::head_copy;
using dataplane::offload_fault;
using dataplane::offloads;
using dataplane::packet_slot;

// Longest frame the switch carries: what fits GSO's 64 KiB and an Ethernet header with two tags.
constexpr std::uint64_t max_frame = 65535 + 22;

template <typename Layout>
class source_of final : public source {
public:
    explicit source_of(const ring_setup& setup) noexcept
        : log_{setup.log},
          layout_{setup, log_.on() ? &log_ : nullptr},
          memory_{*setup.memory},
          call_fd_{setup.call_fd},
          kick_fd_{setup.kick_fd},
          most_held_{setup.size / 4U},
          header_{has_feature(setup.features, feature::version_1) ||
                          has_feature(setup.features, feature::mergeable_buffers)
                      ? sizeof(net_header)
                      : legacy_net_header},
          negotiated_{left_by_guest(setup.features)},
          reads_headers_{negotiated_ != offloads::none}
    {}

    ports::rx_queue::poll receive(burst& b, const ports::queue_context& context) noexcept override;
    void release(const ports::queue_context& context) noexcept override;
    [[nodiscard]] int waker() const noexcept override { return kick_fd_; }
    [[nodiscard]] bool waits() noexcept override;
    [[nodiscard]] bool ask_to_wake(bool kicked) noexcept override;
    void notify_if_wanted() noexcept override;
    [[nodiscard]] ring_index position() const noexcept override { return layout_.position(); }
    bool return_all() noexcept override { return return_held(); }

private:
    // A chain between the two stages.
    struct chain {
        guest_span first;       // of a chain of one descriptor
        std::uint32_t segment;  // of a longer one: its spans in the burst's segments
        std::uint32_t segments; // 0: one descriptor
        std::uint64_t length;
    };

    [[nodiscard]] bool take(Layout& layout, burst& b, chain& c, completion& done,
                            const char*& fault) noexcept;
    template <bool ReadsHeader>
    [[nodiscard]] drop_reason build(burst& b, const chain& c) noexcept;
    template <bool ReadsHeaders>
    std::uint64_t build(burst& b, std::span<const chain> chains,
                        dataplane::port_counters& counters) noexcept;
    [[nodiscard]] drop_reason take_claim(burst& b, packet_slot& p,
                                         const net_header& header) const noexcept;
    [[nodiscard]] bool return_held() noexcept;

    const ring_log log_;
    Layout layout_;
    const guest_memory& memory_;
    const int call_fd_;
    const int kick_fd_;
    const std::size_t most_held_; // chains and their segments: a quarter of the descriptors
    const std::size_t header_;
    const offloads negotiated_; // what the guest may leave to us
    const bool reads_headers_;  // it may leave something
    bool kicks_asked_{false};
    ports::gatherer gather_;
    // Of the last two looks: what `newer_` has is of the last one.
    std::array<std::array<completion, burst::capacity>, 2> completions_;
    std::size_t newer_{0};
    std::size_t taken_{0}; // of the last look
    std::size_t held_{0};  // of the one before, not returned yet
    bool holds_{false};    // what was taken last may be held
};

constexpr drop_reason none{0xff};

// Copies one chain's descriptors. False if there is none, or `fault` was set.
template <typename Layout>
[[gnu::always_inline]] inline bool source_of<Layout>::take(Layout& layout, burst& b, chain& c,
                                                           completion& done,
                                                           const char*& fault) noexcept
{
    chain_head head;
    if (!layout.next(head, fault)) {
        return false;
    }
    c.segments = 0;
    if (head.simple()) [[likely]] {
        if (head.writable()) [[unlikely]] {
            fault = fault_text::direction;
            return false;
        }
        if (!memory_.translate(head.address, head.length, c.first)) [[unlikely]] {
            fault = fault_text::address;
            return false;
        }
        c.length = c.first.size();
        // The frame only: a header that says nothing is not read, and often has a line of its own,
        // which had better stay in the guest's cache.
        const std::size_t end = std::min<std::size_t>(c.length, header_ + head_copy);
        if (reads_headers_) {
            c.first.prefetch();
        }
        c.first.prefetch(header_);
        c.first.prefetch(end - (end > 0 ? 1 : 0));
    } else {
        c.segment = static_cast<std::uint32_t>(b.segments_used);
        c.length = 0;
        // DPDK's driver leaves "write" set in a packed ring's indirect tables. Nothing is written
        // here, whatever they say, and what is read is the guest's own.
        constexpr bool packed = std::is_same_v<Layout, packed_layout>;
        const bool write_is_wrong = !packed || (head.flags & descriptor_flag::indirect) == 0;
        fault = layout.walk(head, memory_,
                            [&](std::uint64_t address, std::uint32_t length,
                                std::uint16_t flags) noexcept -> const char* {
                                if (write_is_wrong && (flags & descriptor_flag::write) != 0) {
                                    return fault_text::direction;
                                }
                                if (length == 0) {
                                    return nullptr;
                                }
                                guest_span& span = b.segments[b.segments_used + c.segments];
                                if (!memory_.translate(address, length, span)) {
                                    return fault_text::address;
                                }
                                span.prefetch();
                                c.length += length;
                                ++c.segments;
                                return nullptr;
                            });
        if (fault != nullptr) {
            return false;
        }
        b.segments_used += c.segments;
        if (c.segments == 0) {
            c.first = {};
        }
    }
    done = {.length = 0, .id = head.id, .slots = head.slots};
    return true;
}

// Makes the next packet of the burst of a chain: its head is copied, the rest referred to.
template <typename Layout>
template <bool ReadsHeader>
[[gnu::always_inline]] inline drop_reason source_of<Layout>::build(burst& b,
                                                                   const chain& c) noexcept
{
    if (c.length <= header_) [[unlikely]] {
        return drop_reason::malformed_descriptor;
    }
    const std::uint64_t length = c.length - header_;
    if (length > max_frame) [[unlikely]] {
        return drop_reason::frame_too_long;
    }
    packet_slot& p = b.slots[b.count];
    const auto head = static_cast<std::uint16_t>(std::min<std::uint64_t>(length, head_copy));
    p.data = p.head.data();
    p.length = static_cast<std::uint32_t>(length);
    p.head_length = head;
    p.segment_count = 0;
    p.mbuf = nullptr;
    p.remote = nullptr;
    p.offload = {};
    net_header header{};
    if (c.segments == 0) [[likely]] {
        if constexpr (ReadsHeader) {
            c.first.copy_out(&header, 0, legacy_net_header);
        }
        c.first.copy_out(p.data, header_, head);
        if (length > head) {
            guest_span& rest = b.segments[b.segments_used++];
            rest = c.first.subspan(header_ + head);
            p.segments = &rest;
            p.segment_count = 1;
        }
    } else {
        // The header and the head may end anywhere in the chain; what is behind them is the
        // payload. They stand one behind the other in the slot, too.
        std::byte* to = p.data - header_;
        std::size_t left = header_ + head;
        std::uint32_t at = c.segment;
        const std::uint32_t end = c.segment + c.segments;
        for (; at < end && left > 0; ++at) {
            guest_span& span = b.segments[at];
            const std::size_t size = std::min(span.size(), left);
            span.copy_out(to, 0, size);
            to += size;
            left -= size;
            if (size < span.size()) {
                span = span.subspan(size);
                break;
            }
        }
        p.segments = b.segments.data() + at;
        p.segment_count = static_cast<std::uint16_t>(end - at);
        if constexpr (ReadsHeader) {
            std::memcpy(&header, p.data - header_, legacy_net_header);
        }
    }
    return asks_for_work(header) ? take_claim(b, p, header) : none;
}

// Packets of all chains; the sum of their bytes.
template <typename Layout>
template <bool ReadsHeaders>
[[gnu::always_inline]] inline std::uint64_t
source_of<Layout>::build(burst& b, std::span<const chain> chains,
                         dataplane::port_counters& counters) noexcept
{
    std::uint64_t bytes = 0;
    for (const chain& c : chains) {
        const drop_reason reason = build<ReadsHeaders>(b, c);
        if (reason != none) [[unlikely]] {
            counters.drop(reason);
            continue;
        }
        bytes += b.slots[b.count].length;
        ++b.count;
    }
    return bytes;
}

// What the guest left undone in a frame whose head was copied becomes the packet's intent.
template <typename Layout>
drop_reason source_of<Layout>::take_claim(burst& b, packet_slot& p,
                                          const net_header& header) const noexcept
{
    const dataplane::virtio_offload claim = claim_of(header);
    offload_fault fault = checked_intent(p, claim, negotiated_);
    if (fault == offload_fault::beyond_head) [[unlikely]] {
        dataplane::lengthen_head(p, b);
        fault = checked_intent(p, claim, negotiated_);
    }
    return fault == offload_fault::none ? none : drop_reason::bad_offload;
}

template <typename Layout>
ports::rx_queue::poll source_of<Layout>::receive(burst& b,
                                                 const ports::queue_context& context) noexcept
{
    using ports::rx_queue;
    if (!gather_.due(context.now) || fault() != nullptr) {
        return rx_queue::poll::empty;
    }
    if (kicks_asked_) [[unlikely]] {
        layout_.decline_kicks();
        kicks_asked_ = false;
    }
    const char* fault = layout_.refresh();
    if (fault != nullptr) [[unlikely]] {
        fault_.store(fault, std::memory_order_release);
        return rx_queue::poll::empty;
    }
    if (layout_.ready() == 0) {
        if (return_held()) {
            context.notifications->add(*this);
        }
        return rx_queue::poll::empty;
    }
    std::array<chain, burst::capacity> chains;
    std::size_t count = 0;
    {
        Layout layout = layout_; // in registers: stores to the guest cannot alias it
        const std::size_t ready = std::min<std::size_t>(layout.ready(), burst::capacity);
        layout.prefetch(ready);
        if (context.expected != nullptr) {
            context.expected->prefetch_ring(ready, context.from);
        }
        // Every packet of one descriptor may need a segment later, beside those of its chain.
        while (count < burst::capacity &&
               b.segments_used + burst::max_segments + burst::capacity <= burst::segment_capacity) {
            if (!take(layout, b, chains[count], completions_[newer_][count], fault)) {
                break;
            }
            ++count;
        }
        layout_ = layout;
    }
    if (fault != nullptr) [[unlikely]] {
        // What was taken before is good, and still goes on.
        fault_.store(fault, std::memory_order_release);
        context.counters->drop(drop_reason::malformed_descriptor);
    }
    taken_ = count;
    if (count == 0) {
        return rx_queue::poll::empty;
    }
    gather_.took(context.now, count, context.packet_cost);
    holds_ = count + b.segments_used <= most_held_ && !gather_.due(context.now);

    const std::span<const chain> taken = std::span{chains}.first(count);
    // In a loop of its own, many are under way at once.
    for (const chain& c : taken) {
        if (c.segments == 0 && c.length > header_) [[likely]] {
            c.first.touch(header_);
        }
    }
    const std::uint64_t bytes = reads_headers_ ? build<true>(b, taken, *context.counters)
                                               : build<false>(b, taken, *context.counters);
    // Not earlier: the frames are needed first.
    if (context.expected != nullptr) {
        context.expected->prefetch_buffers(count, context.from);
    }
    context.counters->rx_packets.add(b.count);
    context.counters->rx_bytes.add(bytes);
    return rx_queue::poll::taken;
}

template <typename Layout>
void source_of<Layout>::release(const ports::queue_context& context) noexcept
{
    // A driver may free all that came back at once when nearly all of its ring has (DPDK's does, at
    // 224 of 256), which makes its cache of buffers run over and dry in turns: it fills cold ones.
    // So a ring that is left alone for a while gets back what was taken at the look before.
    bool some = return_held();
    if (holds_) {
        newer_ ^= 1U;
        held_ = taken_;
    } else {
        layout_.complete(std::span{completions_[newer_]}.first(taken_));
        some = true;
    }
    taken_ = 0;
    if (some) {
        context.notifications->add(*this);
    }
}

// False if there was nothing.
template <typename Layout>
bool source_of<Layout>::return_held() noexcept
{
    if (held_ == 0) {
        return false;
    }
    layout_.complete(std::span{completions_[newer_ ^ 1U]}.first(held_));
    held_ = 0;
    return true;
}

template <typename Layout>
bool source_of<Layout>::waits() noexcept
{
    // A fault is there, too: receive() tells of it. What is held is returned there.
    return fault() == nullptr && (held_ > 0 || layout_.refresh() != nullptr || layout_.ready() > 0);
}

template <typename Layout>
bool source_of<Layout>::ask_to_wake(bool kicked) noexcept
{
    if (kicked) {
        forget_kicks(kick_fd_);
    }
    if (fault() != nullptr) {
        return true;
    }
    layout_.ask_for_kick();
    kicks_asked_ = true;
    // The driver looks whether we ask after it made a chain available: one of us sees the other.
    std::atomic_thread_fence(std::memory_order_seq_cst);
    return !waits();
}

template <typename Layout>
void source_of<Layout>::notify_if_wanted() noexcept
{
    if (layout_.wants_interrupt()) {
        guarded_kick(call_fd_);
        kicks_.add(1);
    }
}

} // namespace

std::unique_ptr<source> make_source(const ring_setup& setup)
{
    if (setup.packed()) {
        return std::make_unique<source_of<packed_layout>>(setup);
    }
    return std::make_unique<source_of<split_layout>>(setup);
}

} // namespace strait::vhost
