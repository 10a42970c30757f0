// SPDX-License-Identifier: BSD-3-Clause
// One queue of a guest's network device, as Linux's driver works it: frames into the transmit ring,
// buffers into the receive ring, events asked for only before it sleeps. The device, its place in
// the store and its states are netfront.hh's.
#pragma once

#include "ports/xen-netback/simulated/front_ring.hh"
#include "ports/xen-netback/simulated/simulated_guest.hh"

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

namespace strait::xen::simulated {

// What a frame leaves undone, and what else travels with it.
struct frame_extras {
    bool checksum_blank{false};     // TCP's or UDP's: only the pseudo-header is summed
    bool checksum_validated{false}; // blank ones are said to be, too
    std::uint16_t segment_size{0};  // TCP payload bytes of each segment to cut; 0: none
    bool segments_ipv6{false};
};

struct sent_frame {
    std::span<const std::byte> bytes; // up to 65,535
    frame_extras extras{};
    // Bytes in each slot but the last ones, which have a page each; none may be longer than that.
    std::span<const std::uint16_t> cuts{};
    std::uint16_t offset{0}; // of the first slot's bytes in their page
};

struct received_frame {
    std::span<const std::byte> bytes; // until the next call
    frame_extras extras;
    std::uint16_t headroom; // in front of it, as the back end's extra info says
    std::uint8_t hash_type; // one of netif::hash_type's bits; 0: no hash
    std::uint32_t hash;
    std::uint32_t slots;
};

struct netfront_counts {
    std::uint64_t tx_frames{0}; // put into the ring
    std::uint64_t tx_bytes{0};
    std::uint64_t tx_slots{0}; // extra infos among them
    std::uint64_t tx_okay{0};  // answers, by status; those to extra infos are not counted
    std::uint64_t tx_error{0};
    std::uint64_t tx_dropped{0};
    std::uint64_t rx_frames{0};
    std::uint64_t rx_bytes{0};
    std::uint64_t rx_slots{0};
    std::uint64_t rx_errors{0}; // frames that the back end says it could not copy
    std::uint64_t notifications{0};
    netfront_counts& operator+=(const netfront_counts& other) noexcept;
};

// One thread. Destroyed before its guest.
class netfront_queue {
public:
    struct settings {
        domain_id backend{};
        bool split_channels{true};
        std::uint32_t receive_buffers{netif::ring_size}; // 1 to that
    };
    // Both rings, their channels, and all the pages that will ever be granted.
    [[nodiscard]] static result<std::unique_ptr<netfront_queue>> make(simulated_guest& g,
                                                                      settings s);
    ~netfront_queue();
    netfront_queue(const netfront_queue&) = delete;
    netfront_queue& operator=(const netfront_queue&) = delete;

    [[nodiscard]] grant_ref tx_ring_ref() const noexcept { return tx_ring_ref_; }
    [[nodiscard]] grant_ref rx_ring_ref() const noexcept { return rx_ring_ref_; }
    // The same twice without split channels.
    [[nodiscard]] event_port tx_port() const noexcept { return tx_channel_.port; }
    [[nodiscard]] event_port rx_port() const noexcept;

    // ---- sending ----

    // Slots that are free, each for a page or an extra info.
    [[nodiscard]] std::uint32_t room() const noexcept { return tx_.room(); }
    [[nodiscard]] static std::uint32_t slots_of(const sent_frame& f) noexcept;
    // Copies the frame into pages of its own. False: the ring has no room.
    [[nodiscard]] bool send(const sent_frame& f) noexcept;
    // The message that the guest wants, or no longer wants, frames to that multicast address.
    [[nodiscard]] bool send_multicast(bool add, std::span<const std::uint8_t, 6> mac) noexcept;
    // What was sent is the back end's, which is told if it wants to be.
    void publish_sent() noexcept;
    // Takes answers, and their pages back.
    void reap() noexcept;

    // ---- receiving ----

