// SPDX-License-Identifier: BSD-3-Clause
// Reading and writing meters.
#include "control/flow_meter_text.hh"

#include "control/flow_values.hh"
#include "control/flow_words.hh"

#include <algorithm>
#include <limits>
#include <utility>
#include <vector>

namespace strait::control {

using flow::meter_settings;

namespace {

constexpr std::string_view separators = ", \t\r\n";

class meter_reader {
public:
    explicit meter_reader(meter_command command) { out_.command = command; }

    flow_result<meter_change> read(std::string_view text)
    {
        const std::size_t first = find_bands(text);
        flow_words words{text.substr(0, first)};
        for (;;) {
            const auto word = words.next();
            if (word.has_error()) {
                return word.error();
            }
            if (!*word) {
                break;
            }
            if (const auto done = take(**word); done.has_error()) {
                return done.error();
            }
        }
        if (first < text.size()) {
            const std::size_t name = text.find('=', first) + 1;
            if (const auto done = take_bands(text.substr(name)); done.has_error()) {
                return done.error();
            }
        }
        return finish(text);
    }

private:
    // Where "band=" or "bands=" begins; its end: nowhere.
    static std::size_t find_bands(std::string_view text)
    {
        for (std::size_t at = text.find("band"); at != std::string_view::npos;
             at = text.find("band", at + 1)) {
            const std::string_view rest = text.substr(at);
            if ((at == 0 || separators.find(text[at - 1]) != std::string_view::npos) &&
                (rest.starts_with("band=") || rest.starts_with("bands="))) {
                return at;
            }
        }
        return text.size();
    }

    flow_result<void> take(const flow_word& word)
    {
        if (std::ranges::find(seen_, word.key) != seen_.end()) {
            return flow_fault{word.all, std::string{word.key} + " may be given once"};
        }
        seen_.push_back(word.key);
        if (word.key == "meter") {
            return take_id(word);
        }
        meter_settings& m = out_.meter;
        if (word.key == "kbps" || word.key == "pktps") {
            if (was_said("kbps") && was_said("pktps")) {
                return flow_fault{word.all, "a meter counts kbps or pktps, not both"};
            }
            m.in_packets = word.key == "pktps";
        } else if (word.key == "burst") {
            m.burst = true;
        } else if (word.key == "stats") {
            m.stats = true;
        } else {
            return flow_fault{word.key, shown(word.key) + " is no word of a meter" +
                                            suggestion(word.key, {"meter", "kbps", "pktps", "burst",
                                                                  "stats", "bands"})};
        }
        if (word.mark != 0) {
            return flow_fault{word.all, std::string{word.key} + " takes no value"};
        }
        if (out_.command == meter_command::remove) {
            return flow_fault{word.all, "to remove a meter its number is enough: meter=1"};
        }
        return {};
    }
    flow_result<void> take_id(const flow_word& word)
    {
        if (word.value == "all" && out_.command == meter_command::remove) {
            out_.every = true;
            return {};
        }
        if (word.value == "controller" || word.value == "slowpath") {
            return flow_fault{word.value, "there is no meter " + std::string{word.value} +
                                              ": packets go to no controller"};
        }
        const auto id = parse_number(word.value, flow::last_meter, "meter");
        if (id.has_error()) {
            return id.error();
        }
        if (*id == 0) {
            return flow_fault{word.value, "meters are counted from 1"};
        }
        out_.meter.id = static_cast<std::uint32_t>(*id);
        return {};
    }

