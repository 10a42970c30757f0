// SPDX-License-Identifier: BSD-3-Clause
// The load generator's driver, against a device that is written here straight from the
// specification (VIRTIO 1.1 sections 2.6 and 2.7) and returns buffers as devices may.
#include "bench/guest/virtqueue.hh"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <memory>
#include <random>
#include <vector>

namespace strait::bench {
namespace {

constexpr std::uint64_t address = 0x10000;

struct element {
    std::uint16_t id;
    std::uint32_t length;
};

// The device's half. It takes what is offered and gives back what it is told to.
class device {
public:
    device(const virtqueue::shape& s, std::byte* memory)
        : shape_{s}, at_{virtqueue::places_of(s)}, memory_{memory}
    {}

    std::vector<element> take()
    {
        std::vector<element> taken;
        if (shape_.kind == virtqueue::layout::split) {
            for (; next_ != word(at_.available + 2); ++next_) {
                const std::uint16_t id = word(at_.available + 4 + 2 * place(next_));
                vhost::split_descriptor d{};
                std::memcpy(&d, memory_ + sizeof d * id, sizeof d);
                check(id, d.address, (d.flags & vhost::descriptor_flag::write) != 0);
                taken.push_back({id, d.length});
            }
            return taken;
        }
        for (;; ++next_) {
            vhost::packed_descriptor d{};
            std::memcpy(&d, memory_ + sizeof d * place(next_), sizeof d);
            const bool wrap = (next_ & shape_.size) == 0;
            if (((d.flags & vhost::descriptor_flag::available) != 0) != wrap ||
                ((d.flags & vhost::descriptor_flag::used) != 0) == wrap) {
                return taken;
            }
            check(d.id, d.address, (d.flags & vhost::descriptor_flag::write) != 0);
            taken.push_back({d.id, d.length});
        }
    }

    // `stands_for` buffers by one element, of which this is the last.
    void give_back(element e, std::uint16_t stands_for = 1)
    {
        if (shape_.kind == virtqueue::layout::split) {
            const vhost::used_element one{e.id, e.length};
            const auto last = static_cast<std::uint16_t>(back_ + stands_for - 1);
            std::memcpy(memory_ + at_.used + 4 + sizeof one * place(last), &one, sizeof one);
            back_ += stands_for;
            const auto index = static_cast<std::uint16_t>(back_);
            std::memcpy(memory_ + at_.used + 2, &index, sizeof index);
            return;
        }
        vhost::packed_descriptor d{};
        d.id = e.id;
        d.length = e.length;
        d.flags = (back_ & shape_.size) == 0
                      ? vhost::descriptor_flag::available | vhost::descriptor_flag::used
                      : 0;
        std::memcpy(memory_ + sizeof d * place(back_), &d, sizeof d);
        back_ += stands_for;
    }

    void wants_kicks(bool yes)
    {
        const bool split = shape_.kind == virtqueue::layout::split;
        const std::uint16_t value = yes ? 0 : 1; // NO_NOTIFY; RING_EVENT_FLAGS_DISABLE
        std::memcpy(memory_ + at_.used + (split ? 0 : 2), &value, sizeof value);
    }

    [[nodiscard]] bool may_interrupt() const
    {
        // NO_INTERRUPT; RING_EVENT_FLAGS_DISABLE
        return word(at_.available + (shape_.kind == virtqueue::layout::split ? 0 : 2)) == 0;
    }

private:
    [[nodiscard]] std::size_t place(std::uint32_t position) const
    {
        return position & (shape_.size - 1U);
    }
    [[nodiscard]] std::uint16_t word(std::size_t at) const
    {
        std::uint16_t value = 0;
        std::memcpy(&value, memory_ + at, sizeof value);
        return value;
    }
    void check(std::uint16_t id, std::uint64_t buffer, bool writable) const
    {
        ASSERT_LT(id, shape_.size);
        ASSERT_GE(buffer, address);
        ASSERT_LE(buffer + shape_.buffer_length, address + virtqueue::bytes(shape_));
        EXPECT_EQ(writable, shape_.way == virtqueue::direction::to_driver);
    }

