// SPDX-License-Identifier: BSD-3-Clause
// The frames of a capture file, pcap or pcapng, one after the other. Read by libpcap.
#pragma once

#include "ports/error.hh"

#include <cstddef>
#include <memory>
#include <optional>
#include <string>
#include <vector>

struct pcap;

namespace strait::control {

struct captured_frame {
    std::vector<std::byte> bytes; // what was captured of it
    std::size_t length;           // that it had, as many or more
};

class capture_file {
public:
    // Of Ethernet frames. Errors name the file.
    [[nodiscard]] static ports::result<capture_file> open(const std::string& path);
    // Nothing at the end.
    [[nodiscard]] ports::result<std::optional<captured_frame>> next();

private:
    struct close {
        void operator()(pcap* p) const noexcept;
    };
    capture_file(std::string path, pcap* p) : path_{std::move(path)}, capture_{p} {}

    std::string path_;
    std::unique_ptr<pcap, close> capture_;
};

} // namespace strait::control
