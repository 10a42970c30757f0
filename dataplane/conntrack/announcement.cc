// SPDX-License-Identifier: BSD-3-Clause
// FTP's commands and answers (RFC 959, RFC 2428), TFTP's requests (RFC 1350).
#include "dataplane/conntrack/announcement.hh"

#include <algorithm>
#include <array>
#include <cctype>
#include <charconv>
#include <cstdio>

#include <arpa/inet.h>

namespace strait::conntrack {

namespace {

// Reads on from a place in a text; once something is not as it must be, nothing is.
class reader {
public:
    reader(std::string_view text, std::size_t at) noexcept : text_{text}, at_{at} {}

    [[nodiscard]] bool good() const noexcept { return good_; }
    [[nodiscard]] std::size_t at() const noexcept { return at_; }
    void expect(char c) noexcept
    {
        good_ = good_ && at_ < text_.size() && text_[at_] == c;
        at_ += good_ ? 1 : 0;
    }
    // Digits are followed by something: a number at the end may go on.
    [[nodiscard]] unsigned number(unsigned most) noexcept
    {
        unsigned out = 0;
        const char* const first = text_.data() + std::min(at_, text_.size());
        const char* const last = text_.data() + text_.size();
        const auto [end, fault] = std::from_chars(first, last, out);
        good_ = good_ && fault == std::errc{} && end != last && out <= most;
        at_ += good_ ? static_cast<std::size_t>(end - first) : 0;
        return good_ ? out : 0;
    }
    [[nodiscard]] std::string_view until(char c) noexcept
    {
        const std::size_t end = text_.find(c, std::min(at_, text_.size()));
        good_ = good_ && end != std::string_view::npos;
        const std::string_view out = good_ ? text_.substr(at_, end - at_) : std::string_view{};
        at_ += out.size();
        return out;
    }

private:
    std::string_view text_;
    std::size_t at_;
    bool good_{true};
};

[[nodiscard]] bool begins_with(std::string_view text, std::string_view command) noexcept
{
    return text.size() > command.size() &&
           std::equal(command.begin(), command.end(), text.begin(), [](char a, char b) {
               return a == std::toupper(static_cast<unsigned char>(b));
           });
}

[[nodiscard]] std::optional<announcement> read_commas(std::string_view text,
                                                      std::size_t begin) noexcept
{
    reader in{text, begin};
    std::array<unsigned, 6> numbers{};
    for (unsigned& n : numbers) {
        if (&n != &numbers.front()) {
            in.expect(',');
        }
        n = in.number(255);
    }
    if (!in.good()) {
        return std::nullopt;
    }
    const flow::wide address =
        std::uint64_t{numbers[0]} << 24 | numbers[1] << 16 | numbers[2] << 8 | numbers[3];
    return announcement{.address = address,
                        .port = static_cast<std::uint16_t>(numbers[4] << 8 | numbers[5]),
                        .written = announcement::form::commas,
                        .begin = begin,
                        .size = in.at() - begin};
}

[[nodiscard]] std::optional<flow::wide> parse_address(std::string_view text, bool ipv6) noexcept
{
    std::array<char, INET6_ADDRSTRLEN> copy{};
    if (text.size() >= copy.size()) {
        return std::nullopt;
    }
    std::copy(text.begin(), text.end(), copy.begin());
    std::array<std::uint8_t, 16> bytes{};
    if (inet_pton(ipv6 ? AF_INET6 : AF_INET, copy.data(), bytes.data()) != 1) {
        return std::nullopt;
    }
    flow::wide out;
    for (std::size_t i = 0; i < (ipv6 ? 16U : 4U); ++i) {
        out = out << 8 | flow::wide{bytes[i]};
    }
    return out;
}

// EPRT's, and 229's, which has nothing where the address would be. Any character may stand between
// them.
[[nodiscard]] std::optional<announcement> read_extended(std::string_view text, std::size_t begin,
                                                        bool with_address, bool ipv6) noexcept
{
    if (begin >= text.size() || text[begin] < 33 || text[begin] > 126 ||
        (text[begin] >= '0' && text[begin] <= '9')) {
        return std::nullopt;
    }
    const char between = text[begin];
    reader in{text, begin};
    announcement out{.written = announcement::form::port, .begin = begin};
    in.expect(between);
    if (with_address) {
        out.written = announcement::form::extended;
        const unsigned family = in.number(2);
        in.expect(between);
        out.address = parse_address(in.until(between), ipv6);
        if (!out.address || family != (ipv6 ? 2U : 1U)) {
            return std::nullopt;
        }
        in.expect(between);
    } else {
        in.expect(between);
        in.expect(between);
    }
    out.port = static_cast<std::uint16_t>(in.number(65'535));
    in.expect(between);
    if (!in.good()) {
        return std::nullopt;
    }
    out.size = in.at() - begin;
    return out;
}

} // namespace

std::optional<announcement> read_ftp(std::string_view text, bool from_server, bool ipv6) noexcept
{
    const std::size_t line = text.find('\n');
    if (line == std::string_view::npos) {
        return std::nullopt;
    }
    text = text.substr(0, line + 1);
    if (!from_server) {
        if (begins_with(text, "PORT ") && !ipv6) {
            return read_commas(text, 5);
        }
        return begins_with(text, "EPRT ") ? read_extended(text, 5, true, ipv6) : std::nullopt;
    }
    const std::size_t bracket = text.find('(');
    if (begins_with(text, "227 ") && !ipv6) {
        // Not all have brackets.
        const std::size_t digits = text.find_first_of("0123456789", 4);
        const std::size_t begin = bracket != std::string_view::npos ? bracket + 1 : digits;
        return begin < text.size() ? read_commas(text, begin) : std::nullopt;
    }
    if (begins_with(text, "229 ") && bracket != std::string_view::npos) {
        return read_extended(text, bracket + 1, false, ipv6);
    }
    return std::nullopt;
}

std::size_t write_ftp(announcement::form form, const flow::wide& address, std::uint16_t port,
                      bool ipv6, announcement_text& to) noexcept
{
    int size = 0;
    if (form == announcement::form::commas) {
        const auto byte = [&address](unsigned i) {
            return static_cast<unsigned>(address.low >> (24 - 8 * i) & 0xff);
        };
        size = std::snprintf(to.data(), to.size(), "%u,%u,%u,%u,%u,%u", byte(0), byte(1), byte(2),
                             byte(3), unsigned{port} >> 8, unsigned{port} & 0xff);
    } else if (form == announcement::form::port) {
        size = std::snprintf(to.data(), to.size(), "|||%u|", unsigned{port});
    } else {
        std::array<std::uint8_t, 16> bytes{};
        const unsigned count = ipv6 ? 16 : 4;
        for (unsigned i = 0; i < count; ++i) {
            bytes[i] = static_cast<std::uint8_t>((address >> (8 * (count - 1 - i))).low);
        }
        std::array<char, INET6_ADDRSTRLEN> text{};
        inet_ntop(ipv6 ? AF_INET6 : AF_INET, bytes.data(), text.data(), text.size());
        size = std::snprintf(to.data(), to.size(), "|%d|%s|%u|", ipv6 ? 2 : 1, text.data(),
                             unsigned{port});
    }
    return static_cast<std::size_t>(size);
}

bool is_tftp_request(std::string_view datagram) noexcept
{
    // To read or to write; then there are a name and a mode.
    return datagram.size() >= 4 && datagram[0] == 0 && (datagram[1] == 1 || datagram[1] == 2);
}

} // namespace strait::conntrack
