// SPDX-License-Identifier: BSD-3-Clause
// bzImage, the form in which distributions ship Linux (Documentation/arch/x86/boot.rst).
#pragma once

#include "ports/error.hh"
#include "vmm/boot/image.hh"
#include "vmm/memory.hh"

namespace strait::vmm::boot {

[[nodiscard]] bool is_bzimage(const image& file);
// Of a file that is one. Errors: a kernel without a 64-bit entry, a header that contradicts itself
// or the file, too little RAM.
[[nodiscard]] ports::result<kernel> load_bzimage(const image& file, const memory& ram);

} // namespace strait::vmm::boot
