// SPDX-License-Identifier: BSD-3-Clause
// Putting a kernel, its initial RAM disk and its command line into the guest's memory, with the
// structures by which the kernel finds them. Formats: bzImage and the 64-bit boot protocol (Linux's
// Documentation/arch/x86/boot.rst), ELF64 by the same protocol or by PVH (Xen's
// docs/misc/pvh.markdown), whichever the image has.
#pragma once

#include "ports/error.hh"
#include "vmm/memory.hh"

#include <cstdint>
#include <optional>
#include <string>

namespace strait::vmm::boot {

struct image_files {
    int kernel{-1};
    std::string kernel_name{}; // for messages
    std::optional<int> initrd{};
    std::string initrd_name{};
    std::string command_line{};
};

// How the first vCPU is to begin.
struct entry {
    enum class mode : std::uint8_t {
        long_mode,      // 64 bits, paging on: `argument` is struct boot_params, in RSI
        protected_mode, // 32 bits, flat segments, no paging: PVH's start info, in EBX
    };
    mode how{mode::long_mode};
    std::uint64_t instruction{0};
    std::uint64_t argument{0};
    std::uint64_t page_tables{0}; // long_mode: CR3; RAM below 4 GiB is mapped one to one
    std::uint64_t descriptors{0}; // the GDT: null, code at 0x10 as the mode has it, data at 0x18
};

// An error is one sentence that names the file. Nothing of the files is trusted: truncated ones and
// hostile headers are refused, and nothing outside the RAM is touched.
[[nodiscard]] ports::result<entry> load(const image_files& files, const memory& ram);

} // namespace strait::vmm::boot
