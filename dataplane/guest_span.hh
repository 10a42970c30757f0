// SPDX-License-Identifier: BSD-3-Clause
// The only way the switch touches memory that a guest can write at the same time: types that copy
// out of it and into it, and hand out no pointer. What was copied is then checked and used; it is
// never read twice. Mapping that memory, and surviving its truncation, is in guest_span.cc and the
// ports; no other file may hold a raw pointer into a guest.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <type_traits>

#include <sys/types.h>

namespace strait::dataplane {

namespace detail {
// A copy of exactly `size` bytes, without a call for what a frame's head usually takes: whole
// blocks, then blocks that end where the copy ends and overlap the former.
template <std::size_t Size>
[[gnu::always_inline]] inline void copy_block(void* to, const void* from) noexcept
{
    std::memcpy(to, from, Size);
}
[[gnu::always_inline]] inline void copy_bytes(void* to, const void* from, std::size_t size) noexcept
{
    auto* const out = static_cast<std::byte*>(to);
    const auto* const in = static_cast<const std::byte*>(from);
    if (size - 32 < 32) { // 32 to 63: shorter frames than 64 bytes come without FCS, ACKs say
        copy_block<32>(out, in);
        copy_block<32>(out + size - 32, in + size - 32);
    } else if (size - 64 <= 32) { // 64 to 96
        copy_block<64>(out, in);
        copy_block<32>(out + size - 32, in + size - 32);
    } else if (size - 96 <= 64) { // 96 to 160
        copy_block<96>(out, in);
        copy_block<64>(out + size - 64, in + size - 64);
    } else {
        std::memcpy(out, in, size);
    }
}

// Keeps the compiler from reading guest memory again in place of a copy taken of it.
inline void copied() noexcept
{
    asm volatile("" ::: "memory");
}
#ifdef STRAIT_MUTATE_GUEST
// Test builds: overwrites what was just read, as the most hostile of guests would, and counts.
void mutate_after_read(const void* at, std::size_t size) noexcept;
// Of the calling thread.
struct read_watch {
    std::uint64_t reads{0};
    bool mutate{true}; // else reads are only counted
};
[[nodiscard]] read_watch& watch_reads() noexcept;
#else
inline void mutate_after_read(const void* /*at*/, std::size_t /*size*/) noexcept {}
#endif
} // namespace detail

template <typename T>
class guest_array;

// A range of bytes of a guest (or of an mbuf), readable and writable only by copy. Bounds are the
// caller's promise: offset + size <= size().
class guest_span {
public:
    constexpr guest_span() noexcept = default;
    // For code that maps guest memory, and for mbuf segments.
    guest_span(void* base, std::size_t size) noexcept
        : base_{static_cast<std::byte*>(base)}, size_{size}
    {}

    [[nodiscard]] std::size_t size() const noexcept { return size_; }
    [[nodiscard]] bool empty() const noexcept { return size_ == 0; }
    [[nodiscard]] guest_span subspan(std::size_t offset, std::size_t size) const noexcept
    {
        return {base_ + offset, size};
    }
    [[nodiscard]] guest_span subspan(std::size_t offset) const noexcept
    {
        return {base_ + offset, size_ - offset};
    }

    void copy_out(void* to, std::size_t offset, std::size_t size) const noexcept
    {
        detail::copy_bytes(to, base_ + offset, size);
        detail::copied();
        detail::mutate_after_read(base_ + offset, size);
    }
    void copy_in(const void* from, std::size_t offset, std::size_t size) const noexcept
    {
        detail::copy_bytes(base_ + offset, from, size);
        detail::copied();
    }
    // A line that nobody changes stays in the caches of all who read it; a store, even of what is
    // there already, would take it from them.
    template <typename Integer>
    void store_if_different(std::size_t offset, Integer value) const noexcept
    {
        Integer there;
        std::memcpy(&there, base_ + offset, sizeof there);
        if (there != value) {
            std::memcpy(base_ + offset, &value, sizeof value);
        }
    }
    [[nodiscard]] bool begins_line_at(std::size_t offset) const noexcept
    {
        constexpr std::uintptr_t line = 64;
        return (reinterpret_cast<std::uintptr_t>(base_) + offset) % line == 0;
    }
    // Ring structures that begin at `offset`. Alignment: the caller's.
    template <typename T>
    [[nodiscard]] guest_array<T> array(std::size_t offset) const noexcept
    {
        return guest_array<T>{base_ + offset};
    }
    // One copy from guest to guest; the ranges may lie in the same guest and overlap.
    static void copy(guest_span to, std::size_t to_offset, guest_span from, std::size_t from_offset,
                     std::size_t size) noexcept
    {
        std::memmove(to.base_ + to_offset, from.base_ + from_offset, size);
        detail::copied();
        detail::mutate_after_read(from.base_ + from_offset, size);
    }

    void prefetch() const noexcept { __builtin_prefetch(base_); }
    void prefetch(std::size_t offset) const noexcept { __builtin_prefetch(base_ + offset); }
    // Reads a byte and forgets it, without waiting for it: as prefetch(), also where the page's
    // translation is not at hand. Of guests with much memory in use hardware drops prefetches.
    void touch(std::size_t offset) const noexcept
    {
        std::byte unused;
        asm volatile("movb %1, %0" : "=r"(unused) : "m"(base_[offset]));
    }
    // Not __builtin_prefetch: for x86-64-v2 that is a read, and the line would be asked for twice.
    void prefetch_for_write(std::size_t offset) const noexcept
    {
        asm volatile("prefetchw %0" : : "m"(base_[offset]));
    }

private:
    friend class remote_copy; // hands it on to the hypervisor, which copies
    friend class file_spans;  // to the kernel, likewise

