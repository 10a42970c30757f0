// SPDX-License-Identifier: BSD-3-Clause
// The entropy device: how much of a buffer it fills.
#include "vmm/virtio/entropy.hh"

#include "test_device.hh"

#include <algorithm>
#include <set>

namespace strait::vmm::virtio::test {
namespace {

namespace feature = vhost::feature;

class entropy_of : public testing::TestWithParam<bool> {
protected:
    guest_machine m{{.packed = GetParam(),
                     .size = entropy::queue_size,
                     .features = feature_bits({feature::version_1})}};
};

INSTANTIATE_TEST_SUITE_P(kinds, entropy_of, testing::Bool(), vhost::test::kind_name);

TEST_P(entropy_of, says_what_it_is)
{
    entropy d{m.ram.memory(), "rng"};
    EXPECT_EQ(d.type(), 4);
    EXPECT_EQ(d.queues(), 1);
    EXPECT_EQ(d.max_queue_size(0), 64);
    EXPECT_EQ(d.features(), queue_features);
    EXPECT_EQ(d.config_size(), 0U);
}

TEST_P(entropy_of, fills_buffers)
{
    entropy d{m.ram.memory(), "rng"};
    m.start(d);
    std::set<bytes> all;
    for (std::size_t i = 0; i < 100; ++i) {
        const std::uint64_t place = m.ram.allocate(64);
        m.ram.write(place, bytes(64));
        // What it has to be read, and pieces of what it has to write, are no matter.
        ASSERT_TRUE(m.guest->add({{place, 8}, {place + 16, 3, true}, {place + 19, 29, true}}, i));
        m.guest->publish();
        ASSERT_EQ(m.collect(1), (std::vector<returned>{{i, 32}}));
        EXPECT_EQ(m.ram.read(place, 16), bytes(16));
        EXPECT_EQ(m.ram.read(place + 48, 16), bytes(16));
        all.insert(m.ram.read(place + 16, 32));
        m.ram.free(place);
    }
    EXPECT_EQ(all.size(), 100U);
    EXPECT_TRUE(m.transport.faults().empty());
    guest_machine::stop(d);
}

TEST_P(entropy_of, fills_so_much_and_no_more)
{
    entropy d{m.ram.memory(), "rng"};
    m.start(d);
    const std::uint64_t place = m.ram.allocate(100'000);
    m.ram.write(place, bytes(100'000));
    ASSERT_TRUE(m.guest->add({{place, 100'000, true}}, 1));
    ASSERT_TRUE(m.guest->add({{place, 0, true}}, 2));
    ASSERT_TRUE(m.guest->add({{place, 16}}, 3));
    m.guest->publish();
    EXPECT_EQ(m.collect(3), (std::vector<returned>{{1, 4096}, {2, 0}, {3, 0}}));
    EXPECT_EQ(m.ram.read(place + 4096, 95'904), bytes(95'904));
    const bytes last = m.ram.read(place + 4064, 32);
    EXPECT_NE(last, bytes(32));
    guest_machine::stop(d);
}

TEST_P(entropy_of, a_broken_ring_breaks_the_device)
{
    entropy d{m.ram.memory(), "rng"};
    m.start(d);
    ASSERT_TRUE(m.guest->add({{0, 64, true}}, 1));
    m.guest->publish();
    EXPECT_EQ(m.transport.wait_for_fault(), vhost::fault_text::address);
    guest_machine::stop(d);
}

} // namespace
} // namespace strait::vmm::virtio::test
