// SPDX-License-Identifier: BSD-3-Clause
// A ring of bytes that overwrites itself.
#include "vmm/devices/output_history.hh"

#include <algorithm>
#include <utility>

namespace strait::vmm {

void output_history::put(std::span<const std::byte> from) noexcept
{
    bool tell = false;
    {
        const std::scoped_lock lock{mutex_};
        for (const std::byte b : from) {
            bytes_[end_++ % capacity] = b;
        }
        tell = std::exchange(awaited_, false);
    }
    if (tell) {
        news_.signal();
    }
}

std::uint64_t output_history::kept_from() const noexcept
{
    return end_ - std::min<std::uint64_t>(end_, capacity);
}

std::uint64_t output_history::oldest() const noexcept
{
    const std::scoped_lock lock{mutex_};
    return kept_from();
}

std::size_t output_history::read(std::uint64_t& position, std::span<std::byte> to) noexcept
{
    const std::scoped_lock lock{mutex_};
    if (position < kept_from()) {
        lost_ += kept_from() - position;
        position = kept_from();
    }
    const std::size_t size = std::min<std::uint64_t>(end_ - position, to.size());
    for (std::byte& b : to.first(size)) {
        b = bytes_[position++ % capacity];
    }
    awaited_ = size == 0;
    return size;
}

std::uint64_t output_history::lost() const noexcept
{
    const std::scoped_lock lock{mutex_};
    return lost_;
}

} // namespace strait::vmm