    // Gives the ring all buffers that are not in it.
    void refill() noexcept;
    // Calls `take` with each frame that is there, `most` at most, and gives their buffers to the
    // ring again. Returns how many.
    template <typename Take>
    std::size_t receive(std::size_t most, Take&& take)
    {
        std::size_t count = 0;
        received_frame f;
        while (count < most && next_frame(f)) {
            take(static_cast<const received_frame&>(f));
            ++count;
        }
        refill();
        return count;
    }

    // ---- sleeping ----

    // The next answers and frames are announced. False: there are some, so look again.
    [[nodiscard]] bool may_sleep() noexcept;
    // Readable when something was announced.
    [[nodiscard]] std::array<int, 2> descriptors() const noexcept;
    void take_events() noexcept;
    // As after an interruption of any kind: the back end is told to look.
    void notify() noexcept;

    [[nodiscard]] const netfront_counts& counts() const noexcept { return counts_; }
    // What the back end did that none may do, a sentence; empty: nothing. Nothing is done then.
    [[nodiscard]] const std::string& violation() const noexcept { return violation_; }
    // Takes every grant back. False: the back end still has some in use; to be tried again.
    [[nodiscard]] bool revoke_all() noexcept;

    // For guests that do what no driver does.
    [[nodiscard]] tx_front_ring& tx() noexcept { return tx_; }
    [[nodiscard]] rx_front_ring& rx() noexcept { return rx_; }
    [[nodiscard]] std::byte* tx_page(std::uint16_t id) noexcept
    {
        return tx_pages_ + id * page_size;
    }
    [[nodiscard]] std::byte* rx_page(std::uint32_t id) noexcept
    {
        return rx_pages_ + id * page_size;
    }
    [[nodiscard]] grant_ref tx_grant(std::uint16_t id) const noexcept { return tx_grants_.at(id); }
    [[nodiscard]] grant_ref rx_grant(std::uint16_t id) const noexcept { return rx_grants_.at(id); }

private:
    netfront_queue(simulated_guest& g, settings s) noexcept : guest_{g}, settings_{s} {}
    [[nodiscard]] result<void> open();
    [[nodiscard]] bool next_frame(received_frame& f) noexcept;
    [[nodiscard]] bool take_extras(received_frame& f, std::uint32_t ready,
                                   std::uint32_t& used) noexcept;
    [[nodiscard]] bool end_rx_grant(std::uint32_t at) noexcept;
    void put_extras(const frame_extras& e, std::uint16_t& flags) noexcept;
    void violate(const char* what) noexcept;
    void tell(event_channel& c) noexcept;
    [[nodiscard]] event_channel& rx_channel() const noexcept;

    static constexpr std::size_t ring_pages = 2;
    static constexpr std::uint32_t pages = ring_pages + 2 * netif::ring_size;
    static constexpr std::size_t longest_frame = 65'535;
    static constexpr std::uint16_t not_used = 0xffff;

    simulated_guest& guest_;
    const settings settings_;
    std::byte* memory_{
        nullptr}; // `pages` of them: the rings, then what is sent, then what is received
    std::byte* tx_pages_{nullptr};
    std::byte* rx_pages_{nullptr};
    tx_front_ring tx_;
    rx_front_ring rx_;
    grant_ref tx_ring_ref_{};
    grant_ref rx_ring_ref_{};
    std::vector<grant_ref> references_; // all that were reserved
    std::vector<grant_ref> tx_grants_;  // by id
    std::vector<grant_ref> rx_grants_;
    simulated_guest::offered tx_channel_{};
    simulated_guest::offered rx_channel_{}; // no end without split channels
    std::vector<std::uint16_t> free_ids_;
    std::array<bool, netif::ring_size> tx_in_use_{};
    std::vector<std::byte> assembled_; // a frame of several slots
    bool revoked_{false};
    netfront_counts counts_;
    std::string violation_;
};

} // namespace strait::xen::simulated
