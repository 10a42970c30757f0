// SPDX-License-Identifier: BSD-3-Clause
// Frames through the switch's own parser and rewriting, for tests that compare with others: each
// line of the input is a frame in hex and what to do to it, each line of the output what came of
// it.
//   FRAME [head=BYTES] [longer] [blank] [set=FIELD:VALUE[:MASK] | push=TYPE:TCI | pop | ttl]...
// The head is the frame's first BYTES, made longer if headers lie beyond it; the checksum is left
// blank; then the steps follow as they come, up to one that fails. Numbers but BYTES are hex. The
// output is JSON: the fields as they were found, and the frame as it became, its checksum filled.
#include "dataplane/flow/rewrite.hh"
#include "dataplane/offload.hh"

#include <array>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <iostream>
#include <memory>
#include <sstream>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace {

using namespace strait;
using flow::field;

constexpr std::array<std::pair<std::string_view, field>, 21> fields{{
    {"eth_dst", field::eth_dst},
    {"eth_src", field::eth_src},
    {"eth_type", field::eth_type},
    {"vlan_tci", field::vlan_tci},
    {"inner_vlan_tci", field::inner_vlan_tci},
    {"nw_proto", field::nw_proto},
    {"nw_tos", field::nw_tos},
    {"nw_ttl", field::nw_ttl},
    {"nw_frag", field::nw_frag},
    {"tcp_flags", field::tcp_flags},
    {"nw_src", field::nw_src},
    {"nw_dst", field::nw_dst},
    {"ipv6_src", field::ipv6_src},
    {"ipv6_dst", field::ipv6_dst},
    {"ipv6_label", field::ipv6_label},
    {"tp_src", field::tp_src},
    {"tp_dst", field::tp_dst},
    {"arp_sha", field::arp_sha},
    {"arp_tha", field::arp_tha},
    {"nd_target", field::nd_target},
    {"packet_length", field::packet_length},
}};

[[noreturn]] void fail(const std::string& what)
{
    std::cerr << "strait-flow-frames: " << what << '\n';
    std::exit(1);
}

unsigned digit(char c)
{
    const std::size_t at = std::string_view{"0123456789abcdef"}.find(c);
    if (at == std::string_view::npos) {
        fail(std::string{"not a hex digit: "} + c);
    }
    return static_cast<unsigned>(at);
}

flow::wide number(std::string_view hex)
{
    flow::wide out;
    for (const char c : hex) {
        out = (out << 4) | flow::wide{digit(c)};
    }
    return out;
}

std::string to_hex(flow::wide value)
{
    std::array<char, 40> text{};
    if (value.high != 0) {
        std::snprintf(text.data(), text.size(), "%jx%016jx", std::uintmax_t{value.high},
                      std::uintmax_t{value.low});
    } else {
        std::snprintf(text.data(), text.size(), "%jx", std::uintmax_t{value.low});
    }
    return text.data();
}

std::vector<std::string> split(const std::string& text, char at)
{
    std::vector<std::string> out;
    std::istringstream in{text};
    for (std::string part; std::getline(in, part, at);) {
        out.push_back(part);
    }
    return out;
}

