// SPDX-License-Identifier: BSD-3-Clause
// MSI-X: what masks and writes to the table connect.
#include "vmm/pci/message_vectors.hh"

#include "test_fabric.hh"

#include <array>
#include <cstring>

#include <gtest/gtest.h>

namespace strait::vmm::pci::test {
namespace {

constexpr std::size_t entry = message_vectors::entry_bytes;

class vectors : public testing::Test {
protected:
    void write(std::size_t offset, std::uint32_t value)
    {
        all.write_table(offset, std::as_bytes(std::span{&value, 1}));
    }
    [[nodiscard]] std::uint32_t read(std::size_t offset) const
    {
        std::uint32_t value = 0;
        all.read_table(offset, std::as_writable_bytes(std::span{&value, 1}));
        return value;
    }
    [[nodiscard]] unsigned pending(std::size_t byte) const
    {
        std::byte value{};
        all.read_pending(byte, {&value, 1});
        return std::to_integer<unsigned>(value);
    }
    void unmask(std::size_t vector)
    {
        write(vector * entry, 0xfee0'1000);
        write(vector * entry + 8, 0x4000U + static_cast<std::uint32_t>(vector));
        write(vector * entry + 12, 0);
    }

    test_fabric fabric;
    message_vectors all{message_vectors::make(fabric, 10).value()};
};

TEST_F(vectors, begin_masked)
{
    EXPECT_EQ(read(3 * entry + 12), 1U);
    all.enable(true, false);
    EXPECT_TRUE(fabric.interrupts.empty());
}

TEST_F(vectors, are_routed_before_they_are_connected)
{
    all.enable(true, false);
    unmask(3);
    EXPECT_EQ(fabric.routes.at(27), (message{0xfee0'1000, 0x4003}));
    EXPECT_EQ(fabric.interrupts.at(27), all.at(3).fd());
    EXPECT_EQ(fabric.interrupts.size(), 1U);
}

TEST_F(vectors, follow_what_the_guest_writes_while_they_are_connected)
{
    all.enable(true, false);
    unmask(3);
    write(3 * entry + 4, 7);
    EXPECT_EQ(fabric.routes.at(27), (message{0x7'fee0'1000, 0x4003}));
    EXPECT_EQ(read(3 * entry + 4), 7U);
}

TEST_F(vectors, that_are_masked_keep_what_is_signalled)
{
    all.enable(true, false);
    unmask(9);
    write(9 * entry + 12, 1);
    EXPECT_TRUE(fabric.interrupts.empty());
    EXPECT_EQ(pending(1), 0U);
    all.at(9).signal();
    EXPECT_EQ(pending(0), 0U);
    EXPECT_EQ(pending(1), 2U);
    EXPECT_EQ(pending(2), 0U); // there are ten
    write(9 * entry + 12, 0);
    EXPECT_EQ(fabric.interrupts.at(33), all.at(9).fd());
    EXPECT_EQ(pending(1), 0U);
    EXPECT_TRUE(all.at(9).take()); // KVM's to take
}

TEST_F(vectors, are_all_masked_by_one_bit)
{
    all.enable(true, false);
    unmask(1);
    unmask(2);
    all.enable(true, true);
    EXPECT_TRUE(fabric.interrupts.empty());
    all.enable(true, false);
    EXPECT_EQ(fabric.interrupts.size(), 2U);
    all.enable(false, false);
    EXPECT_TRUE(fabric.interrupts.empty());
    EXPECT_EQ(fabric.wrong, 0);
}

TEST_F(vectors, take_whole_words_alone)
{
    const std::array<std::byte, 8> ones{std::byte{0xff}, std::byte{0xff}, std::byte{0xff},
                                        std::byte{0xff}, std::byte{0xff}, std::byte{0xff},
                                        std::byte{0xff}, std::byte{0xff}};
    all.write_table(0, std::span{ones}.first(2));
    all.write_table(2, std::span{ones}.first(4));
    all.write_table(1, std::span{ones}.first(1));
    EXPECT_EQ(read(0), 0U);
    all.write_table(8, ones); // data and control, of which one bit exists
    EXPECT_EQ(read(8), 0xffff'ffffU);
    EXPECT_EQ(read(12), 1U);
}

TEST_F(vectors, are_disconnected_when_they_go)
{
    {
        auto few = message_vectors::make(fabric, 2).value();
        few.enable(true, false);
        const std::uint32_t zero = 0;
        few.write_table(12, std::as_bytes(std::span{&zero, 1}));
        EXPECT_EQ(fabric.interrupts.size(), 1U);
    }
    EXPECT_TRUE(fabric.interrupts.empty());
    EXPECT_EQ(fabric.wrong, 0);
}

} // namespace
} // namespace strait::vmm::pci::test
