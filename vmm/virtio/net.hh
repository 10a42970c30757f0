// SPDX-License-Identifier: BSD-3-Clause
// The network device: VIRTIO 1.1, 5.1, with its packet queues served by a vhost-user back end and
// its control queue here. The guest's packets pass neither this process nor an exit of a vCPU.
//
// The back end may be absent when the guest boots, and may go and come back at any time: the guest
// keeps its queues, and the next back end goes on where the last one stopped.
#pragma once

#include "dataplane/file_descriptor.hh"
#include "dataplane/types.hh"
#include "ports/error.hh"
#include "vmm/device_thread.hh"
#include "vmm/event.hh"
#include "vmm/memory.hh"
#include "vmm/virtio/back_end.hh"
#include "vmm/virtio/device.hh"
#include "vmm/virtio/queue_server.hh"

#include <boost/asio/posix/stream_descriptor.hpp>
#include <boost/asio/steady_timer.hpp>

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

namespace strait::vmm::virtio {

inline constexpr std::uint16_t max_pairs = 16;

struct net_options {
    std::string name;             // for the log and the threads: "net0"
    std::string socket;           // its path
    bool server{false};           // listen there; the back end connects
    dataplane::mac_address mac{}; // the guest's
    std::uint16_t pairs{1};       // queue pairs, at most max_pairs; fewer if the back end has fewer
    std::uint16_t queue_size{256};      // descriptors of a ring at most; a power of two, to 1024
    std::optional<std::uint16_t> mtu{}; // bytes, told to guest and back end
    bool packed{false};                 // packed rings, if the back end has them
    // Checksums and segmentation, as the back end has them. Offered to a guest that boots before
    // its back end only if this is set: the back end must have them then.
    bool offloads_expected{false};
    bool offloads{true};
    std::chrono::milliseconds link_grace{5000}; // without a back end, until the guest is told
    // With a back end, for all that it is asked at a time: its greeting and its start, or its stop.
    // The guest waits for it.
    std::chrono::milliseconds patience{5000};
    thread_begin* begin{nullptr}; // its threads'; outlives the device
};

class net final : public device {
public:
    // Listens, if it is to. `ram` outlives it.
    [[nodiscard]] static ports::result<std::unique_ptr<net>> make(const net_options& o,
                                                                  const memory& ram);
    ~net() override;

    [[nodiscard]] std::uint16_t type() const noexcept override { return 1; }
    [[nodiscard]] std::uint64_t features() noexcept override;
    [[nodiscard]] std::uint16_t queues() const noexcept override
    {
        return static_cast<std::uint16_t>(2 * options_.pairs + 1);
    }
    [[nodiscard]] std::uint16_t max_queue_size(std::uint16_t /*queue*/) const noexcept override
    {
        return options_.queue_size;
    }
    [[nodiscard]] std::size_t config_size() const noexcept override;
    void read_config(std::size_t offset, std::span<std::byte> to) noexcept override;
    void attach(transport& t) noexcept override; // from then on it looks for a back end
    // Where rings lie is the guest's word, and no back end is to blame for it.
    [[nodiscard]] const char* fault_of(std::uint64_t features,
                                       std::span<const queue_setup> queues) const noexcept override;
    void start(std::uint64_t features, std::span<const queue_setup> queues) override;
    void stop(std::function<void()> done) override;

    // For people: any thread.
    struct driver { // the guest's, while it drives the device
        std::uint64_t features{0};
        std::uint16_t pairs{1}; // set up
        std::uint16_t used{1};  // of them
        std::uint16_t ring_size{0};
    };
    struct state {
        bool connected; // to a back end
        bool serving;   // it has the guest's rings
        std::uint64_t back_end_features;
        std::uint64_t connections; // so far
        std::optional<driver> agreed;
    };
    [[nodiscard]] state look() const;
    [[nodiscard]] const net_options& options() const noexcept { return options_; }

private:
    using seconds = std::chrono::seconds;

    // The guest's side while it drives the device.
    struct guest {
        std::uint64_t features;
        std::vector<queue_setup> queues; // of packets
        std::uint16_t pairs{1};          // in use
        bool served{false};              // some back end had the rings
    };

    net(const net_options& o, const memory& ram, dataplane::file_descriptor listener,
        event leaving);

    // All on the thread.
    void look_for_back_end();
    void look_again(std::chrono::milliseconds when);
    void accept();
    void met(dataplane::file_descriptor socket);
    void serve();
    void lost(const std::string& why);
    void watch();
    void settle_link();
    void set_link(bool up);
    void give_up_rings(const std::function<void()>& done);
    [[nodiscard]] const char* unfit() const;
    [[nodiscard]] std::vector<std::uint32_t> bases() const;
    void wake_both_sides() const;
    void complain(const std::string& what);

    // On the control queue's.
    queue_server::outcome control(chain& c);
    [[nodiscard]] bool command(std::uint8_t kind, std::uint8_t number, chain& c);
    [[nodiscard]] bool use_pairs(std::uint16_t pairs);

    net_options options_;
    const memory& ram_;
    transport* transport_{nullptr};
    event leaving_; // ends what the thread waits for of a back end

    mutable std::mutex mutex_; // of what follows; nothing is called that waits
    dataplane::mac_address mac_;
    bool link_{false};
    bool connected_{false};
    bool serving_{false};
    std::uint64_t connections_{0};
    std::optional<driver> agreed_;
    std::optional<std::uint64_t> back_end_features_; // of the last one
    unsigned back_end_pairs_{1};
    std::uint16_t told_pairs_{1}; // to the guest

    // The thread's.
    std::optional<back_end> back_end_;
    std::optional<guest> guest_;
    inflight_notes notes_;
    std::string complaint_; // the last one, said once
    std::chrono::steady_clock::time_point met_at_{};
    bool left_early_{false}; // the last one did, as soon as it was met
    dataplane::file_descriptor listener_;

    device_thread thread_;
    boost::asio::steady_timer again_{thread_.context()};
    boost::asio::steady_timer link_down_{thread_.context()};
    boost::asio::posix::stream_descriptor incoming_{thread_.context()};
    boost::asio::posix::stream_descriptor connection_{thread_.context()};
    std::optional<queue_server> control_queue_; // needs the thread
};

} // namespace strait::vmm::virtio
