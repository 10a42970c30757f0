// SPDX-License-Identifier: BSD-3-Clause
// Frames through the switch's connection tracking alone, for tests that compare with others: each
// line of the input is a frame in hex, each line of the output its ct_state as a number, or why it
// was dropped. Every connection is committed.
#include "dataplane/conntrack/tracker.hh"

#include <cstdint>
#include <cstdlib>
#include <iostream>
#include <memory>
#include <string>
#include <vector>

namespace {

using namespace strait;

std::vector<std::byte> bytes_of(const std::string& hex)
{
    if (hex.size() % 2 != 0 || hex.find_first_not_of("0123456789abcdef") != std::string::npos) {
        std::cerr << "no frame in hex: " << hex << '\n';
        std::exit(2);
    }
    std::vector<std::byte> out;
    for (std::size_t i = 0; i < hex.size(); i += 2) {
        out.push_back(std::byte(std::stoul(hex.substr(i, 2), nullptr, 16)));
    }
    return out;
}

} // namespace

int main()
{
    conntrack::store store{{.connections = 100'000}};
    conntrack::tracker tracker{store};
    const auto slot = std::make_unique<dataplane::packet_slot>();
    const auto key = std::make_unique<flow::key>();
    for (std::string line; std::getline(std::cin, line);) {
        std::vector<std::byte> frame = bytes_of(line);
        dataplane::packet_slot& p = *slot;
        p.data = frame.data();
        p.length = static_cast<std::uint32_t>(frame.size());
        p.head_length = static_cast<std::uint16_t>(frame.size());
        p.segment_count = 0;
        conntrack::request r;
        r.p = &p;
        r.headers = key.get();
        r.asked.commit = true;
        flow::extract(p, *key, r.at);
        tracker.track({&r, 1}, 1000);
        if (r.dropped) {
            std::cout << to_string(r.reason) << '\n';
        } else {
            std::cout << r.answer.state << '\n';
        }
    }
    return 0;
}
