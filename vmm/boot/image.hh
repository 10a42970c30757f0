// SPDX-License-Identifier: BSD-3-Clause
// What the formats share: reading a file that nobody vouches for, and what is known of a kernel
// once it is loaded.
#pragma once

#include "ports/error.hh"
#include "vmm/boot/loader.hh"
#include "vmm/memory.hh"

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include <asm/bootparam.h>

namespace strait::vmm::boot {

// For messages: "0x1f", and "300 MiB", rounded up.
[[nodiscard]] std::string hexadecimal(std::uint64_t n);
[[nodiscard]] std::string mebibytes(std::uint64_t bytes);

// A file to load from. It may shrink meanwhile: then reads fail. Errors name it.
class image {
public:
    // The file stays its opener's, and open. An error if it is no regular file.
    [[nodiscard]] static ports::result<image> make(int file, std::string_view name);

    [[nodiscard]] std::uint64_t size() const noexcept { return size_; }
    [[nodiscard]] bool has(std::uint64_t offset, std::uint64_t bytes) const noexcept
    {
        return offset <= size_ && bytes <= size_ - offset;
    }
    [[nodiscard]] ports::error error(std::string_view what) const;

    [[nodiscard]] ports::result<void> read(std::uint64_t offset, std::span<std::byte> to) const;
    template <typename T>
    [[nodiscard]] ports::result<T> read(std::uint64_t offset) const
    {
        T value;
        if (const auto done = read(offset, std::as_writable_bytes(std::span{&value, 1}));
            done.has_error()) {
            return done.error();
        }
        return value;
    }
    // Puts a part of the file into the guest's memory.
    [[nodiscard]] ports::result<void> load(std::uint64_t offset, std::uint64_t bytes,
                                           const memory& ram, std::uint64_t address) const;

    // Says so of `what`, which ends in its verb ("it does"), and how to have RAM up to `end`.
    [[nodiscard]] ports::error does_not_fit(std::string_view what, std::uint64_t end) const;

private:
    image(int file, std::string_view name, std::uint64_t size)
        : file_{file}, name_{name}, size_{size}
    {}

    int file_;
    std::string name_;
    std::uint64_t size_; // bytes, when it was looked at
};

// What marks a setup header, and its oldest version that tells of a 64-bit entry (2.12).
inline constexpr std::uint16_t setup_flag = 0xaa55;
inline constexpr std::uint32_t setup_magic = 0x5372'6448; // "HdrS"
inline constexpr std::uint16_t setup_version = 0x20c;

struct kernel {
    entry::mode how{entry::mode::long_mode};
    std::uint64_t instruction{0};
    std::uint64_t end{0};          // of the RAM it takes, from platform::high_memory on
    std::uint64_t initrd_end{0};   // an initial RAM disk lies below
    std::uint64_t command_line{0}; // bytes of one at most, without the zero
    setup_header header{};         // long_mode: for struct boot_params, as the file has it
};

} // namespace strait::vmm::boot
