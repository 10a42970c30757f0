// SPDX-License-Identifier: BSD-3-Clause
// Reading a packed ring's position: a model of a driver and of a device that returns in order goes
// round the ring, and at each step the position must be the model's.
#include "vmm/virtio/packed_position.hh"

#include "ports/vhost/virtio.hh"

#include <random>
#include <span>

#include <gtest/gtest.h>

namespace strait::vmm::virtio::test {
namespace {

constexpr std::uint64_t ring = 0x10'0000;

struct place {
    std::uint16_t index{0};
    bool wrap{true};

    void step(std::uint16_t size)
    {
        if (++index == size) {
            index = 0;
            wrap = !wrap;
        }
    }
    [[nodiscard]] std::uint32_t encoded() const
    {
        const std::uint32_t half = index | (wrap ? 0x8000U : 0U);
        return half << 16 | half;
    }
};

class packed_ring : public testing::TestWithParam<std::uint16_t> {
protected:
    void mark(const place& p, bool used)
    {
        vhost::packed_descriptor d{};
        const bool other = used ? p.wrap : !p.wrap;
        d.flags = static_cast<std::uint16_t>((p.wrap ? vhost::descriptor_flag::available : 0) |
                                             (other ? vhost::descriptor_flag::used : 0));
        ASSERT_TRUE(ram.write(ring + p.index * sizeof d, std::as_bytes(std::span{&d, 1})));
    }
    [[nodiscard]] std::optional<std::uint32_t> position() const
    {
        queue_setup q;
        q.size = GetParam();
        q.descriptors = ring;
        return packed_position(ram, q);
    }

    memory ram{memory::make({.bytes = std::uint64_t{16} << 20}).value()};
};

INSTANTIATE_TEST_SUITE_P(sizes, packed_ring, testing::Values(1, 2, 3, 8, 100));

TEST_P(packed_ring, tells_where_a_device_that_returns_in_order_goes_on)
{
    std::mt19937 random{GetParam()};
    place driver;
    place device;
    std::uint16_t waiting = 0;
    EXPECT_EQ(position(), device.encoded());
    for (int i = 0; i < 2000; ++i) {
        // Runs of either, so that the ring is sometimes full and sometimes empty.
        const bool add = random() % 2 == 0;
        for (auto n = random() % (GetParam() + 1U); n > 0; --n) {
            if (add && waiting < GetParam()) {
                mark(driver, false);
                driver.step(GetParam());
                ++waiting;
            } else if (!add && waiting > 0) {
                mark(device, true);
                device.step(GetParam());
                --waiting;
            }
        }
        ASSERT_EQ(position(), device.encoded()) << "turn " << i << ", " << waiting << " wait";
    }
}

// Where a gap can be.
class larger_packed_ring : public packed_ring {};

INSTANTIATE_TEST_SUITE_P(sizes, larger_packed_ring, testing::Values(8, 100));

TEST_P(larger_packed_ring, says_nothing_of_one_that_is_out_of_order)
{
    place driver;
    for (int i = 0; i < 6; ++i) {
        mark(driver, false);
        driver.step(GetParam());
    }
    mark({2, true}, true);
    EXPECT_EQ(position(), std::nullopt);
}

TEST_P(packed_ring, says_nothing_of_one_outside_the_memory)
{
    queue_setup q;
    q.size = GetParam();
    q.descriptors = ram.bytes() - 8;
    EXPECT_EQ(packed_position(ram, q), std::nullopt);
}

} // namespace
} // namespace strait::vmm::virtio::test
