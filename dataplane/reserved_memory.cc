// SPDX-License-Identifier: BSD-3-Clause
// Mappings.
#include "dataplane/reserved_memory.hh"

#include <new>

#include <sys/mman.h>

namespace strait::dataplane {

reserved_memory::reserved_memory(std::size_t bytes) : size_{bytes}
{
    void* const at = ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE,
                            MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (at == MAP_FAILED) {
        throw std::bad_alloc{};
    }
    (void)::madvise(at, bytes, MADV_HUGEPAGE); // where there are none, it works without
    data_ = static_cast<std::byte*>(at);
}

reserved_memory::~reserved_memory()
{
    ::munmap(data_, size_);
}

} // namespace strait::dataplane
