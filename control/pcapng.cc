// SPDX-License-Identifier: BSD-3-Clause
// Blocks, in the byte order of this machine, which the section's magic tells.
#include "control/pcapng.hh"

#include <algorithm>
#include <cstring>

namespace strait::control::pcapng {

namespace {

constexpr std::size_t unit = 4; // all lengths are padded to it

enum class block : std::uint32_t {
    section = 0x0a0d0d0a,
    interface = 1,
    statistics = 5,
    enhanced_packet = 6,
};

// Numbers of options are their block's own, but for these two.
constexpr std::uint16_t end_of_options = 0;
constexpr std::uint16_t comment_option = 1;

template <typename Number>
void put(std::string& to, Number n)
{
    char bytes[sizeof n];
    std::memcpy(bytes, &n, sizeof n);
    to.append(bytes, sizeof n);
}

void pad(std::string& to)
{
    while (to.size() % unit != 0) {
        to += '\0';
    }
}

// A block that is under way; its length stands at both of its ends. What was appended before it is
// a whole number of units.
class open_block {
public:
    open_block(std::string& to, block kind) : to_{to}, begin_{to.size()}
    {
        put(to_, static_cast<std::uint32_t>(kind));
        put(to_, std::uint32_t{0});
    }
    template <typename Number>
    void number(Number n)
    {
        put(to_, n);
    }
    void time(std::uint64_t t)
    {
        put(to_, static_cast<std::uint32_t>(t >> 32));
        put(to_, static_cast<std::uint32_t>(t));
    }
    void bytes(std::string_view data)
    {
        to_ += data;
        pad(to_);
    }
    void option(std::uint16_t code, std::string_view value)
    {
        constexpr std::size_t longest = 0xffff;
        value = value.substr(0, longest);
        put(to_, code);
        put(to_, static_cast<std::uint16_t>(value.size()));
        bytes(value);
    }
    template <typename Number>
    void number_option(std::uint16_t code, Number n)
    {
        std::string value;
        put(value, n);
        option(code, value);
    }
    void time_option(std::uint16_t code, std::uint64_t t)
    {
        std::string value;
        put(value, static_cast<std::uint32_t>(t >> 32));
        put(value, static_cast<std::uint32_t>(t));
        option(code, value);
    }
    void end()
    {
        option(end_of_options, {});
        const auto length = static_cast<std::uint32_t>(to_.size() - begin_ + sizeof(std::uint32_t));
        put(to_, length);
        std::memcpy(to_.data() + begin_ + sizeof(std::uint32_t), &length, sizeof length);
    }

private:
    std::string& to_;
    std::size_t begin_;
};

} // namespace

void append_section(std::string& to, std::string_view program)
{
    constexpr std::uint32_t magic = 0x1a2b3c4d;
    constexpr std::uint16_t application = 4;
    open_block b{to, block::section};
    b.number(magic);
    b.number(std::uint16_t{1}); // version 1.0
    b.number(std::uint16_t{0});
    b.number(std::int64_t{-1}); // as long as it is
    b.option(application, program);
    b.end();
}

void append_interface(std::string& to, std::string_view name, std::uint32_t snaplen)
{
    constexpr std::uint16_t ethernet = 1;
    constexpr std::uint16_t name_option = 2;
    constexpr std::uint16_t resolution = 9;
    constexpr std::uint8_t nanoseconds = 9;
    open_block b{to, block::interface};
    b.number(ethernet);
    b.number(std::uint16_t{0});
    b.number(snaplen);
    b.option(name_option, name);
    b.number_option(resolution, nanoseconds);
    b.end();
}

void append_packet(std::string& to, const packet& p)
{
    constexpr std::uint16_t flags = 2;
    open_block b{to, block::enhanced_packet};
    b.number(p.interface);
    b.time(p.time);
    b.number(static_cast<std::uint32_t>(p.bytes.size()));
    b.number(p.length);
    b.bytes({reinterpret_cast<const char*>(p.bytes.data()), p.bytes.size()});
    b.number_option(flags, static_cast<std::uint32_t>(p.way));
    if (!p.comment.empty()) {
        b.option(comment_option, p.comment);
    }
    b.end();
}

void append_statistics(std::string& to, const statistics& s)
{
    constexpr std::uint16_t start_time = 2;
    constexpr std::uint16_t end_time = 3;
    constexpr std::uint16_t received = 4;
    constexpr std::uint16_t dropped = 5;
    open_block b{to, block::statistics};
    b.number(s.interface);
    b.time(s.end);
    b.time_option(start_time, s.begin);
    b.time_option(end_time, s.end);
    b.number_option(received, s.received);
    b.number_option(dropped, s.dropped);
    b.end();
}

} // namespace strait::control::pcapng
