// SPDX-License-Identifier: BSD-3-Clause
// Ring 3: SSE2 may be used here, and no instruction that needs privilege.

#include "tests/vmm/guest/traffic.hh"

#include "tests/vmm/guest/cpu.hh"

#include <algorithm>
#include <emmintrin.h>

namespace strait::guest {

namespace {

constexpr unsigned burst = 32;
constexpr std::size_t header = sizeof(vhost::net_header);

// std::memcpy() would be a call for four bytes: without a library the compiler takes it for any
// function.
template <typename T>
T get(const std::byte* at) noexcept
{
    T value;
    __builtin_memcpy(&value, at, sizeof(value));
    return value;
}

template <typename T>
void put(std::byte* at, T value) noexcept
{
    __builtin_memcpy(at, &value, sizeof(value));
}

// Up to 15 bytes more than `count`, which every buffer has.
void copy_frame(std::byte* to, const std::byte* from, std::size_t count) noexcept
{
    for (std::size_t i = 0; i < count; i += 16) {
        _mm_storeu_si128(reinterpret_cast<__m128i*>(to + i),
                         _mm_loadu_si128(reinterpret_cast<const __m128i*>(from + i)));
    }
}

bool same(const std::byte* a, const std::byte* b, std::size_t count) noexcept
{
    std::size_t i = 0;
    for (; i + 16 <= count; i += 16) {
        const __m128i equal =
            _mm_cmpeq_epi8(_mm_loadu_si128(reinterpret_cast<const __m128i*>(a + i)),
                           _mm_loadu_si128(reinterpret_cast<const __m128i*>(b + i)));
        if (_mm_movemask_epi8(equal) != 0xffff) {
            return false;
        }
    }
    for (; i < count; ++i) {
        if (a[i] != b[i]) {
            return false;
        }
    }
    return true;
}

void publish(traffic& t, data_queue& q) noexcept
{
    if (q.ring.publish()) {
        store(q.notify, q.index);
        ++t.kicks;
    }
}

void offer(data_queue& q, std::uint16_t id, std::size_t length, bool writable) noexcept
{
    const virtqueue::segment one{reinterpret_cast<std::uint64_t>(q.buffer(id)),
                                 static_cast<std::uint32_t>(length), writable};
    q.ring.offer(id, {&one, 1});
}

void reclaim(traffic& t, data_queue& q) noexcept
{
    while (const auto c = q.ring.take()) {
        if (q.idle_count == q.idle.size()) {
            return; // more than was ever offered
        }
        q.idle[q.idle_count++] = c->id;
        ++t.taken;
    }
}

void send_model(traffic& t, data_queue& q) noexcept
{
    const std::uint16_t id = q.idle[--q.idle_count];
    put(q.buffer(id) + header + sequence_at, t.sent);
    offer(q, id, header + t.model.size(), false);
    ++t.sent;
    t.sent_bytes += t.model.size();
}

bool transmit(traffic& t, queue_pair& p) noexcept
{
    data_queue& q = p.transmit;
    const std::uint64_t before = t.taken;
    reclaim(t, q);
    std::uint64_t room = std::min<std::uint64_t>(q.idle_count, burst);
    room = std::min(room, t.count - t.sent);
    for (std::uint64_t i = 0; i < room; ++i) {
        send_model(t, q);
    }
    if (room != 0) {
        publish(t, q);
    }
    return room != 0 || t.taken != before;
}

enum class whose : std::uint8_t { others, ours, stop };

whose look_at(traffic& t, const std::byte* frame, std::size_t length) noexcept
{
    if (length < pattern_at) {
        return whose::others;
    }
    const auto word = get<std::uint32_t>(frame + mark_at);
    if (word != mark) {
        return word == stop_mark ? whose::stop : whose::others;
    }
    ++t.ours;
    length = std::min(length, t.all.size());
    const auto sequence = get<std::uint64_t>(frame + sequence_at);
    t.gaps += sequence != t.next_sequence && sequence != 0 ? 1U : 0U;
    t.next_sequence = sequence + 1;
    t.bad += same(frame + pattern_at, t.all.data() + pattern_at, length - pattern_at) ? 0U : 1U;
    return whose::ours;
}

struct arrived {
    bool any;
    bool stop;
};

// `with` has each buffer that a frame begins in: its bytes from the virtio header on, and how many
// buffers there are of it.
template <typename F>
arrived receive(traffic& t, data_queue& q, unsigned most, const F& with) noexcept
{
    arrived result{false, false};
    for (; most > 0; --most) {
        const auto c = q.ring.take();
        if (!c) {
            break;
        }
        result.any = true;
        ++t.buffers;
        const std::byte* const buffer = q.buffer(c->id);
        const std::size_t length = std::min(c->length, q.length);
        if (q.rest > 0) {
            --q.rest;
            t.received_bytes += length;
            if (q.rest_at != 0 && q.rest_at + length <= t.all.size()) {
                t.bad += same(buffer, t.all.data() + q.rest_at, length) ? 0U : 1U;
                q.rest_at += static_cast<std::uint32_t>(length);
            }
        } else {
            const std::uint16_t buffers =
                std::max(get<vhost::net_header>(buffer).buffers, std::uint16_t{1});
            const std::size_t frame = std::max(length, header) - header;
            q.rest = static_cast<std::uint16_t>(buffers - 1);
            ++t.received;
            t.received_bytes += frame;
            const whose w = look_at(t, buffer + header, frame);
            q.rest_at = w == whose::ours ? static_cast<std::uint32_t>(frame) : 0;
            result.stop |= w == whose::stop;
            with(buffer, header + frame, buffers);
        }
        offer(q, c->id, q.length, true);
    }
    if (result.any) {
        publish(t, q);
    }
    return result;
}

arrived only_receive(traffic& t, queue_pair& p) noexcept
{
    return receive(t, p.receive, burst, [](const std::byte*, std::size_t, unsigned) {});
}

arrived echo(traffic& t, queue_pair& p) noexcept
{
    data_queue& out = p.transmit;
    reclaim(t, out);
    const std::uint64_t before = t.sent;
    const auto back = [&](const std::byte* buffer, std::size_t length, unsigned buffers) {
        if (buffers != 1 || length > out.length || length < header + mark_at ||
            out.idle_count == 0) {
            ++t.skipped;
            return;
        }
        const std::uint16_t id = out.idle[--out.idle_count];
        std::byte* const to = out.buffer(id);
        auto h = get<vhost::net_header>(buffer);
        h.buffers = 0;
        h.flags &= 1; // what is left to do (NEEDS_CSUM), not what was checked
        put(to, h);
        copy_frame(to + header, buffer + header, length - header);
        const auto addresses = get<std::array<mac_address, 2>>(buffer + header);
        put(to + header, std::array{addresses[1], addresses[0]});
        offer(out, id, length, false);
        ++t.sent;
        t.sent_bytes += length - header;
    };
    // What finds no room stays where it is.
    const arrived a = receive(t, p.receive, std::min<unsigned>(out.idle_count, burst), back);
    if (t.sent != before) {
        publish(t, out);
    }
    return a;
}

bool ping(traffic& t) noexcept
{
    if (!t.waiting) {
        data_queue& q = t.pairs[0].transmit;
        reclaim(t, q);
        if (q.idle_count == 0) {
            return false;
        }
        for (queue_pair& p : t.pairs) {
            p.receive.ring.want_interrupt(t.yields);
        }
        t.asked = cycles();
        send_model(t, q);
        publish(t, q);
        t.waiting = true;
        return true;
    }
    bool any = false;
    for (queue_pair& p : t.pairs) {
        const std::uint64_t before = t.next_sequence;
        any |= only_receive(t, p).any;
        if (t.next_sequence == t.sent && t.next_sequence != before) {
            const std::uint64_t took = cycles() - t.asked;
            t.shortest = std::min(t.shortest, took);
            t.longest = std::max(t.longest, took);
            t.total += took;
            t.waiting = false;
        }
    }
    return any;
}

void prepare(traffic& t, data_queue& q) noexcept
{
    reclaim(t, q);
    t.taken = 0;
    for (std::uint16_t i = 0; i < q.idle_count; ++i) {
        std::byte* const buffer = q.buffer(q.idle[i]);
        put(buffer, vhost::net_header{});
        copy_frame(buffer + header, t.model.data(), t.model.size());
        if (t.stop) {
            put(buffer + header + mark_at, stop_mark);
        }
    }
}

bool finished(const traffic& t) noexcept
{
    switch (t.what) {
    case traffic::kind::transmit:
        return t.sent == t.count && t.taken >= t.sent;
    case traffic::kind::receive:
    case traffic::kind::pass:
        return t.received >= t.count;
    case traffic::kind::ping:
        return t.sent == t.count && !t.waiting;
    case traffic::kind::echo:
        break;
    }
    return false;
}

} // namespace

std::uint64_t run_traffic(void* argument)
{
    auto& t = *static_cast<traffic*>(argument);
    const auto end = [](traffic::result r) { return static_cast<std::uint64_t>(r); };
    const bool sends = t.what == traffic::kind::transmit || t.what == traffic::kind::ping;
    if (sends && t.sent == 0) {
        for (queue_pair& p : t.pairs) {
            prepare(t, p.transmit);
        }
    }
    if (t.sender != nullptr && t.sent == 0) {
        prepare(t, t.sender->transmit);
    }
    for (;;) {
        bool stop = false;
        bool any = t.sender != nullptr && transmit(t, *t.sender);
        if (t.what == traffic::kind::ping) {
            any = ping(t);
        } else {
            for (queue_pair& p : t.pairs) {
                if (t.what == traffic::kind::transmit) {
                    any |= transmit(t, p);
                    continue;
                }
                const arrived a = t.what == traffic::kind::echo ? echo(t, p) : only_receive(t, p);
                any |= a.any;
                stop |= a.stop;
            }
        }
        const std::uint64_t now = cycles();
        if (any) {
            t.last_cycle = now;
            t.first_cycle = t.first_cycle == 0 ? now : t.first_cycle;
        }
        if (stop) {
            return end(traffic::result::stop);
        }
        if (finished(t)) {
            return end(traffic::result::count);
        }
        if (now > t.deadline) {
            return end(traffic::result::time);
        }
        if (!any) {
            if (t.yields) {
                return end(traffic::result::idle);
            }
            _mm_pause();
        }
    }
}

std::uint64_t fill_queues(void* argument)
{
    auto& p = *static_cast<queue_pair*>(argument);
    traffic nobody{};
    for (std::uint16_t i = 0; i < p.receive.ring.size(); ++i) {
        offer(p.receive, i, p.receive.length, true);
        p.transmit.idle[i] = i;
    }
    p.transmit.idle_count = p.transmit.ring.size();
    publish(nobody, p.receive);
    return 0;
}

} // namespace strait::guest