class bench {
public:
    explicit bench(std::string_view hex)
    {
        for (std::size_t i = 0; i + 1 < hex.size(); i += 2) {
            frame_.push_back(static_cast<std::byte>(digit(hex[i]) << 4 | digit(hex[i + 1])));
        }
        put_head(std::min(frame_.size(), dataplane::head_copy));
    }
    void put_head(std::size_t size)
    {
        size = std::min({size, frame_.size(), slot_->head.size()});
        burst_->clear();
        slot_->data = slot_->head.data();
        slot_->length = static_cast<std::uint32_t>(frame_.size());
        slot_->head_length = static_cast<std::uint16_t>(size);
        std::copy_n(frame_.data(), size, slot_->data);
        slot_->segments = burst_->segments.data();
        slot_->segment_count = size < frame_.size() ? 1 : 0;
        burst_->segments[0] = dataplane::guest_span{frame_.data(), frame_.size()}.subspan(size);
        complete_ = flow::extract(*slot_, key_, layout_);
    }
    void lengthen()
    {
        if (!complete_) {
            dataplane::lengthen_head(*slot_, *burst_);
            complete_ = flow::extract(*slot_, key_, layout_);
        }
    }
    void leave_checksum()
    {
        const dataplane::virtio_offload claim{
            .flags = dataplane::virtio_offload::needs_checksum,
            .gso_type = 0,
            .header_length = 0,
            .gso_size = 0,
            .checksum_start = layout_.transport,
            .checksum_offset = static_cast<std::uint16_t>(layout_.checksum - layout_.transport)};
        if (checked_intent(*slot_, claim, dataplane::all_offloads) !=
                dataplane::offload_fault::none ||
            slot_->offload.empty()) {
            fail("the checksum cannot be left");
        }
    }
    bool step(const std::string& word)
    {
        const std::vector<std::string> parts = split(word.substr(word.find('=') + 1), ':');
        if (word == "ttl") {
            return flow::decrement_ttl(*slot_, layout_);
        }
        if (word == "pop") {
            return flow::remove_tag(*slot_, layout_);
        }
        if (word.starts_with("push=") && parts.size() == 2) {
            return flow::insert_tag(*slot_, layout_,
                                    static_cast<std::uint16_t>(number(parts[0]).low),
                                    static_cast<std::uint16_t>(number(parts[1]).low));
        }
        if (!word.starts_with("set=") || parts.size() < 2) {
            fail("not a step: " + word);
        }
        flow::match m;
        for (const auto& [name, f] : fields) {
            if (name == parts[0]) {
                m.require(f, number(parts[1]), parts.size() > 2 ? number(parts[2]) : ~flow::wide{});
                return flow::set_headers(*slot_, layout_, m.value, m.mask);
            }
        }
        fail("no such field: " + parts[0]);
    }
    void print(const std::string& failed)
    {
        std::cout << "{\"complete\": " << (complete_ ? "true" : "false") << ", \"failed\": \""
                  << failed << "\", \"fields\": {";
        for (const auto& [name, f] : fields) {
            std::cout << (f == fields[0].second ? "\"" : ", \"") << name << "\": \""
                      << to_hex(key_.get(f)) << '"';
        }
        if (!slot_->offload.empty()) {
            finish_checksum(*slot_);
        }
        std::vector<std::uint8_t> bytes(slot_->length);
        dataplane::copy_frame(*slot_, 0, bytes.data(), bytes.size());
        std::cout << "}, \"frame\": \"";
        for (const std::uint8_t byte : bytes) {
            std::cout << "0123456789abcdef"[byte >> 4] << "0123456789abcdef"[byte & 15];
        }
        std::cout << "\"}\n";
    }

private:
    std::vector<std::byte> frame_;
    std::unique_ptr<dataplane::burst> burst_{new dataplane::burst{}};
    dataplane::packet_slot* slot_{burst_->slots.data()};
    flow::key key_;
    flow::header_layout layout_;
    bool complete_{false};
};

} // namespace

int main()
{
    for (std::string line; std::getline(std::cin, line);) {
        const std::vector<std::string> words = split(line, ' ');
        bench b{words.empty() ? "" : words[0]};
        std::string failed;
        for (std::size_t i = 1; i < words.size() && failed.empty(); ++i) {
            const std::string& word = words[i];
            if (word.starts_with("head=")) {
                b.put_head(std::stoul(word.substr(5)));
            } else if (word == "longer") {
                b.lengthen();
            } else if (word == "blank") {
                b.leave_checksum();
            } else if (!b.step(word)) {
                failed = word;
            }
        }
        b.print(failed);
    }
    return 0;
}
