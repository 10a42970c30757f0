// SPDX-License-Identifier: BSD-3-Clause
// strait-xen-simulator: a simulated hypervisor for the processes of one host.
#include "ports/xen-netback/simulated/server.hh"

#include <boost/asio/io_context.hpp>
#include <boost/asio/signal_set.hpp>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <exception>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <vector>

#include <sys/resource.h>

namespace {

using namespace strait::xen::simulated;

constexpr const char* help =
    "Usage: strait-xen-simulator --socket PATH [--faults FILE]\n"
    "\n"
    "Simulates what Xen gives its domains: granted memory, event channels, the store. Back ends\n"
    "(straitd), simulated guests and tools connect to PATH. Ends on SIGINT or SIGTERM.\n"
    "\n"
    "  --socket PATH  where to listen; a stale socket there is replaced\n"
    "  --faults FILE  what shall go wrong, in JSON:\n"
    "                 {\"seed\": 1, \"watch_delay_ms\": 20, \"watch_merging\": \"same\",\n"
    "                 \"rules\": [{\"on\": \"copy\", \"effect\": \"fail\", \"domain\": 1,\n"
    "                 \"probability\": 0.01, \"status\": \"general_error\"}]}\n"
    "                 on: copy, map, bind, commit; effect: fail, pretend, deny, delay (delay_us);\n"
    "                 also reference (a number or [first, last]), skip, count;\n"
    "                 watch_merging: none, same, token\n"
    "  --help         show this text\n";

int refuse(const std::string& why)
{
    (void)std::fprintf(stderr, "strait-xen-simulator: %s\n", why.c_str());
    return 1;
}

// Each guest takes a handful of descriptors: what the administrator allows is used.
void raise_descriptor_limit()
{
    rlimit limit{};
    constexpr rlim_t enough = 65536;
    if (::getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur < enough) {
        limit.rlim_cur = std::min<rlim_t>(limit.rlim_max, enough);
        (void)::setrlimit(RLIMIT_NOFILE, &limit);
    }
}

int run(const std::vector<std::string>& words)
{
    server_settings settings;
    for (std::size_t i = 0; i < words.size(); ++i) {
        const std::string& word = words[i];
        if (word == "--help") {
            return std::fputs(help, stdout) < 0 ? 1 : 0;
        }
        if (word != "--socket" && word != "--faults") {
            return refuse("there is no option " + word + "; see --help");
        }
        if (i + 1 == words.size()) {
            return refuse(word + " takes a path");
        }
        const std::string& path = words[++i];
        if (word == "--socket") {
            settings.socket = path;
            continue;
        }
        std::ifstream file{path};
        if (!file || std::filesystem::is_directory(path)) {
            return refuse("the file " + path + " cannot be read");
        }
        const std::string text{std::istreambuf_iterator<char>{file}, {}};
        auto wrong = parse_faults(text);
        if (wrong.has_error()) {
            return refuse(path + ": " + wrong.error().message);
        }
        settings.wrong = std::move(wrong).value();
    }
    if (settings.socket.empty()) {
        return refuse("--socket is missing; see --help");
    }
    raise_descriptor_limit();
    boost::asio::io_context io{1};
    boost::asio::signal_set signals{io, SIGTERM, SIGINT};
    signals.async_wait([&io](boost::system::error_code error, int /*signal*/) {
        if (!error) {
            io.stop();
        }
    });
    const std::string where = settings.socket;
    const auto listening = server::listen(io, std::move(settings));
    if (listening.has_error()) {
        return refuse(listening.error().message);
    }
    // Whoever started it may wait for this line.
    (void)std::printf("listening on %s\n", where.c_str());
    (void)std::fflush(stdout);
    io.run();
    return 0;
}

} // namespace

int main(int argc, char** argv)
{
    try {
        return run(std::vector<std::string>(argv + (argc > 0 ? 1 : 0), argv + argc));
    } catch (const std::exception& e) {
        return refuse(e.what());
    }
}
