// SPDX-License-Identifier: BSD-3-Clause
// Memory for large tables: addresses are reserved, zeroed pages are taken as they are touched,
// huge ones where the system has them, so that random accesses do not miss in the TLB as well.
#pragma once

#include <cstddef>

namespace strait::dataplane {

class reserved_memory {
public:
    // Throws bad_alloc when there are no addresses left.
    explicit reserved_memory(std::size_t bytes);
    ~reserved_memory();
    reserved_memory(const reserved_memory&) = delete;
    reserved_memory& operator=(const reserved_memory&) = delete;

    [[nodiscard]] std::byte* data() const noexcept { return data_; }
    [[nodiscard]] std::size_t size() const noexcept { return size_; }

private:
    std::byte* data_;
    std::size_t size_;
};

} // namespace strait::dataplane
