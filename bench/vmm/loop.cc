// SPDX-License-Identifier: BSD-3-Clause
// strait-guest-loop SOCKET SOCKET SECONDS: what the bare-metal guest of tests/vmm does for its word
// `pass`, the same machine code, but as a process: its two devices are two vhost-user sockets, and
// there is no VMM.
#include "dataplane/file_descriptor.hh"
#include "ports/vhost/front_channel.hh"
#include "ports/vhost/virtio.hh"
#include "tests/vmm/guest/cpu.hh"
#include "tests/vmm/guest/traffic.hh"

#include <array>
#include <cerrno>
#include <chrono>
#include <cinttypes>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <span>
#include <stdexcept>
#include <string>
#include <system_error>
#include <tuple>
#include <utility>

#include <linux/memfd.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>

namespace strait::guest {

namespace {

using dataplane::file_descriptor;
using vhost::request;

constexpr std::uint16_t ring = 256;
constexpr std::uint32_t buffer = 2048;
constexpr std::uint32_t stride = (buffer + 4 + 16 + 63) & ~63U;
constexpr std::size_t page = 4096;
constexpr std::size_t ring_bytes = (virtqueue::bytes(ring) + page - 1) & ~(page - 1);
constexpr std::size_t queue_bytes =
    (ring_bytes + std::size_t{stride} * ring + page - 1) & ~(page - 1);
constexpr std::size_t frame_bytes = 64;
constexpr std::chrono::seconds patience{10};

void must(bool done)
{
    if (!done) {
        throw std::system_error{errno, std::generic_category()};
    }
}

// One of the two: a pair of rings in memory that the switch has, too, at the same addresses.
class device {
public:
    explicit device(const std::string& path)
        : channel_{vhost::front_channel::connect(path).value(), patience},
          memory_{::memfd_create("strait-guest-loop", MFD_CLOEXEC)}
    {
        constexpr std::size_t bytes = 2 * queue_bytes;
        must(::ftruncate(memory_.get(), bytes) == 0);
        void* const at = ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE,
                                memory_.get(), 0);
        must(at != MAP_FAILED);
        auto* const base = static_cast<std::byte*>(at);

        channel_.announce(request::set_owner).value();
        const std::uint64_t features =
            1ULL << vhost::feature::version_1 | 1ULL << vhost::feature::protocol_features;
        if ((channel_.ask(request::get_features).value() & features) != features) {
            throw std::runtime_error{path + ": the switch is too old"};
        }
        channel_.tell(request::set_protocol_features, "SET_PROTOCOL_FEATURES", std::uint64_t{0})
            .value();
        channel_.tell(request::set_features, "SET_FEATURES", features).value();
        const auto address = reinterpret_cast<std::uint64_t>(base);
        const vhost::memory_table table{1, 0, {{address, bytes, address, 0}}};
        const int fd = memory_.get();
        channel_.tell(request::set_mem_table, "SET_MEM_TABLE", table, {&fd, 1}).value();
        make(0, pair_.receive, base);
        make(1, pair_.transmit, base + queue_bytes);
        fill_queues(&pair_);
        hand_out(0, pair_.receive);
        hand_out(1, pair_.transmit);
    }

    [[nodiscard]] queue_pair& pair() noexcept { return pair_; }
    // Passes the loop's notifications on.
    void notify() noexcept
    {
        for (std::size_t i = 0; i < kicks_.size(); ++i) {
            if (std::exchange(notified_[i], none) != none) {
                (void)::eventfd_write(kicks_[i].get(), 1);
            }
        }
    }

private:
    void make(std::uint16_t index, data_queue& q, std::byte* at)
    {
        q.index = index;
        q.ring = virtqueue{{false, false, ring, 1}, at};
        q.notify = reinterpret_cast<std::uint64_t>(&notified_.at(index));
        q.length = buffer;
        q.stride = stride;
        q.buffers = at + ring_bytes + 4;
    }

