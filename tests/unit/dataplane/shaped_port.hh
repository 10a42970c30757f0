// SPDX-License-Identifier: BSD-3-Clause
// A shaper in front of a queue that notes what it is given, under a clock that is a number. Each
// frame has a number in its first bytes, by which it is known again.
#pragma once

#include "tests/unit/dataplane/eal.hh"

#include "dataplane/shaper.hh"

#include <gtest/gtest.h>

#include <cstring>
#include <functional>
#include <map>
#include <memory>
#include <vector>

namespace strait::test {

inline constexpr std::uint64_t shaper_hz = 1'000'000'000; // a cycle is a nanosecond
inline constexpr std::uint64_t ms = shaper_hz / 1000;

struct shaped_frame {
    std::size_t number_of_class{0};
    std::uint16_t sender{0};
    std::uint32_t length{1000};
    dataplane::offload_intent todo{};
};

class shaped_port : public ::testing::Test {
protected:
    using shaping = dataplane::shaping;
    using shaper_class = dataplane::shaper_class;
    using drop_reason = dataplane::drop_reason;

    static void SetUpTestSuite() { start_eal(0, 256); }
    void SetUp() override
    {
        pool_ = make_pool(8192);
        counters_->watcher = &watcher_;
    }
    void TearDown() override
    {
        shaper_.reset();
        EXPECT_EQ(rte_mempool_in_use_count(pool_.get()), 0U);
    }

    void shape(const shaping& s)
    {
        shaper_ = std::make_unique<dataplane::shaper>(queue_, s, shaper_hz, now_);
    }
    // A port's rate, and class 0 alone.
    static shaping plain(std::uint32_t kbps, std::uint32_t burst_kbit = 0)
    {
        shaping s;
        s.kbps = kbps;
        s.burst_kbit = burst_kbit;
        return s;
    }

    ports::queue_context context() { return {now_, pool_.get(), counters_.get(), nullptr}; }

    // Returns its number.
    std::uint64_t offer(const shaped_frame& f)
    {
        const std::uint64_t number = next_number_++;
        std::memcpy(bytes_.data(), &number, sizeof number);
        dataplane::packet_slot& p = *slot_;
        static_cast<dataplane::packet&>(p) = {};
        p.data = p.head.data();
        p.length = f.length;
        p.head_length = static_cast<std::uint16_t>(std::min(f.length, 128U));
        std::memcpy(p.data, bytes_.data(), p.head_length);
        dataplane::guest_span rest{bytes_.data() + p.head_length, f.length - p.head_length};
        p.segments = &rest;
        p.segment_count = f.length > p.head_length ? 1 : 0;
        p.in_port = dataplane::port_index{f.sender};
        p.note = dataplane::packet_note::with_queue(77, static_cast<unsigned>(f.number_of_class));
        p.destinations = 1;
        p.offload = f.todo;
        dataplane::packet* const one[] = {&p};
        shaper_->transmit(one, context());
        return number;
    }
    std::size_t release() { return shaper_->release(context(), *scratch_); }
    // At every moment that it asks for, for so long.
    void run_for(std::uint64_t cycles)
    {
        const std::uint64_t end = now_ + cycles;
        while (shaper_->next_release() <= end) {
            now_ = std::max(now_, shaper_->next_release());
            (void)release();
        }
        now_ = end;
    }
    // All of the frames always have as many waiting that none runs dry, looked at every 100 us.
    void keep_full_for(std::uint64_t cycles, const std::vector<shaped_frame>& all)
    {
        for (const std::uint64_t end = now_ + cycles; now_ < end; now_ += ms / 10) {
            do {
                for (const shaped_frame& f : all) {
                    while (left_of(f) < 100) {
                        origins_[next_number_] = f;
                        ++offered_of_[key(f)];
                        offer(f);
                    }
                }
            } while (release() > 0);
        }
    }

    [[nodiscard]] std::uint64_t drops(drop_reason r) const
    {
        return counters_->drops[static_cast<std::size_t>(r)].read();
    }
    [[nodiscard]] const dataplane::shaper_counters& counts(std::size_t c) const
    {
        return shaper_->counters(c);
    }
    [[nodiscard]] std::uint64_t waiting() const
    {
        std::uint64_t all = 0;
        for (std::size_t c = 0; c < dataplane::shaper_classes; ++c) {
            all += counts(c).waiting_packets.read();
        }
        return all;
    }

