// SPDX-License-Identifier: BSD-3-Clause
// Signals, consoles and reboots around a machine.
#include "vmm/runner.hh"

#include "control/ignored_signal.hh"
#include "control/log.hh"
#include "ports/vhost/feature_names.hh"
#include "vmm/control.hh"
#include "vmm/devices/console.hh"
#include "vmm/jail.hh"
#include "vmm/seccomp.hh"
#include "vmm/stdio.hh"

#include <boost/asio/io_context.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/signal_set.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/json/array.hpp>
#include <boost/json/object.hpp>
#include <boost/json/value_from.hpp>

#include <atomic>
#include <csignal>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

#include <sys/resource.h>
#include <unistd.h>

namespace strait::vmm {

namespace {

using control::log;
using control::log_level;
using control::log_limited;
using ports::error;
using ports::result;
namespace asio = boost::asio;
namespace json = boost::json;

// One process's guest, over all of its reboots. All on the main thread but for the hooks.
class runner {
public:
    runner(const config& c, resources r, boot_times::clock::time_point begun)
        : config_{c}, resources_{std::move(r)}, begun_{begun}
    {}

    result<exit_status> run()
    {
        auto opened = console::open(io_, config_.console, {.file = std::move(resources_.console)});
        if (opened.has_error()) {
            return opened.error();
        }
        console_ = std::move(opened).value();
        console_->set_input([this](std::span<const std::byte> input) {
            return machine_ ? machine_->type(input) : input.size();
        });
        if (!config_.control.empty()) {
            auto listening = control_service::listen(io_, config_, calls());
            if (listening.has_error()) {
                return listening.error();
            }
            control_ = std::move(listening).value();
        }
        for (const int number : ending_signals) {
            if (!control::is_ignored(number)) {
                signals_.add(number);
            }
        }
        wait_for_signals();
        mask_ending_signals(SIG_UNBLOCK);
        // Before there is any other thread, so that none is without a filter for a moment.
        if (config_.jail.enabled) {
            if (auto confined = confine(thread_kind::main, config_.bounded_log);
                confined.has_error()) {
                return confined.error();
            }
        }
        for (;;) {
            auto made = machine::make(config_, resources_, hooks());
            if (made.has_error() && machines_ > 1) {
                log(log_level::error, "vm", "the guest cannot begin anew: " + made.error().message);
                return exit_status::failed;
            }
            if (made.has_error()) {
                return made.error();
            }
            end_.reset();
            machine_ = std::move(made).value();
            if (auto started = machine_->start(); started.has_error()) {
                return started.error();
            }
            io_.restart();
            io_.run();
            const guest_end ended = end_.value_or(guest_end{});
            machine_.reset();
            if (const auto status = judge(ended)) {
                return *status;
            }
        }
    }

private:
    machine_hooks hooks()
    {
        machine_hooks h;
        h.console = [this](std::byte b) { console_->put({&b, 1}); };
        // A guest may say it without end, and what one machine said must not end the next.
        h.ended = [this, number = ++machines_,
                   said = std::make_shared<std::atomic<bool>>(false)](guest_end e) {
            if (said->exchange(true)) {
                return;
            }
            asio::post(io_, [this, number, e = std::move(e)]() mutable {
                if (number == machines_) {
                    end(std::move(e));
                }
            });
        };
        if (config_.jail.enabled) {
            const bool bounded = config_.bounded_log;
            h.device_thread = [bounded] { return confine(thread_kind::device, bounded); };
            h.vcpu_thread = [bounded] { return confine(thread_kind::vcpu, bounded); };
        }
        return h;
    }

    machine_calls calls()
    {
        machine_calls c;
        c.pause = [this] { machine_->pause(); };
        c.resume = [this] { machine_->resume(); };
        c.stop = [this](bool force, std::chrono::seconds patience) { stop(force, patience); };
        c.info = [this] { return info(); };
        c.stats = [this] { return stats(); };
        return c;
    }

