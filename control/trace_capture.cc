// SPDX-License-Identifier: BSD-3-Clause
#include "control/trace_capture.hh"

#include "control/capture_file.hh"
#include "control/parameters.hh"

#include <algorithm>
#include <array>
#include <string>
#include <string_view>

namespace strait::control {

namespace json = boost::json;

namespace {

constexpr std::size_t longest_frame_traced = 65'535;

// All of it: zeros stand for what was not captured.
std::string hexadecimal(const captured_frame& f)
{
    constexpr std::string_view digits = "0123456789abcdef";
    std::string out;
    for (const std::byte b : f.bytes) {
        out += digits[std::to_integer<std::size_t>(b) / digits.size()];
        out += digits[std::to_integer<std::size_t>(b) % digits.size()];
    }
    out.resize(2 * std::min(std::max(f.length, f.bytes.size()),
                            std::max(longest_frame_traced, f.bytes.size())),
               '0');
    return out;
}

json::value trace_one(client& connection, const json::object& parameters, std::size_t number,
                      const captured_frame& f)
{
    json::object call{{"port", parameters.at("port")}, {"packet", hexadecimal(f)}};
    json::value out;
    try {
        out = connection.call("trace", call);
    } catch (call_error& e) {
        if (e.reached) {
            e.message = std::string{std::string_view{parameters.at("packet").as_string()}} +
                        ", packet " + std::to_string(number) + ": " + e.message;
        }
        throw;
    }
    json::object& o = out.as_object();
    o["number"] = number;
    o["captured"] = f.bytes.size();
    o["length"] = f.length;
    return out;
}

} // namespace

bool traces_capture(const json::object& parameters)
{
    if (parameters.contains("nth")) {
        return true;
    }
    const std::string_view packet{parameters.at("packet").as_string()};
    constexpr std::array<std::string_view, 3> endings{".pcap", ".pcapng", ".cap"};
    // No packet in words or digits is like these.
    return packet.starts_with('/') || packet.starts_with("./") || packet.starts_with("../") ||
           std::ranges::any_of(endings, [&](std::string_view e) { return packet.ends_with(e); });
}

bool trace_capture(client& connection, const json::object& parameters,
                   const std::function<bool(const json::value&)>& show)
{
    const std::string path{std::string_view{parameters.at("packet").as_string()}};
    const auto refuse = [](std::string why) { throw call_error{true, std::move(why)}; };
    auto file = capture_file::open(path);
    if (file.has_error()) {
        refuse(file.error().message);
    }
    const auto wanted = number_of(parameters, "nth");
    std::size_t number = 0;
    for (;;) {
        const auto frame = file->next();
        if (frame.has_error()) {
            refuse(frame.error().message);
        }
        if (!*frame) {
            break;
        }
        ++number;
        if (wanted && static_cast<std::size_t>(*wanted) != number) {
            continue;
        }
        if (!show(trace_one(connection, parameters, number, **frame))) {
            return false;
        }
        if (wanted) {
            return true;
        }
    }
    if (wanted) {
        refuse(path + " has " + std::to_string(number) + " packets, and no packet " +
               std::to_string(*wanted));
    }
    return true;
}

} // namespace strait::control
