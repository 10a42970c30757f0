// SPDX-License-Identifier: BSD-3-Clause
#include "control/memory_left.hh"

#include "ports/number.hh"

#include <algorithm>
#include <fstream>
#include <string_view>

namespace strait::control {

namespace {

constexpr std::uint64_t kib = 1024;

std::optional<std::uint64_t> number_in(const std::string& path)
{
    std::ifstream file{path};
    std::string word;
    file >> word;
    return to_number<std::uint64_t>(word); // nothing for "max"
}

std::optional<memory_left> of_the_machine(const std::string& root)
{
    std::ifstream file{root + "/proc/meminfo"};
    std::optional<std::uint64_t> total;
    std::optional<std::uint64_t> available;
    std::string name;
    std::string number;
    for (std::string rest; file >> name >> number && std::getline(file, rest);) {
        if (name == "MemTotal:") {
            total = to_number<std::uint64_t>(number);
        } else if (name == "MemAvailable:") {
            available = to_number<std::uint64_t>(number);
        }
    }
    if (!total || !available) {
        return std::nullopt;
    }
    return memory_left{*available * kib, *total * kib};
}

// A limit may be any of its ancestors'.
std::optional<memory_left> of_the_group(const std::string& root)
{
    constexpr std::string_view version_2 = "0::";
    std::ifstream file{root + "/proc/self/cgroup"};
    std::string group;
    for (std::string line; std::getline(file, line);) {
        if (line.starts_with(version_2)) {
            group = line.substr(version_2.size());
        }
    }
    std::optional<memory_left> out;
    while (group.starts_with('/')) {
        const std::string folder = root + "/sys/fs/cgroup" + group;
        const auto most = number_in(folder + "/memory.max");
        const auto used = number_in(folder + "/memory.current");
        if (most && used) {
            const memory_left here{*most - std::min(*most, *used), *most};
            out = out && out->bytes < here.bytes ? out : here;
        }
        group.resize(group.rfind('/'));
    }
    return out;
}

} // namespace

bool memory_left::is_low() const noexcept
{
    constexpr std::uint64_t least = 64 * kib * kib;
    constexpr std::uint64_t part = 16;
    return bytes < std::max(of / part, std::min(least, of / 4));
}

std::optional<memory_left> look_at_memory(const std::string& root)
{
    const auto machine = of_the_machine(root);
    const auto group = of_the_group(root);
    if (machine && group) {
        return group->bytes < machine->bytes ? group : machine;
    }
    return machine ? machine : group;
}

} // namespace strait::control