    virtqueue::shape shape_;
    virtqueue::places at_;
    std::byte* memory_;
    std::uint32_t next_{0};
    std::uint32_t back_{0};
};

struct parameters {
    virtqueue::layout kind;
    bool in_order;
};

class virtqueue_test : public testing::TestWithParam<parameters> {
protected:
    static constexpr std::uint16_t size = 16;

    void make(virtqueue::direction way)
    {
        const virtqueue::shape s{GetParam().kind, way, size, 100, GetParam().in_order};
        memory_.assign(virtqueue::bytes(s) + page, std::byte{0});
        void* at = memory_.data();
        std::size_t room = memory_.size();
        std::byte* const base =
            static_cast<std::byte*>(std::align(page, virtqueue::bytes(s), at, room));
        queue = std::make_unique<virtqueue>(s, base, address);
        other = std::make_unique<device>(s, base);
    }

    // 0 to `below` - 1.
    std::uint32_t random(std::size_t below) { return static_cast<std::uint32_t>(engine() % below); }

    std::mt19937 engine{1};
    std::unique_ptr<virtqueue> queue;
    std::unique_ptr<device> other;

private:
    static constexpr std::size_t page = 4096;
    std::vector<std::byte> memory_;
};

INSTANTIATE_TEST_SUITE_P(rings, virtqueue_test,
                         testing::Values(parameters{virtqueue::layout::split, true},
                                         parameters{virtqueue::layout::split, false},
                                         parameters{virtqueue::layout::packed, true},
                                         parameters{virtqueue::layout::packed, false}),
                         [](const auto& one) {
                             return std::string{one.param.kind == virtqueue::layout::split
                                                    ? "split"
                                                    : "packed"} +
                                    (one.param.in_order ? "_in_order" : "_any_order");
                         });

// Many laps, in bursts of any size, returned in any order where the device may.
TEST_P(virtqueue_test, sends_every_buffer_once_and_gets_it_back)
{
    make(virtqueue::direction::to_device);
    std::vector<element> held;
    std::size_t sent = 0;
    for (int round = 0; round < 2000; ++round) {
        const auto count = static_cast<std::uint16_t>(random(queue->idle() + 1U));
        std::vector<element> expected;
        for (std::uint16_t i = 0; i < count; ++i) {
            const std::uint16_t index = queue->upcoming(i);
            const std::uint32_t length = 60 + random(40);
            queue->set_length(index, length);
            expected.push_back({index, length});
        }
        static_cast<void>(queue->offer(count));
        const std::vector<element> taken = other->take();
        ASSERT_TRUE(std::ranges::equal(taken, expected, [](element a, element b) {
            return a.id == b.id && a.length == b.length;
        }));
        sent += taken.size();
        held.insert(held.end(), taken.begin(), taken.end());
        if (!GetParam().in_order) {
            std::ranges::shuffle(held, engine);
        }
        const std::size_t back = random(held.size() + 1);
        std::size_t given = 0;
        while (given < back) {
            // In order, one element may stand for all since the last.
            const std::size_t batch = GetParam().in_order ? 1 + random(back - given) : 1;
            given += batch;
            other->give_back(held[given - 1], static_cast<std::uint16_t>(batch));
        }
        held.erase(held.begin(), held.begin() + static_cast<std::ptrdiff_t>(back));
        ASSERT_EQ(queue->reclaim(), back);
        ASSERT_EQ(queue->idle() + held.size(), size);
    }
    EXPECT_GT(sent, std::size_t{5000});
}

TEST_P(virtqueue_test, is_interrupted_only_if_it_wants_to_be)
{
    make(virtqueue::direction::to_driver);
    EXPECT_FALSE(other->may_interrupt());
    queue->want_interrupts(true);
    EXPECT_TRUE(other->may_interrupt());
    queue->want_interrupts(false);
    EXPECT_FALSE(other->may_interrupt());
}

TEST_P(virtqueue_test, tells_a_later_device_where_to_go_on)
{
    make(virtqueue::direction::to_device);
    const bool packed = GetParam().kind == virtqueue::layout::packed;
    const auto pass = [&](std::uint16_t count) {
        static_cast<void>(queue->offer(count));
        for (const element e : other->take()) {
            other->give_back(e);
        }
        ASSERT_EQ(queue->reclaim(), count);
    };
    EXPECT_EQ(queue->position(), packed ? 0x8000 : 0);
    for (int i = 0; i < 20; ++i) { // three laps and most of a fourth, whose wrap counter is 0
        pass(3);
    }
    EXPECT_EQ(queue->position(), packed ? 12 : 60);
    pass(4);
    EXPECT_EQ(queue->position(), packed ? 0x8000 : 64);
    // What is offered and did not come back is to be taken again.
    static_cast<void>(queue->offer(5));
    EXPECT_EQ(queue->position(), packed ? 0x8000 : 64);
    // What came back is behind it, looked at or not.
    const auto taken = other->take();
    ASSERT_EQ(taken.size(), 5U);
    other->give_back(taken[0]);
    other->give_back(taken[1]);
    EXPECT_EQ(queue->position(), packed ? 0x8002 : 66);
}

TEST_P(virtqueue_test, receives_what_the_device_filled_and_how_much)
{
    make(virtqueue::direction::to_driver);
    std::vector<element> held;
    std::vector<element> under_way;
    static_cast<void>(queue->offer(size));
    for (int round = 0; round < 2000; ++round) {
        const auto taken = other->take();
        held.insert(held.end(), taken.begin(), taken.end());
        if (!GetParam().in_order) {
            std::ranges::shuffle(held, engine);
        }
        for (std::size_t back = random(held.size() + 1); back > 0; --back) {
            element e = held.front();
            held.erase(held.begin());
            e.length = random(101);
            other->give_back(e);
            under_way.push_back(e);
        }
        std::array<virtqueue::completion, 5> filled{};
        const std::size_t count = queue->take(filled);
        ASSERT_EQ(count, std::min(under_way.size(), filled.size()));
        for (std::size_t i = 0; i < count; ++i) {
            EXPECT_EQ(filled[i].buffer, under_way[i].id);
            EXPECT_EQ(filled[i].length, under_way[i].length);
        }
        under_way.erase(under_way.begin(), under_way.begin() + static_cast<std::ptrdiff_t>(count));
        static_cast<void>(queue->offer(static_cast<std::uint16_t>(count)));
    }
}

TEST_P(virtqueue_test, kicks_when_the_device_asks)
{
    make(virtqueue::direction::to_device);
    other->wants_kicks(true);
    EXPECT_TRUE(queue->offer(1));
    other->wants_kicks(false);
    EXPECT_FALSE(queue->offer(1));
}

// What a device writes that lost its mind leads to wrong counts, never out of the queue's memory.
TEST_P(virtqueue_test, survives_a_device_that_writes_anything)
{
    for (const auto way : {virtqueue::direction::to_device, virtqueue::direction::to_driver}) {
        make(way);
        for (int round = 0; round < 2000; ++round) {
            static_cast<void>(queue->offer(static_cast<std::uint16_t>(random(queue->idle() + 1U))));
            for (int i = 0; i < 4; ++i) {
                other->give_back({static_cast<std::uint16_t>(random(65536)), random(1U << 31)},
                                 static_cast<std::uint16_t>(1 + random(40)));
            }
            if (way == virtqueue::direction::to_device) {
                queue->reclaim();
            } else {
                std::array<virtqueue::completion, 8> filled{};
                const std::size_t count = queue->take(filled);
                for (std::size_t i = 0; i < count; ++i) {
                    ASSERT_LT(filled[i].buffer, size);
                    ASSERT_LE(filled[i].length, queue->form().buffer_length);
                }
            }
            ASSERT_LE(queue->idle(), size);
            for (std::uint16_t i = 0; i < queue->idle(); ++i) {
                ASSERT_LT(queue->upcoming(i), size);
            }
        }
    }
}

} // namespace
} // namespace strait::bench
