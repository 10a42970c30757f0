// SPDX-License-Identifier: BSD-3-Clause
// strait-xen-tools: what `xl` does to guests and their network devices, on a simulated hypervisor.
#include "ports/xen-netback/simulated/tool_stack.hh"

#include "ports/number.hh"

#include <chrono>
#include <cstdio>
#include <exception>
#include <optional>
#include <string>
#include <thread>
#include <vector>

namespace {

using namespace strait::xen;
using namespace strait::xen::simulated;

constexpr const char* help =
    "Usage: strait-xen-tools --socket PATH COMMAND DOMAIN [HANDLE] [OPTION]...\n"
    "\n"
    "Does to the domains of the simulated hypervisor that listens on PATH what xl does to Xen's.\n"
    "\n"
    "  create DOMAIN         a domain, which strait-xen-guest then is; it ends with its last "
    "process\n"
    "  attach DOMAIN HANDLE --mac MAC [--bridge NAME] [--mtu N] [--rate BYTES,MICROSECONDS]\n"
    "                        a network device of it\n"
    "  detach DOMAIN HANDLE  takes the device away: waits up to 10 s until its back end has "
    "closed\n"
    "  destroy DOMAIN        ends the domain, then the same for its devices\n"
    "\n"
    "Status: 0 done, 1 refused, 2 the simulator cannot be reached.\n";

struct wrong {
    std::string message;
};

std::uint64_t number(std::string_view what, std::string_view word, std::uint64_t most)
{
    const auto n = strait::to_number<std::uint64_t>(word);
    if (!n || *n > most) {
        throw wrong{std::string{what} + " must be a number up to " + std::to_string(most) +
                    ", not \"" + std::string{word} + "\""};
    }
    return *n;
}

struct request {
    std::string socket;
    std::vector<std::string> words; // command, domain, handle
    std::string mac;
    vif_options options;
};

request parse(const std::vector<std::string>& words)
{
    request r;
    for (std::size_t i = 0; i < words.size(); ++i) {
        const std::string& word = words[i];
        if (!word.starts_with("--")) {
            r.words.push_back(word);
            continue;
        }
        if (i + 1 == words.size()) {
            throw wrong{word + " takes a value; see --help"};
        }
        const std::string& value = words[++i];
        if (word == "--socket") {
            r.socket = value;
        } else if (word == "--mac") {
            r.mac = value;
        } else if (word == "--bridge") {
            r.options.bridge = value;
        } else if (word == "--mtu") {
            r.options.mtu = static_cast<std::uint32_t>(number(word, value, 65535));
        } else if (word == "--rate") {
            const auto comma = value.find(',');
            if (comma == std::string::npos) {
                throw wrong{"--rate takes BYTES,MICROSECONDS, not \"" + value + "\""};
            }
            r.options.rate = {
                .bytes = number(word, std::string_view{value}.substr(0, comma), 1ULL << 40U),
                .interval_us = static_cast<std::uint32_t>(
                    number(word, std::string_view{value}.substr(comma + 1), 1ULL << 31U))};
        } else {
            throw wrong{"there is no option " + word + "; see --help"};
        }
    }
    if (r.socket.empty() || r.words.empty()) {
        throw wrong{"--socket and a command are needed; see --help"};
    }
    return r;
}

result<void> wait_until_closed(tool_stack& tools, domain_id d, unsigned handle)
{
    constexpr int tries = 1000;
    constexpr std::chrono::milliseconds interval{10};
    for (int i = 0; i < tries; ++i) {
        const auto state = tools.store().read(tool_stack::backend_path(d, handle) + "/state");
        if (state.has_error()) {
            return state.error();
        }
        if (!*state || **state == "6" || **state == "1") { // 1: nobody has ever served it
            return tools.forget_vif(d, handle);
        }
        std::this_thread::sleep_for(interval);
    }
    return error{"the back end of device " + std::to_string(handle) +
                 " has not closed within 10 s"};
}

result<void> destroy(tool_stack& tools, domain_id d)
{
    const auto vifs =
        tools.store().list("/libxl/" + std::to_string(static_cast<unsigned>(d)) + "/device/vif");
    if (vifs.has_error()) {
        return vifs.error();
    }
    if (auto gone = tools.destroy_domain(d); gone.has_error()) {
        return gone;
    }
    for (const std::string& name : vifs->value_or(std::vector<std::string>{})) {
        if (auto gone = wait_until_closed(
                tools, d, static_cast<unsigned>(number("a handle", name, 1U << 31U)));
            gone.has_error()) {
            return gone;
        }
    }
    return tools.forget_domain(d);
}

result<void> obey(tool_stack& tools, const request& r)
{
    const std::string& command = r.words[0];
    const bool of_device = command == "attach" || command == "detach";
    if (!of_device && command != "create" && command != "destroy") {
        throw wrong{"there is no command \"" + command + "\"; see --help"};
    }
    if (r.words.size() != (of_device ? 3U : 2U)) {
        throw wrong{command + (of_device ? " takes a domain and a handle" : " takes a domain")};
    }
    const domain_id d{static_cast<std::uint16_t>(number("a domain", r.words[1], 0x7fef))};
    if (command == "create") {
        return tools.create_domain(d, "guest" + r.words[1]);
    }
    if (command == "destroy") {
        return destroy(tools, d);
    }
    const auto handle = static_cast<unsigned>(number("a handle", r.words[2], 1U << 31U));
    if (command == "attach") {
        if (r.mac.empty()) {
            throw wrong{"attach needs --mac"};
        }
        return tools.add_vif(d, handle, r.mac, r.options);
    }
    if (auto told = tools.detach_vif(d, handle); told.has_error()) {
        return told;
    }
    return wait_until_closed(tools, d, handle);
}

int refuse(const std::string& why, int status)
{
    (void)std::fprintf(stderr, "strait-xen-tools: %s\n", why.c_str());
    return status;
}

int run(const std::vector<std::string>& words)
{
    constexpr int refused = 1;
    constexpr int unreachable = 2;
    if (words.size() == 1 && words[0] == "--help") {
        return std::fputs(help, stdout) < 0 ? refused : 0;
    }
    try {
        const request r = parse(words);
        auto tools = tool_stack::connect(r.socket);
        if (tools.has_error()) {
            return refuse(tools.error().message, unreachable);
        }
        const auto done = obey(**tools, r);
        return done.has_error() ? refuse(done.error().message, refused) : 0;
    } catch (const wrong& w) {
        return refuse(w.message, refused);
    }
}

} // namespace

int main(int argc, char** argv)
{
    try {
        return run(std::vector<std::string>(argv + (argc > 0 ? 1 : 0), argv + argc));
    } catch (const std::exception& e) {
        return refuse(e.what(), 1);
    }
}