    void hand_out(std::uint32_t index, const data_queue& q)
    {
        const virtqueue::places at = q.ring.where();
        channel_.tell(request::set_vring_num, "SET_VRING_NUM", vhost::vring_state{index, ring})
            .value();
        channel_.tell(request::set_vring_base, "SET_VRING_BASE", vhost::vring_state{index, 0})
            .value();
        channel_
            .tell(request::set_vring_addr, "SET_VRING_ADDR",
                  vhost::vring_address{index, 0, at.descriptors, at.device, at.driver, 0})
            .value();
        const file_descriptor call{::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)};
        kicks_.at(index) = file_descriptor{::eventfd(1, EFD_CLOEXEC | EFD_NONBLOCK)};
        must(call && kicks_.at(index));
        for (const auto& [r, name, fd] :
             {std::tuple{request::set_vring_call, "SET_VRING_CALL", call.get()},
              std::tuple{request::set_vring_kick, "SET_VRING_KICK", kicks_.at(index).get()}}) {
            channel_.tell(r, name, std::uint64_t{index}, {&fd, 1}).value();
        }
        channel_.tell(request::set_vring_enable, "SET_VRING_ENABLE", vhost::vring_state{index, 1})
            .value();
    }

    vhost::front_channel channel_;
    file_descriptor memory_;
    queue_pair pair_{};
    static constexpr std::uint16_t none = 0xffff;
    std::array<std::uint16_t, 2> notified_{none, none}; // a queue's index is written there
    std::array<file_descriptor, 2> kicks_;
};

// The guest's, but with these addresses.
std::array<std::byte, max_frame + 16> make_model(std::uint8_t destination, std::uint8_t source)
{
    std::array<std::byte, max_frame + 16> frame{};
    for (std::size_t i = 0; i < frame.size(); ++i) {
        frame[i] = static_cast<std::byte>(i * 7 + (i >> 8U));
    }
    const std::array<std::uint8_t, 14> head{0x52, 0x54, 0, 0, 0,      destination, 0x52,
                                            0x54, 0,    0, 0, source, 0x88,        0xb5};
    std::memcpy(frame.data(), head.data(), head.size());
    std::memcpy(frame.data() + mark_at, &mark, sizeof mark);
    return frame;
}

traffic run(traffic::kind what, device* sender, device& other, std::uint64_t count,
            std::uint8_t source, std::uint64_t cycles_of_all)
{
    const auto model = make_model(2, source);
    traffic t{};
    t.what = what;
    t.pairs = {&other.pair(), 1};
    t.sender = sender == nullptr ? nullptr : &sender->pair();
    t.model = {model.data(), frame_bytes};
    t.all = {model.data(), max_frame};
    t.count = count;
    t.deadline = cycles() + cycles_of_all;
    t.yields = true;
    while (static_cast<traffic::result>(run_traffic(&t)) == traffic::result::idle) {
        other.notify();
        if (sender != nullptr) {
            sender->notify();
        }
    }
    return t;
}

std::uint64_t cycles_per_second()
{
    using clock = std::chrono::steady_clock;
    const auto begin = clock::now();
    const std::uint64_t first = cycles();
    while (clock::now() - begin < std::chrono::milliseconds{50}) {}
    return (cycles() - first) * 20;
}

void pass(const char* from, const char* to, std::uint64_t seconds)
{
    device first{from};
    device second{to};
    const std::uint64_t second_cycles = cycles_per_second();
    // The switch learns where they are.
    (void)run(traffic::kind::transmit, nullptr, first, 1, 1, 5 * second_cycles);
    (void)run(traffic::kind::transmit, nullptr, second, 1, 2, 5 * second_cycles);
    std::puts("ready");
    std::fflush(stdout);
    const traffic t =
        run(traffic::kind::pass, &first, second, ~std::uint64_t{0}, 1, seconds * second_cycles);
    const double took =
        static_cast<double>(t.last_cycle - t.first_cycle) / static_cast<double>(second_cycles);
    std::printf("pass_bad=%" PRIu64 "\npass_frames_per_second=%.0f\n", t.bad,
                static_cast<double>(t.received) / took);
}

} // namespace

} // namespace strait::guest

int main(int argc, char** argv)
{
    if (argc != 4) {
        std::fputs("usage: strait-guest-loop SOCKET SOCKET SECONDS\n", stderr);
        return 2;
    }
    try {
        strait::guest::pass(argv[1], argv[2], std::strtoull(argv[3], nullptr, 10));
        return 0;
    } catch (const std::exception& e) {
        std::fprintf(stderr, "strait-guest-loop: %s\n", e.what());
        return 1;
    }
}