    // type=drop,rate=1000,burst_size=100, and so on from `type` to `type`.
    flow_result<void> take_bands(std::string_view text)
    {
        if (out_.command == meter_command::remove) {
            return flow_fault{text, "to remove a meter its number is enough: meter=1"};
        }
        bool has_rate = true; // of the last one
        flow_words words{text};
        for (;;) {
            const auto next = words.next();
            if (next.has_error()) {
                return next.error();
            }
            if (!*next) {
                break;
            }
            const flow_word& word = **next;
            auto& bands = out_.meter.bands;
            if (word.key == "type") {
                if (word.value != "drop") {
                    return flow_fault{word.value,
                                      word.value == "dscp_remark"
                                          ? "dscp_remark is not supported: a band drops (type=drop)"
                                          : shown(word.value) +
                                                " is no type of band; it must be drop"};
                }
                if (!has_rate) {
                    return flow_fault{word.all, "the band before has no rate"};
                }
                if (bands.size() == flow::most_bands) {
                    return flow_fault{word.all, "a meter has " + std::to_string(flow::most_bands) +
                                                    " bands at most"};
                }
                bands.emplace_back();
                has_rate = false;
                continue;
            }
            if (word.key != "rate" && word.key != "burst_size") {
                return flow_fault{word.key,
                                  shown(word.key) + " is no word of a band" +
                                      suggestion(word.key, {"type", "rate", "burst_size"})};
            }
            if (bands.empty()) {
                return flow_fault{word.all,
                                  "a band begins with its type: bands=type=drop,rate=1000"};
            }
            const bool rate = word.key == "rate";
            std::uint32_t& to = rate ? bands.back().rate : bands.back().burst;
            if (to != 0) {
                return flow_fault{word.all, std::string{word.key} + " may be given once"};
            }
            const auto n =
                parse_number(word.value, std::numeric_limits<std::uint32_t>::max(), word.key);
            if (n.has_error()) {
                return n.error();
            }
            if (*n == 0) {
                return flow_fault{word.value, std::string{word.key} + " must be 1 or more"};
            }
            if (!rate && !out_.meter.burst) {
                return flow_fault{word.all, "burst_size needs the meter's word burst"};
            }
            to = static_cast<std::uint32_t>(*n);
            has_rate = has_rate || rate;
        }
        if (!has_rate) {
            return flow_fault{text.substr(text.size()), "the band has no rate: rate=1000"};
        }
        return {};
    }

    [[nodiscard]] bool was_said(std::string_view word) const
    {
        return std::ranges::find(seen_, word) != seen_.end();
    }
    flow_result<meter_change> finish(std::string_view text)
    {
        const std::string_view end = text.substr(text.size());
        if (!was_said("meter")) {
            return flow_fault{end, "the meter's number is missing: meter=1"};
        }
        if (out_.command != meter_command::remove) {
            if (!was_said("kbps") && !was_said("pktps")) {
                return flow_fault{end, "it is missing what the meter counts: kbps or pktps"};
            }
            if (out_.meter.bands.empty()) {
                return flow_fault{end, "the meter has no band: bands=type=drop,rate=1000"};
            }
        }
        return std::move(out_);
    }

    meter_change out_;
    std::vector<std::string_view> seen_;
};

} // namespace

ports::result<meter_change> parse_meter(std::string_view text, meter_command command)
{
    auto read = meter_reader{command}.read(text);
    if (read.has_error()) {
        return ports::error{at_column(text, read.error())};
    }
    return std::move(*read);
}

ports::result<void> read_meters(const flow_lines& lines, meter_command command,
                                const std::function<ports::result<void>(meter_change&&)>& take)
{
    const auto read = [&](std::string_view line,
                          std::size_t /*number*/) -> flow_result<ports::result<void>> {
        auto change = meter_reader{command}.read(line);
        if (change.has_error()) {
            return change.error();
        }
        return take(std::move(*change));
    };
    return read_lines(lines, read);
}

std::string format_meter(const meter_settings& m)
{
    std::string out = "meter=";
    append_decimal(out, m.id);
    out += m.in_packets ? ",pktps" : ",kbps";
    out += m.burst ? ",burst" : "";
    out += m.stats ? ",stats" : "";
    out += ",bands=";
    for (std::size_t i = 0; i < m.bands.size(); ++i) {
        out += i == 0 ? "type=drop,rate=" : ",type=drop,rate=";
        append_decimal(out, m.bands[i].rate);
        if (m.bands[i].burst != 0) {
            out += ",burst_size=";
            append_decimal(out, m.bands[i].burst);
        }
    }
    return out;
}

} // namespace strait::control
