// SPDX-License-Identifier: BSD-3-Clause
// Topology in CPUID.
#include "vmm/cpuid.hh"

#include "vmm/kvm_list.hh"

#include <bit>
#include <cerrno>
#include <cstdint>
#include <string>

namespace strait::vmm {

namespace {

void replace(std::uint32_t& word, unsigned shift, unsigned width, std::uint32_t value) noexcept
{
    const std::uint32_t mask = ((1U << width) - 1) << shift;
    word = (word & ~mask) | (value << shift & mask);
}

void set(std::uint32_t& word, unsigned bit, bool value) noexcept
{
    replace(word, bit, 1, value ? 1 : 0);
}

constexpr unsigned deadline_timer = 24;  // of leaf 1's ECX
constexpr unsigned hypervisor = 31;      // likewise: there is one, and it has leaves of its own
constexpr unsigned several_threads = 28; // of leaf 1's EDX
constexpr unsigned legacy_cores = 1;     // of leaf 0x8000'0001's ECX
constexpr unsigned topology_leaves = 22; // likewise: 0x8000'001d and 1e, which are the host's

// A level of Intel's list of topology levels.
kvm_cpuid_entry2 topology_level(std::uint32_t leaf, std::uint32_t level, unsigned id,
                                unsigned count, unsigned id_bits) noexcept
{
    constexpr std::uint32_t thread = 1U << 8;
    constexpr std::uint32_t core = 2U << 8;
    kvm_cpuid_entry2 e{};
    e.function = leaf;
    e.index = level;
    e.flags = KVM_CPUID_FLAG_SIGNIFCANT_INDEX;
    e.ecx = level;
    e.edx = id;
    if (level == 0) {
        e.ebx = 1;
        e.ecx |= thread;
    } else if (level == 1) {
        e.eax = id_bits;
        e.ebx = count;
        e.ecx |= core;
    }
    return e;
}

} // namespace

std::vector<kvm_cpuid_entry2> cpuid_of(std::vector<kvm_cpuid_entry2> supported, unsigned id,
                                       unsigned count)
{
    const auto id_bits = static_cast<unsigned>(std::bit_width(count - 1));
    for (const std::uint32_t leaf : {0xbU, 0x1fU}) {
        // The host's levels, as many as it has.
        const auto host = std::erase_if(
            supported, [leaf](const kvm_cpuid_entry2& e) { return e.function == leaf; });
        for (std::uint32_t level = 0; host != 0 && level < 3; ++level) {
            supported.push_back(topology_level(leaf, level, id, count, id_bits));
        }
    }
    for (kvm_cpuid_entry2& e : supported) {
        switch (e.function) {
        case 1:
            replace(e.ebx, 24, 8, id);
            replace(e.ebx, 16, 8, count);
            // KVM leaves these to us.
            set(e.ecx, deadline_timer, true);
            set(e.ecx, hypervisor, true);
            set(e.edx, several_threads, count > 1);
            break;
        case 4:
            if ((e.eax & 0x1f) != 0) { // a cache
                constexpr std::uint32_t shared_level = 3;
                const bool shared = (e.eax >> 5 & 7) >= shared_level;
                replace(e.eax, 14, 12, shared ? (1U << id_bits) - 1 : 0);
                replace(e.eax, 26, 6, (1U << id_bits) - 1);
            }
            break;
        case 0x8000'0001:
            set(e.ecx, legacy_cores, count > 1);
            set(e.ecx, topology_leaves, false);
            break;
        case 0x8000'0008:
            replace(e.ecx, 0, 8, count - 1);
            replace(e.ecx, 12, 4, id_bits);
            break;
        case 0x8000'001d:
        case 0x8000'001e:
            e.eax = e.ebx = e.ecx = e.edx = 0;
            break;
        default:
            break;
        }
    }
    return supported;
}

ports::result<void> set_cpuid(int vcpu, const std::vector<kvm_cpuid_entry2>& supported, unsigned id,
                              unsigned count)
{
    kvm_list<kvm_cpuid_entry2> list{cpuid_of(supported, id, count)};
    if (::ioctl(vcpu, kvm_set_cpuid, list.data()) != 0) {
        return ports::error{"KVM does not take a vCPU's CPUID: " + ports::describe(errno)};
    }
    return {};
}

} // namespace strait::vmm
