// SPDX-License-Identifier: BSD-3-Clause
// The kernel's network stack as that of a simulated guest: a tap interface whose frames come and go
// with their checksums blank and unsegmented, as a network driver has them. No Xen is known here.
#pragma once

#include "ports/xen-netback/simulated/netfront_queue.hh"

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

namespace strait::xen::simulated {

class tap {
public:
    // Makes the interface, in the network namespace of the calling thread; it goes with the tap.
    // mac: as text; empty: the kernel's choice.
    [[nodiscard]] static result<std::unique_ptr<tap>> open(const std::string& name,
                                                           const std::string& mac);

    // Whether the kernel may send frames with blank checksums, and longer than its MTU.
    result<void> set_offloads(bool checksum, bool tso_v4, bool tso_v6);
    // The interface has, or has no, carrier.
    void set_carrier(bool on) noexcept;
    // Readable when the kernel sends.
    [[nodiscard]] int descriptor() const noexcept { return file_.get(); }

    struct taken {
        std::span<const std::byte> bytes; // until the next call; empty: there is none
        frame_extras extras;
    };
    [[nodiscard]] taken take() noexcept;
    // False: the kernel does not take it.
    [[nodiscard]] bool give(std::span<const std::byte> bytes, const frame_extras& extras) noexcept;

private:
    explicit tap(file_descriptor file) : file_{std::move(file)}, buffer_(longest) {}
    static constexpr std::size_t longest = 70'000; // its header, and 64 KiB of packet

    file_descriptor file_;
    std::vector<std::byte> buffer_;
};

// Where a TCP or UDP header is in a frame, and where its checksum, from the header on. Nothing: it
// is no such frame, or too short.
struct transport_place {
    std::uint16_t start;
    std::uint16_t checksum;
    std::uint16_t payload; // from the frame's first byte
};
[[nodiscard]] std::optional<transport_place>
find_transport(std::span<const std::byte> frame) noexcept;

} // namespace strait::xen::simulated
