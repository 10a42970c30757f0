// SPDX-License-Identifier: BSD-3-Clause
// The structures by which a kernel finds what was loaded for it. Both lie at layout::parameters
// and refer to the command line at its place, the RSDP and the memory map.
#pragma once

#include "vmm/memory.hh"

#include <cstdint>

#include <asm/bootparam.h>

namespace strait::vmm::boot {

struct initrd {
    std::uint64_t address{0};
    std::uint64_t bytes{0}; // 0: there is none
};

// struct boot_params of the 64-bit boot protocol (Documentation/arch/x86/zero-page.rst), with the
// kernel's own header.
void put_linux_parameters(const memory& ram, const setup_header& header, const initrd& disk);

// PVH's start info, version 1 (Xen's public/arch-x86/hvm/start_info.h).
void put_pvh_parameters(const memory& ram, const initrd& disk);

} // namespace strait::vmm::boot
