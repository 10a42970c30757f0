// SPDX-License-Identifier: BSD-3-Clause
// The other side of the ring engine, for its tests: a guest's memory and the driver of a virtqueue
// in it, written from VIRTIO 1.1 sections 2.6 and 2.7 and nothing of the engine's; and a worker
// that works one ring. Checks of what the engine did are in the tests.
#pragma once

#include "dataplane/packet.hh"
#include "ports/vhost/ring.hh"

#include <gtest/gtest.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <optional>
#include <ostream>
#include <random>
#include <span>
#include <string>
#include <vector>

namespace strait::vhost::test {

using bytes = std::vector<std::byte>;

// Bytes [address, address + size) of a guest.
struct guest_range {
    std::uint64_t address;
    std::uint64_t size;
};

// A guest's RAM: one memfd, each region of it mapped between inaccessible pages, so that an access
// beyond it ends the test. Sizes are multiples of 4 KiB.
class guest_ram {
public:
    explicit guest_ram(std::size_t size = std::size_t{1} << 20, std::uint64_t address = 0x10'0000);
    explicit guest_ram(std::span<const guest_range> regions);
    guest_ram(const guest_ram&) = delete;
    guest_ram& operator=(const guest_ram&) = delete;
    ~guest_ram();

    [[nodiscard]] const guest_memory& memory() const noexcept { return *memory_; }
    [[nodiscard]] int fd() const noexcept { return fd_; }
    [[nodiscard]] std::span<const guest_range> regions() const noexcept { return ranges_; }

    // Where `address` lies in this process; it must lie in a region.
    [[nodiscard]] std::byte* at(std::uint64_t address) const;
    template <typename T>
    [[nodiscard]] T& as(std::uint64_t address) const
    {
        return *reinterpret_cast<T*>(at(address));
    }
    void write(std::uint64_t address, std::span<const std::byte> from) const;
    [[nodiscard]] bytes read(std::uint64_t address, std::size_t size) const;

    // Room for a buffer or a ring; throws when there is none.
    [[nodiscard]] std::uint64_t allocate(std::size_t size, std::size_t alignment = 1);
    void free(std::uint64_t address);

    // All of it, region after region, and a comparison with it as it is now: the first address that
    // changed outside `allowed`.
    [[nodiscard]] bytes image() const;
    [[nodiscard]] std::optional<std::uint64_t>
    changed_outside(const bytes& before, std::span<const guest_range> allowed) const;

private:
    int fd_{-1};
    std::vector<guest_range> ranges_;
    std::vector<std::byte*> bases_;
    std::unique_ptr<guest_memory> memory_;
    std::map<std::uint64_t, std::uint64_t> free_;
    std::map<std::uint64_t, std::uint64_t> taken_;
};

struct buffer {
    std::uint64_t address;
    std::uint32_t length;
    bool writable{false};
};

struct returned {
    std::size_t token;
    std::uint32_t length;
    bool operator==(const returned&) const = default;
    friend std::ostream& operator<<(std::ostream& out, const returned& r)
    {
        return out << "chain " << r.token << " with " << r.length << " bytes";
    }
};

struct ring_options {
    bool packed{false};
    std::uint16_t size{256};
    std::uint64_t features{0}; // ring_packed is added when packed
    // Where the driver and the device begin.
    ring_index start{};
    // When set, free descriptors or identifiers are taken in random order.
    std::mt19937_64* shuffle{nullptr};

    [[nodiscard]] std::uint64_t all_features() const noexcept
    {
        return features | (packed ? std::uint64_t{1} << feature::ring_packed : 0);
    }
    [[nodiscard]] bool has(unsigned bit) const noexcept { return has_feature(features, bit); }
};

[[nodiscard]] constexpr std::uint64_t feature_bits(std::initializer_list<unsigned> list) noexcept
{
    std::uint64_t bits = 0;
    for (const unsigned bit : list) {
        bits |= std::uint64_t{1} << bit;
    }
    return bits;
}

// The driver of one virtqueue.
class driver {
public:
    virtual ~driver();
    driver(const driver&) = delete;
    driver& operator=(const driver&) = delete;

    // Makes a chain known to the device by the next publish(); false when descriptors have run out.
    // An indirect one's table is allocated and freed here.
    virtual bool add(std::span<const buffer> list, std::size_t token, bool indirect = false) = 0;
    bool add(std::initializer_list<buffer> list, std::size_t token, bool indirect = false)
    {
        return add(std::span{list.begin(), list.size()}, token, indirect);
    }
    // Kicks if the device asked for it.
    void publish();
    // Chains that the device returned since the last call. Throws on what a device must not do.
    virtual std::vector<returned> collect() = 0;

