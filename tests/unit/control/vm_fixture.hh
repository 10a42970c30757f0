// SPDX-License-Identifier: BSD-3-Clause
// A daemon and a VMM of the tests' own, what is said to straitctl between them, and a terminal to
// say it at.
#pragma once

#include "control/client.hh"
#include "control/methods.hh"
#include "control/print.hh"
#include "control/server.hh"
#include "control/vm.hh"
#include "control/vm_commands.hh"
#include "control/vm_folder.hh"

#include <boost/json/array.hpp>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <array>
#include <atomic>
#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <functional>
#include <iterator>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <thread>

#include <fcntl.h>
#include <poll.h>
#include <pty.h>
#include <sys/wait.h>
#include <unistd.h>

namespace strait::control::testing_support {

namespace asio = boost::asio;
namespace fs = std::filesystem;
namespace json = boost::json;
using namespace std::chrono_literals;

extern const char* const fake_vmm; // the program

// A daemon that has ports and nothing else.
class daemon {
public:
    explicit daemon(const std::string& run_dir)
    {
        rpc_.add("port.add", [this](const json::object& p) -> outcome<json::value> {
            const std::string name{std::string_view{p.at("name").as_string()}};
            if (refuse_) {
                return failure{failure_kind::not_found, "there is no bridge br0"};
            }
            const std::scoped_lock lock{mutex_};
            if (!ports_.emplace(name, p).second) {
                return failure{failure_kind::exists, "port " + name + " exists already"};
            }
            json::object added = p;
            added["warnings"] = json::array{"its MTU is another"};
            return json::value(std::move(added));
        });
        rpc_.add("port.del", [this](const json::object& p) -> outcome<json::value> {
            while (delay_) {
                std::this_thread::sleep_for(1ms);
            }
            const std::scoped_lock lock{mutex_};
            const auto name = std::string_view{p.at("name").as_string()};
            return json::value{{"removed", ports_.erase(std::string{name}) != 0}};
        });
        rpc_.add("port.show", [this](const json::object& p) -> outcome<json::value> {
            const std::scoped_lock lock{mutex_};
            const auto found = ports_.find(std::string{std::string_view{p.at("name").as_string()}});
            if (found == ports_.end()) {
                return failure{failure_kind::not_found, "there is no such port"};
            }
            json::object shown = found->second;
            if (const auto* found_socket = shown.if_contains("socket")) {
                const json::value socket = *found_socket; // which may move for another member
                shown["options"] = {{"socket", socket}};
                shown.erase("socket");
            }
            shown["link"] = "down";
            return json::value(shown);
        });
        server_ = server::listen(io_, run_dir + "/control.sock", rpc_).value();
        thread_ = std::thread{[this] { io_.run(); }};
    }
    ~daemon()
    {
        io_.stop();
        thread_.join();
    }
    daemon(const daemon&) = delete;
    daemon& operator=(const daemon&) = delete;

    void refuse(bool yes = true) { refuse_ = yes; }
    // Whether it takes its time, until it is told otherwise, to remove a port.
    void delay(bool yes) { delay_ = yes; }
    [[nodiscard]] std::map<std::string, json::object> ports()
    {
        const std::scoped_lock lock{mutex_};
        return ports_;
    }

private:
    std::atomic<bool> refuse_{false};
    std::atomic<bool> delay_{false};
    std::mutex mutex_;
    std::map<std::string, json::object> ports_;
    asio::io_context io_;
    rpc rpc_{methods()};
    std::unique_ptr<server> server_;
    std::thread thread_;
};

class vm : public testing::Test {
protected:
    vm()
    {
        std::string pattern = testing::TempDir() + "vm_XXXXXX";
        run_dir_ = ::mkdtemp(pattern.data());
        host_ = {.run_dir = run_dir_,
                 .vmm = fake_vmm,
                 .systemd = false,
                 .start_patience = 10s,
                 .insist_patience = 2s};
        daemon_.emplace(run_dir_);
    }
    ~vm() override
    {
        for (const auto& name : vm_names(run_dir_).value()) {
            (void)said("vm stop --force " + name);
        }
        daemon_.reset();
        fs::remove_all(run_dir_);
    }

    json::value done(const std::string& line)
    {
        const auto c = cli::parse(straitctl_program(), cli::split_words(line).value()).value();
        try {
            return do_vm_command(host_, *c.method, c.parameters);
        } catch (const call_error& e) {
            throw std::runtime_error{line + ": " + e.message};
        }
    }
    // The sentence, if it is refused; what it would have printed, if not.
    std::string said(const std::string& line)
    {
        const auto c = cli::parse(straitctl_program(), cli::split_words(line).value());
        if (c.has_error()) {
            return c.error().message;
        }
        try {
            return to_text(*c->method, do_vm_command(host_, *c->method, c->parameters));
        } catch (const call_error& e) {
            return (e.reached ? "" : "no answer: ") + e.message;
        }
    }
    [[nodiscard]] std::string folder(const std::string& name) const
    {
        return run_dir_ + "/vm/" + name;
    }
    void wait_for_end(const std::string& name) const
    {
        for (int i = 0; i < 500 && !vm_folder{run_dir_, name}.end(); ++i) {
            std::this_thread::sleep_for(10ms);
        }
    }

    static std::string content_of(const std::string& path)
    {
        std::ifstream file{path};
        return {std::istreambuf_iterator<char>{file}, {}};
    }

    std::string run_dir_;
    vm_host host_;
    std::optional<daemon> daemon_;
};

// At a terminal: what the relay writes to it, and types.
class at_terminal {
public:
    // What it does is its exit status.
    explicit at_terminal(const std::function<int()>& work)
    {
        process_ = ::forkpty(&master_, nullptr, nullptr, nullptr);
        if (process_ == 0) {
            ::_exit(work());
        }
    }
    ~at_terminal()
    {
        ::kill(process_, SIGKILL);
        ::close(master_);
    }
    at_terminal(const at_terminal&) = delete;
    at_terminal& operator=(const at_terminal&) = delete;

    void type(std::string_view text) const
    {
        EXPECT_EQ(::write(master_, text.data(), text.size()), static_cast<ssize_t>(text.size()));
    }
    // Whether it took all of it soon.
    [[nodiscard]] bool takes(std::string_view text) const
    {
        (void)::fcntl(master_, F_SETFL, O_NONBLOCK);
        pollfd state{.fd = master_, .events = POLLOUT, .revents = 0};
        while (!text.empty() && ::poll(&state, 1, 5000) == 1) {
            const ssize_t size = ::write(master_, text.data(), text.size());
            text.remove_prefix(static_cast<std::size_t>(std::max<ssize_t>(size, 0)));
        }
        return text.empty();
    }
    // Until it has shown this.
    [[nodiscard]] bool shows(std::string_view text)
    {
        pollfd state{.fd = master_, .events = POLLIN, .revents = 0};
        std::array<char, 1024> chunk{};
        while (shown_.find(text) == std::string::npos && ::poll(&state, 1, 5000) == 1) {
            const ssize_t size = ::read(master_, chunk.data(), chunk.size());
            if (size <= 0) {
                return false;
            }
            shown_.append(chunk.data(), static_cast<std::size_t>(size));
        }
        return shown_.find(text) != std::string::npos;
    }
    [[nodiscard]] int status() const
    {
        int status = -1;
        EXPECT_EQ(::waitpid(process_, &status, 0), process_);
        return status;
    }

private:
    int master_{-1};
    pid_t process_;
    std::string shown_;
};

} // namespace strait::control::testing_support
