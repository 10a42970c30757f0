// SPDX-License-Identifier: BSD-3-Clause
#include "control/memory_left.hh"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

namespace strait::control {
namespace {

constexpr std::uint64_t mib = std::uint64_t{1} << 20;

// A machine's files, as the kernel shows them.
class memory : public testing::Test {
protected:
    memory() { std::filesystem::remove_all(root_); }
    ~memory() override { std::filesystem::remove_all(root_); }
    memory(const memory&) = delete;
    memory& operator=(const memory&) = delete;

    void write(const std::string& path, std::string_view text) const
    {
        const std::filesystem::path whole = root_ + path;
        std::filesystem::create_directories(whole.parent_path());
        std::ofstream{whole} << text;
    }
    void write_machine(std::uint64_t total_mib, std::uint64_t available_mib) const
    {
        write("/proc/meminfo", "MemTotal:       " + std::to_string(total_mib * 1024) +
                                   " kB\nMemFree:          1000 kB\nMemAvailable:   " +
                                   std::to_string(available_mib * 1024) +
                                   " kB\nHugePages_Total:       0\n");
    }
    [[nodiscard]] std::uint64_t left() const { return look_at_memory(root_).value().bytes; }

    const std::string root_ = testing::TempDir() + "memory_left_test";
};

TEST_F(memory, is_the_machine_s)
{
    write_machine(1000, 300);
    EXPECT_EQ(left(), 300 * mib);
    EXPECT_EQ(look_at_memory(root_)->of, 1000 * mib);
    EXPECT_FALSE(look_at_memory(root_)->is_low());
}

TEST_F(memory, is_the_control_group_s_if_that_has_less)
{
    write_machine(1000, 300);
    write("/proc/self/cgroup", "4:memory:/other\n0::/system.slice/straitd.service\n");
    EXPECT_EQ(left(), 300 * mib);
    write("/sys/fs/cgroup/system.slice/straitd.service/memory.max", "max\n");
    write("/sys/fs/cgroup/system.slice/straitd.service/memory.current", "1048576\n");
    EXPECT_EQ(left(), 300 * mib);
    write("/sys/fs/cgroup/system.slice/memory.max", std::to_string(200 * mib) + "\n");
    write("/sys/fs/cgroup/system.slice/memory.current", std::to_string(50 * mib) + "\n");
    EXPECT_EQ(left(), 150 * mib);
    write("/sys/fs/cgroup/system.slice/straitd.service/memory.max",
          std::to_string(100 * mib) + "\n");
    write("/sys/fs/cgroup/system.slice/straitd.service/memory.current",
          std::to_string(120 * mib) + "\n");
    EXPECT_EQ(left(), 0U);
    EXPECT_TRUE(look_at_memory(root_)->is_low());
    write("/sys/fs/cgroup/system.slice/straitd.service/memory.current", "0\n");
    write_machine(1000, 20);
    EXPECT_EQ(left(), 20 * mib);
}

TEST_F(memory, is_low_when_a_sixteenth_is_left)
{
    EXPECT_TRUE((memory_left{.bytes = 999 * mib, .of = 16000 * mib}).is_low());
    EXPECT_FALSE((memory_left{.bytes = 1000 * mib, .of = 16000 * mib}).is_low());
    EXPECT_TRUE((memory_left{.bytes = 63 * mib, .of = 500 * mib}).is_low()) << "a small machine's";
    EXPECT_FALSE((memory_left{.bytes = 30 * mib, .of = 100 * mib}).is_low());
}

TEST_F(memory, is_not_known_where_nobody_says)
{
    EXPECT_FALSE(look_at_memory(root_).has_value());
    write("/proc/meminfo", "MemTotal: many kB\n");
    EXPECT_FALSE(look_at_memory(root_).has_value());
}

TEST_F(memory, of_this_machine_is_known)
{
    const auto here = look_at_memory();
    ASSERT_TRUE(here.has_value());
    EXPECT_GT(here->of, here->bytes);
    EXPECT_GT(here->bytes, mib);
}

} // namespace
} // namespace strait::control