    [[nodiscard]] json::object info() const
    {
        json::array nets;
        for (const virtio::net* n : machine_->nets()) {
            const auto now = n->look();
            json::object net{{"name", n->options().name},
                             {"mac", n->options().mac.to_string()},
                             {"socket", n->options().socket},
                             {"connected", now.connected},
                             {"serving", now.serving},
                             {"connections", now.connections},
                             {"ring_kind", nullptr},
                             {"ring_size", nullptr},
                             {"queues", nullptr},
                             {"queues_used", nullptr},
                             {"features", nullptr}};
            if (const auto& agreed = now.agreed) {
                net["ring_kind"] = vhost::ring_kind_of(agreed->features);
                net["ring_size"] = agreed->ring_size;
                net["queues"] = agreed->pairs;
                net["queues_used"] = agreed->used;
                net["features"] = json::value_from(vhost::names_of(agreed->features));
            }
            nets.push_back(std::move(net));
        }
        const char* const state = machine_->paused() ? "paused"
                                  : asked_to_end_    ? "stopping"
                                                     : "running";
        return {{"state", state}, {"nets", std::move(nets)}};
    }

    [[nodiscard]] json::object stats() const
    {
        json::object exits;
        for (std::size_t i = 0; i < exit_reasons; ++i) {
            const auto reason = static_cast<exit_reason>(i);
            exits[name_of(reason)] = machine_->exits(reason);
        }
        const boot_times& t = machine_->times();
        const auto since_begin = [this](boot_times::clock::time_point then) -> json::value {
            if (then == boot_times::clock::time_point{}) {
                return nullptr;
            }
            return std::chrono::duration_cast<std::chrono::microseconds>(then - begun_).count();
        };
        const boot_times::clock::time_point spoke{boot_times::clock::duration{t.spoke.load()}};
        return {{"exits", std::move(exits)},
                {"boot_us",
                 {{"made", since_begin(t.made)},
                  {"loaded", since_begin(t.loaded)},
                  {"running", since_begin(t.running)},
                  {"first_output", since_begin(spoke)}}},
                {"console_lost", console_->lost()}};
    }

    void end(guest_end e)
    {
        if (!end_) {
            end_ = std::move(e);
            io_.stop();
        }
    }

    [[nodiscard]] static std::string what_reset(const guest_end& e)
    {
        return "the guest has reset itself" + (e.detail.empty() ? "" : " " + e.detail);
    }

    // Nothing: the guest begins anew.
    [[nodiscard]] std::optional<exit_status> judge(const guest_end& e) const
    {
        switch (e.how) {
        case guest_end::kind::power_off:
            return exit_status::powered_off;
        case guest_end::kind::reset:
            if (asked_to_end_) { // it switches itself off by a reset
                return exit_status::powered_off;
            }
            if (config_.reboot) { // and as often as it likes
                log_limited(log_level::info, "vm", what_reset(e) + " and begins anew");
                return std::nullopt;
            }
            log(log_level::info, "vm", what_reset(e));
            return exit_status::reset;
        case guest_end::kind::stopped:
            return exit_status::killed;
        case guest_end::kind::failed:
            break;
        }
        log(log_level::error, "vm", "the guest cannot go on: " + e.detail);
        return exit_status::failed;
    }

    void wait_for_signals()
    {
        signals_.async_wait([this](boost::system::error_code cancelled, int /*number*/) {
            if (!cancelled) {
                stop(asked_to_end_, power_off_patience);
                wait_for_signals();
            }
        });
    }

    // Asks the guest, and insists when it has not done so in time.
    void stop(bool insist, std::chrono::seconds patience)
    {
        if (insist) {
            end({guest_end::kind::stopped, {}});
            return;
        }
        asked_to_end_ = true;
        machine_->resume();
        machine_->press_power_button();
        remind();
        patience_.expires_after(patience);
        patience_.async_wait([this, patience](boost::system::error_code cancelled) {
            if (!cancelled) {
                log(log_level::warning, "vm",
                    "the guest did not switch itself off within " +
                        std::to_string(patience.count()) + " s and was ended" +
                        (machine_->power_button_seen() ? ""
                                                       : ": it never looked at its power button"));
                end({guest_end::kind::stopped, {}});
            }
        });
    }

