// SPDX-License-Identifier: BSD-3-Clause
// What a client and the server of a simulated hypervisor say to each other over a UNIX socket of
// whole messages (SOCK_SEQPACKET). A client asks and waits for the answer; events come through a
// second socket that the first answer brings. Both run on one host: numbers are in its byte order.
#pragma once

#include "ports/xen-netback/simulated/domain_memory.hh"

#include <array>
#include <concepts>
#include <cstdint>
#include <cstring>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

namespace strait::xen::simulated::wire {

inline constexpr std::uint32_t version = 0x78'73'00'01;
inline constexpr std::size_t longest = 131'072; // bytes of a message
inline constexpr std::size_t most_descriptors = 2;
inline constexpr std::uint32_t most_mapped = 1024; // pages of one mapping

// First in a request. Behind the name: what follows -> what the answer holds; + descriptors.
enum class request : std::uint32_t {
    hello,           // version, domain, create, grants, pages -> faults + events
    memory,          // domain -> grants, pages + memory
    allocate_pages,  // count -> first
    free_pages,      // first, count
    allocate_grants, // count -> first
    map,             // domain, count, references -> identity, delay (us), frames
    unmap,           // identity
    offer,           // domain -> port + ours, theirs
    close,           // port
    bind,            // domain, port -> identity, delay (us) + ours, theirs
    unbind,          // identity
    read,            // transaction, path -> value
    list,            // transaction, path -> count, names
    write,           // transaction, path, value
    make_folder,     // transaction, path
    remove,          // transaction, path
    get_permissions, // transaction, path -> count, (domain, access)
    set_permissions, // transaction, path, count, (domain, access)
    begin,           // -> transaction
    commit,          // transaction
    abandon,         // transaction
    watch,           // path, token
    unwatch,         // path, token
    create_domain,   // domain, grants, pages
    destroy_domain,  // domain
    set_faults       // JSON
};
// First in an event.
enum class event : std::uint32_t {
    watch, // path, token
    faults // JSON; from now on
};
// An answer starts with an errno (0: done) and a sentence (empty when done).

template <typename T>
concept plain = std::is_enum_v<T> || std::unsigned_integral<T> || std::same_as<T, bool>;

class writer {
public:
    template <plain T>
    writer& add(T value)
    {
        put(&value, sizeof value);
        return *this;
    }
    writer& add(std::string_view text)
    {
        add(static_cast<std::uint32_t>(text.size()));
        put(text.data(), text.size());
        return *this;
    }
    // What another has, as it is.
    writer& append(const writer& other)
    {
        put(other.bytes_.data(), other.bytes_.size());
        return *this;
    }
    [[nodiscard]] std::span<const std::byte> bytes() const noexcept { return bytes_; }

private:
    void put(const void* from, std::size_t size)
    {
        const auto at = bytes_.size();
        bytes_.resize(at + size);
        if (size != 0) {
            std::memcpy(bytes_.data() + at, from, size);
        }
    }
    std::vector<std::byte> bytes_;
};

// Reads what may be garbage: beyond its end everything is zero, and ok() is false from then on.
class reader {
public:
    reader() noexcept = default;
    explicit reader(std::span<const std::byte> bytes) noexcept : rest_{bytes} {}

    template <plain T>
    [[nodiscard]] T number()
    {
        T value{};
        if constexpr (std::same_as<T, bool>) {
            value = number<std::uint8_t>() != 0;
        } else if (const auto* const at = take(sizeof value)) {
            std::memcpy(&value, at, sizeof value);
        }
        return value;
    }
    [[nodiscard]] std::string text()
    {
        const auto size = number<std::uint32_t>();
        const auto* const at = take(size);
        return at == nullptr ? std::string{} : std::string(reinterpret_cast<const char*>(at), size);
    }
    [[nodiscard]] bool ok() const noexcept { return ok_; }
    // Everything was read, and nothing beyond.
    [[nodiscard]] bool complete() const noexcept { return ok_ && rest_.empty(); }

private:
    const std::byte* take(std::size_t size)
    {
        if (!ok_ || size > rest_.size()) {
            ok_ = false;
            return nullptr;
        }
        const std::byte* const at = rest_.data();
        rest_ = rest_.subspan(size);
        return at;
    }
    std::span<const std::byte> rest_;
    bool ok_{true};
};

// One message; the descriptors stay the caller's. Returns 0 or errno. Never waits if `now`.
[[nodiscard]] int send(int socket, std::span<const std::byte> message,
                       std::span<const int> descriptors, bool now);
// One message into `message`, which is given its size; an empty one is the end. Returns 0 or errno:
// EMSGSIZE when it is longer than `longest`, or had more descriptors.
[[nodiscard]] int receive(int socket, std::vector<std::byte>& message,
                          std::array<file_descriptor, most_descriptors>& descriptors, bool now);

} // namespace strait::xen::simulated::wire
