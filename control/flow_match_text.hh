// SPDX-License-Identifier: BSD-3-Clause
// Matches as text. A reader takes a flow's words one by one; what is no match is left to others.
#pragma once

#include "dataplane/flow/key.hh"

#include "control/flow_fields.hh"
#include "control/flow_ports.hh"
#include "control/flow_words.hh"

#include <string>
#include <string_view>
#include <vector>

namespace strait::control {

struct option_field;

// How many matches one text with ranges may become: two ranges of ports at their worst.
inline constexpr std::size_t most_matches = 1024;

class match_reader {
public:
    explicit match_reader(const port_names& ports) noexcept : ports_{&ports} {}

    // False if the word is no match's. Faults: a value that its field does not have, one that
    // contradicts another.
    [[nodiscard]] flow_result<bool> take(const flow_word& word);
    // One match, or, with ranges, one for each of the masks that they consist of. Faults: fields
    // that are not in all packets that the rest matches, too many masks.
    [[nodiscard]] flow_result<std::vector<flow::match>> finish() const;
    // What was said of one packet, 0 where nothing was. Faults: as finish(), and all that leaves a
    // field open, like a mask. Flags that are not named are not set, but for trk where
    // there are others of ct_state.
    [[nodiscard]] flow_result<flow::key> packet() const;
    [[nodiscard]] bool has(flow::field f) const noexcept;

private:
    // What a word asks for.
    struct wish {
        const flow_field* field;
        std::string_view word;
        masked_value in_key;
        std::vector<masked_value> choices{}; // of a range, in the key
        bool in_part{false};                 // some bits, as field[0..3]=5
    };

    flow_result<bool> take_shorthand(const flow_word& word);
    flow_result<void> take_field(const flow_field& f, const flow_word& word);
    flow_result<void> take_bits(const flow_word& word);
    // field[0..3]=5
    struct number_of_bits {
        field_bits bits;
        flow::wide value;
    };
    [[nodiscard]] flow_result<number_of_bits> parse_bits(const flow_word& word) const;
    flow_result<void> take_option(const flow_field& f, const flow_word& word, bool in_part);
    flow_result<void> take_option_bits(const option_field& field, const flow_word& word);
    flow_result<void> take_tag(const flow_field& f, const flow_word& word);
    flow_result<void> take_range(const flow_field& f, const flow_word& word);
    flow_result<void> add(wish w);
    flow_result<void> check(const wish& w) const;

    const port_names* ports_;
    flow::match match_;
    std::vector<wish> wishes_;
};

// All words of a text, which has a match alone.
[[nodiscard]] flow_result<void> read_match(std::string_view text, match_reader& reader);

// Names of all words that a match may have.
[[nodiscard]] std::vector<std::string> match_words();

// Appends what `m` asks for, each followed by a comma, as ovs-ofctl orders and writes it.
void append_match(std::string& out, const flow::match& m, const port_names* ports);

} // namespace strait::control
