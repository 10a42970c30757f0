// SPDX-License-Identifier: BSD-3-Clause
// A thread that takes what workers copied for one tap and writes it, as pcapng or as lines, to a
// client's connection or a file. Whoever does not take it loses packets, and then the capture; no
// worker ever waits. Who begins and ends it is capture_list.hh's and mirror_list.hh's business.
#pragma once

#include "dataplane/file_descriptor.hh"
#include "dataplane/tap.hh"

#include <atomic>
#include <chrono>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <vector>

namespace strait::control {

// A tap's outlet with rings for all workers.
[[nodiscard]] std::shared_ptr<dataplane::tap_outlet> make_ring_outlet(std::size_t workers);

class tap_writer {
public:
    enum class format : std::uint8_t { pcapng, lines };
    struct settings {
        tap_writer::format format{tap_writer::format::pcapng};
        std::uint64_t count{0};  // packets after which it ends; 0: none
        std::string only_port{}; // ends when there is no port of this name any more
        std::chrono::milliseconds patience{10'000}; // with who does not take anything
    };
    struct summary {
        std::uint64_t packets{0}; // written
        std::uint64_t lost{0};    // that found no room on the way here
        std::string why{};        // it ended, if not because it was asked to
    };

    // `wants_end` is called once, by the thread: the tap is then to be removed, and finish()
    // called. `ended`, once, before the thread ends.
    tap_writer(std::shared_ptr<dataplane::tap_outlet> from, settings s,
               std::function<void()> wants_end, std::function<void()> ended);
    // Waits for the thread, which is not to be waited for long: see abandon().
    ~tap_writer();
    tap_writer(const tap_writer&) = delete;
    tap_writer& operator=(const tap_writer&) = delete;

    // Once. A socket's other side may end it by shutting down its side.
    void start(dataplane::file_descriptor to);
    // Control: the ports, before workers see them.
    void ports_change(const dataplane::snapshot& config);
    // No worker uses the outlet any more: what is left is written, and then it ends.
    void finish() noexcept { finishing_.store(true, std::memory_order_release); }
    // The same, for who has no time: what is not taken at once is lost.
    void abandon() noexcept
    {
        abandoned_.store(true, std::memory_order_release);
        finish();
    }
    [[nodiscard]] summary result() const;

private:
    struct port_facts {
        std::string name;
        dataplane::port_index index;
    };
    struct interface {
        std::uint32_t number;
        dataplane::port_index index;
        std::uint64_t packets;
    };

    void run();
    void write_all();
    void want_end(const std::string& why);
    [[nodiscard]] bool drain();
    void put(const dataplane::tap_record& r, std::uint64_t time);
    void put_line(const dataplane::tap_record& r, std::uint64_t time, const std::string& name);
    [[nodiscard]] interface& interface_of(std::uint32_t incarnation, const port_facts& facts);
    [[nodiscard]] port_facts facts_of(std::uint32_t incarnation) const;
    void flush();
    void look_at_client(int wait_ms);
    void put_statistics();
    void note();
    [[nodiscard]] bool unsent() const noexcept { return sent_ < output_.size(); }

    std::shared_ptr<dataplane::tap_outlet> from_;
    settings settings_;
    std::function<void()> wants_end_;
    std::function<void()> ended_;
    dataplane::file_descriptor to_;
    bool socket_{false};
    std::thread thread_;
    std::atomic<bool> finishing_{false};
    std::atomic<bool> abandoned_{false};
    std::atomic<bool> port_gone_{false};

    mutable std::mutex mutex_;                  // of the two that follow
    std::map<std::uint32_t, port_facts> ports_; // by incarnation
    summary summary_;

    // The thread's own.
    std::map<std::uint32_t, interface> interfaces_; // by incarnation
    std::string output_;                            // always begins with a whole block
    std::size_t sent_{0};
    std::chrono::steady_clock::time_point progress_;
    std::uint64_t begun_{0}; // in nanoseconds since 1970, as what follows
    std::uint64_t last_{0};
    std::uint64_t packets_{0};
    bool asked_{false}; // for its end
    bool deaf_{false};  // nobody takes anything any more
    std::string why_;
};

} // namespace strait::control
