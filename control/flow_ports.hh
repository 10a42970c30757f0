// SPDX-License-Identifier: BSD-3-Clause
// Ports in flows' text: numbers, names, and the words for those that are none, like LOCAL. And what
// else of a bridge that text needs, to have it all in one place.
#pragma once

#include "dataplane/flow/action.hh"

#include "control/flow_words.hh"

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

namespace strait::control {

inline constexpr flow::port_number last_port_number = 0xfeff;

class option_names;

// The ports of a bridge by name and number, and what options of Geneve it knows.
class port_names {
public:
    void add(flow::port_number number, std::string name);
    void set_options(std::shared_ptr<const option_names> options) { options_ = std::move(options); }
    // Null: it knows none.
    [[nodiscard]] const option_names* options() const noexcept { return options_.get(); }
    // For text that has ports by their numbers.
    [[nodiscard]] port_names without_ports() const;

    [[nodiscard]] std::optional<flow::port_number> number_of(std::string_view name) const;
    [[nodiscard]] const std::string* name_of(flow::port_number number) const;
    [[nodiscard]] std::vector<std::string> names() const;

private:
    std::map<std::string, flow::port_number, std::less<>> numbers_;
    std::map<flow::port_number, std::string> names_;
    std::shared_ptr<const option_names> options_;
};

// LOCAL, in_port and so on, in capitals or not; nothing for another word.
[[nodiscard]] std::optional<flow::port_number> reserved_port(std::string_view word);
// A number, a name, in quotes or not, or a reserved word.
[[nodiscard]] flow_result<flow::port_number> parse_port(std::string_view word,
                                                        const port_names& names);
// Appends its name if `names` has one, otherwise its number or the reserved word.
void append_port(std::string& out, flow::port_number port, const port_names* names);

} // namespace strait::control
