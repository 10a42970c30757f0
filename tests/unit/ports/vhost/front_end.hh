// SPDX-License-Identifier: BSD-3-Clause
// Front ends for tests of vhost-user ports: one that sends whatever it is told, message by message,
// and a guest made of it and of drivers from test_ring.hh, which behaves.
#pragma once

#include "test_ring.hh"

#include "ports/vhost/message.hh"

#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

namespace strait::vhost::test {

inline constexpr std::uint32_t need_reply = 8;

// The features of a modern guest.
inline constexpr std::uint64_t split_features =
    feature_bits({feature::version_1, feature::mergeable_buffers, feature::protocol_features,
                  feature::event_index, feature::indirect});
inline constexpr std::uint64_t packed_features =
    split_features | feature_bits({feature::ring_packed});

// A connection to a port's socket, and nothing behind it.
class front_end {
public:
    // Throws std::system_error when nobody listens.
    explicit front_end(const std::string& path);
    // A connection that a port in client mode made.
    explicit front_end(int fd) noexcept : fd_{fd} {}
    front_end(front_end&& other) noexcept;
    front_end& operator=(front_end&& other) noexcept;
    ~front_end();

    // As they come; false when the other end is closed.
    bool send_raw(std::span<const std::byte> data, std::span<const int> fds = {});
    bool send(request r, std::span<const std::byte> payload, std::span<const int> fds = {},
              std::uint32_t flags = 1);
    template <typename T>
    bool send(request r, const T& payload, std::span<const int> fds = {},
              std::uint32_t flags = 1) requires std::is_trivially_copyable_v<T> &&
        (!requires { payload.data(); })
    {
        return send(r, std::as_bytes(std::span{&payload, 1}), fds, flags);
    }
    bool send(request r) { return send(r, std::span<const std::byte>{}); }

    // The payload of the next message from the port; nothing when it closes or says nothing.
    std::optional<bytes> answer(std::chrono::milliseconds patience = std::chrono::seconds{3});
    std::optional<std::uint64_t> ask(request r);
    // Sends with NEED_REPLY: 0 taken, else refused; nothing when the connection was closed.
    template <typename T>
    std::optional<std::uint64_t> try_out(request r, const T& payload, std::span<const int> fds = {})
    {
        return send(r, payload, fds, 1 | need_reply) ? number(answer()) : std::nullopt;
    }
    // The port closes the connection within this time.
    bool is_closed(std::chrono::milliseconds patience = std::chrono::seconds{3});

    // What any front end begins with. Every later message is answered, with features it has.
    void introduce(std::uint64_t features);
    void share(const guest_ram& ram);
    std::optional<std::uint64_t> try_to_share(const guest_ram& ram); // as try_out()
    [[nodiscard]] static bytes memory_table(std::span<const memory_region> regions);
    void set_ring(unsigned index, const driver& d, std::uint32_t base);
    void enable(unsigned index, bool yes); // and waits until the port has done so

    [[nodiscard]] int fd() const noexcept { return fd_; }

private:
    static std::optional<std::uint64_t> number(const std::optional<bytes>& payload);

    int fd_{-1};
};

// A guest whose front end is connected to a port and whose driver behaves.
class guest {
public:
    struct options {
        std::uint64_t features{split_features};
        std::uint16_t ring_size{64};
        std::size_t memory{std::size_t{4} << 20};
        unsigned pairs{1}; // of rings, all of them enabled; more than one need feature::multiqueue
    };
    explicit guest(const std::string& socket);
    guest(const std::string& socket, options o) : guest(front_end{socket}, o) {}
    guest(front_end f, options o);

    // Connects a new front end to the rings as they stand, as a VMM does whose back end restarted.
    void attach(const std::string& socket) { attach(front_end{socket}); }
    void attach(front_end f);
    void detach() { front_.reset(); }
    // Stops the device, as a VMM does at a reboot; another driver makes rings of its own, on the
    // same connection and in the same memory.
    void boot(options o);

    // Has the port work the first `count` pairs of rings and no others.
    void use(unsigned count);

    // A frame into a transmit ring; false when that is full. The port sees it with the next that is
    // shown.
    bool transmit(const bytes& frame, bool show = true, unsigned pair = 0);
    // The same behind this header.
    bool transmit(const net_header& h, const bytes& frame, bool show = true, unsigned pair = 0);
    // Frames that arrived, and buffers that were sent, since the last call.
    std::vector<bytes> receive();
    std::vector<bytes> receive(unsigned pair);
    struct arrived {
        net_header header;
        bytes frame;
    };
    std::vector<arrived> receive_with_headers(unsigned pair = 0);

    [[nodiscard]] front_end& front() noexcept { return *front_; }
    [[nodiscard]] guest_ram& ram() noexcept { return *ram_; }
    [[nodiscard]] driver& rx(unsigned pair = 0) noexcept { return *pairs_[pair].rx; }
    [[nodiscard]] driver& tx(unsigned pair = 0) noexcept { return *pairs_[pair].tx; }
    [[nodiscard]] std::size_t unsent(unsigned pair = 0) const noexcept
    {
        return pairs_[pair].unsent;
    }

private:
    struct ring_pair {
        std::unique_ptr<driver> rx;
        std::unique_ptr<driver> tx;
        std::vector<std::uint64_t> rx_buffers; // by token
        std::vector<std::uint64_t> tx_buffers;
        std::vector<std::size_t> rx_idle;
        std::vector<std::size_t> tx_idle;
        std::size_t unsent{0};
    };

    void make_rings();
    void begin();
    void refill(ring_pair& p);
    void collect_sent(ring_pair& p);

    static constexpr std::size_t buffer_size = 2048;

    options options_;
    std::unique_ptr<guest_ram> ram_;
    std::vector<ring_pair> pairs_;
    std::optional<front_end> front_;
};

} // namespace strait::vhost::test
