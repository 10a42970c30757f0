// SPDX-License-Identifier: BSD-3-Clause
// The ACPI tables: sums, lengths and references, and that they name what vmm/platform.hh names, the
// DSDT's compiled program included. Where iasl is installed it reads each of them too.
#include "vmm/boot/acpi.hh"

#include "vmm/platform.hh"

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <map>
#include <memory>
#include <span>
#include <sstream>
#include <stdexcept>
#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace strait::vmm::boot {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using testing::Not;

using bytes = std::vector<std::byte>;

template <typename T>
T field(std::span<const std::byte> table, std::size_t offset)
{
    T value{};
    if (offset + sizeof value > table.size()) {
        throw std::out_of_range{"beyond the end of a table"};
    }
    std::memcpy(&value, table.data() + offset, sizeof value);
    return value;
}

std::string text(std::span<const std::byte> table, std::size_t offset, std::size_t size)
{
    return {reinterpret_cast<const char*>(table.data()) + offset, size};
}

unsigned byte_sum(std::span<const std::byte> table)
{
    unsigned sum = 0;
    for (const std::byte b : table) {
        sum += std::to_integer<unsigned>(b);
    }
    return sum % 256;
}

// The tables as a guest finds them, from the root pointer on.
struct tables {
    explicit tables(unsigned cpus) : all{acpi_tables(cpus)}
    {
        const auto xsdt = at(field<std::uint64_t>(all, 24));
        by_name[text(xsdt, 0, 4)] = xsdt;
        for (std::size_t offset = 36; offset < xsdt.size(); offset += 8) {
            const auto table = at(field<std::uint64_t>(xsdt, offset));
            by_name[text(table, 0, 4)] = table;
        }
        const auto dsdt = at(field<std::uint64_t>(by_name["FACP"], 140));
        by_name[text(dsdt, 0, 4)] = dsdt;
    }
    [[nodiscard]] std::span<const std::byte> at(std::uint64_t address) const
    {
        const std::uint64_t offset = address - platform::acpi_tables;
        const std::size_t size = field<std::uint32_t>(all, offset + 4);
        (void)field<std::byte>(all, offset + size - 1);
        return std::span{all}.subspan(offset, size);
    }

    bytes all;
    std::map<std::string, std::span<const std::byte>> by_name;
};

struct generic_address {
    unsigned space;
    unsigned bits;
    unsigned offset;
    unsigned access;
    std::uint64_t address;
    friend bool operator==(const generic_address&, const generic_address&) = default;
};
generic_address address_at(std::span<const std::byte> table, std::size_t offset)
{
    return {field<std::uint8_t>(table, offset), field<std::uint8_t>(table, offset + 1),
            field<std::uint8_t>(table, offset + 2), field<std::uint8_t>(table, offset + 3),
            field<std::uint64_t>(table, offset + 4)};
}
generic_address io_byte(std::uint16_t port)
{
    return {1, 8, 0, 1, port};
}

TEST(acpi_test, root_pointer)
{
    const bytes all = acpi_tables(1);
    EXPECT_EQ(text(all, 0, 8), "RSD PTR ");
    EXPECT_EQ(field<std::uint8_t>(all, 15), 2);
    EXPECT_EQ(field<std::uint32_t>(all, 16), 0U) << "no RSDT";
    EXPECT_EQ(field<std::uint32_t>(all, 20), 36U);
    EXPECT_EQ(byte_sum(std::span{all}.first(20)), 0U);
    EXPECT_EQ(byte_sum(std::span{all}.first(36)), 0U);
}

TEST(acpi_test, tables_add_up_for_any_number_of_cpus)
{
    for (unsigned cpus = 1; cpus <= platform::max_cpus; ++cpus) {
        const tables t{cpus};
        EXPECT_LE(t.all.size(), platform::high_memory - platform::acpi_tables);
        ASSERT_EQ(t.by_name.size(), 4U);
        for (const auto& [name, table] : t.by_name) {
            EXPECT_EQ(byte_sum(table), 0U) << name;
            EXPECT_EQ(text(table, 10, 14), "STRAITSTRAITVM") << name;
            EXPECT_EQ((table.data() - t.all.data()) % 16, 0) << name;
        }
    }
}

TEST(acpi_test, fixed_description)
{
    const tables t{2};
    const auto fadt = t.by_name.at("FACP");
    EXPECT_EQ(fadt.size(), 276U);
    EXPECT_EQ(field<std::uint8_t>(fadt, 8), 6);
    EXPECT_EQ(field<std::uint8_t>(fadt, 131), 3) << "of ACPI 6.3";
    EXPECT_EQ(field<std::uint16_t>(fadt, 109), (1U << 2U) | (1U << 5U));
    const auto flags = field<std::uint32_t>(fadt, 112);
    EXPECT_TRUE(flags & (1U << 20U)) << "hardware-reduced";
    EXPECT_TRUE(flags & (1U << 10U)) << "has a reset register";
    EXPECT_TRUE(flags & (1U << 4U)) << "its power button is a device";
    EXPECT_EQ(address_at(fadt, 116), io_byte(platform::keyboard_command));
    EXPECT_EQ(field<std::uint8_t>(fadt, 128), platform::keyboard_reset);
    EXPECT_EQ(address_at(fadt, 244), io_byte(platform::sleep_control));
    EXPECT_EQ(address_at(fadt, 256), io_byte(platform::sleep_status));
    const auto none = [&](std::size_t begin, std::size_t end) {
        return std::ranges::all_of(fadt.subspan(begin, end - begin),
                                   [](std::byte b) { return b == std::byte{0}; });
    };
    EXPECT_TRUE(none(36, 109)) << "no FACS, no registers of old";
    EXPECT_TRUE(none(132, 140));
    EXPECT_TRUE(none(148, 244));
}

