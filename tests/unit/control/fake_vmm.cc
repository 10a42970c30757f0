// SPDX-License-Identifier: BSD-3-Clause
// strait-vmm without a guest: its options, its control socket and its exit statuses are the real
// ones. How it behaves is said by the kernel's command line.
#include "ports/unix_socket.hh"
#include "vmm/config.hh"
#include "vmm/control.hh"
#include "vmm/devices/console.hh"
#include "vmm/exit_status.hh"

#include <boost/asio/io_context.hpp>
#include <boost/asio/local/stream_protocol.hpp>
#include <boost/asio/write.hpp>

#include <array>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include <unistd.h>

namespace {

namespace asio = boost::asio;
using namespace strait::vmm;
using local = asio::local::stream_protocol;

[[noreturn]] void end(exit_status how)
{
    ::_exit(static_cast<int>(how));
}

// A guest that says what is typed, if it takes any of it.
class echo {
public:
    echo(asio::io_context& io, const std::string& path, bool takes)
        : acceptor_{io, local::endpoint{path}}, takes_{takes}
    {
        accept();
    }

private:
    // Who comes takes the place of who was there.
    void accept()
    {
        acceptor_.async_accept([this](boost::system::error_code, local::socket s) {
            socket_.emplace(std::move(s));
            (void)asio::write(*socket_, asio::buffer("login: ", 7));
            if (takes_) {
                read();
            }
            accept();
        });
    }
    void read()
    {
        socket_->async_read_some(asio::buffer(chunk_),
                                 [this](boost::system::error_code failed, std::size_t size) {
                                     if (!failed) {
                                         (void)asio::write(*socket_, asio::buffer(chunk_, size));
                                         read();
                                     }
                                 });
    }

    local::acceptor acceptor_;
    bool takes_;
    std::optional<local::socket> socket_;
    std::array<char, 1024> chunk_{};
};

int run(const config& c)
{
    const std::string& how = c.command_line;
    if (how == "is refused") {
        std::fprintf(stderr, "strait-vmm: the kernel %s is no kernel\n", c.kernel.c_str());
        end(exit_status::refused);
    }
    if (how == "ends at once") {
        end(exit_status::powered_off);
    }
    if (how == "never answers") {
        for (;;) {
            ::pause();
        }
    }
    asio::io_context io;
    std::optional<echo> console;
    if (const auto socket = path_of(c.console, console_socket)) {
        console.emplace(io, std::string{*socket}, how != "takes no input");
    }
    std::string state = "running";
    const machine_calls calls{.pause = [&] { state = "paused"; },
                              .resume = [&] { state = "running"; },
                              .stop =
                                  [&](bool force, std::chrono::seconds) {
                                      state = "stopping";
                                      if (how == "fails") {
                                          std::fputs("2024-01-01T00:00:00.000Z error vm: it is "
                                                     "broken\n",
                                                     stderr);
                                          end(exit_status::failed);
                                      }
                                      if (force && how != "hears nothing") {
                                          end(exit_status::killed);
                                      }
                                      if (how.empty()) {
                                          io.stop();
                                      }
                                  },
                              .info =
                                  [&] {
                                      return boost::json::object{{"state", state}};
                                  },
                              .stats =
                                  [] {
                                      return boost::json::object{{"exits", {{"port", 7}}}};
                                  }};
    const auto service = control_service::listen(io, c, calls);
    if (service.has_error()) {
        std::fprintf(stderr, "strait-vmm: %s\n", service.error().message.c_str());
        end(exit_status::refused);
    }
    io.run();
    return static_cast<int>(exit_status::powered_off);
}

} // namespace

int main(int argc, char** argv)
{
    const auto options = parse_command_line(std::vector<std::string>(argv + 1, argv + argc));
    if (options.has_error()) {
        std::fprintf(stderr, "strait-vmm: %s\n", options.error().message.c_str());
        return static_cast<int>(exit_status::refused);
    }
    return run(options->machine);
}
