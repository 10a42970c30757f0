// SPDX-License-Identifier: BSD-3-Clause
// Mirrors by name: copies of packets to a port, a VLAN or a file, for as long as the mirror is
// there. What workers do about it is dataplane/tapper.hh; the words are the service's.
#pragma once

#include "control/failure.hh"
#include "control/switch.hh"
#include "control/tap_writer.hh"

#include <boost/asio/io_context.hpp>

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace strait::control {

struct mirror_request {
    std::string name;
    std::string bridge;
    bool all{false};
    std::vector<std::string> source_ports{};
    std::vector<std::string> destination_ports{};
    std::optional<std::vector<std::uint16_t>> vlans{};
    std::string flow{}; // as it was said; empty: all
    std::vector<flow::match> flows{};
    // One of these.
    std::optional<std::string> output_port{};
    std::optional<std::uint16_t> output_vlan{};
    std::optional<std::string> output_file{};
    std::optional<std::uint32_t> snaplen{};
};

// All calls from the control thread, which runs `io`.
class mirror_list {
public:
    static constexpr std::size_t most = 32; // in the switch: packets have a bit for each

    struct mirror {
        mirror_request request;
        std::shared_ptr<dataplane::tap_outlet> outlet;
        tap_id tap{0};                        // 0: it sends nothing any more
        std::unique_ptr<tap_writer> writer{}; // of a file
        std::uint64_t serial{0};
        std::string error{};
    };
    struct totals {
        std::uint64_t packets{0};
        std::uint64_t bytes{0};
        std::uint64_t drops{0};
    };

    // Both outlive it.
    mirror_list(boost::asio::io_context& io, virtual_switch& sw);
    ~mirror_list();
    mirror_list(const mirror_list&) = delete;
    mirror_list& operator=(const mirror_list&) = delete;

    outcome<void> add(mirror_request request);
    // False: there is none.
    bool remove(const std::string& name);
    // Those of a bridge that went.
    void forget_bridge(const std::string& name);
    // A port has another name: mirrors that name it say so. The switch has seen to their taps.
    void rename_port(const std::string& from, const std::string& to);

    // Whether one whose file is there already, as another switch wrote it, writes the next of
    // FILE.1, FILE.2, …
    void continue_files(bool does) noexcept { continues_files_ = does; }

    [[nodiscard]] const std::map<std::string, mirror>& all() const noexcept { return all_; }
    [[nodiscard]] static totals count(const mirror& m);

private:
    [[nodiscard]] outcome<void> check_ports(const mirror_request& r) const;
    [[nodiscard]] outcome<std::uint32_t> free_bit() const;
    outcome<void> open_file(mirror& m);
    void stop(mirror& m);
    void file_failed(const std::string& name, std::uint64_t serial);

    boost::asio::io_context& io_;
    virtual_switch& switch_;
    std::map<std::string, mirror> all_;
    std::uint64_t last_serial_{0};
    bool continues_files_{false};
    std::shared_ptr<bool> alive_{std::make_shared<bool>(true)}; // for what is posted
};

} // namespace strait::control
