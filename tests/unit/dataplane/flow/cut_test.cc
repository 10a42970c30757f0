// SPDX-License-Identifier: BSD-3-Clause
#include "dataplane/flow/cut.hh"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <memory>
#include <numeric>
#include <span>
#include <vector>

namespace strait::flow {
namespace {

using bytes = std::vector<std::byte>;

bytes bytes_of(const dataplane::packet& p)
{
    bytes out(p.length);
    dataplane::copy_frame(p, 0, out.data(), out.size());
    return out;
}

TEST(cutting, leaves_a_clone_s_first_bytes_and_its_original_as_it_was)
{
    const auto of = std::make_unique<dataplane::burst>();
    const auto to = std::make_unique<dataplane::burst>();
    for (const std::size_t length : {20U, 128U, 129U, 700U}) {
        for (const std::size_t pieces : {1U, 3U}) {
            for (const std::uint32_t size : {14U, 60U, 128U, 129U, 130U, 300U, 319U, 699U, 5000U}) {
                bytes frame(length);
                for (std::size_t i = 0; i < length; ++i) {
                    frame[i] = static_cast<std::byte>(i * 7);
                }
                of->clear();
                to->clear();
                dataplane::packet_slot& p = of->slots[0];
                static_cast<dataplane::packet&>(p) = {};
                const std::size_t head = std::min(length, dataplane::head_copy);
                p.data = p.head.data();
                std::memcpy(p.data, frame.data(), head);
                p.length = static_cast<std::uint32_t>(length);
                p.head_length = static_cast<std::uint16_t>(head);
                p.segments = of->segments.data();
                for (std::size_t at = head; at < length;) {
                    const std::size_t n = std::min((length - head) / pieces + 1, length - at);
                    of->segments[p.segment_count++] = {frame.data() + at, n};
                    at += n;
                }
                p.offload.checksum_start = 34;
                p.offload.required = dataplane::offloads::checksum_ipv4;

                dataplane::packet_slot* const clone = dataplane::clone_packet(p, *to, nullptr);
                ASSERT_NE(clone, nullptr);
                cut(*clone, size, *to);
                const std::size_t left = std::min<std::size_t>(size, length);
                EXPECT_EQ(bytes_of(*clone),
                          bytes(frame.begin(), frame.begin() + static_cast<std::ptrdiff_t>(left)));
                std::size_t held = clone->head_length;
                for (const auto& s : std::span{clone->segments, clone->segment_count}) {
                    EXPECT_FALSE(s.empty());
                    held += s.size();
                }
                EXPECT_EQ(held, left) << length << " " << size;
                EXPECT_EQ(clone->offload.empty(), size < length);
                EXPECT_EQ(bytes_of(p), frame);
                EXPECT_FALSE(p.offload.empty());
            }
        }
    }
}

} // namespace
} // namespace strait::flow
