// SPDX-License-Identifier: BSD-3-Clause
// An end that is a NIC: what it sends leaves by a wire, at whose other end the switch under test
// has a NIC of its own. Any of DPDK's devices that straitd takes.
#pragma once

#include "bench/generator/endpoint.hh"
#include "ports/nic/device.hh"

#include <array>
#include <optional>
#include <string>
#include <vector>

struct rte_mbuf;
struct rte_mempool;

namespace strait::bench {

class nic_endpoint final : public endpoint {
public:
    // Starts DPDK's environment, the first of them, and opens the device.
    nic_endpoint(std::size_t which, const options& settings);
    ~nic_endpoint() override;

    void attach(std::chrono::milliseconds patience) override;
    void expect_connected() override;
    unsigned transmit(unsigned most, std::uint64_t now) noexcept override;
    void drop_waiting() noexcept override;
    unsigned receive(std::uint64_t now) noexcept override;

private:
    [[noreturn]] void fail(const std::string& what) const;
    void configure(const options& settings);
    [[nodiscard]] bool is_up() const noexcept;
    [[nodiscard]] rte_mbuf* make(std::uint64_t now) noexcept;

    std::string name_;
    std::optional<nic::device> device_; // before the pool, which it fills its rings from
    rte_mempool* pool_ = nullptr;
    std::array<rte_mbuf*, burst> waiting_{}; // made and not taken yet, the first first
    std::uint16_t waiting_count_ = 0;
    std::vector<std::byte> sent_;     // the frame that shape() changes
    std::vector<std::byte> gathered_; // of a frame in several buffers
};

} // namespace strait::bench