    void remind()
    {
        constexpr std::chrono::milliseconds again{250};
        reminder_.expires_after(again);
        reminder_.async_wait([this](boost::system::error_code cancelled) {
            if (!cancelled) {
                machine_->remind_of_power_button();
                remind();
            }
        });
    }

    const config& config_;
    resources resources_;
    boot_times::clock::time_point begun_;
    asio::io_context io_{1};
    asio::signal_set signals_{io_};
    asio::steady_timer patience_{io_};
    asio::steady_timer reminder_{io_};
    std::unique_ptr<console> console_;
    std::unique_ptr<machine> machine_;
    std::unique_ptr<control_service> control_;
    std::optional<guest_end> end_;
    std::uint64_t machines_{0}; // so far
    bool asked_to_end_{false};
};

// Where sockets are that are made, or looked for, while the guest runs.
std::vector<shown_folder> folders_of(const config& c)
{
    std::vector<shown_folder> all;
    const auto add = [&all](const std::string& path, std::string_view option) {
        if (!path.empty()) {
            all.push_back({std::filesystem::path{path}.parent_path(), option});
        }
    };
    if (const auto socket = path_of(c.console, console_socket)) {
        add(std::string{*socket}, "--console");
    }
    add(c.control, "--control");
    for (const virtio::net_options& n : c.nets) {
        add(n.socket, "--net socket");
    }
    return all;
}

// A jail shows its guest's sockets by the folders that they are in, with whatever else is there.
void warn_of_company(const config& c, const std::vector<shown_folder>& folders)
{
    if (!c.jail.enabled || ::geteuid() != 0) {
        return;
    }
    for (const auto& [folder, option] : folders) {
        std::error_code ignored;
        if (std::filesystem::exists(folder + "/control.sock", ignored)) {
            log(log_level::warning, "vm",
                "in its jail the guest's VMM can reach all that is in " + folder +
                    ", the control socket of the switch, too: put the guest's sockets into a "
                    "folder of their own");
            return;
        }
    }
}

} // namespace

int run(const config& c, boot_times::clock::time_point begun)
{
    if (c.jail.enabled) {
        (void)::close_range(STDERR_FILENO + 1, ~0U, 0); // what was inherited is nobody's
    }
    if (c.bounded_log) {
        if (!control::set_log_file_limit(log_file_limit)) {
            log(log_level::warning, "vm",
                "--bounded-log has no effect: stderr is no file that is appended to (2>>FILE)");
        }
    }
    if (c.realtime) {
        // vCPUs ask for it when the right to have any is gone.
        const rlimit priority{*c.realtime, *c.realtime};
        (void)::setrlimit(RLIMIT_RTPRIO, &priority);
    }
    const auto refuse = [](const error& e) {
        log(log_level::error, "vm", e.message);
        return static_cast<int>(exit_status::refused);
    };
    auto opened = resources::open(c);
    if (opened.has_error()) {
        return refuse(opened.error());
    }
    const auto folders = folders_of(c);
    warn_of_company(c, folders);
    const stdio_settings stdio;
    const auto status = run_jailed(c.jail, folders, [&] {
        const auto ended = runner{c, std::move(opened).value(), begun}.run();
        return ended.has_error() ? refuse(ended.error()) : static_cast<int>(*ended);
    });
    constexpr int by_signal = 128;
    if (c.console == "stdio" && status.has_value() && *status > by_signal) {
        stdio.put_back(); // who was killed did not
    }
    return status.has_error() ? refuse(status.error()) : *status;
}

} // namespace strait::vmm