TEST(acpi_test, interrupt_controllers)
{
    for (const unsigned cpus : {1U, 3U, platform::max_cpus}) {
        const tables t{cpus};
        const auto madt = t.by_name.at("APIC");
        EXPECT_EQ(field<std::uint32_t>(madt, 36), platform::local_apic);
        EXPECT_EQ(field<std::uint32_t>(madt, 40), 0U) << "no PIC";
        ASSERT_EQ(madt.size(), 44 + cpus * 8 + 12);
        for (unsigned i = 0; i < cpus; ++i) {
            const std::size_t at = 44 + std::size_t{i} * 8;
            EXPECT_EQ(field<std::uint16_t>(madt, at), 0x0800) << "a local APIC";
            EXPECT_EQ(field<std::uint8_t>(madt, at + 2), i);
            EXPECT_EQ(field<std::uint8_t>(madt, at + 3), i);
            EXPECT_EQ(field<std::uint32_t>(madt, at + 4), 1U);
        }
        const std::size_t at = madt.size() - 12;
        EXPECT_EQ(field<std::uint16_t>(madt, at), 0x0c01) << "an I/O APIC";
        EXPECT_EQ(field<std::uint32_t>(madt, at + 4), platform::io_apic);
        EXPECT_EQ(field<std::uint32_t>(madt, at + 8), 0U);
    }
}

// What the DSDT has in bytes.
class dsdt_test : public testing::Test {
protected:
    template <typename... T>
    static bytes made_of(T... values)
    {
        bytes all;
        const auto add = [&all](auto value) {
            const auto* from = reinterpret_cast<const std::byte*>(&value);
            all.insert(all.end(), from, from + sizeof value);
        };
        (add(values), ...);
        return all;
    }
    [[nodiscard]] std::ptrdiff_t count(const bytes& wanted) const
    {
        std::ptrdiff_t found = 0;
        for (auto from = dsdt_.begin();; ++from) {
            from = std::search(from, dsdt_.end(), wanted.begin(), wanted.end());
            if (from == dsdt_.end()) {
                return found;
            }
            ++found;
        }
    }
    // Resource descriptors (ACPI 6.3, 6.4).
    static bytes ports(std::uint16_t first, std::uint8_t how_many)
    {
        return made_of(std::uint8_t{0x47}, std::uint8_t{1}, first, first, std::uint8_t{1},
                       how_many);
    }
    static bytes interrupt(std::uint32_t number)
    {
        constexpr std::uint8_t consumer_edge_high = 3;
        return made_of(std::uint8_t{0x89}, std::uint16_t{6}, consumer_edge_high, std::uint8_t{1},
                       number);
    }

    tables tables_{1};
    std::span<const std::byte> dsdt_ = tables_.by_name.at("DSDT");
};

TEST_F(dsdt_test, is_the_compiled_program)
{
    EXPECT_EQ(field<std::uint8_t>(dsdt_, 8), 2) << "integers have 64 bits";
    EXPECT_EQ(text(dsdt_, 28, 4), "INTL");
}

TEST_F(dsdt_test, switches_off_as_the_machine_does)
{
    bytes name =
        made_of(std::uint8_t{0x08}, std::array{'_', 'S', '5', '_'}, std::uint8_t{0x12},
                std::uint8_t{7}, std::uint8_t{4}, std::uint8_t{0x0a}, platform::sleep_type_off);
    EXPECT_EQ(count(name), 1);
}

