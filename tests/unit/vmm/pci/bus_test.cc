// SPDX-License-Identifier: BSD-3-Clause
// Configuration mechanism 1 and the window: who is reached by which access.
#include "vmm/pci/bus.hh"

#include "vmm/platform.hh"

#include <memory>
#include <vector>

#include <gtest/gtest.h>
#include <linux/pci_regs.h>

namespace strait::vmm::pci::test {
namespace {

// Remembers what reaches its registers.
class noting_function final : public function {
public:
    noting_function() : function{{0x1234, 0x5678, 0x02'0000, 3, 0x1234, 0x9}, 0x4000} {}

    void read_bar(std::uint32_t offset, std::span<std::byte> to) noexcept override
    {
        reads.push_back(offset);
        std::fill(to.begin(), to.end(), std::byte{0x5a});
    }
    void write_bar(std::uint32_t offset, std::span<const std::byte> from) noexcept override
    {
        writes.emplace_back(offset, from.size());
    }
    void moved(std::uint32_t from, std::uint32_t to) noexcept override
    {
        moves.emplace_back(from, to);
    }

    std::vector<std::uint32_t> reads;
    std::vector<std::pair<std::uint32_t, std::size_t>> writes;
    std::vector<std::pair<std::uint32_t, std::uint32_t>> moves;
};

class pci_bus : public testing::Test {
protected:
    pci_bus()
    {
        for (int i = 0; i < 2; ++i) {
            auto f = std::make_unique<noting_function>();
            (i == 0 ? first : second) = f.get();
            pci.add(std::move(f));
        }
        pci.connect(ports, addresses);
    }

    template <typename T>
    T in(std::uint16_t port)
    {
        T value{};
        ports.read(port, std::as_writable_bytes(std::span{&value, 1}));
        return value;
    }
    template <typename T>
    void out(std::uint16_t port, T value)
    {
        ports.write(port, std::as_bytes(std::span{&value, 1}));
    }
    static std::uint32_t selector(unsigned device, unsigned offset)
    {
        return 0x8000'0000U | device << 11 | (offset & 0xfc);
    }
    template <typename T>
    T config(unsigned device, unsigned offset)
    {
        out(platform::pci_address, selector(device, offset));
        return in<T>(static_cast<std::uint16_t>(platform::pci_data + offset % 4));
    }
    template <typename T>
    void set_config(unsigned device, unsigned offset, T value)
    {
        out(platform::pci_address, selector(device, offset));
        out(static_cast<std::uint16_t>(platform::pci_data + offset % 4), value);
    }
    template <typename T>
    T load(std::uint64_t address)
    {
        T value{};
        addresses.read(address, std::as_writable_bytes(std::span{&value, 1}));
        return value;
    }

    noting_function* first{nullptr};
    noting_function* second{nullptr};
    bus pci;
    vmm::bus ports;
    vmm::bus addresses;
};

TEST_F(pci_bus, has_a_host_bridge_first)
{
    EXPECT_EQ(config<std::uint16_t>(0, PCI_CLASS_DEVICE), 0x0600);
    EXPECT_EQ(config<std::uint32_t>(0, PCI_BASE_ADDRESS_0), 0U);
}

TEST_F(pci_bus, shows_functions_and_nothing_beyond)
{
    EXPECT_EQ(config<std::uint32_t>(1, PCI_VENDOR_ID), 0x5678'1234U);
    EXPECT_EQ(config<std::uint8_t>(2, PCI_REVISION_ID), 3);
    EXPECT_EQ(config<std::uint32_t>(3, PCI_VENDOR_ID), 0xffff'ffffU);
    EXPECT_EQ(config<std::uint32_t>(31, PCI_VENDOR_ID), 0xffff'ffffU);
    // Another bus, another function, not enabled.
    for (const std::uint32_t wrong :
         {selector(1, 0) | 1U << 16, selector(1, 0) | 1U << 8, selector(1, 0) & 0x7fff'ffffU}) {
        out(platform::pci_address, wrong);
        EXPECT_EQ(in<std::uint32_t>(platform::pci_data), 0xffff'ffffU);
    }
}

TEST_F(pci_bus, selects_by_whole_words_alone)
{
    out(platform::pci_address, selector(1, 0));
    out<std::uint16_t>(platform::pci_address, 0);
    out<std::uint8_t>(platform::pci_address, 0);
    EXPECT_EQ(in<std::uint32_t>(platform::pci_address), selector(1, 0));
    EXPECT_EQ(in<std::uint32_t>(platform::pci_data), 0x5678'1234U);
    EXPECT_EQ(in<std::uint16_t>(platform::pci_data + 1), 0xffff); // not aligned
}

TEST_F(pci_bus, lets_the_size_of_a_bar_be_found)
{
    const auto before = config<std::uint32_t>(1, PCI_BASE_ADDRESS_0);
    EXPECT_EQ(before, 0xc000'0000U);
    EXPECT_EQ(config<std::uint32_t>(2, PCI_BASE_ADDRESS_0), 0xc000'4000U);
    set_config(1, PCI_BASE_ADDRESS_0, 0xffff'ffffU);
    EXPECT_EQ(config<std::uint32_t>(1, PCI_BASE_ADDRESS_0), 0xffff'c000U);
    EXPECT_EQ(first->address(), 0U); // there is no such place in the window
    set_config(1, PCI_BASE_ADDRESS_0, before);
    EXPECT_EQ(first->address(), 0xc000'0000U);
}

TEST_F(pci_bus, keeps_what_is_read_only)
{
    for (unsigned offset = 0; offset < config_bytes; offset += 4) {
        if (offset != PCI_BASE_ADDRESS_0) {
            set_config(1, offset, 0xffff'ffffU);
        }
    }
    EXPECT_EQ(config<std::uint32_t>(1, PCI_VENDOR_ID), 0x5678'1234U);
    EXPECT_EQ(config<std::uint32_t>(1, PCI_CLASS_REVISION), 0x02'0000'03U);
    EXPECT_EQ(config<std::uint32_t>(1, PCI_BASE_ADDRESS_1), 0U);
    EXPECT_EQ(config<std::uint8_t>(1, PCI_INTERRUPT_PIN), 0);
    EXPECT_EQ(config<std::uint16_t>(1, PCI_COMMAND),
              PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER | PCI_COMMAND_INTX_DISABLE);
}

TEST_F(pci_bus, reaches_registers_where_they_are)
{
    EXPECT_EQ(load<std::uint16_t>(0xc000'0010), 0x5a5a);
    EXPECT_EQ(load<std::uint8_t>(0xc000'7fff), 0x5a);
    EXPECT_EQ(first->reads, (std::vector<std::uint32_t>{0x10}));
    EXPECT_EQ(second->reads, (std::vector<std::uint32_t>{0x3fff}));
    // Over an end, and where nobody is.
    EXPECT_EQ(load<std::uint32_t>(0xc000'7ffe), 0xffff'ffffU);
    EXPECT_EQ(load<std::uint64_t>(0xc000'3ffc), ~std::uint64_t{0});
    EXPECT_EQ(load<std::uint32_t>(0xc000'8000), 0xffff'ffffU);
    EXPECT_EQ(load<std::uint32_t>(platform::pci_window_end - 4), 0xffff'ffffU);
    const std::uint32_t value = 1;
    addresses.write(0xc000'4008, std::as_bytes(std::span{&value, 1}));
    EXPECT_EQ(second->writes, (std::vector<std::pair<std::uint32_t, std::size_t>>{{8, 4}}));
}

TEST_F(pci_bus, follows_a_bar_that_moves_or_is_switched_off)
{
    first->moves.clear();
    set_config<std::uint16_t>(1, PCI_COMMAND, 0);
    EXPECT_EQ(load<std::uint16_t>(0xc000'0010), 0xffff);
    set_config(1, PCI_BASE_ADDRESS_0, 0xd000'0000U);
    set_config<std::uint16_t>(1, PCI_COMMAND, PCI_COMMAND_MEMORY);
    EXPECT_EQ(load<std::uint16_t>(0xd000'0010), 0x5a5a);
    EXPECT_EQ(first->moves, (std::vector<std::pair<std::uint32_t, std::uint32_t>>{
                                {0xc000'0000, 0}, {0, 0xd000'0000}}));
    // Not into RAM, and not onto the interrupt controllers.
    for (const std::uint32_t outside : {0x1000'0000U, 0xfec0'0000U, 0xffff'c000U}) {
        set_config(1, PCI_BASE_ADDRESS_0, outside);
        EXPECT_EQ(first->address(), 0U) << std::hex << outside;
    }
}

} // namespace
} // namespace strait::vmm::pci::test