    struct sent_frame {
        std::uint64_t number;
        std::uint32_t length;
        dataplane::port_index sender;
        dataplane::offload_intent todo;
    };
    class noting_queue final : public ports::tx_queue {
    public:
        void transmit(std::span<dataplane::packet* const> packets,
                      const ports::queue_context& context) noexcept override
        {
            EXPECT_LE(packets.size(), dataplane::burst::capacity);
            for (const dataplane::packet* const p : packets) {
                if (room == 0) {
                    context.counters->drop(drop_reason::receiver_full, *p);
                    continue;
                }
                --room;
                sent_frame s{0, p->length, p->in_port, p->offload};
                dataplane::copy_frame(*p, 0, &s.number, sizeof s.number);
                sent.push_back(s);
                bytes += p->length;
                context.counters->tx_packets.add(1);
                if (seen) {
                    seen(s);
                }
            }
        }
        [[nodiscard]] std::size_t
        transmit_some(std::span<dataplane::packet*> packets,
                      const ports::queue_context& context) noexcept override
        {
            const std::size_t taken = std::min(room, packets.size());
            transmit(packets.first(taken), context);
            std::ranges::copy(packets.subspan(taken), packets.begin());
            return packets.size() - taken;
        }
        [[nodiscard]] dataplane::offloads takes() const noexcept override
        {
            return dataplane::offloads::checksum_ipv4;
        }
        std::vector<sent_frame> sent;
        std::uint64_t bytes{0};
        std::size_t room{std::numeric_limits<std::size_t>::max()}; // packets
        std::function<void(const sent_frame&)> seen;
    };
    class drop_notes final : public dataplane::drop_watcher {
    public:
        void dropped(const dataplane::packet& p, drop_reason reason,
                     const dataplane::port_counters& /*at*/) noexcept override
        {
            std::uint64_t number = 0;
            dataplane::copy_frame(p, 0, &number, sizeof number);
            if (seen) {
                seen(number, reason);
            }
        }
        std::function<void(std::uint64_t, drop_reason)> seen;
    };

    // Bytes sent of frames of keep_full_for() that were like this one.
    [[nodiscard]] std::uint64_t sent_of(const shaped_frame& f) const
    {
        std::uint64_t bytes = 0;
        for (const sent_frame& s : queue_.sent) {
            const auto found = origins_.find(s.number);
            bytes += found != origins_.end() && key(found->second) == key(f) ? s.length : 0;
        }
        return bytes;
    }

    using frame_key = std::tuple<std::size_t, std::uint16_t, std::uint32_t>;
    static frame_key key(const shaped_frame& f) { return {f.number_of_class, f.sender, f.length}; }
    // Sent, or dropped.
    [[nodiscard]] std::uint64_t left_of(const shaped_frame& f)
    {
        for (; noted_ < queue_.sent.size(); ++noted_) {
            if (const auto found = origins_.find(queue_.sent[noted_].number);
                found != origins_.end()) {
                ++gone_of_[key(found->second)];
            }
        }
        return offered_of_[key(f)] - gone_of_[key(f)];
    }

    pool_ptr pool_;
    noting_queue queue_;
    drop_notes watcher_;
    std::unique_ptr<dataplane::port_counters> counters_{new dataplane::port_counters};
    std::unique_ptr<dataplane::burst> scratch_{new dataplane::burst};
    std::unique_ptr<dataplane::packet_slot> slot_{new dataplane::packet_slot{}};
    std::vector<std::byte> bytes_{std::vector<std::byte>(70'000)};
    std::uint64_t now_{1000 * shaper_hz};
    std::uint64_t next_number_{0};
    std::map<std::uint64_t, shaped_frame> origins_;
    std::map<frame_key, std::uint64_t> offered_of_;
    std::map<frame_key, std::uint64_t> gone_of_;
    std::size_t noted_{0};
    std::unique_ptr<dataplane::shaper> shaper_;
};

} // namespace strait::test
