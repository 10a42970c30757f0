// SPDX-License-Identifier: BSD-3-Clause
// Frames through the switch's connection tracking alone, for tests that compare with others: each
// line of the input is a frame in hex, each line of the output its ct_state as a number, or why it
// was dropped. Every connection is committed. With --ftp-source ADDRESS each is FTP's, from that
// address, and lines of the output are frames as they leave.
#include "dataplane/conntrack/tracker.hh"
#include "dataplane/offload.hh"

#include <cstdint>
#include <cstdlib>
#include <iostream>
#include <memory>
#include <string>
#include <vector>

#include <arpa/inet.h>

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

void print(const dataplane::packet_slot& p)
{
    std::vector<std::uint8_t> frame(p.length);
    dataplane::copy_frame(p, 0, frame.data(), frame.size());
    for (const std::uint8_t byte : frame) {
        std::cout << "0123456789abcdef"[byte >> 4] << "0123456789abcdef"[byte & 0xf];
    }
    std::cout << '\n';
}

// As ct(commit,alg=ftp,nat(src=...)) has it.
flow::nat source_of(const std::string& address)
{
    in_addr parsed{};
    if (inet_pton(AF_INET, address.c_str(), &parsed) != 1) {
        std::cerr << "no IPv4 address: " << address << '\n';
        std::exit(2);
    }
    const flow::wide a{ntohl(parsed.s_addr)};
    return {.which = flow::nat::side::source, .first = a, .last = a};
}

} // namespace

int main(int argc, char** argv)
{
    const bool rewrites = argc == 3 && std::string{argv[1]} == "--ftp-source";
    if (argc != 1 && !rewrites) {
        std::cerr << "usage: strait-conntrack-states [--ftp-source ADDRESS]\n";
        return 2;
    }
    const flow::nat nat = rewrites ? source_of(argv[2]) : flow::nat{};
    const auto payload = std::make_unique<dataplane::burst>();
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
        p.offload = {};
        payload->clear();
        conntrack::request r;
        r.p = &p;
        r.headers = key.get();
        r.payload = payload.get();
        r.asked.commit = true;
        r.asked.translation = rewrites ? &nat : nullptr;
        r.asked.alg = rewrites ? flow::ct::helper::ftp : flow::ct::helper::none;
        flow::extract(p, *key, r.at);
        tracker.track({&r, 1}, 1000);
        if (r.dropped) {
            std::cout << to_string(r.reason) << '\n';
        } else if (rewrites) {
            if (!p.offload.empty()) {
                dataplane::finish_checksum(p);
            }
            print(p);
        } else {
            std::cout << r.answer.state << '\n';
        }
    }
    return 0;
}
