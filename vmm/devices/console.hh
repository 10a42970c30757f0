// SPDX-License-Identifier: BSD-3-Clause
// Where a serial port's bytes go and come from: a terminal or whatever stdin and stdout are, a
// file, a UNIX socket, or nowhere.
#pragma once

#include "dataplane/file_descriptor.hh"
#include "ports/error.hh"

#include <boost/asio/io_context.hpp>

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string_view>

namespace strait::vmm {

// How a console's place begins that has a path.
inline constexpr std::string_view console_file = "file:";
inline constexpr std::string_view console_socket = "socket:";
// The path of a place of that kind; nothing: it is of another.
[[nodiscard]] constexpr std::optional<std::string_view> path_of(std::string_view place,
                                                                std::string_view kind) noexcept
{
    return place.starts_with(kind) ? std::optional{place.substr(kind.size())} : std::nullopt;
}

struct console_options {
    std::uint64_t file_bytes{std::uint64_t{16} << 20}; // a file's limit; at least 64 KiB
    dataplane::file_descriptor file{};                 // what open_file() gave, if it was called
};

// All but put() and lost(): the thread that runs `io`.
class console {
public:
    // `where` is one of
    //   none
    //   stdio        A terminal is raw until this goes: the guest gets Ctrl-C, too.
    //   file:PATH    A regular file, made if need be, appended to, locked. At its limit it is
    //                rewritten in place: its newest half stays, from a line's beginning on. One
    //                that is longer from the start is somebody else's, and refused.
    //   socket:PATH  A UNIX socket, for its owner alone (mode 0600). It has one client at a time:
    //                who comes takes the place of who was there, and gets the newest 64 KiB first.
    // An error says in a sentence what was wrong. From the first of either kind on the process
    // ignores SIGPIPE: that nobody reads is an error of the write. `io` outlives the console, and
    // what is left to be written then has a second to go. A file, or a stdout that is one, on a
    // full disk is told of in the log and tried again each second.
    [[nodiscard]] static ports::result<std::unique_ptr<console>>
    open(boost::asio::io_context& io, std::string_view where, console_options o = {});
    // The file alone, for open() when the process may no longer; none, if `where` is no file.
    [[nodiscard]] static ports::result<dataplane::file_descriptor>
    open_file(std::string_view where, std::uint64_t file_bytes = console_options{}.file_bytes);
    ~console();
    console(const console&) = delete;
    console& operator=(const console&) = delete;

    // Who takes input, and says how much of it; the rest is offered again. Once, before `io` runs.
    void set_input(std::function<std::size_t(std::span<const std::byte>)> take);

    // Any thread; never waits. When whoever reads does not keep up, the newest 64 KiB are kept.
    void put(std::span<const std::byte> from) noexcept;
    // Bytes that were lost so. Any thread.
    [[nodiscard]] std::uint64_t lost() const noexcept;

private:
    class implementation;
    explicit console(std::shared_ptr<implementation> i) noexcept;

    std::shared_ptr<implementation> implementation_; // null: nowhere
};

} // namespace strait::vmm