TEST_F(dsdt_test, says_where_pci_is)
{
    EXPECT_EQ(count(made_of(std::uint8_t{0x0c}, std::uint32_t{0x030a'd041})), 1) << "PNP0A03";
    EXPECT_EQ(count(ports(platform::pci_address, 8)), 1);
    static_assert(platform::pci_data == platform::pci_address + 4);
    constexpr auto last = static_cast<std::uint32_t>(platform::pci_window_end - 1);
    constexpr auto first = static_cast<std::uint32_t>(platform::pci_window);
    // A double-word address space: memory, both ends fixed; granularity, ends, translation, length.
    EXPECT_EQ(count(made_of(std::uint8_t{0x87}, std::uint16_t{23}, std::uint8_t{0},
                            std::uint8_t{0x0c}, std::uint8_t{1}, std::uint32_t{0}, first, last,
                            std::uint32_t{0}, last - first + 1)),
              1);
    // A word address space: bus numbers 0 to 0.
    EXPECT_EQ(
        count(made_of(std::uint8_t{0x88}, std::uint16_t{13}, std::uint8_t{2}, std::uint8_t{0x0c},
                      std::uint8_t{0}, std::uint64_t{0}, std::uint16_t{1})),
        1);
}

TEST_F(dsdt_test, says_where_the_serial_port_is)
{
    EXPECT_EQ(count(made_of(std::uint8_t{0x0c}, std::uint32_t{0x0105'd041})), 1) << "PNP0501";
    EXPECT_EQ(count(ports(platform::serial, 8)), 1);
    EXPECT_EQ(count(interrupt(platform::serial_interrupt)), 1);
}

TEST_F(dsdt_test, says_how_the_power_button_is_read)
{
    EXPECT_EQ(count(made_of(std::uint8_t{0x0c}, std::uint32_t{0x0c0c'd041})), 1) << "PNP0C0C";
    EXPECT_THAT(text(dsdt_, 0, dsdt_.size()), HasSubstr("ACPI0013"));
    EXPECT_EQ(count(interrupt(platform::event_interrupt)), 1);
    // An operation region: of I/O ports, from there on, 1.
    EXPECT_EQ(count(made_of(std::uint16_t{0x805b}, std::array{'E', 'V', 'N', 'T'}, std::uint8_t{1},
                            std::uint8_t{0x0b}, platform::event_register, std::uint8_t{1})),
              1);
    // Local0 = EVTS; If (Local0 & 1) { Notify (PWRB, 0x80) }
    static_assert(platform::power_button == 1);
    EXPECT_EQ(count(made_of(std::uint8_t{0x70}, std::array{'E', 'V', 'T', 'S'}, std::uint8_t{0x60},
                            std::uint8_t{0xa0}, std::uint8_t{0x0c}, std::uint8_t{0x7b},
                            std::uint8_t{0x60}, platform::power_button, std::uint8_t{0},
                            std::uint8_t{0x86}, std::array{'P', 'W', 'R', 'B'}, std::uint8_t{0x0a},
                            std::uint8_t{0x80})),
              1);
}

// What a program says, both streams.
std::string run(const std::string& command)
{
    std::string said;
    const std::unique_ptr<FILE, int (*)(FILE*)> out{::popen((command + " 2>&1").c_str(), "r"),
                                                    ::pclose};
    std::array<char, 4096> some{};
    while (out != nullptr && std::fgets(some.data(), some.size(), out.get()) != nullptr) {
        said += some.data();
    }
    return said;
}

TEST(acpi_iasl_test, reads_every_table)
{
    if (run("iasl -v").find("Intel ACPI") == std::string::npos) {
        GTEST_SKIP() << "iasl is not installed (Debian 12: apt-get install acpica-tools)";
    }
    std::string folder = testing::TempDir() + "acpi_test.XXXXXX";
    ASSERT_NE(::mkdtemp(folder.data()), nullptr);
    const tables t{3};
    std::map<std::string, std::string> sources;
    for (const auto& [name, table] : t.by_name) {
        const std::string path = folder + "/" + name;
        std::ofstream{path + ".dat", std::ios::binary} << text(table, 0, table.size());
        const std::string said = run("iasl -d -p " + path + " " + path + ".dat");
        EXPECT_THAT(said, AllOf(Not(HasSubstr("rror")), Not(HasSubstr("arning")))) << name;
        std::ostringstream source;
        source << std::ifstream{path + ".dsl"}.rdbuf();
        sources[name] = source.str();
        EXPECT_THAT(sources[name],
                    AllOf(HasSubstr(name), Not(HasSubstr("ncorrect")), Not(HasSubstr("nvalid"))));
    }
    // Compiled again, every field is known and of the size that it must have.
    for (const auto& [name, table] : t.by_name) {
        const std::string path = folder + "/" + name;
        const std::string said = run("iasl -we -p " + path + ".again " + path + ".dsl");
        EXPECT_THAT(said, HasSubstr("Compilation successful. 0 Errors, 0 Warnings")) << name;
    }
    EXPECT_THAT(sources["FACP"], AllOf(HasSubstr("Hardware Reduced (V5) : 1"),
                                       HasSubstr("Reset Register Supported "
                                                 "(V2) : 1"),
                                       HasSubstr("VGA Not Present (V4) : 1"),
                                       HasSubstr("CMOS RTC Not Present "
                                                 "(V5) : 1"),
                                       HasSubstr("8042 Present on ports 60/64 (V2) : 0"),
                                       HasSubstr("MSI Not Supported (V4) : 0")));
    EXPECT_THAT(sources["APIC"],
                AllOf(HasSubstr("PC-AT Compatibility : 0"), HasSubstr("Address : FEC00000")));
    EXPECT_THAT(sources["DSDT"], AllOf(HasSubstr("Device (GED)"), HasSubstr("Method (_EVT, 1")));
    std::filesystem::remove_all(folder);
}

} // namespace
} // namespace strait::vmm::boot
