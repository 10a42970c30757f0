// SPDX-License-Identifier: BSD-3-Clause
// The lists that KVM takes and fills: a count, a word, then entries. The kernel's header declares
// them with a macro that lays them out wrongly in C++ (an empty structure has a size there), so
// that neither they nor the sizes in their requests' numbers can be used.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <vector>

#include <linux/kvm.h>
#include <sys/ioctl.h>

namespace strait::vmm {

template <typename Entry>
class kvm_list {
public:
    static constexpr std::size_t head_bytes = 2 * sizeof(std::uint32_t);

    explicit kvm_list(std::size_t room) : words_(1 + (room * sizeof(Entry) + 7) / 8)
    {
        set_count(room);
    }
    explicit kvm_list(std::span<const Entry> entries) : kvm_list{entries.size()}
    {
        std::memcpy(words_.data() + 1, entries.data(), entries.size_bytes());
    }

    [[nodiscard]] void* data() noexcept { return words_.data(); }
    // As many as KVM says there are.
    [[nodiscard]] std::vector<Entry> entries() const
    {
        std::uint32_t count = 0;
        std::memcpy(&count, words_.data(), sizeof count);
        std::vector<Entry> all(count);
        std::memcpy(all.data(), words_.data() + 1, count * sizeof(Entry));
        return all;
    }

private:
    void set_count(std::size_t count) noexcept { words_.front() = count; }

    std::vector<std::uint64_t> words_; // the head, then the entries
};

// The request of a list: its letter, number and head.
constexpr unsigned long kvm_list_request(unsigned direction, unsigned number) noexcept
{
    return _IOC(direction, KVMIO, number, 8);
}
inline constexpr unsigned long kvm_get_supported_cpuid =
    kvm_list_request(_IOC_READ | _IOC_WRITE, 0x05);
inline constexpr unsigned long kvm_set_gsi_routing = kvm_list_request(_IOC_WRITE, 0x6a);
inline constexpr unsigned long kvm_set_msrs = kvm_list_request(_IOC_WRITE, 0x89);
inline constexpr unsigned long kvm_set_cpuid = kvm_list_request(_IOC_WRITE, 0x90);

} // namespace strait::vmm
