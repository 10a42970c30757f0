// SPDX-License-Identifier: BSD-3-Clause
// Options of Geneve in flows' text: tun_metadataN with the bits that a bridge's map gives it, their
// values, and the text of maps, {class=0x102,type=0x80,len=4}->tun_metadata0.
#pragma once

#include "dataplane/flow/option_map.hh"
#include "ports/error.hh"

#include "control/failure.hh"
#include "control/flow_fields.hh"

#include <array>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace strait::control {

// One that a bridge knows. Its data is a number of 8 to 512 bits, of which each word of a key
// has 64.
struct option_field {
    std::string name;              // tun_metadata0
    std::string nxm;               // NXM_NX_TUN_METADATA0
    flow_field whole;              // for text: where it is in the key, is the option's to say
    flow_field present;            // whether it is there
    std::vector<flow_field> parts; // its words, the lowest first
};

class option_names {
public:
    explicit option_names(const flow::option_map& known);
    option_names(const option_names&) = delete;
    option_names& operator=(const option_names&) = delete;

    // Null: there is none.
    [[nodiscard]] const option_field* at(std::size_t index) const noexcept;
    [[nodiscard]] const flow::option_map& map() const noexcept { return known_; }

private:
    flow::option_map known_;
    std::vector<std::unique_ptr<const option_field>> all_;
};

// Words of a key's, the lowest first.
struct option_value {
    using words = std::array<std::uint64_t, flow::option_words>;
    words value{}; // no bit outside of the mask
    words mask{};
};
// A number, decimal of 64 bits or hexadecimal, with or without a mask behind a slash; "*" is a mask
// of no bits.
[[nodiscard]] flow_result<option_value> parse_option_value(const option_field& f,
                                                           std::string_view text);
// 0x1234, 0x1/0xff. The mask must not be zero.
void append_option_value(std::string& out, const flow::option& o, const option_value& v);

// Of bits that are counted in an option's data, those that are in one word with the first.
[[nodiscard]] flow::subfield subfield_of(const flow::option& o, unsigned first,
                                         unsigned bits) noexcept;
// Of one word, by the name of the option that has it: NXM_NX_TUN_METADATA0[0..7].
void append_option_bits(std::string& out, const flow::subfield& s, const port_names* names);
// By their names, with a comma behind each, as a match has them.
void append_options(std::string& out, const flow::match& m, const port_names* names);

// Maps as ovs-ofctl writes them, with commas between them. Of those to remove a name is enough, and
// then the length is 0. Errors begin with the word's place, "column 5: ".
[[nodiscard]] ports::result<std::vector<flow::option>> parse_options(std::string_view text,
                                                                     bool to_remove);
[[nodiscard]] std::string format_option(const flow::option& o);

// Refused: there is such an option already, or no room for it.
[[nodiscard]] outcome<void> add_option(flow::option_map& to, const flow::option& o);
// Whether it names any.
[[nodiscard]] bool names_options(const flow::match& m) noexcept;

} // namespace strait::control
