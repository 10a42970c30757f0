// SPDX-License-Identifier: BSD-3-Clause
// A histogram of cycle counts with logarithmic buckets, each split in 64: a percentile read from it
// is at most 1.6 % too high. Fixed size, no allocation; nothing about packets lives here.

#pragma once

#include <algorithm>
#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>

namespace strait::bench {

class histogram {
public:
    // Adds one value. Values of 2^44 and more count in the last bucket.
    void add(std::uint64_t value) noexcept
    {
        ++buckets_[index_of(value)];
        ++count_;
        largest_ = std::max(largest_, value);
    }

    void clear() noexcept
    {
        buckets_.fill(0);
        count_ = 0;
        largest_ = 0;
    }

    void merge(const histogram& other) noexcept
    {
        for (std::size_t i = 0; i < buckets_.size(); ++i) {
            buckets_[i] += other.buckets_[i];
        }
        count_ += other.count_;
        largest_ = std::max(largest_, other.largest_);
    }

    // The smallest bucket bound below which at least `share` (0 to 1) of all values lie; 0 if
    // empty.
    [[nodiscard]] std::uint64_t percentile(double share) const noexcept
    {
        const auto wanted = static_cast<std::uint64_t>(static_cast<double>(count_) * share);
        std::uint64_t seen = 0;
        for (std::size_t i = 0; i < buckets_.size(); ++i) {
            seen += buckets_[i];
            if (seen != 0 && seen >= wanted) {
                return std::min(upper_bound_of(i), largest_);
            }
        }
        return largest_;
    }

    // Calls `take` with the upper bound and the count of each bucket that has values, from below.
    template <typename F>
    void each(F take) const
    {
        for (std::size_t i = 0; i < buckets_.size(); ++i) {
            if (buckets_[i] != 0) {
                take(upper_bound_of(i), buckets_[i]);
            }
        }
    }

    [[nodiscard]] std::uint64_t count() const noexcept { return count_; }
    [[nodiscard]] std::uint64_t largest() const noexcept { return largest_; }

private:
    static constexpr unsigned sub_bits = 6;
    static constexpr unsigned sub_count = 1U << sub_bits;
    static constexpr unsigned value_bits = 44;

    static constexpr std::size_t index_of(std::uint64_t value) noexcept
    {
        if (value < sub_count) {
            return static_cast<std::size_t>(value);
        }
        const auto exponent = static_cast<unsigned>(std::bit_width(value)) - 1 - sub_bits;
        const auto index = (exponent + 1) * std::size_t{sub_count} +
                           static_cast<std::size_t>((value >> exponent) - sub_count);
        return std::min(index, bucket_count - 1);
    }

    static constexpr std::uint64_t upper_bound_of(std::size_t index) noexcept
    {
        if (index < sub_count) {
            return index;
        }
        const auto exponent = index / sub_count - 1;
        return ((sub_count + index % sub_count + 1) << exponent) - 1;
    }

    static constexpr std::size_t bucket_count = (value_bits - sub_bits + 1) * sub_count;

    std::array<std::uint64_t, bucket_count> buckets_{};
    std::uint64_t count_ = 0;
    std::uint64_t largest_ = 0;
};

} // namespace strait::bench
