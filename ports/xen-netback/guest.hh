// SPDX-License-Identifier: BSD-3-Clause
// What a worker knows of a connected Xen guest beside its rings: what its driver agreed to, which
// multicasts it wants, how fast it may send. Made by the control side with each connection.
#pragma once

#include "dataplane/counters.hh"
#include "dataplane/packet.hh"
#include "ports/xen-netback/hash.hh"
#include "ports/xen-netback/hypervisor.hh"

#include <algorithm>
#include <array>
#include <atomic>
#include <cstdint>
#include <span>

namespace strait::xen {

// What a guest's driver can receive, from its folder in the store.
struct frontend_features {
    bool scatter_gather{false};
    dataplane::offloads offloads{dataplane::offloads::none};
    bool multicast_control{false};
};

// The multicasts a guest wants, when it controls them. One worker's.
class multicast_filter {
public:
    static constexpr std::size_t capacity = 64;

    // Of a guest that told another process, which is gone: it gets all.
    void want_all() noexcept { all_ = true; }
    // False when it is full.
    bool add(dataplane::mac_address mac) noexcept
    {
        if (listed(mac)) {
            return true;
        }
        if (count_ == capacity) {
            return false;
        }
        macs_[count_++] = mac;
        return true;
    }
    void remove(dataplane::mac_address mac) noexcept
    {
        const auto end = macs_.begin() + static_cast<std::ptrdiff_t>(count_);
        count_ = static_cast<std::size_t>(std::remove(macs_.begin(), end, mac) - macs_.begin());
    }
    [[nodiscard]] bool wants(dataplane::mac_address mac) const noexcept
    {
        return all_ || listed(mac);
    }

private:
    [[nodiscard]] bool listed(dataplane::mac_address mac) const noexcept
    {
        const auto all = std::span{macs_}.first(count_);
        return std::find(all.begin(), all.end(), mac) != all.end();
    }

    std::array<dataplane::mac_address, capacity> macs_{};
    std::size_t count_{0};
    bool all_{false};
};

// The tool stack's limit on what a guest sends ("rate" in the backend's folder): so many bytes in
// so many microseconds. Frames beyond it wait in the guest's own ring. One worker's.
class credit {
public:
    credit() noexcept = default;
    // bytes 0 or usec 0: no limit.
    credit(std::uint64_t bytes, std::uint64_t usec, std::uint64_t tsc_hz) noexcept
        : bytes_{usec == 0 ? 0 : bytes}, period_{usec * (tsc_hz / 1'000'000)}, left_{bytes_}
    {}

    // Whether a frame may pass; if so it is charged.
    [[nodiscard]] bool take(std::uint32_t size, std::uint64_t now) noexcept
    {
        if (bytes_ == 0) {
            return true;
        }
        if (now - since_ >= period_) {
            since_ = now;
            // One frame of any size must fit, or it would wait for ever.
            left_ = std::min(left_ + bytes_, std::max(bytes_, longest_frame));
        }
        if (left_ < size) {
            return false;
        }
        left_ -= size;
        return true;
    }

private:
    static constexpr std::uint64_t longest_frame = 131'072;

    std::uint64_t bytes_{0}; // a period; 0: no limit
    std::uint64_t period_{0};
    std::uint64_t left_{0};
    std::uint64_t since_{0};
};

// What a worker counts of a guest beyond the port's counters.
struct guest_counters {
    dataplane::counter source_errors; // grants that it sent from and that could not be read
    dataplane::counter target_errors; // grants that it offered to receive into and that failed
    dataplane::counter copies;        // pieces copied on its behalf
    dataplane::counter notifications;
};

// Of one connection. The control side may change what is atomic; the rest is the worker's.
struct guest {
    xen::hypervisor* hypervisor;
    domain_id domain;
    frontend_features features;
    std::atomic<std::uint16_t> headroom{0};        // bytes in front of what it receives (XDP)
    std::atomic<const hash_config*> hash{nullptr}; // null: none asked for
    multicast_filter multicasts;
    credit rate;
    guest_counters counters;
};

} // namespace strait::xen
