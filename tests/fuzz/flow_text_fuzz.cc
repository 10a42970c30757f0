// SPDX-License-Identifier: BSD-3-Clause
// Text that somebody wrote as flows. An input is
//   which command (8 bits), the text
// What is refused is told in one line that names a place in the text. What is taken and written
// must be read as the same; a packet's frame must be as long as the packet says.
#include "control/flow_frame.hh"
#include "control/flow_packet.hh"
#include "control/flow_text.hh"
#include "tests/fuzz/check.hh"

#include <algorithm>
#include <charconv>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace {

using namespace strait;
using namespace strait::control;
using fuzz::check;

const port_names& names()
{
    static const port_names& two = *[] {
        auto* out = new port_names;
        out->add(1, "vm1");
        out->add(2, "a,b \"c\" (d");
        return out;
    }();
    return two;
}

// "column 5: ..."
void check_message(const std::string& message, std::string_view text)
{
    constexpr std::string_view begin = "column ";
    check(message.starts_with(begin));
    std::size_t column = 0;
    const char* const first = message.data() + begin.size();
    const auto [end, code] = std::from_chars(first, message.data() + message.size(), column);
    check(code == std::errc{} && std::string_view{end}.starts_with(": ") && end[2] != '\0');
    check(column >= 1 && column <= text.size() + 1);
    check(std::ranges::all_of(message, [](char c) { return c >= ' ' && c <= '~'; }));
}

void check_flow(const flow_spec& f)
{
    for (const port_names* named : {static_cast<const port_names*>(nullptr), &names()}) {
        const std::string written = format_flow(f, named);
        const auto read = parse_flow(written, flow_command::add, names());
        check(read.has_value() && read->size() == 1 && read->front() == f);
        check(format_flow(read->front(), named) == written);
    }
}

void check_packet(std::string_view text)
{
    const auto key = parse_packet(text, names());
    if (key.has_error()) {
        check(!key.error().message.empty());
        return;
    }
    const auto read = parse_packet(format_key(*key), {});
    check(read.has_value() && *read == *key);
    check(frame_of(*key).size() == key->number(flow::field::packet_length));
}

} // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size)
{
    if (size == 0) {
        return 0;
    }
    constexpr unsigned commands = 6;
    const auto command = static_cast<flow_command>(data[0] % commands);
    const std::string text{data + 1, data + size};
    const auto flows = parse_flow(text, command, names());
    if (flows.has_error()) {
        check_message(flows.error().message, text);
    } else {
        check(!flows->empty());
        if (command == flow_command::add) {
            // Of many, which differ in a mask alone, one at either end.
            check_flow(flows->front());
            check_flow(flows->back());
        }
    }
    if (const auto all = parse_flow_file(text, "f", names()); all.has_error()) {
        check(all.error().message.starts_with("f:"));
    }
    check_packet(text);
    return 0;
}
