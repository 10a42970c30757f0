// SPDX-License-Identifier: BSD-3-Clause
// A ring of a netif device as the guest's driver has it, in a page of the guest's own that the back
// end writes at the same time. The back end's side, which trusts nothing of this, is in
// ../netif.hh.
#pragma once

#include "ports/xen-netback/hypervisor.hh"
#include "ports/xen-netback/netif.hh"

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstring>

namespace strait::xen::simulated {

template <typename Request, typename Response, std::uint32_t Size>
class front_ring {
public:
    static constexpr std::uint32_t size = Size;
    using request = Request;
    using response = Response;

    front_ring() noexcept = default;
    // The page is made an empty ring.
    explicit front_ring(std::byte* page) noexcept : page_{page}
    {
        std::memset(page_, 0, page_size);
        field(netif::ring_field::req_event).store(1);
        field(netif::ring_field::rsp_event).store(1);
    }

    // ---- requests ----

    [[nodiscard]] std::uint32_t room() const noexcept { return size - (producer_ - consumer_); }
    [[nodiscard]] std::uint32_t producer() const noexcept { return producer_; }
    // A request, or what takes the place of one. There is room for it.
    template <typename T>
    void put(const T& value) noexcept
    {
        static_assert(sizeof(T) <= sizeof(Request));
        std::memcpy(slot(producer_++), &value, sizeof value);
    }
    // What was put is the back end's. True: it wants to be told.
    [[nodiscard]] bool publish() noexcept
    {
        const std::uint32_t before = field(netif::ring_field::req_prod).load();
        field(netif::ring_field::req_prod).store(producer_, std::memory_order_release);
        std::atomic_thread_fence(std::memory_order_seq_cst);
        return producer_ - field(netif::ring_field::req_event).load() < producer_ - before;
    }

    // ---- responses ----

    // More than were asked for: the back end is broken.
    [[nodiscard]] std::uint32_t ready() const noexcept
    {
        return field(netif::ring_field::rsp_prod).load(std::memory_order_acquire) - consumer_;
    }
    [[nodiscard]] std::uint32_t outstanding() const noexcept { return producer_ - consumer_; }
    [[nodiscard]] std::uint32_t consumer() const noexcept { return consumer_; }
    // What stands in the next slot, or one `behind` it, which stays to be taken.
    template <typename T = Response>
    [[nodiscard]] T peek(std::uint32_t behind = 0) const noexcept
    {
        static_assert(sizeof(T) <= sizeof(Request) || sizeof(T) <= sizeof(Response));
        T value;
        std::memcpy(&value, slot(consumer_ + behind), sizeof value);
        return value;
    }
    void drop(std::uint32_t count) noexcept { consumer_ += count; }
    // The next response is announced. False: one came just before that, so look again.
    [[nodiscard]] bool may_sleep() noexcept
    {
        field(netif::ring_field::rsp_event).store(consumer_ + 1);
        std::atomic_thread_fence(std::memory_order_seq_cst);
        return ready() == 0;
    }

    // ---- as it lies there, for guests that do what no driver does ----

    [[nodiscard]] std::atomic_ref<std::uint32_t> field(netif::ring_field f) const noexcept
    {
        return std::atomic_ref<std::uint32_t>{
            reinterpret_cast<std::uint32_t*>(page_)[static_cast<std::size_t>(f)]};
    }
    [[nodiscard]] std::byte* slot(std::uint32_t at) const noexcept
    {
        constexpr std::size_t stride =
            sizeof(Request) > sizeof(Response) ? sizeof(Request) : sizeof(Response);
        return page_ + netif::slots_offset + (at & (size - 1)) * stride;
    }

private:
    std::byte* page_{nullptr};
    std::uint32_t producer_{0}; // requests put
    std::uint32_t consumer_{0}; // responses taken
};

using tx_front_ring = front_ring<netif::tx_request, netif::tx_response, netif::ring_size>;
using rx_front_ring = front_ring<netif::rx_request, netif::rx_response, netif::ring_size>;
using control_front_ring =
    front_ring<netif::control_request, netif::control_response, netif::control_ring_size>;

} // namespace strait::xen::simulated