    std::byte* base_{nullptr};
    std::size_t size_{0};
};

// As preadv(2) and pwritev(2) at `offset` of a file, straight into guest memory and out of it: what
// they say, and errno. Of more than max_file_spans spans the first so many.
inline constexpr std::size_t max_file_spans = 64;
ssize_t read_file(int file, std::uint64_t offset, std::span<const guest_span> to) noexcept;
ssize_t write_file(int file, std::uint64_t offset, std::span<const guest_span> from) noexcept;

// An array of ring structures in guest memory. Index bounds are the caller's promise.
template <typename T>
class guest_array {
    static_assert(std::is_trivially_copyable_v<T>);

public:
    constexpr guest_array() noexcept = default;
    explicit guest_array(void* base) noexcept : base_{static_cast<T*>(base)} {}

    [[nodiscard]] bool empty() const noexcept { return base_ == nullptr; }

    // Single-copy atomic for integers of up to 8 bytes; larger structures word by word.
    [[nodiscard]] T load(std::size_t index) const noexcept
    {
        T value;
        if constexpr (std::is_integral_v<T>) {
            value = __atomic_load_n(base_ + index, __ATOMIC_RELAXED);
        } else {
            // Eight bytes at a time from the end: a word and four halves, as requests of rings are,
            // are then read as they were stored, and nothing waits for two stores to become one.
            constexpr std::size_t first = sizeof(T) % sizeof(std::uint64_t);
            auto* const to = reinterpret_cast<std::byte*>(&value);
            auto* const from = reinterpret_cast<const std::byte*>(base_ + index);
            std::memcpy(to, from, first);
            std::memcpy(to + first, from + first, sizeof(T) - first);
            detail::copied();
        }
        detail::mutate_after_read(base_ + index, sizeof(T));
        return value;
    }
    [[nodiscard]] T load_acquire(std::size_t index) const noexcept requires std::is_integral_v<T>
    {
        // Ring indices are not mutated in test builds: a guest that moves them between two reads
        // is a test of its own.
        return __atomic_load_n(base_ + index, __ATOMIC_ACQUIRE);
    }
    void store(std::size_t index, T value) const noexcept
    {
        if constexpr (std::is_integral_v<T>) {
            __atomic_store_n(base_ + index, value, __ATOMIC_RELAXED);
        } else {
            std::memcpy(base_ + index, &value, sizeof(T));
        }
    }
    void store_release(std::size_t index, T value) const noexcept requires std::is_integral_v<T>
    {
        __atomic_store_n(base_ + index, value, __ATOMIC_RELEASE);
    }
    // An aligned 64-bit word of element `index`, at `offset` bytes into it.
    [[nodiscard]] std::uint64_t load_acquire_u64(std::size_t index,
                                                 std::size_t offset) const noexcept
    {
        return __atomic_load_n(field(index, offset), __ATOMIC_ACQUIRE);
    }
    void store_u64(std::size_t index, std::size_t offset, std::uint64_t value) const noexcept
    {
        __atomic_store_n(field(index, offset), value, __ATOMIC_RELAXED);
    }
    void store_release_u64(std::size_t index, std::size_t offset,
                           std::uint64_t value) const noexcept
    {
        __atomic_store_n(field(index, offset), value, __ATOMIC_RELEASE);
    }
    // Replaces element `index` if it is still `expected`, which otherwise becomes what is there.
    [[nodiscard]] bool compare_exchange(std::size_t index, T& expected,
                                        T desired) const noexcept requires std::is_integral_v<T>
    {
        return __atomic_compare_exchange_n(base_ + index, &expected, desired, false,
                                           __ATOMIC_SEQ_CST, __ATOMIC_RELAXED);
    }
    // Element `index` seen as another type: a ring's slots hold several. Alignment: the caller's.
    template <typename Other>
    [[nodiscard]] guest_array<Other> element(std::size_t index) const noexcept
    {
        return guest_array<Other>{base_ + index};
    }
    void prefetch(std::size_t index) const noexcept { __builtin_prefetch(base_ + index); }
    void prefetch_for_write(std::size_t index) const noexcept
    {
        asm volatile("prefetchw %0" : : "m"(base_[index]));
    }

private:
    [[nodiscard]] std::uint64_t* field(std::size_t index, std::size_t offset) const noexcept
    {
        return reinterpret_cast<std::uint64_t*>(reinterpret_cast<std::byte*>(base_ + index) +
                                                offset);
    }
    T* base_{nullptr};
};

// Memory shared by a file, a guest's as a rule, that the process survives losing. While a range is
// registered, a SIGBUS inside it maps private zero pages over the whole range, sets `lost` and
// resumes; any other fault goes to the handler that was there before. See guest_span.cc.
class guest_range_registration {
public:
    guest_range_registration() noexcept = default;
    // `lost` must outlive the registration. Control threads only.
    guest_range_registration(void* base, std::size_t size, std::atomic<bool>& lost);
    guest_range_registration(guest_range_registration&& other) noexcept;
    guest_range_registration& operator=(guest_range_registration&& other) noexcept;
    ~guest_range_registration();

    // Installs the SIGBUS handler once; call before the first worker starts.
    static void install_handler();

private:
    std::size_t slot_{0}; // one past the slot; 0: none
};

// For a thread on which a library reads guest memory before anyone could register it: from this
// call on, a SIGBUS of the calling thread in any shared mapping is survived too, and sets `lost`.
// Null ends it.
void survive_unregistered_faults(std::atomic<bool>* lost) noexcept;

} // namespace strait::dataplane
