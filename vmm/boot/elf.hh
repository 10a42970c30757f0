// SPDX-License-Identifier: BSD-3-Clause
// ELF64 images (vmlinux): the System V ABI's file format, and the note by which Xen's guests say
// that they can be entered by PVH (xen/include/public/elfnote.h).
#pragma once

#include "ports/error.hh"
#include "vmm/boot/image.hh"
#include "vmm/memory.hh"

namespace strait::vmm::boot {

[[nodiscard]] bool is_elf(const image& file);
// Of a file that is one. Errors: none for x86-64, headers that contradict themselves or the file,
// segments that lie below 1 MiB, beyond the RAM or over one another.
[[nodiscard]] ports::result<kernel> load_elf(const image& file, const memory& ram);

} // namespace strait::vmm::boot
