// SPDX-License-Identifier: BSD-3-Clause
#include "control/capture_file.hh"

#include <algorithm>
#include <array>
#include <string_view>
#include <utility>

#include <pcap/pcap.h>

namespace strait::control {

using ports::error;
using ports::result;

void capture_file::close::operator()(pcap* p) const noexcept
{
    ::pcap_close(p);
}

result<capture_file> capture_file::open(const std::string& path)
{
    std::array<char, PCAP_ERRBUF_SIZE> why{};
    capture_file out{path, ::pcap_open_offline(path.c_str(), why.data())};
    if (!out.capture_) {
        // It may begin with the path, which is here already.
        std::string_view text{why.data()};
        if (text.starts_with(path + ": ")) {
            text.remove_prefix(path.size() + 2);
        }
        return error{path + " cannot be read as a capture: " + std::string{text}};
    }
    if (const int type = ::pcap_datalink(out.capture_.get()); type != DLT_EN10MB) {
        const char* const name = ::pcap_datalink_val_to_name(type);
        return error{path + " has no Ethernet frames; its link type is " +
                     (name != nullptr ? name : std::to_string(type))};
    }
    return out;
}

result<std::optional<captured_frame>> capture_file::next()
{
    pcap_pkthdr* header = nullptr;
    const u_char* data = nullptr;
    const int got = ::pcap_next_ex(capture_.get(), &header, &data);
    if (got == PCAP_ERROR_BREAK) {
        return std::optional<captured_frame>{};
    }
    if (got != 1) {
        return error{path_ + " cannot be read any further: " + ::pcap_geterr(capture_.get())};
    }
    const auto* const bytes = reinterpret_cast<const std::byte*>(data);
    return std::optional{
        captured_frame{{bytes, bytes + header->caplen}, std::max(header->len, header->caplen)}};
}

} // namespace strait::control
