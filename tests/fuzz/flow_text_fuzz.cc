// SPDX-License-Identifier: BSD-3-Clause
// Text that somebody wrote as flows, groups or meters. An input is
//   which command (8 bits), the text
// or of options of Geneve, as flows are to know them.
// What is refused is told in one line that names a place in the text. What is taken and written
// must be read as the same; a packet's frame must be as long as the packet says.
#include "control/flow_frame.hh"
#include "control/flow_group_text.hh"
#include "control/flow_meter_text.hh"
#include "control/flow_options.hh"
#include "control/flow_packet.hh"
#include "control/flow_text.hh"
#include "tests/fuzz/check.hh"

#include <algorithm>
#include <charconv>
#include <cstddef>
#include <cstdint>
#include <memory>
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
        flow::option_map known;
        for (const std::uint8_t length : {std::uint8_t{4}, std::uint8_t{8}, std::uint8_t{20}}) {
            const auto index = static_cast<std::uint8_t>(length / 4 - 1); // 0, 1 and 4
            check(known.add({.type = index, .length = length, .index = index}));
        }
        out->set_options(std::make_shared<const option_names>(known));
        return out;
    }();
    return two;
}

const port_names& numbers()
{
    static const port_names& none = *new port_names{names().without_ports()};
    return none;
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
    for (const port_names* named : {&numbers(), &names()}) {
        const std::string written = format_flow(f, named);
        const auto read = parse_flow(written, flow_command::add, names());
        check(read.has_value() && read->size() == 1 && read->front() == f);
        check(format_flow(read->front(), named) == written);
    }
}

void check_group(group_command command, std::string_view text)
{
    const auto change = parse_group(text, command, names());
    if (change.has_error()) {
        check_message(change.error().message, text);
        return;
    }
    if (command != group_command::add) {
        return;
    }
    for (const port_names* named : {&numbers(), &names()}) {
        const auto read = parse_group(format_group(change->group, named), command, names());
        check(read.has_value() && read->group == change->group);
    }
    flow::group_settings g = change->group;
    number_buckets(g);
    check(group_fault(g).empty());
}

void check_meter(meter_command command, std::string_view text)
{
    const auto change = parse_meter(text, command);
    if (change.has_error()) {
        check_message(change.error().message, text);
    } else if (command == meter_command::add) {
        const auto read = parse_meter(format_meter(change->meter), command);
        check(read.has_value() && read->meter == change->meter);
    }
}

void check_options(bool to_remove, std::string_view text)
{
    const auto options = parse_options(text, to_remove);
    if (options.has_error()) {
        check_message(options.error().message, text);
        return;
    }
    for (const flow::option& o : *options) {
        if (o.length != 0) {
            const auto read = parse_options(format_option(o), to_remove);
            check(read.has_value() && read->size() == 1 &&
                  format_option(read->front()) == format_option(o));
        }
    }
}

void check_packet(std::string_view text)
{
    const auto key = parse_packet(text, names());
    if (key.has_error()) {
        check(!key.error().message.empty());
        return;
    }
    const auto read = parse_packet(format_key(*key, &numbers()), numbers());
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
    constexpr unsigned group_commands = 6;
    constexpr unsigned meter_commands = 3;
    constexpr unsigned all_of_these = commands + group_commands + meter_commands;
    constexpr unsigned option_commands = 2;
    const unsigned which = data[0] % (all_of_these + option_commands);
    const std::string text{data + 1, data + size};
    if (which >= all_of_these) {
        check_options(which > all_of_these, text);
        return 0;
    }
    if (which >= commands + group_commands) {
        check_meter(static_cast<meter_command>(which - commands - group_commands), text);
        return 0;
    }
    if (which >= commands) {
        check_group(static_cast<group_command>(which - commands), text);
        return 0;
    }
    const auto command = static_cast<flow_command>(which);
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