    virtual void want_interrupts(bool yes) = 0;
    // With event indices: an interrupt when the device returns the entry (split) or writes the
    // descriptor (packed) that is `distance` beyond what it has returned so far.
    virtual void want_interrupt_at(std::size_t distance) = 0;
    // Used entries (split) or descriptors (packed) that the device has returned since the start.
    [[nodiscard]] virtual std::size_t progress() const noexcept = 0;
    // What the device should say of its position after all it returned was collected.
    [[nodiscard]] virtual ring_index position() const noexcept = 0;

    // Descriptors, driver area, device area.
    [[nodiscard]] std::array<guest_range, 3> places() const noexcept { return places_; }
    // What of them the device may write.
    [[nodiscard]] virtual std::vector<guest_range> device_writes() const = 0;

    [[nodiscard]] ring_setup setup(ring_position* saved = nullptr) const;
    [[nodiscard]] const ring_options& options() const noexcept { return options_; }
    // Interrupts since the last call.
    [[nodiscard]] std::uint64_t interrupts() const;
    [[nodiscard]] int call_fd() const noexcept { return call_fd_; }
    [[nodiscard]] std::size_t kicks() const noexcept { return kicks_; }
    [[nodiscard]] int kick_fd() const noexcept { return kick_fd_; }

protected:
    driver(guest_ram& ram, const ring_options& options);

    // Makes all that was added the device's.
    virtual void show() = 0;
    // Whether it asks for a kick on anything shown since the last call.
    [[nodiscard]] virtual bool device_wants_kick() = 0;

    struct chain {
        std::size_t token{0};
        std::vector<std::uint16_t> descriptors; // split: of the ring; packed: their number counts
        std::uint64_t indirect{0};
    };
    [[nodiscard]] std::uint16_t take_free();
    void release(chain& c);
    void leave_order(std::uint16_t id);

    guest_ram& ram_;
    ring_options options_;
    std::array<guest_range, 3> places_{};
    std::deque<std::uint16_t> free_;
    std::map<std::uint16_t, chain> in_flight_; // by identifier
    std::deque<std::uint16_t> order_;
    int call_fd_;
    int kick_fd_;
    std::size_t kicks_{0};
};

[[nodiscard]] std::unique_ptr<driver> make_driver(guest_ram& ram, const ring_options& options);

// What a worker has for a port, and time that passes as it likes.
class worker_side {
public:
    worker_side();

    // One poll, after time enough that nothing is left to gather, and its release.
    std::vector<bytes> take(source& s);
    ports::rx_queue::poll poll(source& s); // into burst()
    void release(source& s);               // of the last poll(), and tells the guest
    void send(sink& s, std::span<dataplane::packet* const> packets);

    [[nodiscard]] dataplane::burst& burst() noexcept { return *burst_; }
    [[nodiscard]] dataplane::port_counters& counters() noexcept { return *counters_; }
    [[nodiscard]] std::uint64_t drops(dataplane::drop_reason reason) const noexcept;
    [[nodiscard]] std::uint64_t drops() const noexcept; // of every reason
    [[nodiscard]] ports::queue_context context() noexcept
    {
        return {now_, nullptr, counters_.get(), &notifications_, nullptr, packet_cost};
    }
    void pass(std::uint64_t cycles) noexcept { now_ += cycles; }
    void flush() noexcept { notifications_.flush(); } // as at an iteration's end
    std::uint64_t packet_cost{200};

private:
    std::unique_ptr<dataplane::burst> burst_;
    std::unique_ptr<dataplane::port_counters> counters_; // aligned more than a stack may be
    ports::notification_list notifications_;
    std::uint64_t now_{std::uint64_t{1} << 40};
    unsigned sends_{0};
};

// A packet of the switch's own making: its head in private memory, its payload in pieces.
class test_packet {
public:
    // `head` bytes of the frame are its head (at most head_copy); the rest is cut into pieces of
    // `piece` bytes.
    explicit test_packet(bytes frame, std::size_t head = dataplane::head_copy,
                         std::size_t piece = SIZE_MAX);
    [[nodiscard]] dataplane::packet* get() noexcept { return slot_.get(); }
    [[nodiscard]] const bytes& frame() const noexcept { return frame_; }

private:
    bytes frame_;
    std::unique_ptr<dataplane::packet_slot> slot_;
    std::vector<std::unique_ptr<std::byte[]>> pieces_; // each its own, for ASan
    std::vector<dataplane::guest_span> segments_;
};

// The two kinds of ring, as a test's parameter: true is packed.
[[nodiscard]] std::string kind_name(const testing::TestParamInfo<bool>& param);
[[nodiscard]] bytes frame_of(const dataplane::packet& p);
[[nodiscard]] bytes random_bytes(std::mt19937_64& random, std::size_t size);
// Uniform in [low, high].
[[nodiscard]] std::size_t pick(std::mt19937_64& random, std::size_t low, std::size_t high);

} // namespace strait::vhost::test
